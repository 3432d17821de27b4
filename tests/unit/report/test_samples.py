"""Samples of outlines."""

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from tilewright.pixels.grid import Frame, Size, Window
from tilewright.project.config import Report
from tilewright.project.orders import ReportOrder, ReportRow
from tilewright.project.places import Places
from tilewright.report.samples import around, choose_samples, draw_samples
from tilewright.segments.mask import mask_writer

SQUARES = np.array([shapely.box(x, y, x + edge, y + edge) for x, y, edge in ((0, 0, 9), (3000, 2000, 60), (9, 9, 900))])


def test_a_small_slide_is_shown_whole_and_a_large_one_around_its_median_object():
    assert around(SQUARES, Size(700, 500)) == Window(0, 0, 700, 500)
    assert around(SQUARES, Size(9000, 9000)) == Window(3030 - 240, 2030 - 240, 480, 480)
    assert around(SQUARES, Size(3200, 2100)) == Window(3200 - 480, 2100 - 480, 480, 480)


@pytest.mark.parametrize(("edge", "shown"), [(1, 256), (900, 1024)])
def test_a_sample_is_neither_tiny_nor_huge(edge, shown):
    shapes = np.array([shapely.box(4000, 4000, 4000 + edge, 4000 + edge)])
    assert around(shapes, Size(9000, 9000)).width == shown


@pytest.fixture
def order(tmp_path):
    def slide(name, source, shapes):
        Image.new("RGB", (100, 80), (200, 150, 180)).save(tmp_path / f"{name}.png")
        frame = Frame(0, 0, 100, 80, Size(100, 80))
        with mask_writer(tmp_path / "masks" / name / f"{name}.tif", frame, ["gland"]):
            pass
        table = pd.DataFrame({"class": ["gland"] * len(shapes), "geometry": shapely.to_wkb(shapes)})
        table.to_parquet(tmp_path / "masks" / name / f"{name}.outlines.parquet")
        told = {
            "shard": name,
            "group": "g",
            "role": "train",
            "source": source,
            "labelled": ["gland"],
            "annotated": True,
        }
        return ReportRow(slide=name, image=tmp_path / f"{name}.png", **told)

    square = [shapely.box(20, 20, 60, 60), shapely.box(70, 20, 90, 60)]
    rows = [slide("a", "one", square), slide("b", "two", []), slide("c", "two", square), slide("d", "two", square)]
    return ReportOrder(
        sheet="s", rows=rows, folds=[], colors={"gland": "#00ff00"}, report=Report(samples=1), models={}, ensembles={}
    )


def test_each_source_shows_its_first_slides_with_objects(order, tmp_path):
    assert [sample.row.slide for sample in choose_samples(order, Places(str(tmp_path)), "gland")] == ["a", "c"]
    none = order.model_copy(update={"report": Report(samples=0)})
    assert list(choose_samples(none, Places(str(tmp_path)), "gland")) == []


def test_a_picture_shows_the_image_its_outlines_the_class_and_a_colour_for_each_object(order, tmp_path):
    ((name, file),) = draw_samples(order, Places(str(tmp_path)), tmp_path)
    assert name == "gland"
    with Image.open(tmp_path / file) as picture:
        pixels = np.asarray(picture).astype(int)
    columns = [part.reshape(-1, 3) for part in np.array_split(pixels, 4, axis=1)]

    def share(part, color):
        return (np.abs(part - color).max(axis=1) < 30).mean()

    plain, green = (200, 150, 180), (40, 234, 36)
    assert share(columns[0], plain) > 0.4
    assert share(columns[0], green) == 0
    assert 0 < share(columns[1], green) < 0.1 < share(columns[2], green)
    assert share(columns[1], plain) - share(columns[2], plain) > 0.1
    blues = [share(columns[3], color) for color in ((65, 126, 180), (179, 190, 222))]  # the first two of the palette
    assert min(blues) > 0.02
