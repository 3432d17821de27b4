"""What notebooks import: every public name has an example, and the examples say what is true."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilewright
from tilewright.project.config import Network
from tilewright.runtime.errors import TilewrightError
from tilewright.tiles.folding import read_project

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
    network, model = project.config.models["unet"], folder / "results" / "demo" / "models" / "unet" / "fold0"
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


def test_completion_shows_the_public_names():
    assert dir(tilewright) == sorted(tilewright.__all__)
    assert not hasattr(tilewright, "open_slides")


NO_ROUND = {"model": "unet", "fold": "0", "shard": "test"}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda _: tilewright.open_slide("none.tif").__enter__(), "none.tif: there is no such file"),
        (lambda _: tilewright.read_outlines("none.geojson", "s", (9, 9)), "none.geojson: there is no such file"),
        (lambda _: tilewright.read_project("none.yaml"), "none.yaml: the config does not exist"),
        (lambda _: tilewright.load_model("none"), "none: there is no such folder"),
        (lambda _: tilewright.encode_rle(np.ones((2, 2), bool), "rows"), 'there is no dialect "rows"'),
        (lambda _: tilewright.decode_rle("1 5", 2, 2), "run-length encoding"),
        (lambda project: tilewright.make_order(project, "rasterise", shard="test"), 'Did you mean "rasterize"?'),
        (lambda project: tilewright.make_order(project, "rasterize", shard="tests"), 'Did you mean "test"?'),
        (lambda project: tilewright.make_order(project, "rasterize"), "rasterize needs shard; given: none."),
        (lambda project: tilewright.make_order(project, "train", model="unet", fold="9"), 'there is no fold "9"'),
        (
            lambda project: tilewright.make_order(project, "pseudo", model="unet", part="fold0", shard="test"),
            "has no pseudo-labels",
        ),
        (lambda project: run("predikt", tilewright.make_order(project, "split")), 'Did you mean "predict"?'),
        (lambda project: run("predict", tilewright.make_order(project, "split")), "takes PredictOrder, not SplitOrder"),
    ],
)
def test_mistakes_in_a_notebook_are_told_in_its_terms(clone, monkeypatch, call, says):
    monkeypatch.chdir(clone)
    project = tilewright.read_project("config/config.yaml")
    with pytest.raises(TilewrightError, match=re.escape(says)):
        call(project)


def run(verb, order):
    return tilewright.run_step(verb, order, out="out")
