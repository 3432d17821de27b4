import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from rasterio.features import rasterize
from shapely.geometry import box

from tilewright.evaluation.evaluate import evaluate
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.pixels.runs import Runs
from tilewright.project.config import Segmentation
from tilewright.project.orders import EvaluateOrder, EvaluateRow, SegmentOrder, SegmentRow
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import UserError
from tilewright.segments.segment import segment

HEIGHT, WIDTH = 40, 50
NOTHING = Runs.empty(HEIGHT, WIDTH)
CLASSES = ["gland", "vessel"]
FRAME = Frame(0, 0, WIDTH, HEIGHT, Size(WIDTH, HEIGHT))
ROWS = [
    EvaluateRow(slide="a", shard="a", role="train", source="one", labelled=CLASSES),
    EvaluateRow(slide="b", shard="b", role="train", source="two", labelled=["gland"]),
    EvaluateRow(slide="e", shard="e", role="test", source="one", labelled=CLASSES),
]


def runs(*boxes: tuple[int, int, int, int]) -> Runs:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return Runs.from_mask(mask)


def write_slide(folder: Path, slide: str, outlines: dict[str, list], ignored: Runs, guess: list[Runs]) -> None:
    names = [name for name, shapes in outlines.items() for _ in shapes]
    shapes = [shape for some in outlines.values() for shape in some]
    layers = {
        name: Runs.from_mask(rasterize([*outlines.get(name, []), (box(0, 0, 0, 0), 0)], (HEIGHT, WIDTH)) > 0)
        for name in CLASSES
    }
    masks = folder / "masks" / slide
    with create_raster(masks / f"{slide}.tif", FRAME.size, tags=FRAME.tags(CLASSES)) as raster:
        bits = [part.to_mask().astype(np.uint8) << bit for bit, part in enumerate([*layers.values(), ignored])]
        raster.write(np.bitwise_or.reduce(bits), 0, 0)
    table = pd.DataFrame(
        {"class": pd.Series(names, dtype=object), "geometry": shapely.to_wkb(np.array(shapes, object))}
    )
    table.to_parquet(masks / f"{slide}.outlines.parquet")
    with create_raster(folder / "p" / f"{slide}.tif", FRAME.size, bands=2, tags=FRAME.tags(CLASSES)) as raster:
        raster.write(np.stack([part.to_mask() for part in guess]).astype(np.uint8) * 204, 0, 0)
    colors = dict.fromkeys(CLASSES, "#ff0000")
    order = SegmentOrder(rows=[SegmentRow(slide=slide)], colors=colors, segmentation=Segmentation())
    segment(order, probabilities=folder / "p", calibration=folder / "c.json", out=folder / "segments" / slide)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    limits = {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    write_document(tmp_path / "c.json", limits)
    glands, vessels = [box(0, 0, 10, 10), box(20, 20, 30, 30)], [box(0, 30, 5, 40)]
    outlines = {"gland": glands, "vessel": vessels, "ignore": [box(40, 0, 50, 40)]}
    ignored = runs((40, 0, 50, 40))
    write_slide(tmp_path, "a", outlines, ignored, [runs((0, 0, 10, 10), (42, 0, 48, 9)), runs((0, 30, 5, 40))])
    write_slide(tmp_path, "b", {"gland": glands}, NOTHING, [runs((0, 0, 10, 5)), runs((0, 0, 9, 9))])
    write_slide(tmp_path, "e", {}, NOTHING, [NOTHING, NOTHING])
    order = EvaluateOrder(rows=ROWS, classes=CLASSES, iou=0.5, boundary=1)
    evaluate(order, masks=tmp_path / "masks", segments=tmp_path / "segments", out=tmp_path / "metrics")
    return tmp_path / "metrics"


@pytest.mark.parametrize(("least", "f1"), [(0, "0.666667"), (100, "0.666667"), (101, "0.0")])
def test_small_objects_do_not_count_by_their_centres(metrics, least, f1):
    folder = metrics.parent
    order = EvaluateOrder(rows=ROWS[:1], classes=CLASSES, iou=0.5, boundary=1, center_min_area=least)
    evaluate(order, masks=folder / "masks", segments=folder / "segments", out=folder / "again")
    (gland,) = [row for row in read(folder / "again" / "slides.csv") if row["class"] == "gland"]
    assert (gland["center_f1"], gland["f1"]) == (f1, "0.666667")


def test_columns_of_the_sheet_stand_beside_the_scores_of_a_slide(metrics):
    folder = metrics.parent
    told = {"a": {"sex": "F", "bmi": "23.0"}, "b": {"sex": "M", "bmi": ""}, "e": {"sex": "", "bmi": ""}}
    rows = [row.model_copy(update={"told": told[row.slide]}) for row in ROWS]
    order = EvaluateOrder(rows=rows, classes=CLASSES, iou=0.5, boundary=1, columns=["sex", "bmi"])
    paths = {"masks": folder / "masks", "segments": folder / "segments"}
    evaluate(order, **paths, out=folder / "again")
    plain, found = read(metrics / "slides.csv"), read(folder / "again" / "slides.csv")
    assert found == [row | told[row["slide"]] for row in plain]
    wrong = order.model_copy(update={"columns": ["dice"]})
    with pytest.raises(UserError, match=r'slides\.csv has a column "dice" already'):
        evaluate(wrong, **paths, out=folder / "wrong")


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


def test_each_mistake_has_a_row_with_its_place(metrics):
    """Slide b: of two glands the second is missed; slide a: the second as well, and what is ignored is no mistake."""
    assert [list(row.values()) for row in read(metrics / "mistakes.csv")] == [
        ["out_of_fold", "a", "gland", "missed", "20", "20", "30", "30"],
        ["out_of_fold", "b", "gland", "missed", "20", "20", "30", "30"],
    ]


def test_panoptic_quality_and_the_jaccard_index_stand_beside_the_other_scores(metrics):
    """Slide a: one of two glands is found as it is. Slide b: one is found by half, which is not more than half."""
    gland, other = (row for row in read(metrics / "slides.csv") if row["slide"] in "ab" and row["class"] == "gland")
    assert [gland[key] for key in ("pq", "sq", "rq", "aji")] == ["0.666667", "1.0", "0.666667", "0.5"]
    assert [other[key] for key in ("pq", "sq", "rq", "aji")] == ["0.0", "0.0", "0.0", "0.25"]
    found = json.loads((metrics / "summary.json").read_text())["out_of_fold"]["gland"]
    assert (found["pq"], found["sq"], found["rq"]) == pytest.approx((1 / (1 + 1 / 2 + 3 / 2), 1, 1 / 3), abs=1e-6)
    assert found["aji"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["recall_by_size"] == [{"from": 100, "to": 100, "objects": 4, "recall": 0.5}]


def test_the_summary_pools_slides_and_sources(metrics):
    summary = json.loads((metrics / "summary.json").read_text())
    gland = summary["out_of_fold"]["gland"]
    assert gland["pooled_dice"] == pytest.approx(2 * 150 / (400 + 150), abs=1e-6)
    assert gland["mean_slide_dice"] == pytest.approx((200 / 300 + 100 / 250) / 2, abs=1e-6)
    assert (gland["precision"], gland["recall"]) == (1, 0.5)
    assert gland["sources"]["two"]["pooled_dice"] == pytest.approx(100 / 250, abs=1e-6)
    assert summary["out_of_fold"]["any"]["slides"] == 1
    assert summary["test"]["vessel"]["f1"] == 1


def test_objects_that_share_edges_are_scored_one_by_one(tmp_path):
    write_document(
        tmp_path / "c.json", {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    )
    glands = [box(4, 4, 14, 20), box(14, 4, 24, 20), box(24, 4, 34, 20)]
    write_slide(tmp_path, "a", {"gland": glands, "vessel": [box(30, 10, 44, 30)]}, NOTHING, [NOTHING, NOTHING])
    masks = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    masks[0, 4:20, 4:34], masks[1, 10:30, 30:44] = 255, 230
    between = np.zeros_like(masks)
    between[0, 4:20, 13:15] = between[0, 4:20, 23:25] = 255
    names = [*CLASSES, *(f"{name}:touching" for name in CLASSES)]
    (tmp_path / "p" / "a.tif").unlink()
    with create_raster(tmp_path / "p" / "a.tif", FRAME.size, bands=4, tags=FRAME.tags(names)) as raster:
        raster.write(np.concatenate([masks, between]), 0, 0)
    order = SegmentOrder(
        rows=[SegmentRow(slide="a")], colors=dict.fromkeys(CLASSES, "#ff0000"), segmentation=Segmentation()
    )
    segment(order, probabilities=tmp_path / "p", calibration=tmp_path / "c.json", out=tmp_path / "again" / "a")
    order = EvaluateOrder(rows=ROWS[:1], classes=CLASSES, iou=0.5, boundary=1)
    for segments, found in (("again", 3), ("segments", 0)):
        evaluate(order, masks=tmp_path / "masks", segments=tmp_path / segments, out=tmp_path / f"of-{segments}")
        table = pd.read_csv(tmp_path / f"of-{segments}" / "slides.csv").set_index("class")
        assert table.loc["gland", "true_positives"] == found
    again = pd.read_csv(tmp_path / "of-again" / "slides.csv").set_index("class")
    assert again.loc["gland", "f1"] == again.loc["gland", "boundary_f1"] == again.loc["gland", "dice"] == 1
    assert again.loc["any", "objects_truth"] == again.loc["any", "objects_predicted"] == 4
    assert again.loc["any", "dice"] == 1, "a pixel of two classes counts once"
