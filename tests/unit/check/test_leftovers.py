"""What no rule of a config makes, of a config with all kinds of results."""

from pathlib import Path

import pytest

from tilewright.check.leftovers import leftovers
from tilewright.project.places import FINAL, Places
from tilewright.tiles.folding import read_project

PLACES = Places()


@pytest.fixture
def of_all_kinds(project, monkeypatch):
    """The project with pseudo-labels, fitted weights, saved predictions and a network of all slides."""
    monkeypatch.chdir(project.folder)
    config = project.config()
    near = config["models"]["near"]
    config["models"]["again"] = {**near, "pseudo": {"from": "both"}}
    config["models"]["whole"] = {**near, "final": True}
    config["ensembles"]["both"]["weights"] = "fit"
    config["ensembles"]["both"]["models"] = {"near": 1, "saved": 1}
    config["predictions"] = {"saved": {"folder": "saved", "scale": "full", "out_of_fold": True}}
    project.write_config(config)
    return read_project(project.config_file)


def write(*paths):
    for path in map(Path, paths):
        path.mkdir(parents=True, exist_ok=True)


def test_all_that_rules_make_is_none(of_all_kinds):
    write(
        PLACES.folds(), PLACES.slides(), PLACES.report(), PLACES.masks("a"), PLACES.scaled("half", "t"),
        PLACES.tiles("fine", "a"), PLACES.pseudo("again", "fold0", "t"), PLACES.model("near", "fold1"),
        PLACES.model("whole", FINAL), PLACES.seams("far"), PLACES.probabilities("near", "a"),
        PLACES.probabilities("saved", "t"), PLACES.weights("both"), PLACES.ensembles("both", "a"),
        PLACES.calibration("both"), PLACES.segments("both", "t"), PLACES.submission("both"), PLACES.metrics("both"),
        PLACES.bundle("both"), PLACES.log("train/near/fold0"), PLACES.benchmark("report"), PLACES.kept(),
    )  # fmt: skip
    assert leftovers(of_all_kinds, PLACES) == []


def test_what_is_of_removed_names_is_told_from_the_top(of_all_kinds):
    gone = [
        PLACES.masks("gone"), PLACES.model("gone", "fold0"), PLACES.model("near", "fold7"), PLACES.bundle("gone"),
        PLACES.pseudo("near", "fold0", "t"), PLACES.scaled("full", "gone"), "results/layout",
    ]  # fmt: skip
    write(*gone, PLACES.masks("a"), PLACES.pseudo("again", "fold0", "t"))
    told = {*gone, "results/models/gone", "results/pseudo/near"} - {gone[1], gone[4]}
    assert leftovers(of_all_kinds, PLACES) == sorted(map(Path, told))
