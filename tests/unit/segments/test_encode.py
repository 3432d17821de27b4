import base64
import csv
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.pixels.rle import decode_column_major, decode_row_major, encode_column_major, encode_row_major
from tilewright.pixels.runs import Runs
from tilewright.project.config import Segmentation, Submission
from tilewright.project.orders import EncodeOrder, EncodeRow, SegmentOrder, SegmentRow
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError, UserError
from tilewright.segments.encode import encode
from tilewright.segments.overlaps import without_overlaps
from tilewright.segments.predictions import Layer, open_prediction
from tilewright.segments.segment import segment

IMAGE = Size(60, 50)
FRAME = Frame(10, 5, 40, 30, IMAGE)
CLASSES = ["gland", "vessel"]


def pixels() -> np.ndarray:
    """Two glands, one of them in both corners of the frame's first row, and a vessel over the second."""
    values = np.zeros((2, 30, 40), np.uint8)
    values[0, 0, :] = 255
    values[0, 10:20, 10:20] = 204
    values[1, 15:25, 15:25] = 230
    return values


@pytest.fixture
def study(tmp_path: Path) -> Path:
    limits = {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    write_document(tmp_path / "c.json", limits)
    for slide, values in (("t2", pixels()), ("t1", np.zeros_like(pixels()))):
        with create_raster(tmp_path / "p" / f"{slide}.tif", FRAME.size, bands=2, tags=FRAME.tags(CLASSES)) as raster:
            raster.write(values, 0, 0)
        segments(tmp_path, slide)
    return tmp_path


def segments(folder: Path, slide: str) -> None:
    """Make the objects of a slide, which is a shard of its own."""
    colors = dict.fromkeys(CLASSES, "#ff0000")
    order = SegmentOrder(rows=[SegmentRow(slide=slide)], colors=colors, segmentation=Segmentation())
    segment(order, probabilities=folder / "p", calibration=folder / "c.json", out=folder / "segments" / slide)


def submission(study: Path, classes: list[str], skipped: tuple[str, ...] = (), **options) -> list[dict[str, str]]:
    names = ["tall"] if (study / "segments" / "tall").exists() else ["t2", "t1"]
    rows = [EncodeRow(slide=slide, shard=slide) for slide in names]
    order = EncodeOrder(rows=rows, submission=Submission(**options), classes=classes, skipped=skipped)
    encode(order, segments=study / "segments", out=study / "s.csv")
    with (study / "s.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def sampled(study: Path, text: str, classes=("gland",), **options) -> list[dict[str, str]]:
    (study / "sample.csv").write_text(text, encoding="utf-8")
    return submission(study, list(classes), sample=str(study / "sample.csv"), **options)


def whole(band: int) -> np.ndarray:
    image = np.zeros((IMAGE.height, IMAGE.width), np.bool_)
    image[5:35, 10:50] = pixels()[band] > 0
    return image


@pytest.mark.parametrize(
    ("dialect", "decode"), [("column_major", decode_column_major), ("row_major", decode_row_major)]
)
def test_one_row_a_slide_in_the_order_of_the_sheet(study, dialect, decode):
    rows = submission(study, ["gland"], dialect=dialect)
    assert [list(row) for row in rows] == [["id", "predicted"]] * 2
    assert [row["id"] for row in rows] == ["t2", "t1"]
    assert (decode(rows[0]["predicted"], IMAGE.height, IMAGE.width).to_mask() == whole(0)).all()
    assert rows[1]["predicted"] == ""


def test_several_classes_get_a_column(study):
    rows = submission(study, CLASSES)
    assert [(row["id"], row["class"]) for row in rows] == [
        ("t2", "gland"), ("t2", "vessel"), ("t1", "gland"), ("t1", "vessel"),
    ]  # fmt: skip
    assert (decode_column_major(rows[1]["predicted"], 50, 60).to_mask() == whole(1)).all()


def test_a_sample_gives_the_order_and_takes_away_what_it_does_not_name(study, capsys):
    rows = sampled(study, "\ufeffid,predicted\nt1,1 1\nt2,\n")
    assert [row["id"] for row in rows] == ["t1", "t2"]
    assert (decode_column_major(rows[1]["predicted"], 50, 60).to_mask() == whole(0)).all()
    assert "sample.csv" not in capsys.readouterr().err
    assert [row["id"] for row in sampled(study, "rle,id\n,t1\n")] == ["t1"]
    assert [line for line in capsys.readouterr().err.splitlines() if "sample.csv" in line] == [
        f"{study}/sample.csv does not name 1 test slide(s), which are left out: t2",
        f"{study}/sample.csv has the columns rle, id; written are id, predicted",
    ]


@pytest.mark.parametrize(("classes", "rows"), [(CLASSES, "slide"), (["gland"], "object"), (CLASSES, "object")])
def test_all_rows_of_an_id_stand_where_the_sample_names_it_first(study, classes, rows):
    given = submission(study, classes, rows=rows)
    found = sampled(study, "id,class,predicted\nt1,,\nt2,,\nt1,,\nt2,,\n", classes, rows=rows)
    assert found == sorted(given, key=lambda row: row["id"])
    assert found != given


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id\nt1\nt1\nt2\n", r"1 id\(s\) stand there more than once: t1\.\n  .*one row an id"),
        ("ID,predicted\nt1,\n", r"sample\.csv, header: the column \"id\" is missing.\n  Columns found: ID, predicted"),
        ("", 'header: the column "id" is missing.\n  Columns found: none'),
        ("id,predicted\n", "holds no ids"),
        (
            "id\n" + "".join(f"u{number}\n" for number in range(12)) + "t1\n",
            r"names 12 id\(s\) that are no test slides of the sheet: u0, u1, .*u9 and 2 more\.\n  Add them to",
        ),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(study, text, says):
    with pytest.raises(UserError, match=says):
        sampled(study, text)
    assert not (study / "s.csv").exists()


@pytest.mark.parametrize(
    ("classes", "rows", "expected"),
    [
        (["gland"], "slide", [{"id": "t3", "predicted": ""}]),
        (CLASSES, "slide", [{"id": "t3", "class": name, "predicted": ""} for name in CLASSES]),
        (CLASSES, "object", [{"id": "t3", "class": "", "predicted": ""}]),
    ],
)
def test_a_skipped_slide_that_the_sample_names_has_an_empty_row_and_is_told_of(study, capsys, classes, rows, expected):
    found = sampled(study, "id,predicted\nt1,\nt3,\nt2,\n", classes, rows=rows, skipped=("t3", "t9"))
    assert list(dict.fromkeys(row["id"] for row in found)) == ["t1", "t3", "t2"]
    assert [row for row in found if row["id"] == "t3"] == expected
    assert "left out, as they have the role skip: t3, t9" in capsys.readouterr().err
    assert [row["id"] for row in submission(study, ["gland"], skipped=("t3",))] == ["t2", "t1"]


def test_a_skipped_slide_has_the_size_that_the_sample_says(study):
    sample = "id,height,width,prediction_string\nt3,12,34,0 1 x\nt1,,,\n"
    first, _ = sampled(study, sample, CLASSES, dialect="coco", skipped=("t3",))
    assert first == {"id": "t3", "height": "12", "width": "34", "prediction_string": ""}


@pytest.mark.parametrize("sample", ["id\nt1\nt3\n", "id,height,width\nt1,1,1\nt3,,\n", "id,height\nt1,1\nt3,1\n"])
def test_a_skipped_slide_whose_row_needs_its_size_is_refused(study, sample):
    with pytest.raises(
        UserError, match=r"role skip, and their rows need the size of the image: t3\.\n  Add columns height"
    ):
        sampled(study, sample, CLASSES, dialect="coco", skipped=("t3", "t9"))


def test_coco_has_one_row_an_id_whatever_the_classes(study):
    with pytest.raises(UserError, match="more than once"):
        sampled(study, "id\nt1\nt1\n", CLASSES, dialect="coco")


def test_a_sample_that_is_missing_is_refused(study):
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        submission(study, ["gland"], sample=str(study / "none.csv"))


def test_an_earlier_submission_serves_as_a_sample_whatever_its_length(study):
    assert len(sampled(study, f"id,predicted\nt1,{'1 1 ' * 50_000}\n")) == 1


def test_bits_are_found_by_the_name_of_the_class(study):
    (row, _) = submission(study, ["vessel"])
    assert (decode_column_major(row["predicted"], 50, 60).to_mask() == whole(1)).all()


def test_objects_do_not_overlap_and_the_more_confident_one_wins(study):
    rows = submission(study, CLASSES, rows="object", dialect="row_major")
    assert [(row["id"], row["class"]) for row in rows] == [
        ("t2", "gland"), ("t2", "gland"), ("t2", "vessel"), ("t1", ""),
    ]  # fmt: skip
    masks = [decode_row_major(row["predicted"], 50, 60).to_mask() for row in rows]
    assert sum(mask.astype(int) for mask in masks).max() == 1
    assert (masks[2] == whole(1)).all()
    assert masks[1].sum() == 100 - 25


def test_of_equal_objects_the_first_keeps_the_pixel_and_empty_ones_vanish():
    runs = Runs.of([0], [0], [4], 1, 8)
    layer = Layer(runs, components_of(runs), np.array([1]), np.array([0.5]))
    assert without_overlaps([layer, layer]) == [[runs], []]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_coco_rows_are_read_by_pycocotools(study):
    rows = submission(study, ["vessel", "gland"], dialect="coco")
    assert [(row["id"], row["height"], row["width"]) for row in rows] == [("t2", "50", "60"), ("t1", "50", "60")]
    assert rows[1]["prediction_string"] == ""
    words = rows[0]["prediction_string"].split(" ")
    assert words[0::3] == ["0", "1", "1"]
    assert words[1::3] == ["0.902", "1.0", "0.8"]
    masks = [coco.decode({"size": [50, 60], "counts": zlib.decompress(base64.b64decode(code))}) for code in words[2::3]]
    assert (masks[0] == whole(1)).all()
    assert (masks[1] + masks[2] == whole(0)).all()


def test_an_unknown_class_is_named_with_the_nearest(study):
    with pytest.raises(UserError, match=r'holds no class "glands".*\n.*Did you mean "gland"'):
        submission(study, ["glands"])
    assert not (study / "s.csv").exists()


# A slide of several strips


LARGE = Frame(30, 20, 600, 1500, Size(700, 1600))


@pytest.fixture
def tall(tmp_path: Path) -> Path:
    """A slide of three strips with many objects of two classes, which overlap and cross the borders of strips."""
    noise = np.random.default_rng(0).standard_normal((2, 1500, 600))
    smooth = ndimage.gaussian_filter(noise, (0, 6, 6))
    values = np.clip(128 + 1500 * smooth, 0, 255).astype(np.uint8)
    values[0, 100:1400, 300:310] = 255
    limits = {"thresholds": dict.fromkeys(CLASSES, 0.7), "min_area": dict.fromkeys(CLASSES, 100)}
    write_document(tmp_path / "c.json", limits)
    with create_raster(tmp_path / "p" / "tall.tif", LARGE.size, bands=2, tags=LARGE.tags(CLASSES)) as raster:
        raster.write(values, 0, 0)
    segments(tmp_path, "tall")
    return tmp_path


@pytest.mark.parametrize(
    ("dialect", "encoder"), [("column_major", encode_column_major), ("row_major", encode_row_major)]
)
def test_rows_written_strip_by_strip_are_those_of_the_whole_slide(tall, dialect, encoder):
    prediction = open_prediction(tall / "segments" / "tall", "tall", CLASSES)
    layers = prediction.layers()
    assert min(len(layer.number) for layer in layers) > 100

    def code(runs):
        return encoder(runs.shift(LARGE.x, LARGE.y, LARGE.image.height, LARGE.image.width))

    rows = submission(tall, CLASSES, dialect=dialect)
    assert [row["predicted"] for row in rows] == [code(layer.runs) for layer in layers]
    rows = submission(tall, CLASSES, dialect=dialect, rows="object")
    objects = zip(CLASSES, without_overlaps(layers), strict=True)
    expected = {(name, code(runs)) for name, found in objects for runs in found}
    assert {(row["class"], row["predicted"]) for row in rows} == expected
    assert len(rows) == len(expected)


def test_batches_hold_each_object_once_with_its_own_number_and_confidence(tall):
    prediction = open_prediction(tall / "segments" / "tall", "tall", CLASSES)
    batches = list(prediction.batches())
    assert len(batches) > 1
    for place, layer in enumerate(prediction.layers()):
        found = [(number, confidence) for batch in batches for number, confidence in
                 zip(batch[place].number.tolist(), batch[place].confidence.tolist(), strict=True)]  # fmt: skip
        assert sorted(found) == sorted(zip(layer.number.tolist(), layer.confidence.tolist(), strict=True))
        assert sum(batch[place].runs.area() for batch in batches) == layer.runs.area()


def test_a_mask_of_another_run_than_its_table_is_refused(tall):
    path = tall / "segments" / "tall" / "tall.objects.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)
    with pytest.raises(DataError, match=r"tall.mask.tif: holds .*table beside it"):
        submission(tall, CLASSES, rows="object")
