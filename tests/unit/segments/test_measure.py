import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.project.config import Segmentation
from tilewright.project.orders import MeasureOrder, MeasureRow, SegmentOrder, SegmentRow
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.segments.measure import measure, tissue_pixels
from tilewright.segments.segment import segment

CLASSES = ["gland", "vessel"]
REGION = Frame(10, 5, 41, 31, Size(60, 50), mpp=0.5)
UNKNOWN = Frame(0, 0, 41, 31, Size(41, 31))


def pixels(*, found=True):
    """Two glands of 20 and of 100 pixels, and a vessel of 9 that lies over one of them."""
    values = np.zeros((2, 31, 41), np.uint8)
    if found:
        values[0, 0:4, 0:5] = values[0, 10:20, 10:20] = values[1, 12:15, 12:15] = 255
    return values


def tissue(frame, *, found=True):
    """The first 5 x 5 cells, and the last column, of which the slide has half, and half of the last row."""
    cells = np.zeros(frame.size[::-1], np.uint8)
    if found:
        cells[:5, :5] = cells[:, -1] = 1
    return cells


def save(path: Path, frame: Frame, values: np.ndarray, classes=()):
    bands = 1 if values.ndim == 2 else len(values)
    with create_raster(path, frame.size, bands=bands, tags=frame.tags(classes)) as raster:
        raster.write(values, 0, 0)


def add_slide(results: Path, slide: str, frame: Frame, ensemble="both", scale="half", factor=2.0, **what):
    """A slide that is a shard of its own, with probabilities at full size and tissue at a scale."""
    save(results / "p" / f"{slide}.tif", frame, pixels(found=what.get("objects", True)), CLASSES)
    write_document(
        results / "c.json", {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    )
    colors = dict.fromkeys(CLASSES, "#ff0000")
    order = SegmentOrder(rows=[SegmentRow(slide=slide)], colors=colors, segmentation=Segmentation())
    out = results / "segments" / ensemble / slide
    segment(order, probabilities=results / "p", calibration=results / "c.json", out=out)
    coarse = frame.scaled(factor)
    path = results / "scaled" / scale / slide / f"{slide}.tissue.tif"
    save(path, coarse, tissue(coarse, found=what.get("tissue", True)))


def measured(results: Path, *slides: str, scales=(("both", "half"),), classes=CLASSES):
    rows = [MeasureRow(slide=slide, shard=slide) for slide in slides]
    order = MeasureOrder(rows=dict.fromkeys(dict(scales), rows), classes=classes, scales=dict(scales))
    measure(order, results=results, out=results / "slides.csv")
    with (results / "slides.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_numbers_are_those_counted_by_hand(tmp_path):
    """Tissue: 25 cells of 4 pixels; 15 cells of 2 and one of 1: 131 pixels of a quarter of a square micrometre."""
    add_slide(tmp_path, "a", REGION)
    gland, vessel = measured(tmp_path, "a")
    place = {"ensemble": "both", "shard": "a", "slide": "a"}
    assert gland == place | {
        "class": "gland", "objects": "2", "area_px": "120", "area_um2": "30", "tissue_mm2": "3.275e-05",
        "tissue_share": f"{120 / 131:.6g}", "per_mm2": f"{2 / 32.75e-6:.6g}",
    }  # fmt: skip
    assert vessel == place | {
        "class": "vessel", "objects": "1", "area_px": "9", "area_um2": "2.25", "tissue_mm2": "3.275e-05",
        "tissue_share": f"{9 / 131:.6g}", "per_mm2": f"{1 / 32.75e-6:.6g}",
    }  # fmt: skip


def test_a_slide_without_objects_has_zeros_and_what_is_unknown_is_empty(tmp_path):
    add_slide(tmp_path, "empty", REGION, objects=False)
    add_slide(tmp_path, "unknown", UNKNOWN)
    add_slide(tmp_path, "bare", REGION, tissue=False)
    rows = measured(tmp_path, "empty", "unknown", "bare")
    assert [(row["slide"], row["class"]) for row in rows] == [
        (slide, name) for slide in ("empty", "unknown", "bare") for name in CLASSES
    ]
    keys = ("objects", "area_px", "area_um2", "tissue_mm2", "tissue_share", "per_mm2")
    found = {row["slide"]: [row[key] for key in keys] for row in rows if row["class"] == "gland"}
    assert found["empty"] == ["0", "0", "0", "3.275e-05", "0", "0"]
    assert found["unknown"] == ["2", "120", "", "", f"{120 / 131:.6g}", ""]
    assert found["bare"] == ["2", "120", "30", "0", "", ""]


def test_tissue_is_that_of_the_scale_of_the_ensemble(tmp_path):
    add_slide(tmp_path, "a", REGION)
    add_slide(tmp_path, "a", REGION, ensemble="fine", scale="full", factor=1.0)
    rows = measured(tmp_path, "a", scales=[("both", "half"), ("fine", "full")], classes=["vessel"])
    shares = {row["ensemble"]: row["tissue_share"] for row in rows}
    assert shares == {"both": f"{9 / 131:.6g}", "fine": f"{9 / (25 + 31):.6g}"}


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.7, 8.0])
def test_a_slide_full_of_tissue_has_as_much_of_it_as_pixels(tmp_path, factor):
    frame = Frame(7, 9, 4501, 2203, Size(9000, 9000), factor)
    save(tmp_path / "t.tif", frame, np.ones(frame.size[::-1], np.uint8))
    assert tissue_pixels(tmp_path / "t.tif") == pytest.approx(4501 * 2203, rel=1e-12)


def test_a_damaged_table_is_named(tmp_path):
    add_slide(tmp_path, "a", REGION)
    path = tmp_path / "segments" / "both" / "a" / "a.objects.parquet"
    content, table = bytearray(path.read_bytes()), pq.read_metadata(path)
    column = table.row_group(0).column(table.schema.names.index("area"))
    first = column.dictionary_page_offset or column.data_page_offset
    content[first + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.objects\.parquet: cannot be read"):
        measured(tmp_path, "a")
    assert not (tmp_path / "slides.csv").exists()
