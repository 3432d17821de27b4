import tempfile
import warnings
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely import Polygon

from tilewright.annotations import Annotation, read_outlines
from tilewright.annotations.geometry import polygonal
from tilewright.masks.rasterize import draw
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.rle import encode_row_major
from tilewright.pixels.runs import Runs
from tilewright.project.config import Annotations, Limits

WIDTH, HEIGHT = 70, 60
FRAME = Frame(0, 0, WIDTH, HEIGHT, Size(WIDTH, HEIGHT))
coordinate = st.integers(-80, 700).map(lambda tenths: tenths / 8)
# No border runs along the centres of a row, where GDAL's choice depends on the direction of the ring.
points = st.tuples(coordinate, coordinate.map(lambda y: y + 1 / 16))


@st.composite
def areas(draw_from):
    """A valid area with or without parts and holes, which may reach beyond the frame."""
    ring = Polygon(draw_from(st.lists(points, min_size=3, max_size=9, unique=True)))
    area = polygonal(shapely.make_valid(ring, method="structure", keep_collapsed=False))
    return area if area is not None else shapely.box(3, 4, 9, 8)


def pixels_of(annotations, *, frame=FRAME, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tif"
        draw(annotations, frame, path, classes={"a": ["a"], "b": ["b"]}, **options)
        with open_raster(path) as raster:
            return raster.read()[0]


def whole(annotations):
    """The same mask in one array, drawn by GDAL."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for bit, label in enumerate("ab"):
        shapes = [annotation.geometry for annotation in annotations if annotation.label == label]
        if shapes:
            mask |= rasterio.features.rasterize(shapes, mask.shape).astype(np.uint8) << bit
    return mask


annotation_lists = st.lists(st.builds(Annotation, st.sampled_from("ab"), areas()), max_size=5)


blocks = st.sampled_from([16, 24, 48, 64])


@given(annotation_lists, blocks)
def test_blocks_give_the_mask_of_the_whole_array(annotations, block):
    np.testing.assert_array_equal(pixels_of(annotations, block=block), whole(annotations))


@given(annotation_lists, blocks)
def test_blocks_do_not_change_which_pixels_are_touched(annotations, block):
    expected = pixels_of(annotations, pixel_rule="all_touched")
    np.testing.assert_array_equal(pixels_of(annotations, pixel_rule="all_touched", block=block), expected)


@given(areas())
def test_all_touched_covers_each_pixel_that_holds_a_part_of_the_outline(area):
    """Up to rounding: what overlaps clearly is covered, and what is covered is at most a hair away."""
    mask = pixels_of([Annotation("a", area)], pixel_rule="all_touched").astype(bool)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    overlap = shapely.area(shapely.intersection(area, shapely.box(x, y, x + 1, y + 1)))
    assert not (~mask & (overlap > 1e-6)).any()
    assert not shapely.disjoint(area, shapely.box(x - 1e-9, y - 1e-9, x + 1 + 1e-9, y + 1 + 1e-9))[mask].any()


@given(annotation_lists, st.integers(0, 30), st.integers(0, 30))
def test_a_region_has_the_pixels_of_the_whole_slide_there(annotations, x, y):
    frame = Frame(x, y, 40, 30, FRAME.image)
    expected = pixels_of(annotations)[y : y + 30, x : x + 40]
    np.testing.assert_array_equal(pixels_of(annotations, frame=frame), expected)


@given(areas())
def test_the_pixels_of_an_outline_are_its_area_but_for_its_border(area):
    """A pixel counts wrongly only where the border crosses it.

    At most 3 pixels for each pixel of length, and a corner.
    """
    inside = area.intersection(shapely.box(0, 0, WIDTH, HEIGHT))
    parts = len(shapely.get_parts(inside))
    assert abs(int(pixels_of([Annotation("a", area)]).sum()) - inside.area) <= 1.5 * inside.length + 4 * parts


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.booleans())
def test_encoded_pixels_are_drawn_as_they_were(mask, whole_image):
    """As one row, whose connected parts become outlines, and as rows of objects that stay whole."""
    height, width = mask.shape
    halves = [mask] if whole_image else [mask & (np.arange(width) < 5), mask & (np.arange(width) >= 5)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rle.csv"
        path.write_text("id,rle\n" + "".join(f"s,{encode_row_major(Runs.from_mask(half))}\n" for half in halves))
        options = Annotations(rle_order="row_major", unlabelled="a")
        outlines = read_outlines(path, "s", Size(width, height), options, Limits())
    assert outlines.findings == ()
    assert all(annotation.geometry.is_valid for annotation in outlines.annotations)
    frame = Frame(0, 0, width, height, Size(width, height))
    np.testing.assert_array_equal(pixels_of(outlines.annotations, frame=frame), mask)


@example(np.array([[1, 2, 3, 2, 1], [3] * 5, [3] * 5], np.uint16))
@given(arrays(np.uint16, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.integers(0, 3)))
def test_label_images_are_drawn_as_they_were(labels):
    height, width = labels.shape
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "s.tif"
        with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint16") as file:
            file.write(labels, 1)
        outlines = read_outlines(path, "s", Size(width, height), Annotations(unlabelled="a"), Limits())
    frame = Frame(0, 0, width, height, Size(width, height))
    assert sum(annotation.geometry.area for annotation in outlines.annotations) == (labels > 0).sum()
    np.testing.assert_array_equal(pixels_of(outlines.annotations, frame=frame), labels > 0)
