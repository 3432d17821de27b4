"""A network that learns of objects, on the real graph: what it tells goes through to objects and bundles."""

import json

import numpy as np
import pytest

from tilewright.pixels.rasters import open_raster
from tilewright.project.bundle import read_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TARGETS = ["mask", "touching", "distance"]
MASKS = ["gland", "vessel"]
BANDS = MASKS + [f"{name}:{target}" for target in TARGETS[1:] for name in MASKS]


@pytest.fixture(scope="module")
def taught(finished, tmp_path_factory):
    """The finished run whose model near learns of objects, with the jobs that this took."""
    graph = finished.copied(tmp_path_factory.mktemp("taught") / "run")
    config = graph.project.config()
    config["models"]["near"]["targets"] = TARGETS
    config["ensembles"]["near"] = {"models": {"near": 1}}
    graph.project.write_config(config)
    jobs = graph.jobs()
    graph.run()
    return graph, jobs


def read(path):
    with open_raster(path, MASKS) as raster:
        return raster.classes, raster.read()


def test_tiles_are_cut_with_their_objects_and_the_other_model_keeps_its_own(finished, taught):
    graph, jobs = taught
    assert jobs["tile"] == len(list((graph.results / "tiles" / "fine").glob("*.h5")))
    assert (jobs["train"], jobs.get("downscale", 0), jobs.get("rasterize", 0)) == (2, 0, 0)
    kept = ("probabilities/far", "models/far")
    assert list(finished.hashes(*kept).values()) == list(graph.hashes(*kept).values())
    assert graph.jobs() == {}


def test_maps_have_a_band_for_each_target_of_each_class(taught):
    graph, _ = taught
    names, values = read(graph.results / "probabilities" / "near" / "t" / "t1.tif")
    assert names == BANDS
    assert all(band.any() for band in values)
    history = (graph.results / "models" / "near" / "fold0" / "history.csv").read_text()
    assert {"val_touching", "train_distance"} <= set(history.splitlines()[0].split(","))


def test_an_ensemble_tells_what_all_its_members_do(taught):
    graph, _ = taught
    alone, masks = (read(graph.results / "ensembles" / name / "t" / "t1.tif") for name in ("near", "both"))
    assert (alone[0], masks[0]) == (BANDS, MASKS)
    assert (alone[1] == read(graph.results / "probabilities" / "near" / "t" / "t1.tif")[1]).all()


def test_a_bundle_predicts_what_the_run_did(taught, tmp_path):
    graph, _ = taught
    member = read_bundle(graph.results / "bundles" / "near").members[0]
    assert (member.classes, member.targets) == (MASKS, TARGETS)
    config = {
        "sheet": str(graph.project.sheet), "bundles": {"taken": {"path": str(graph.results / "bundles" / "near")}},
        "ensembles": {"near": {"models": {"taken": 1}}},
    }  # fmt: skip
    (graph.project.folder / "bundled.json").write_text(json.dumps(config))
    graph.run("--configfile", "bundled.json", "--config", "pathvars={'results': 'bundled'}")
    before = graph.results / "ensembles" / "near" / "t" / "t1.tif"
    after = graph.project.folder / "bundled" / "ensembles" / "near" / "t" / "t1.tif"
    assert np.array_equal(read(before)[1], read(after)[1])
