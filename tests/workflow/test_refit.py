"""What is trained on all training slides, on the real graph: it predicts test slides, and changes no threshold."""

import pytest

from tilewright.inference.predict import predict
from tilewright.pixels.rasters import open_raster
from tilewright.project.bundle import read_bundle
from tilewright.project.config import Inference
from tilewright.project.orders import PredictOrder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def refitted(finished, tmp_path_factory):
    """The finished run whose model near is trained on all slides too, with the jobs that this took."""
    graph = finished.copied(tmp_path_factory.mktemp("refitted") / "run")
    config = graph.project.config()
    config["models"]["near"]["final"] = True
    graph.project.write_config(config)
    jobs = graph.jobs()
    graph.run()
    return graph, jobs


def test_only_what_it_predicts_and_what_follows_runs_again(finished, refitted):
    graph, jobs = refitted
    assert jobs == {
        "refit": 1, "predict": 1, "ensemble": 1, "segment": 1, "encode": 1, "measure": 1, "evaluate": 1, "pack": 1,
        "report": 1,
    }  # fmt: skip
    kept = ("calibration", "probabilities/near/a", "probabilities/near/b", "models/near/fold0", "models/near/fold1")
    assert list(finished.hashes(*kept).values()) == list(graph.hashes(*kept).values())
    assert graph.jobs() == {}


def test_it_alone_predicts_test_slides(finished, refitted, tmp_path):
    graph, _ = refitted
    inference = Inference(window=64, overlap=0.5, tta="flips")
    order = PredictOrder(slides=["t1", "t2"], parts=["final"], averaged=["final"], inference=inference)
    scaled = graph.results / "scaled" / "full" / "t"
    predict(order, models=[graph.results / "models" / "near" / "final"], scaled=scaled, out=tmp_path / "alone")
    for slide in order.slides:
        by_graph = (graph.results / "probabilities" / "near" / "t" / f"{slide}.tif").read_bytes()
        assert by_graph == (tmp_path / "alone" / f"{slide}.tif").read_bytes()
        assert by_graph != (finished.results / "probabilities" / "near" / "t" / f"{slide}.tif").read_bytes()


def test_it_alone_goes_into_the_bundle_and_the_report_says_so(refitted):
    graph, _ = refitted
    members = {one.name: one.parts for one in read_bundle(graph.results / "bundles" / "both").members}
    assert members == {"near": ["final"], "far": ["fold0", "fold1"]}
    page = (graph.results / "report" / "index.html").read_text()
    rows = [row for row in page.split("<tr>") if row.startswith(("<td>near", "<td>far"))]
    said = {row[4:].split("<")[0]: row for row in rows if "test slides" not in row and "Unet" in row}
    assert "the model of all training slides" in said["near"]
    assert "the mean of the folds" in said["far"]
    assert "<p>gland, vessel: so few groups hardly tell a threshold" in page


def test_both_are_the_mean_of_all_networks(refitted, tmp_path):
    graph, _ = refitted
    folder, inference = graph.results / "models" / "near", Inference(window=64, keep=["folds"])
    parts = ["fold0", "fold1", "final"]
    order = PredictOrder(slides=["t1"], parts=parts, averaged=parts, inference=inference)
    predict(order, models=[folder / part for part in parts], scaled=graph.results / "scaled" / "full" / "t",
            out=tmp_path / "all")  # fmt: skip
    maps = {}
    for part in ("", ".fold0", ".fold1", ".final"):
        with open_raster(tmp_path / "all" / f"t1{part}.tif") as raster:
            maps[part] = raster.read().astype(float)
    mean = sum(maps[f".{part}"] for part in parts) / 3
    assert abs(maps[""] - mean).max() <= 1
    order = order.model_copy(update={"averaged": ["final"]})
    predict(order, models=[folder / part for part in parts], scaled=graph.results / "scaled" / "full" / "t",
            out=tmp_path / "one")  # fmt: skip
    with open_raster(tmp_path / "one" / "t1.tif") as raster:
        assert (raster.read() == maps[".final"]).all()
