import numpy as np
import pytest

from tilewright.inference import pieces
from tilewright.pixels.grid import Corner, Size, Window
from tilewright.pixels.rasters import create_raster, open_raster

NOISE = np.random.default_rng(0)


def random_corners(size, edge, count):
    places = NOISE.integers(0, [max(1, size.width - edge), max(1, size.height - edge)], (count, 2)).tolist()
    return sorted((Corner(*place) for place in places), key=lambda corner: (corner.y, corner.x))


@pytest.mark.parametrize("edge", [32, 96])
@pytest.mark.parametrize("size", [Size(330, 203), Size(20, 300), Size(300, 20), Size(64, 64), Size(1, 1)])
def test_the_tissue_of_windows_is_found_by_reading_the_mask_once(tmp_path, monkeypatch, size, edge):
    monkeypatch.setattr(pieces, "BLOCK", 64)
    monkeypatch.setattr(pieces, "WIDEST", 2)
    mask = np.zeros((1, size.height, size.width), np.uint8)
    mask[0, NOISE.integers(0, size.height, 12), NOISE.integers(0, size.width, 12)] = 1
    with create_raster(tmp_path / "t.tif", size) as raster:
        raster.write(mask, 0, 0)
    corners = random_corners(size, edge, 200)
    expected = [corner for corner in corners if mask[(0, *Window(*corner, edge, edge).slices)].any()]
    with open_raster(tmp_path / "t.tif") as raster:
        assert pieces.with_tissue(corners, edge, raster) == expected


@pytest.mark.parametrize("size", [Size(330, 203), Size(20, 300), Size(64, 64)])
def test_blocks_that_windows_touch_are_read_and_no_others(monkeypatch, size):
    monkeypatch.setattr(pieces, "BLOCK", 32)
    monkeypatch.setattr(pieces, "WIDEST", 3)
    corners = random_corners(size, 48, 5)
    expected, found = np.zeros((size.height, size.width), np.int64), np.zeros((size.height, size.width), np.int64)
    for x, y in corners:
        inside = Window(x, y, 48, 48).clipped(size)
        for row in range(inside.y // 32, (inside.y + inside.height - 1) // 32 + 1):
            for column in range(inside.x // 32, (inside.x + inside.width - 1) // 32 + 1):
                expected[Window(column * 32, row * 32, 32, 32).slices] = 1
    for window in pieces.runs(pieces.covered(corners, 48, size), size):
        found[window.slices] += 1
        assert window.width <= 96
    assert (found == expected).all()
