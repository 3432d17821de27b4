"""Submissions of three competitions, from their presets, read back by decoders that share no code with this project."""

import base64
import csv
import zlib
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.project.config import Segmentation
from tilewright.project.configfile import read_config
from tilewright.project.orders import EncodeOrder, EncodeRow, SegmentOrder, SegmentRow
from tilewright.runtime.documents import write_document
from tilewright.segments.encode import encode
from tilewright.segments.segment import segment

REPOSITORY = Path(__file__).parents[3]
HEIGHT, WIDTH = 70, 90


def decoded(code, order):
    """Pairs of start (from 1) and length of the flat image, in NumPy alone; order C: by rows, F: by columns."""
    flat = np.zeros(HEIGHT * WIDTH, np.uint8)
    numbers = np.array(code.split(), int)
    for start, length in zip(numbers[0::2] - 1, numbers[1::2], strict=True):
        flat[start : start + length] += 1
    return flat.reshape((HEIGHT, WIDTH), order=order)


def slides():
    """A slide whose mask holds its first and its last pixel, one full of blobs, and one without any."""
    corners = np.zeros((HEIGHT, WIDTH), np.uint8)
    corners[:4, :3] = corners[-5:, -6:] = 255
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((HEIGHT, WIDTH)), 3)
    return {"corners": corners, "blobs": (128 + 127 * np.sign(noise)).astype(np.uint8), "none": np.zeros_like(corners)}


@pytest.fixture
def rows(tmp_path, request):
    """The rows of the submission that a preset makes of the slides, all of whose classes are the same."""
    config = read_config(REPOSITORY / "config" / "presets" / f"{request.param}.yaml")
    classes = sorted(config.classes)
    limits = {"thresholds": dict.fromkeys(classes, 0.5), "min_area": dict.fromkeys(classes, 0)}
    write_document(tmp_path / "c.json", limits)
    frame = Frame(0, 0, WIDTH, HEIGHT, Size(WIDTH, HEIGHT))
    looks = {"colors": dict.fromkeys(classes, "#ff0000"), "segmentation": Segmentation()}
    for name, values in slides().items():
        with create_raster(
            tmp_path / "p" / f"{name}.tif", frame.size, bands=len(classes), tags=frame.tags(classes)
        ) as raster:
            raster.write(np.stack([values] * len(classes)), 0, 0)
        order = SegmentOrder(rows=[SegmentRow(slide=name)], **looks)
        out = tmp_path / "segments" / name
        segment(order, probabilities=tmp_path / "p", calibration=tmp_path / "c.json", out=out)
    told = [EncodeRow(slide=name, shard=name) for name in slides()]
    order = EncodeOrder(rows=told, submission=config.submission, classes=config.submission.classes or classes)
    encode(order, segments=tmp_path / "segments", out=tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("rows", ["kidney-notebook", "kidney-2nd"], indirect=True)
def test_a_kidney_submission_has_a_row_a_slide_by_columns(rows):
    assert [list(row) for row in rows] == [["id", "predicted"]] * 3
    assert [row["id"] for row in rows] == list(slides())
    for row in rows:
        assert (decoded(row["predicted"], "F") == (slides()[row["id"]] > 127)).all()
    assert rows[0]["predicted"].startswith("1 4 71 4 141 4 ")
    assert rows[2]["predicted"] == ""


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.parametrize("rows", ["vasculature-fcn-unet"], indirect=True)
def test_a_vasculature_submission_has_a_code_with_its_confidence_for_each_object(rows):
    assert [list(row) for row in rows] == [["id", "height", "width", "prediction_string"]] * 3
    for row in rows:
        words = row["prediction_string"].split()
        size = [int(row["height"]), int(row["width"])]
        masks = [coco.decode({"size": size, "counts": zlib.decompress(base64.b64decode(code))}) for code in words[2::3]]
        truth, count = ndimage.label(slides()[row["id"]] > 127, np.ones((3, 3)))
        assert (len(masks), words[0::3], words[1::3]) == (count, ["0"] * count, ["1.0"] * count)
        assert {mask.tobytes() for mask in masks} == {
            (truth == k).astype(np.uint8).tobytes() for k in range(1, count + 1)
        }


@pytest.mark.parametrize("rows", ["sartorius-attention-unet"], indirect=True)
def test_a_sartorius_submission_has_a_row_an_object_by_rows_without_overlaps(rows):
    assert [list(row) for row in rows] == [["id", "predicted"]] * len(rows)
    for name, values in slides().items():
        masks = [decoded(row["predicted"], "C") for row in rows if row["id"] == name]
        truth, count = ndimage.label(values > 127, np.ones((3, 3)))
        assert len(masks) == max(count, 1)
        assert (sum(masks) == (truth > 0)).all()
