import numpy as np
import pytest
from scipy.ndimage import label as plain_label

from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Size, Window
from tilewright.pixels.rasters import create_raster
from tilewright.pixels.runs import Runs, intersection_area, union
from tilewright.pixels.strips import runs_of_bits


def disk(x: int, y: int, radius: int, size: int = 64) -> Runs:
    rows, columns = np.ogrid[:size, :size]
    return Runs.from_mask((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def test_masks_of_different_size_cannot_be_compared():
    with pytest.raises(ValueError, match="masks of 4 x 3 and 3 x 4 pixels"):
        intersection_area(Runs.empty(3, 4), Runs.empty(4, 3))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_mask_without_pixels_has_no_runs(shape):
    found = Runs.from_mask(np.zeros(shape, np.bool_))
    assert found == Runs.empty(*shape)
    assert found.row.dtype == np.int64
    assert found.to_mask().shape == shape


def test_runs_given_in_any_order_are_sorted_and_joined():
    assert Runs.of([1, 0, 0, 0], [0, 4, 2, 7], [1, 6, 4, 7], 2, 8) == Runs.of([0, 1], [2, 0], [6, 1], 2, 8)


def test_runs_outside_the_mask_are_refused():
    with pytest.raises(ValueError, match="outside"):
        Runs.of([0], [5], [9], 1, 8)
    with pytest.raises(ValueError, match="outside"):
        disk(16, 16, 4).shift(-16, 0, 64, 64)


def test_neighbouring_rows_stay_apart_at_the_border():
    full = Runs.from_mask(np.ones((3, 5), np.bool_))
    assert len(full) == 3
    assert full.area() == 15


def test_label_follows_the_first_pixel_and_joins_corners():
    mask = np.array([[0, 0, 1, 0, 1], [1, 0, 1, 0, 1], [0, 1, 0, 0, 1]], np.bool_)
    assert components_of(Runs.from_mask(mask)).tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert components_of(Runs.from_mask(mask), 4).tolist() == [0, 1, 2, 0, 1, 3, 1]


def test_label_of_an_empty_mask_is_empty():
    assert components_of(Runs.empty(4, 4)).shape == (0,)


def test_bounds_are_tight():
    assert disk(20, 30, 5).bounds() == Window(15, 25, 11, 11)
    assert Runs.empty(4, 4).bounds() == Window(0, 0, 0, 0)


def test_shift_moves_into_a_larger_image():
    moved = disk(20, 30, 5).shift(100, 200, 500, 400)
    assert moved.bounds() == Window(115, 225, 11, 11)
    assert moved.size == Size(400, 500)


def test_union_counts_common_pixels_once():
    assert union(disk(20, 20, 5), disk(20, 20, 5)) == disk(20, 20, 5)


def test_runs_of_a_file_are_those_of_the_whole_array(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4, (1100, 700)).astype(np.uint8)
    with create_raster(tmp_path / "mask.tif", Size(700, 1100)) as raster:
        raster.write(pixels, 0, 0)
    assert runs_of_bits(tmp_path / "mask.tif", [1])[0] == Runs.from_mask((pixels & 2) > 0)
    assert runs_of_bits(tmp_path / "mask.tif", [1, 0])[1] == Runs.from_mask((pixels & 1) > 0)


def test_strips_of_a_large_mask_join_without_a_seam():
    mask = plain_label(np.random.default_rng(0).random((1500, 2000)) < 0.3)[0] > 0
    assert (Runs.from_mask(mask).to_mask() == mask).all()
