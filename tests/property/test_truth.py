"""What is drawn of outlines is what evaluation sees of them."""

import json

import numpy as np
import pytest
import shapely
from conftest import write_image
from shapely import Polygon
from shapely.geometry import mapping

from tilewright.evaluation.metrics import instances_of_outlines
from tilewright.masks.outlines import in_image
from tilewright.masks.rasterize import rasterize
from tilewright.pixels.grid import Window
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import runs_of_bits
from tilewright.project.config import Annotations
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.project.rows import Region
from tilewright.segments.predictions import read_columns

CELL, ACROSS = 24, 100
REGION = Region(37, 53, CELL * ACROSS - 60, CELL * ACROSS - 90)


@pytest.fixture(scope="module")
def outlines():
    """The outlines as a file that QuPath exports."""
    shapes = map(mapping, areas(0))
    features = [
        {"type": "Feature", "geometry": shape, "properties": {"classification": {"name": "a"}}} for shape in shapes
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


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


@pytest.mark.parametrize("rule", ["center", "all_touched"])
@pytest.mark.parametrize("region", [None, REGION])
def test_of_ten_thousand_outlines_the_drawn_mask_equals_the_instances(tmp_path, outlines, rule, region):
    edge = CELL * ACROSS
    write_image(tmp_path / "s.png", np.full((edge, edge, 3), 200, np.uint8))
    (tmp_path / "s.geojson").write_text(outlines)
    row = RasterizeRow(slide="s", image=tmp_path / "s.png", annotations=tmp_path / "s.geojson", region=region)
    order = RasterizeOrder(rows=[row], classes={"a": ["a"]}, annotations=Annotations(pixel_rule=rule))
    rasterize(order, out=tmp_path / "out")

    (drawn,) = runs_of_bits(tmp_path / "out" / "s.tif", [0])
    table = read_columns(tmp_path / "out" / "s.outlines.parquet", ["geometry"])
    window = Window(*(region or (0, 0, edge, edge)))
    shapes = in_image(shapely.from_wkb(table["geometry"]), window)
    seen = instances_of_outlines(shapes, window, rule)
    row, start = np.divmod(seen.starts, window.width + 1)
    every = Runs.of(row, start, start + seen.stops - seen.starts, window.height, window.width)
    assert seen.count > 9000 if region else seen.count == ACROSS**2
    assert drawn == every
