import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Window
from tilewright.pixels.runs import Runs, difference, intersection, union

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
MASKS = arrays(np.bool_, SHAPES)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
PLACES = st.integers(-5, 14)


@given(MASKS)
def test_runs_hold_every_pixel(mask):
    runs = Runs.from_mask(mask)
    assert (runs.to_mask() == mask).all()
    assert runs.area() == mask.sum()


@given(MASKS)
def test_transpose_exchanges_rows_and_columns(mask):
    assert Runs.from_mask(mask).transpose() == Runs.from_mask(mask.T)


@given(MASKS)
def test_components_are_those_of_scipy(mask):
    runs = Runs.from_mask(mask)
    for connectivity, structure in ((8, np.ones((3, 3))), (4, None)):
        assert (components_of(runs, connectivity) == ndimage.label(mask, structure)[0][runs.row, runs.start] - 1).all()


@given(PAIRS)
def test_set_operations_are_those_of_pixels(pair):
    one, other = pair
    a, b = Runs.from_mask(one), Runs.from_mask(other)
    assert union(a, b) == Runs.from_mask(one | other)
    assert intersection(a, b) == Runs.from_mask(one & other)
    assert difference(a, b) == Runs.from_mask(one & ~other)


@given(MASKS, PLACES, PLACES, st.integers(0, 12), st.integers(0, 12))
def test_a_window_is_a_slice_of_the_mask(mask, x, y, width, height):
    window = Window(x, y, width, height)
    padded = np.pad(mask, 30)[y + 30 : y + 30 + height, x + 30 : x + 30 + width]
    runs = Runs.from_mask(mask)
    assert (runs.to_mask(window) == padded).all()
    assert runs.clip(window).area() == padded.sum()


@given(MASKS, st.integers(1, 5))
def test_strips_make_the_whole(mask, step):
    height, width = mask.shape
    strips = [(top, Runs.from_mask(mask[top : top + step])) for top in range(0, height, step)]
    assert Runs.concatenate(strips, height, width) == Runs.from_mask(mask)
