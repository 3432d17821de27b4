"""The house follows the chain: where a stage's file is, what may import what, that nothing stands twice or unused."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from house import DOORS, PACKAGES

from tilewright.cli import VERBS

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "tilewright"
RULES = {
    name: path
    for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))
    for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
}
CHAIN = {
    "rasterize": "masks", "downscale": "scales", "tile": "tiles", "split": "tiles", "train": "training",
    "predict": "inference", "ensemble": "inference", "calibrate": "inference", "segment": "segments",
    "encode": "segments", "evaluate": "evaluation", "report": "report",
}  # fmt: skip
"""The twelve stages, and the package of each."""
TREES = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


BY_NAME = re.compile(r"tilewright(\.\w+)+(:\w+)?")
"""A module as ``import_module`` takes it."""


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(["tilewright", *(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)])


def imported(path):
    """What a module imports of this project: names of modules, and of what is taken from them."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tilewright":
            for name in node.names:
                yield node.module, name.name
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "tilewright":
                    yield name.name, ""
        elif isinstance(node, ast.Constant) and path.parent != SOURCE and BY_NAME.fullmatch(str(node.value)):
            yield node.value.partition(":")[0], ""
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"


def stage_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("verb", VERBS)
def test_verb_function_file_and_test_are_one_word(verb):
    module, _, function = VERBS[verb][0].partition(":")
    assert function == verb == module.rpartition(".")[2]
    assert [path for path in TREES if path.stem == verb] == [SOURCE / Path(*module.split(".")[1:]).with_suffix(".py")]
    package = stage_of(module)
    assert CHAIN.get(verb, package) == package
    assert (REPOSITORY / "tests" / "unit" / package / f"test_{verb}.py").is_file()


def test_every_stage_is_a_verb_and_a_rule():
    assert CHAIN.keys() <= VERBS.keys()
    assert CHAIN.keys() <= RULES.keys()


def test_rules_look_at_every_file_of_users_that_they_take():
    text = (SOURCE / "graph.py").read_text()
    named = re.findall(r"def ([a-z]\w+)", text[text.index("# files of the user") : text.index("# results that a job")])
    of_users = {*named, "saved", "networks", "bundles"}
    rules = [rule for path in {*RULES.values()} for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)]
    for rule in rules[1:]:
        taken, rest = rule.partition("    output:\n")[::2]
        told = re.search(r"seen=graph.seen\((.*)\)", rest)
        assert {*re.findall(r"graph\.(\w+)", taken)} & of_users == {
            *re.findall(r"graph\.(\w+)", told[1] if told else "")
        }


def test_the_package_has_at_most_18_entries():
    entries = [path.name for path in SOURCE.iterdir() if path.name not in {"__pycache__", "py.typed"}]
    assert len(entries) <= 18
    assert {Path(name).stem for name in entries} == {*PACKAGES, *DOORS}


def test_no_package_imports_from_a_later_stage():
    order = {name: place for place, name in enumerate([*PACKAGES, *reversed(DOORS)])}
    upward = [
        f"{module_of(path)} imports {module}"
        for path in TREES
        for module, name in imported(path)
        if order[stage_of(f"{module}.{name}")] > order[stage_of(module_of(path))]
    ]
    assert upward == []


def test_no_modules_import_each_other():
    modules = {module_of(path) for path in TREES}
    below = {
        module_of(path): {
            part if (part := f"{module}.{name}") in modules else module for module, name in imported(path)
        }
        for path in TREES
    }
    while leaves := [name for name, needed in below.items() if not needed & below.keys()]:
        for name in leaves:
            del below[name]
    assert sorted(below) == []


def test_tests_mirror_the_packages():
    folders = {path.name for path in (REPOSITORY / "tests" / "unit").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(PACKAGES)


def test_geometry_and_runs_need_no_reader_of_files():
    script = (
        "import sys\nimport tilewright.pixels.grid, tilewright.pixels.runs\n"
        "print(sorted({'rasterio', 'pyvips', 'h5py', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def texts(tree):
    """The texts of a module that are no docstrings, f-strings as they are written."""
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


FOLDERS = re.compile(
    r"^/?(masks|scaled|tiles|models|probabilities|ensembles|weights|calibration|segments|metrics|seams|pseudo)/"
    r"|\.(mask|ome)\.tif|\.objects\.parquet|\.outlines\.parquet|folds\.csv$|\.(safetensors|geojson\.gz)$"
)


def test_paths_of_results_are_known_in_one_place():
    """A file that is written or read there is named in ``project/places.py``; rules ask it too."""
    found = {
        (path.relative_to(SOURCE).as_posix(), text)
        for path, tree in TREES.items()
        if path != SOURCE / "project" / "places.py"
        for text in texts(tree)
        if FOLDERS.search(text)
    }
    assert found == ALLOWED
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    assert re.findall(r"\"[^\"]*results/[^\"]*\"", rules) == []


ALLOWED = {
    ("project/folders.py", ".geojson.gz"),  # outlines as users bring them
    ("training/state.py", ".safetensors"),  # the state of a training that goes on, inside the folder of its own
    ("training/state.py", "best-*.safetensors"),
}


def used_names():
    """What code of this project reads: (module, name) imported, (module, name) read in the module, and attributes."""
    taken, read, attributes = set(), set(), set()
    for path, tree in TREES.items():
        taken |= set(imported(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                read.add((module_of(path), node.id))
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                attributes.add(node.attr)
    return taken, read, attributes


def called_by_libraries(cls, method):
    """Methods that Python, a base class or a decorator of pydantic calls."""
    by_decorator = any("valid" in ast.dump(one) for one in method.decorator_list)
    return by_decorator or method.name.startswith("__") or bool(cls.bases and CALLED.fullmatch(method.name))


CALLED = re.compile(
    r"forward|set_epoch|on_\w+|(training|validation)_step|configure_optimizers|set_in_channels|make_dilated"
)


def test_no_code_is_there_for_tests_alone():
    taken, read, attributes = used_names()
    used = taken | read | {tuple(target.split(":")) for target, _ in VERBS.values()}
    others = [*(REPOSITORY / "workflow").rglob("*.smk"), REPOSITORY / "workflow" / "Snakefile"]
    others += [REPOSITORY / "docs" / "generate.py", REPOSITORY / "pyproject.toml"]
    words = set(re.findall(r"\w+", "".join(path.read_text() for path in others)))
    unused = []
    for path, tree in TREES.items():
        module = module_of(path)
        package, _, last = module.rpartition(".")
        through = attributes if (package, last) in taken else set()
        for node in tree.body:
            for target in node.targets if isinstance(node, ast.Assign) else []:
                names = {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
                known = {name for where, name in used if where in (module, package)} | words | through
                unused += [f"{module}: {name}" for name in sorted(names - known) if not name.startswith("__")]
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("__"):
                continue
            if not {(module, node.name), (package, node.name)} & used and node.name not in words | through:
                unused.append(f"{module}: {node.name}")
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            own = {
                part.name for part in methods if isinstance(node, ast.ClassDef) and not called_by_libraries(node, part)
            }
            unused += [f"{module}: {node.name}.{name}" for name in sorted(own - attributes - words)]
    assert unused == []


SAME = 6


def code_lines(path):
    """Lines of code of a file with their numbers; no imports, comments, docstrings, closing brackets."""
    tree = TREES[path]
    dropped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            dropped |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            dropped |= set(range(node.lineno, node.end_lineno + 1))
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = re.sub(r"\s+", " ", line.split("  #")[0]).strip()
        if number not in dropped and re.search(r"\w", text) and not text.startswith("#"):
            yield number, text


def test_no_six_lines_stand_twice():
    places = defaultdict(list)
    for path in TREES:
        lines = list(code_lines(path))
        for first in range(len(lines) - SAME + 1):
            block = "\n".join(text for _, text in lines[first : first + SAME])
            places[block].append(f"{path.relative_to(SOURCE)}:{lines[first][0]}")
    assert [where for where in places.values() if len(where) > 1] == []
