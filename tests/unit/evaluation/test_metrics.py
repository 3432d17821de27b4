import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from rasterio.features import rasterize
from shapely.geometry import MultiPolygon, Point, Polygon, box

from tilewright.evaluation.evaluate import evaluate
from tilewright.evaluation.metrics import Agreement, Instances, Overlap, instances_of_outlines, match, overlapping
from tilewright.pixels.components import label
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.pixels.runs import Runs
from tilewright.project.config import Segmentation
from tilewright.project.settings import EvaluateSettings, SegmentSettings
from tilewright.runtime.documents import write_document
from tilewright.segments.mask import write_mask
from tilewright.segments.segment import segment

HEIGHT, WIDTH = 40, 50
NOTHING = Runs.empty(HEIGHT, WIDTH)


def runs(*boxes: tuple[int, int, int, int]) -> Runs:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return Runs.from_mask(mask)


def predicted(*boxes: tuple[int, int, int, int]) -> Instances:
    mask = runs(*boxes)
    return Instances.of(mask, label(mask))


def truth(*shapes) -> Instances:
    return instances_of_outlines(np.array(shapes, dtype=object), HEIGHT, WIDTH)


def test_disjoint_disks_have_no_overlap():
    overlap = Overlap.of(runs((0, 0, 10, 10)), runs((20, 20, 30, 30)))
    assert (overlap.dice, overlap.iou) == (0, 0)


def test_scores_of_nothing_are_one_and_of_one_side_zero():
    assert Overlap(0, 0, 0).dice == Overlap(0, 0, 0).iou == 1
    nothing, missed = Agreement(0, 0, 0, 0), Agreement(3, 0, 0, 0)
    assert (nothing.precision, nothing.recall, nothing.f1) == (1, 1, 1)
    assert (missed.precision, missed.recall, missed.f1) == (0, 0, 0)


def test_outlines_cover_the_pixels_that_rasterio_fills():
    rng = np.random.default_rng(0)
    ring = Polygon(box(3, 3, 20, 20).exterior, [box(7, 7, 12, 12).exterior])
    shapes = [
        ring,
        MultiPolygon([box(1, 1, 4, 4), box(30, 30, 45, 38)]),
        box(-9, -9, 5, 5),
        box(45, 30, 99, 99),
        box(2.5, 3, 8.5, 9),
    ]
    shapes += [Point(*rng.uniform(0, 50, 2)).buffer(rng.uniform(0.2, 9)) for _ in range(100)]
    found = truth(*shapes)
    for number, outline in enumerate(shapes):
        mask = np.zeros((HEIGHT, WIDTH + 1), np.bool_)
        for start, stop in zip(found.starts[found.owner == number], found.stops[found.owner == number], strict=True):
            mask.ravel()[start:stop] = True
        assert (mask[:, :-1] == rasterize([outline], (HEIGHT, WIDTH))).all()


def test_objects_match_one_to_one_the_best_pair_first():
    matches = match(
        overlapping(truth(box(0, 0, 10, 10), box(0, 0, 10, 9)), predicted((0, 0, 10, 9), (30, 0, 35, 5)), NOTHING), 0.5
    )
    assert matches.partner.tolist() == [1, -1]
    assert matches.best_iou.tolist() == [1, 0]
    assert matches.found == Agreement(2, 1, 2, 1)


def test_an_overlap_below_the_threshold_is_no_match():
    matches = match(overlapping(truth(box(0, 0, 10, 10)), predicted((5, 0, 15, 10)), NOTHING), 0.5)
    assert matches.found == Agreement(1, 0, 1, 0)
    assert matches.best_iou[0] == pytest.approx(50 / 150)


def test_ignored_pixels_belong_to_neither_side():
    ignored = runs((6, 0, 20, 40))
    matches = match(overlapping(truth(box(0, 0, 10, 10)), predicted((0, 0, 6, 10), (12, 0, 18, 9)), ignored), 0.99)
    assert matches.found == Agreement(1, 1, 1, 1)
    assert matches.predicted_counts.tolist() == [True, False]


def test_nothing_matches_nothing():
    assert match(overlapping(truth(), predicted(), NOTHING), 0.5).found == Agreement(0, 0, 0, 0)
    assert match(overlapping(truth(box(0, 0, 5, 5)), predicted(), NOTHING), 0.5).found == Agreement(1, 0, 0, 0)
    assert match(overlapping(truth(), predicted((0, 0, 5, 5)), NOTHING), 0.5).found == Agreement(0, 0, 1, 0)


CLASSES = ["gland", "vessel"]
FRAME = Frame(0, 0, WIDTH, HEIGHT, Size(WIDTH, HEIGHT))
SHEET = """slide,image,annotations,role,source,labelled
a,x.png,x.json,train,one,
b,x.png,x.json,train,two,gland
c,x.png,x.json,external,one,
d,x.png,,test,one,
e,x.png,x.json,test,one,
"""


def write_slide(folder: Path, slide: str, outlines: dict[str, list], ignored: Runs, guess: list[Runs]) -> None:
    names = [name for name, shapes in outlines.items() for _ in shapes]
    shapes = [shape for some in outlines.values() for shape in some]
    layers = {
        name: Runs.from_mask(rasterize([*outlines.get(name, []), (box(0, 0, 0, 0), 0)], (HEIGHT, WIDTH)) > 0)
        for name in CLASSES
    }
    masks = folder / "masks" / slide
    write_mask(masks / f"{slide}.tif", FRAME, {**layers, "ignore": ignored})
    table = pd.DataFrame(
        {"class": pd.Series(names, dtype=object), "geometry": shapely.to_wkb(np.array(shapes, object))}
    )
    table.to_parquet(masks / f"{slide}.outlines.parquet")
    with create_raster(folder / "p" / f"{slide}.tif", FRAME.size, bands=2, tags=FRAME.tags()) as raster:
        raster.write(np.stack([part.to_mask() for part in guess]).astype(np.uint8) * 204, 0, 0)
    settings = SegmentSettings(colors=dict.fromkeys(CLASSES, "#ff0000"), segmentation=Segmentation())
    segment(slide, sheet=folder / "slides.csv", data=folder, probabilities=folder / "p",
            calibration=folder / "c.json", settings=settings, out=folder / "segments" / slide)  # fmt: skip


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    (tmp_path / "slides.csv").write_text(SHEET)
    (tmp_path / "x.png").touch()
    (tmp_path / "x.json").touch()
    limits = {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    write_document(tmp_path / "c.json", limits)
    glands, vessels = [box(0, 0, 10, 10), box(20, 20, 30, 30)], [box(0, 30, 5, 40)]
    outlines = {"gland": glands, "vessel": vessels, "ignore": [box(40, 0, 50, 40)]}
    ignored = runs((40, 0, 50, 40))
    write_slide(tmp_path, "a", outlines, ignored, [runs((0, 0, 10, 10), (42, 0, 48, 9)), runs((0, 30, 5, 40))])
    write_slide(tmp_path, "b", {"gland": glands}, NOTHING, [runs((0, 0, 10, 5)), runs((0, 0, 9, 9))])
    write_slide(tmp_path, "e", {}, NOTHING, [NOTHING, NOTHING])
    evaluate(sheet=tmp_path / "slides.csv", data=tmp_path, masks=tmp_path / "masks", segments=tmp_path / "segments",
             settings=EvaluateSettings(classes=CLASSES, iou=0.5, boundary=1), out=tmp_path / "metrics")  # fmt: skip
    return tmp_path / "metrics"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_labelled_class_of_each_annotated_slide_has_a_row(metrics):
    rows = read(metrics / "slides.csv")
    assert [(row["set"], row["source"], row["slide"], row["class"]) for row in rows] == [
        ("out_of_fold", "one", "a", "gland"), ("out_of_fold", "one", "a", "vessel"), ("out_of_fold", "one", "a", "any"),
        ("out_of_fold", "two", "b", "gland"),
        ("test", "one", "e", "gland"), ("test", "one", "e", "vessel"), ("test", "one", "e", "any"),
    ]  # fmt: skip


def test_areas_count_valid_pixels_only(metrics):
    gland, vessel, either = read(metrics / "slides.csv")[:3]
    assert [gland[key] for key in ("truth_area", "predicted_area", "intersection")] == ["200", "100", "100"]
    assert float(gland["dice"]) == pytest.approx(200 / 300, abs=1e-6)
    assert float(gland["iou"]) == 0.5
    assert vessel["dice"] == "1.0"
    assert [either[key] for key in ("truth_area", "predicted_area", "intersection")] == ["250", "150", "150"]


def test_objects_are_counted(metrics):
    rows = {(row["slide"], row["class"]): row for row in read(metrics / "slides.csv")}
    keys = ("objects_truth", "objects_predicted", "true_positives", "precision", "recall")
    assert [rows["a", "gland"][key] for key in keys] == ["2", "1", "1", "1.0", "0.5"]
    assert [rows["a", "any"][key] for key in keys] == ["3", "2", "2", "1.0", "0.666667"]
    assert [rows["e", "any"][key] for key in keys] == ["0", "0", "0", "1.0", "1.0"]


def test_each_predicted_object_that_counts_has_a_row(metrics):
    assert [list(row.values()) for row in read(metrics / "objects.csv")] == [
        ["out_of_fold", "a", "gland", "1", "100", "0.8", "1.0", "1"],
        ["out_of_fold", "a", "vessel", "3", "50", "0.8", "1.0", "1"],
        ["out_of_fold", "b", "gland", "1", "50", "0.8", "0.5", "1"],
    ]


def test_the_summary_pools_slides_and_sources(metrics):
    summary = json.loads((metrics / "summary.json").read_text())
    gland = summary["out_of_fold"]["gland"]
    assert gland["pooled_dice"] == pytest.approx(2 * 150 / (400 + 150), abs=1e-6)
    assert gland["mean_slide_dice"] == pytest.approx((200 / 300 + 100 / 250) / 2, abs=1e-6)
    assert (gland["precision"], gland["recall"]) == (1, 0.5)
    assert gland["sources"]["two"]["pooled_dice"] == pytest.approx(100 / 250, abs=1e-6)
    assert summary["out_of_fold"]["any"]["slides"] == 1
    assert summary["test"]["vessel"]["f1"] == 1
