"""How far those that predict are apart, from the folds to the report, on the real graph."""

import csv
import os
import subprocess
from contextlib import ExitStack

import numpy as np
import pytest
from running import PROGRAMS

from tilewright.inference.ensemble import read_probabilities
from tilewright.inference.spread import read_spread
from tilewright.pixels.grid import Window
from tilewright.pixels.rasters import open_raster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def pixels(path):
    with open_raster(path) as raster:
        return raster.read()


@pytest.fixture(scope="module")
def spreading(finished, tmp_path_factory):
    """The finished run after its models were asked for the spread of their folds, and the rules that were planned."""
    graph = finished.copied(tmp_path_factory.mktemp("spread") / "run")
    config = graph.project.config()
    for model in config["models"].values():
        model.setdefault("inference", {})["spread"] = True
    graph.project.write_config(config)
    planned = set(graph.jobs())
    graph.run()
    return graph, planned


def test_nothing_is_trained_or_calibrated_again_and_means_stay_as_they_were(spreading, finished):
    graph, planned = spreading
    assert planned == {"encode", "ensemble", "evaluate", "measure", "predict", "report", "segment"}
    for kind in ("probabilities/near", "ensembles/both"):
        for shard in (finished.results / kind).iterdir():
            for path in shard.glob("*.tif"):
                assert (graph.results / kind / shard.name / path.name).read_bytes() == path.read_bytes()


def test_the_map_of_an_ensemble_joins_the_folds_of_a_member_with_its_members(spreading):
    graph, _ = spreading
    assert not (graph.results / "probabilities/near/a/a1.spread.tif").exists()
    with ExitStack() as stack:
        maps = [
            stack.enter_context(open_raster(graph.results / f"probabilities/{name}/t/t1{end}.tif"))
            for end in ("", ".spread")
            for name in ("near", "far")
        ]
        window = Window(0, 0, *maps[0].size)
        near, far = (read_probabilities(each, maps[0], window) for each in maps[:2])
        own, other = (read_spread(each, maps[0], window) for each in maps[2:])
    assert own.max() > 0 < other.max()
    found = pixels(graph.results / "ensembles/both/t/t1.spread.tif")[0] / 510
    weights = graph.project.config()["ensembles"]["both"]["models"]
    share = weights["near"] / sum(weights.values())
    between = share * (1 - share) * (((near - far) / 255) ** 2).mean(axis=0)
    assert np.abs(found - np.sqrt(share * own**2 + (1 - share) * other**2 + between)).max() < 0.002


def test_a_bundle_tells_the_same_elsewhere(spreading, tmp_path):
    graph, _ = spreading
    images = [str(graph.project.sheet.parent / name) for name in ("t1.tif", "t2.png")]
    command = [PROGRAMS / "tilewright", "apply", graph.results / "bundles/both", *images, "--out", "out", "--spread"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*command, "--cores", "2"], cwd=tmp_path, env=environment, check=True)
    for slide in ("t1", "t2"):
        (found,) = (tmp_path / "out/results/ensembles/both").glob(f"*/{slide}.spread.tif")
        assert found.read_bytes() == (graph.results / f"ensembles/both/t/{slide}.spread.tif").read_bytes()
    assert "farthest apart" in (tmp_path / "out/results/report/index.html").read_text()


def test_the_report_lists_test_slides_the_farthest_apart_first(spreading):
    graph, _ = spreading
    with (graph.results / "report/spread.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["ensemble"] == "both"]
    sums = {}
    for row in graph.project.rows():
        if row["role"] == "test":
            folder = graph.results / "ensembles/both" / row["shard"]
            spread, mean = (pixels(folder / f"{row['slide']}{end}.tif") for end in (".spread", ""))
            possible = mean.max(axis=0) > 0
            predicted = mean[:, possible].mean(axis=0).sum() / 255
            sums[row["slide"]] = spread[0][possible].sum() / 510 / predicted if possible.any() else 0
    assert [row["slide"] for row in rows] == sorted(sums, key=sums.get, reverse=True)
    for row in rows:
        assert float(row["spread"]) == pytest.approx(sums[row["slide"]], rel=0.02)
    page = (graph.results / "report/index.html").read_text()
    assert "farthest apart" in page
    first = f'<tr><td>{rows[0]["slide"]}</td><td class="n">{float(rows[0]["spread"]):.3f}</td><td>'
    assert f'{first}<code class="at" data-at="slide={rows[0]["slide"]}&amp;set=both">' in page
