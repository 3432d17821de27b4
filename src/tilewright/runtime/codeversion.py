"""Which code a step runs, as a hash.

An edit of it runs the step again, an edit of comments or of other modules does not.

Imports nothing heavy, because every cluster job parses the Snakefile.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
RESULTLESS = {"runtime", "project", "check", "cli", "graph"}
"""Packages and doors that cannot change a result.

Values of the config and the sheet reach the steps through parameters.
"""

MESSAGES = {"note", "Problem"}
"""Calls of which no argument can change a result; those of errors neither, and the words of ``track``."""


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

    Docstrings and comments do not count, nor what is said to people, nor modules that cannot change a result. A file
    beside a module with the same stem, such as the template of a page, counts with it.
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
    return _written(tree) + "".join(path.read_text("utf-8") for path in beside), imported


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


def _written(tree: ast.Module) -> str:
    """A tree as a text, without docstrings and without what is said to people.

    Those are arguments of messages and errors, and texts with names that nothing else takes.
    """
    parts: list[str | tuple[set[str], str]] = []
    used: set[str] = set()
    _write(tree, parts, used, local=False)
    return "".join(part if isinstance(part, str) else "" if part[0].isdisjoint(used) else part[1] for part in parts)


def _write(value: Any, parts: list[str | tuple[set[str], str]], used: set[str], *, local: bool) -> None:
    """Append a value of a tree, texts that a function gives to names with these, and the names that are taken."""
    if isinstance(value, list):
        parts.append("[")
        for one in value:
            _write(one, parts, used, local=local)
        parts.append("]")
    elif not isinstance(value, ast.AST):
        parts.append(f"{value!r},")
    elif isinstance(value, ast.Name):
        if isinstance(value.ctx, ast.Load):
            used.add(value.id)
        parts.append(f"{value.id},")
    elif not _is_text(value):
        if local and isinstance(value, ast.Assign) and _says(value.value) and (names := _names(value.targets)):
            parts.append((names, ast.dump(value)))
            return
        parts.append(f"{type(value).__name__}(")
        local = isinstance(value, ast.FunctionDef) or (local and not isinstance(value, ast.ClassDef))
        for name in value._fields:
            _write(_argument(value, name), parts, used, local=local)
        parts.append(")")


def _argument(node: ast.AST, name: str) -> Any:
    """A field of a node; of a call that says something to people, what is no part of its words."""
    value = getattr(node, name, None)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and name in ("args", "keywords"):
        if node.func.id in MESSAGES or node.func.id.endswith("Error"):
            return []
        if node.func.id == "track" and name == "args":
            return [each for each in node.args if not _says(each)]
    return value


def _names(targets: list[ast.expr]) -> set[str]:
    """The names that are given something; none if anything else is."""
    each = [name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
    names = {name.id for name in each if isinstance(name, ast.Name)}
    return names if len(names) == len(each) else set()


def _says(value: ast.expr) -> bool:
    """Whether an expression is a text, or several."""
    if isinstance(value, ast.Tuple):
        return all(map(_says, value.elts))
    if isinstance(value, ast.IfExp):
        return _says(value.body) and _says(value.orelse)
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


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
