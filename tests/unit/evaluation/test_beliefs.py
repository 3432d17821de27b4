from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tilewright.evaluation.beliefs import add_beliefs, block_edges, in_pixels
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.instances import Instances
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.runs import Runs


@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([1, 2, 3, 4]), tall=st.booleans())
def test_what_is_believed_is_the_sum_of_the_cells_under_each_pixel(seed, factor, tall):
    draw = np.random.default_rng(seed)
    frame = Frame(3, 5, 30, 1100 if tall else 20, Size(100, 2000), factor=factor)
    values = draw.integers(0, 256, (2, frame.size.height, frame.size.width), np.uint8)
    dense = values[:, np.arange(frame.height) // factor][:, :, np.arange(frame.width) // factor]
    masks = draw.random((3, frame.height, frame.width)) < 0.1
    runs = [Runs.from_mask(mask) for mask in masks]
    starts, stops = (np.concatenate(side) for side in zip(*(each.intervals() for each in runs), strict=True))
    objects = Instances(starts, stops, np.repeat([0, 1, 3], [len(each) for each in runs]), 4)
    with TemporaryDirectory() as folder:
        with create_raster(Path(folder, "p.tif"), frame.size, bands=2, tags=frame.tags(["a", "b"])) as raster:
            raster.write(values, 0, 0)
        with open_raster(Path(folder, "p.tif")) as raster:
            whole, sums = np.zeros((2, 2, objects.count))
            add_beliefs(raster, objects, [1, 0], whole)
            found = in_pixels(raster, whole)
            line = frame.width + 1
            for top, bottom in pairwise(block_edges(raster, 1)):
                add_beliefs(raster, objects.between(top * line, bottom * line), [1, 0], sums)
            assert (sums == whole).all(), "to the last bit"
    expected = [[dense[band][mask].sum() / 255 for mask in masks] for band in (1, 0)]
    np.testing.assert_allclose(found[:, [0, 1, 3]], expected)
    assert not found[:, 2].any()
