"""The gallery of mistakes."""

import shutil

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from tilewright.pixels.grid import Frame, Size, Window
from tilewright.pixels.rasters import create_raster
from tilewright.project.config import Report, Segmentation
from tilewright.project.orders import ReportOrder, ReportRow, SegmentOrder, SegmentRow
from tilewright.project.places import Places, outlines_file
from tilewright.project.project import Bounds
from tilewright.report.comparison import FOUND, TRUE
from tilewright.report.gallery import around, choose, draw_mistakes
from tilewright.segments.segment import segment

COLUMNS = ("slide", "class", "kind", "left", "top", "right", "bottom")
SIZE = Size(120, 90)
COLORS = {"x": "#0000ff", "cell": "#00ff00"}


def table(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def test_the_middle_ones_of_as_many_slides_as_possible_are_shown_those_with_most_first():
    edges = {"a": (3, 30, 7, 5), "b": (4,), "c": (2, 9, 3)}
    mistakes = table(*((slide, "cell", "cut", 0, 0, edge, edge) for slide, some in edges.items() for edge in some))
    found = choose(mistakes, 4)
    assert list(zip(found["slide"], found["right"], strict=True)) == [("a", 7), ("c", 3), ("b", 4), ("a", 5)]
    assert len(choose(mistakes, 0)) == 0
    assert len(choose(mistakes, 99)) == 8


@pytest.mark.parametrize(
    ("box", "size", "window"),
    [
        ((100, 100, 110, 104), Size(900, 900), Window(81, 78, 48, 48)),
        ((100, 100, 200, 150), Size(900, 900), Window(70, 45, 160, 160)),
        ((0, 880, 10, 890), Size(900, 900), Window(0, 852, 48, 48)),
        ((0, 0, 5000, 5000), Size(9000, 9000), Window(1988, 1988, 1024, 1024)),
        ((5, 5, 9, 9), Size(30, 20), Window(0, 0, 30, 20)),
    ],
)
def test_a_part_holds_the_mistake_and_lies_in_the_slide(box, size, window):
    assert around(box, size) == window


def segmented(folder, *, touching):
    """Objects of the class cell in a square; with ``touching`` two that share an edge, as a band tells."""
    bands = {name: np.zeros((SIZE.height, SIZE.width), np.uint8) for name in ("x", "cell")}
    bands["cell"][50:80, 70:100] = 255
    if touching:
        bands |= {"x:touching": bands["x"], "cell:touching": np.zeros_like(bands["x"])}
        bands["cell:touching"][50:80, 84:86] = 255
    tags = Frame(0, 0, *SIZE, SIZE).tags(list(bands))
    with create_raster(folder / "p" / "a.tif", SIZE, bands=len(bands), tags=tags) as raster:
        raster.write(np.stack(list(bands.values())), 0, 0)
    order = SegmentOrder(
        rows=[SegmentRow(slide="a")], colors=COLORS, segmentation=Segmentation(),
        bounds=dict.fromkeys(COLORS, Bounds(0.5, 0)),
    )  # fmt: skip
    out = folder / "segments" / "both" / "a"
    shutil.rmtree(out, ignore_errors=True)
    segment(order, probabilities=folder / "p", calibration=folder / "none", out=out)


@pytest.fixture
def order(tmp_path):
    """A slide whose second class is wrong: a true object is missed, and one is found where none is."""
    Image.new("RGB", SIZE, (40, 40, 40)).save(tmp_path / "a.png")
    segmented(tmp_path, touching=False)
    outlines = outlines_file(tmp_path / "masks" / "a", "a")
    outlines.parent.mkdir(parents=True)
    shapes = shapely.to_wkb([shapely.box(10, 10, 40, 40), shapely.box(2, 2, 118, 88)])
    pd.DataFrame({"class": ["cell", "x"], "geometry": shapes}).to_parquet(outlines)
    row = ReportRow(
        slide="a", image=tmp_path / "a.png", shard="a", group="g", role="train", source="one", labelled=["cell"],
        annotated=True,
    )  # fmt: skip
    return ReportOrder(
        sheet="s", rows=[row], folds=[], colors=COLORS, report=Report(mistakes=3),
        models={}, ensembles={},
    )  # fmt: skip


def test_each_kind_has_a_row_with_both_outlines_and_what_has_none_is_not_shown(order, tmp_path):
    mistakes = table(("a", "cell", "missed", 10, 10, 40, 40), ("a", "cell", "false", 70, 50, 100, 80))
    (found,) = draw_mistakes("both", order, mistakes, Places(str(tmp_path)), tmp_path)
    assert found["name"] == "cell"
    assert found["picture"] == "figures/mistakes-both-1.jpg"
    assert found["counts"] == {"merged": 0, "cut": 0, "missed": 1, "false": 1}
    with Image.open(tmp_path / "mistakes-both-1.jpg") as picture:
        pixels = np.asarray(picture).astype(int)
    missed, false = np.array_split(pixels, 2, axis=0)

    def drawn(part, color):
        return (np.abs(part - color).max(axis=2) < 60).sum()

    assert drawn(missed, TRUE) > 100 > drawn(false, TRUE)
    assert drawn(false, FOUND) > 100 > drawn(missed, FOUND)


def test_without_mistakes_or_where_none_are_asked_for_there_is_no_picture(order, tmp_path):
    none = order.model_copy(update={"report": Report(mistakes=0)})
    mistakes = table(("a", "cell", "missed", 10, 10, 40, 40))
    for asked, some in ((order, table()), (none, mistakes)):
        assert list(draw_mistakes("both", asked, some, Places(str(tmp_path)), tmp_path)) == []


def test_objects_that_share_an_edge_are_drawn_each_for_itself(order, tmp_path):
    drawn = []
    for touching in (False, True):
        segmented(tmp_path, touching=touching)
        mistakes = table(("a", "cell", "false", 70, 50, 100, 80))
        list(draw_mistakes("both", order, mistakes, Places(str(tmp_path)), tmp_path))
        with Image.open(tmp_path / "mistakes-both-1.jpg") as picture:
            pixels = np.asarray(picture).astype(int)
        drawn.append((np.abs(pixels - FOUND).max(axis=2) < 60).sum())
    assert drawn[1] > 1.1 * drawn[0] > 0


def test_where_nothing_was_compared_there_is_no_gallery(order, tmp_path):
    for mistakes in (pd.DataFrame(columns=["set", "slide", "source", "class", "dice"]), table()):
        assert list(draw_mistakes("both", order, mistakes, Places(str(tmp_path)), tmp_path)) == []
    assert not list(tmp_path.glob("*.jpg"))


def test_a_slide_of_one_row_is_drawn(order, tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.report.gallery.around", lambda _box, _size: Window(68, 60, 48, 1))
    assert list(
        draw_mistakes("both", order, table(("a", "cell", "false", 70, 60, 100, 61)), Places(str(tmp_path)), tmp_path)
    )
