"""What is drawn of outlines is what evaluation sees of them."""

import json

import numpy as np
import pytest
import shapely
from conftest import write_image
from shapely import Polygon
from shapely.geometry import mapping

from tilewright.masks.drawn import true_instances
from tilewright.masks.outlines import recorded_outlines
from tilewright.masks.rasterize import rasterize
from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import runs_of_bits
from tilewright.project.config import Annotations
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.project.rows import Region

CELL, ACROSS = 24, 100
REGION = Region(37, 53, CELL * ACROSS - 60, CELL * ACROSS - 90)


@pytest.fixture(scope="module")
def outlines():
    return features(areas(0))


def features(shapes):
    """Outlines as a file that QuPath exports."""
    each = [
        {"type": "Feature", "geometry": mapping(shape), "properties": {"classification": {"name": "a"}}}
        for shape in shapes
    ]
    return json.dumps({"type": "FeatureCollection", "features": each})


def areas(seed):
    """10,000 outlines, each in a cell of its own, some with holes.

    Their corners lie on the pixels' grid, on its half, on its tenth, or anywhere; every fifth is a triangle whose
    border passes through the centres of pixels.
    """
    draw = np.random.default_rng(seed)
    for number in range(ACROSS**2):
        corner = CELL * np.array(divmod(number, ACROSS))
        steps = (1, 2, 10, None)[number % 4]
        points = draw.uniform(0.5, CELL - 0.5, (draw.integers(3, 9), 2))
        points = corner + (points if steps is None else np.round(points * steps) / steps)
        if number % 5 == 0:
            edge = draw.integers(3, CELL - 2)
            points = corner + np.array([(0, 0), (edge, edge), (0, edge)])
        area = shapely.make_valid(Polygon(points))
        if number % 3 == 0:
            area = area - shapely.box(*(corner + 6.3), *(corner + 9.5))
        parts = [part for part in shapely.get_parts(area) if isinstance(part, Polygon) and part.area]
        yield shapely.MultiPolygon(parts) if parts else shapely.box(*corner, *(corner + 1))


# Counted from the corner of REGION and back, its left corner moves by a rounding error, and a pixel's centre to the
# other side of the border.
ON_THE_EDGE = Polygon([(68, 109.4), (6.6, 78.2), (79.8, 142.6)])


@pytest.mark.parametrize("rule", ["center", "all_touched"])
@pytest.mark.parametrize("region", [None, REGION])
def test_of_ten_thousand_outlines_the_drawn_mask_equals_the_instances(tmp_path, outlines, rule, region):
    drawn, seen, window = drawn_and_seen(tmp_path, outlines, rule, region)
    assert seen.count > 9000 if region else seen.count == ACROSS**2
    assert drawn == covered_by(seen, window)


@pytest.mark.parametrize("rule", ["center", "all_touched"])
def test_an_outline_that_the_frame_cuts_is_drawn_as_it_is_recorded(tmp_path, rule):
    drawn, seen, window = drawn_and_seen(tmp_path, features([ON_THE_EDGE]), rule, REGION)
    assert drawn == covered_by(seen, window)


def drawn_and_seen(folder, outlines, rule, region):
    """The mask of outlines, what evaluation sees of them, and the window of both."""
    edge = CELL * ACROSS
    write_image(folder / "s.png", np.full((edge, edge, 3), 200, np.uint8))
    (folder / "s.geojson").write_text(outlines)
    row = RasterizeRow(slide="s", image=folder / "s.png", annotations=folder / "s.geojson", region=region)
    order = RasterizeOrder(rows=[row], classes={"a": ["a"]}, annotations=Annotations(pixel_rule=rule))
    rasterize(order, out=folder / "out")

    (drawn,) = runs_of_bits(folder / "out" / "s.tif", [0])
    table = recorded_outlines(folder / "out" / "s.outlines.parquet", ["class", "geometry"])
    with open_raster(folder / "out" / "s.tif") as raster:
        seen = true_instances(table, ["a"], Frame.of(raster), rule)
    return drawn, seen, Window(*(region or (0, 0, edge, edge)))


def covered_by(instances, window):
    """The pixels of all instances together."""
    row, start = np.divmod(instances.starts, window.width + 1)
    return Runs.of(row, start, start + instances.stops - instances.starts, window.height, window.width)
