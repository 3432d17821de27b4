"""Bundles and saved predictions as members of ensembles, on the real graph."""

import contextlib
import io
import json
import shutil

import pytest
from conftest import Project
from running import Graph

from tilewright.check.check import check
from tilewright.pixels.rasters import open_raster
from tilewright.project.bundle import read_bundle
from tilewright.runtime.atomic import MARKS
from tilewright.runtime.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ALONE = {"rasterize", "downscale", "predict", "ensemble", "segment", "encode", "measure", "evaluate", "report"}
"""The rules of a bundle alone."""


@pytest.fixture(scope="module")
def bundle_alone(finished, tmp_path_factory):
    """A project that has the test slides and the bundle of the finished run, and nothing else."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("results", ".snakemake"))
    graph = Graph(folder, Project(folder / "project"))
    shutil.copytree(finished.results / "bundles" / "both", graph.project.folder / "kidney")
    uses = {"bundles": {"kidney": {"path": "kidney"}}, "ensembles": {"both": {"models": {"kidney": 1}}}}
    graph.project.write_config({"sheet": "slides/slides.csv", **uses, "report": {"overlays": 2, "max_edge": 200}})
    return graph


def only_test_slides(graph, *, outlines):
    rows = [row for row in graph.project.rows() if row["role"] == "test"]
    graph.project.write_sheet([row if outlines else {**row, "annotations": ""} for row in rows])


@pytest.fixture(scope="module")
def mixed(finished, tmp_path_factory):
    """The finished run whose model far is a saved prediction now, and whose ensemble is a bundle."""
    graph = finished.copied(tmp_path_factory.mktemp("mixed") / "run")
    shutil.copytree(graph.results / "bundles" / "both", graph.project.folder / "kidney")
    shutil.move(graph.results / "probabilities" / "far", graph.project.folder / "theirs")
    config = graph.project.config()
    del config["models"]["far"], config["tiles"]["coarse"]
    config["bundles"] = {"kidney": {"path": "kidney"}}
    config["predictions"] = {"theirs": {"folder": "theirs", "scale": "half", "out_of_fold": True}}
    config["ensembles"] = {"all": {"models": {"near": 1, "kidney": 1, "theirs": 1}, "weights": "fit"}}
    config["bundle"] = {"title": "Mixed", "licence": "CC0"}
    graph.project.write_config(config)
    return graph


def checked(graph, monkeypatch):
    """What ``check`` says of a project."""
    monkeypatch.chdir(graph.project.folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(UserError):
        check(config=graph.project.config_file)
    return printed.getvalue()


def test_with_a_bundle_alone_no_training_is_planned_and_nothing_that_needs_outlines(bundle_alone, monkeypatch):
    only_test_slides(bundle_alone, outlines=True)
    jobs = bundle_alone.jobs()
    assert set(jobs) == ALONE
    assert (jobs["predict"], jobs["downscale"]) == (2, 2)
    only_test_slides(bundle_alone, outlines=False)
    assert set(bundle_alone.jobs()) == ALONE - {"rasterize", "evaluate"}
    assert checked(bundle_alone, monkeypatch) == "0 errors, 0 warnings; 2 slides readable.\n"


def test_a_bundle_gives_what_the_run_gave_that_it_comes_from(finished, bundle_alone):
    only_test_slides(bundle_alone, outlines=False)
    bundle_alone.run()
    same = [f"{kind}/both/t" for kind in ("ensembles", "segments")] + ["submission/both.csv"]
    places = {f"probabilities/{model}/t": f"probabilities/kidney.{model}/t" for model in ("near", "far")}
    compared = 0
    for before, now in {**places, **dict(zip(same, same, strict=True))}.items():
        given, found = contents(finished.results / before), contents(bundle_alone.results / now)
        assert given == found, before
        compared += len(given)
    assert compared >= 2 * 3 + 2 * 4 + 1
    page = (bundle_alone.results / "report" / "index.html").read_text()
    assert "Given by the config or the bundle; nothing was fitted here." in page


def contents(path):
    """The bytes of a file, or of the files of a folder."""
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.name not in MARKS]
    return {each.name: each.read_bytes() for each in files}


def test_a_model_a_bundle_and_saved_predictions_make_one_ensemble(finished, mixed):
    jobs = mixed.jobs()
    assert (jobs["predict"], jobs["adopt"], jobs["weigh"]) == (6, 3, 1)
    assert not {"train", "tile", "downscale", "pack"} & set(jobs)
    mixed.run()
    weights = json.loads((mixed.results / "weights" / "all.json").read_text())["weights"]
    assert set(weights) == {"near", "kidney.near", "kidney.far", "theirs"}
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    for slide in ("t1", "t2"):
        with (
            open_raster(mixed.results / "probabilities" / "theirs" / "t" / f"{slide}.tif") as adopted,
            open_raster(finished.results / "probabilities" / "far" / "t" / f"{slide}.tif") as saved,
        ):
            assert adopted.tags == saved.tags
            assert (adopted.read() == saved.read()).all()


def test_files_of_users_are_looked_at_wherever_they_are_taken(mixed):
    assert mixed.unseen() == []


def test_the_report_tells_what_comes_from_elsewhere(mixed):
    mixed.run()
    assert not (mixed.results / "bundles" / "all").exists()
    page = (mixed.results / "report" / "index.html").read_text()
    for told in (
        "kidney is a bundle: models that were trained elsewhere.",
        "kidney was trained on the files of slides that it is judged by here; their scores are too good: "
        "a1, a2, b1, b2.",
        "Holds saved predictions (theirs), whose models are not here; hence no bundle is made of it.",
    ):
        assert told in page


def test_check_names_the_slides_that_a_bundle_has_seen(mixed, monkeypatch):
    found = checked(mixed, monkeypatch)
    assert "trained on the files of slides that it is judged by here: a1, a2, b1, b2.\n" in found
    assert "0 errors, 1 warning;" in found


@pytest.fixture
def changed(mixed):
    """Lets the config of the mixed project say something else, until the test ends."""
    before = mixed.project.config()

    def change(section, **values):
        config = mixed.project.config()
        config[section] = values
        mixed.project.write_config(config)

    yield change
    mixed.project.write_config(before)


def test_an_ensemble_with_a_bundle_is_packed_with_its_credits(mixed, changed):
    changed("ensembles", mixed={"models": {"near": 1, "kidney": 1}})
    mixed.run("results/bundles/mixed")
    bundle = read_bundle(mixed.results / "bundles" / "mixed")
    assert [one.name for one in bundle.members] == ["near", "kidney.near", "kidney.far"]
    assert (bundle.credits.licence, [one.title for one in bundle.inside]) == ("CC0", ["both"])
    assert bundle.trained_on == read_bundle(mixed.project.folder / "kidney").trained_on
    assert "It holds models of other bundles, or" in (mixed.results / "bundles" / "mixed" / "README.md").read_text()


def test_without_thresholds_it_is_said_what_to_do(mixed, changed, monkeypatch):
    changed("predictions", theirs={"folder": "theirs"})
    changed("ensembles", all={"models": {"near": 1, "theirs": 1}})
    code, printed = mixed.attempt("-n")
    assert code != 0
    for text in (printed, checked(mixed, monkeypatch)):
        for says in (
            "ensembles.all: it cannot be calibrated, as training slides may have been seen by theirs",
            "has no threshold for gland, vessel.",
            "Give calibration.threshold, which a single bundle brings along; or give predictions out_of_fold: true",
        ):
            assert says in text
