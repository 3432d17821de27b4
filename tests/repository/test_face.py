"""What notebooks import: every public name has an example, and the examples say what is true."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tilewright
from tilewright.graph import read_project
from tilewright.project.config import Network

REPOSITORY = Path(__file__).parents[2]
NAMES = [name for name in tilewright.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the demo's files and a model that was not trained."""
    from safetensors.torch import save_file

    from tilewright.runtime.documents import write_document
    from tilewright.runtime.hashed import file_hash
    from tilewright.training.architectures import build_network

    folder = tmp_path_factory.mktemp("clone")
    (folder / "config").symlink_to(REPOSITORY / "config")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project = read_project(Path("config/config.yaml"))
    network, model = project.config.models["unet"], folder / "results" / "models" / "unet" / "fold0"
    model.mkdir(parents=True)
    weights = build_network(network, len(project.classes), pretrained=False).state_dict()
    save_file({name: values.contiguous() for name, values in weights.items()}, model / "model.safetensors")
    kept = network.model_dump(include=set(Network.model_fields))
    card = {"network": kept, "classes": project.classes, "weights": file_hash(model / "model.safetensors")}
    write_document(model / "model.json", card)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_says_what_is_true(name, clone, monkeypatch):
    monkeypatch.chdir(clone)
    found = getattr(tilewright, name)
    home = importlib.import_module(found.__module__)
    (test,) = doctest.DocTestFinder(recurse=False).find(found, name, globs={**vars(home)})
    assert test.examples, f"{name} has no example"
    told = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.append)
    assert not told, "".join(told)


def test_the_page_for_notebooks_runs_and_lists_all_names(clone, monkeypatch):
    monkeypatch.chdir(clone)
    page = (REPOSITORY / "docs" / "python.md").read_text()
    space = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, space)
    assert len(space["areas"]) == 1295
    assert space["probabilities"].shape == (3, 128, 128)
    assert (clone / "masks" / "nest_left.tif").is_file()
    listed = "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    assert set(re.findall(r"`(\w+)", listed)) == set(NAMES)


def test_the_import_alone_loads_nothing():
    script = "import sys, tilewright; print(sorted(name for name in sys.modules if name.startswith('tilewright')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['tilewright']\n"


def test_a_name_that_does_not_exist_is_no_attribute():
    assert not hasattr(tilewright, "open_slides")
