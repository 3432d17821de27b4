"""Which code a step runs, as a hash.

An edit of it runs the step again, an edit of comments or of other modules does not.

Imports nothing heavy, because every cluster job parses the Snakefile.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
RESULTLESS = {"runtime", "project", "check", "cli", "graph"}
"""Packages and doors that cannot change a result.

Values of the config and the sheet reach the steps through parameters.
"""


def code_version(module: str) -> str:
    """A hash of what a step computes.

    Args:
        module: name of the step's module below ``tilewright``, such as ``training.train``.
    """
    reached = reached_modules(module)
    text = "\n".join(f"{name} {reached[name]}" for name in sorted(reached))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reached_modules(module: str) -> dict[str, str]:
    """The syntax trees of a module and of the modules of this package that it imports, by their names.

    Docstrings and comments do not count, nor do modules that cannot change a result. A file beside a module with the
    same stem, such as the template of a page, counts with it.
    """
    reached: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in reached and name.split(".")[0] not in RESULTLESS:
            reached[name], imported = code_of(_source(name))
            waiting += imported
    return reached


@cache
def code_of(source: Path) -> tuple[str, list[str]]:
    """The syntax tree of a module with what lies beside it, and the modules of this package that it imports.

    Kept, because most steps share modules and every cluster job asks for all steps.
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    imported = _imports(tree)
    beside = (path for path in sorted(source.parent.glob(f"{source.stem}.*")) if path.suffix != ".py")
    return ast.dump(_without_docstrings(tree)) + "".join(path.read_text("utf-8") for path in beside), imported


def _source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree: ast.AST) -> list[str]:
    """Modules of this package that a module imports, anywhere in it."""
    found: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tilewright":
            parent = node.module.removeprefix("tilewright").lstrip(".")
            below = [f"{parent}.{alias.name}".lstrip(".") for alias in node.names]
            found += [name for name in (*below, parent) if name and _source(name).is_file()]
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("tilewright.") for a in node.names if a.name.startswith("tilewright.")]
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in [tree, *_statements(tree)]:
        body: list[ast.stmt] = getattr(node, "body", [])
        body[:] = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return tree


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """What stands below a node and runs; the parts of expressions, most of a tree, are passed over."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for below in getattr(node, name, ()):
            yield below
            yield from _statements(below)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
