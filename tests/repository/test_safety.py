"""What is read is never run: no pickles, no objects from YAML, no names that lead elsewhere."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import tilewright
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.errors import UserError

SOURCES = sorted(Path(tilewright.__file__).parent.rglob("*.py"))


def calls(name):
    """All calls of a function by its last name, with the file that they are in."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                yield path, node


def keyword(call, name):
    return next((ast.literal_eval(each.value) for each in call.keywords if each.arg == name), None)


def test_torch_loads_weights_only():
    found = [
        (path, call)
        for path, call in calls("load")
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "torch"
    ]
    assert found
    assert all(keyword(call, "weights_only") is True for _, call in found)
    fits = [call for path, call in calls("fit") if path.name == "trainer.py"]
    assert fits
    assert all(keyword(call, "weights_only") is True for call in fits)


@pytest.mark.parametrize("module", ["pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"])
def test_nothing_imports_what_runs_code_from_files(module):
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert module not in {name.split(".")[0] for name in names}, path


def test_arrays_are_never_loaded_with_pickles():
    assert all(not keyword(call, "allow_pickle") for _, call in calls("load"))


class Payload:
    def __reduce__(self):
        return (np.save, ("pwned.npy", 1))


def test_a_checkpoint_with_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"callbacks": Payload()}, tmp_path / "evil.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "evil.ckpt", weights_only=True)
    assert not (tmp_path / "pwned.npy").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "a;touch PWNED",
        "$(id)",
        "a b",
        "-rf",
        "a\u200bb",
        "\u0430bc",
        ".",
        "..",
        "a/b",
        "a'b",
        "`id`",
        "a\\b",
    ],
)
def test_hostile_names_are_refused(tmp_path, name):
    (tmp_path / "a.tif").touch()
    (tmp_path / "slides.csv").write_text(f'slide,image,role\n"{name}",a.tif,test\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"row 2 .*is not a valid name"):
        read_sheet(tmp_path / "slides.csv", [tmp_path], None)
