"""Files that tell whether they are what was written."""

import os

import numpy as np
import pytest
import rasterio

from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.runtime.errors import DataError


@pytest.fixture
def raster(tmp_path):
    """A small probability map in a folder of its own."""
    path = tmp_path / "shard" / "slide.tif"
    with create_raster(path, Size(90, 70)) as out:
        out.write(np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8), 0, 0)
    return path


def test_a_wrong_bit_anywhere_in_a_raster_is_an_error(raster):
    whole = raster.read_bytes()
    for place in range(0, len(whole), len(whole) // 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        raster.write_bytes(damaged)
        os.utime(raster, ns=(place, place))  # what was found is kept for a file that did not change
        with pytest.raises(DataError, match="is damaged"), open_raster(raster):
            pass


@pytest.mark.parametrize("length", [0, 10, 4000, -1])
def test_a_raster_that_was_cut_short_is_an_error_that_says_what_to_delete(raster, length):
    raster.write_bytes(raster.read_bytes()[:length])
    with pytest.raises(DataError, match=f"is damaged.*\n.*Delete {raster.parent} and run"), open_raster(raster):
        pass


def test_a_missing_raster_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"), open_raster(tmp_path / "none.tif"):
        pass


def test_other_programs_read_a_sealed_raster(raster):
    with open_raster(raster) as ours, rasterio.open(raster) as theirs:
        assert (ours.read()[0] == theirs.read(1)).all()
