"""Objects that grow from seeds: the nearest seed of the component, whatever blocks and strips they are seen in."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.pixels import seeds as module
from tilewright.pixels.components import Components, ComponentTracker, components_of
from tilewright.pixels.grid import Window
from tilewright.pixels.runs import Runs
from tilewright.pixels.seeds import Pixels, Waiting, part_by_seeds, rings
from tilewright.pixels.strips import Strip
from tilewright.pixels.thresholds import SCORES


def scored(runs):
    values = np.zeros(len(runs), SCORES)
    values["sum"], values["count"], values["largest"] = runs.lengths(), runs.lengths(), 1
    return values


def parted(components, seeds, least, reach):
    values = np.full(components.runs.area(), 1, np.uint8)
    return part_by_seeds(components, seeds, Pixels(components.runs, values), least, reach)


def whole(mask):
    runs = Runs.from_mask(mask)
    return Components(runs, components_of(runs), scored(runs))


def labelled(components):
    """The object of each pixel from 1 on."""
    runs = components.runs
    found = np.zeros((runs.height, runs.width), int)
    for row, start, stop, owner in zip(runs.row, runs.start, runs.stop, components.owner, strict=True):
        assert (found[row, start:stop] == 0).all()
        found[row, start:stop] = owner + 1
    return found


def plain(mask, seeds, least, reach):
    """The same, pixel by pixel."""
    from scipy import ndimage

    component, _ = ndimage.label(mask, np.ones((3, 3)))
    seed, count = ndimage.label(seeds)
    for number in range(1, count + 1):
        if (seed == number).sum() < least:
            seed[seed == number] = 0
    rows, columns = np.nonzero(seed)
    found = np.zeros(mask.shape, int)
    for y, x in zip(*np.nonzero(mask), strict=True):
        own = component[rows, columns] == component[y, x]
        gaps = (rows[own] - y) ** 2 + (columns[own] - x) ** 2
        if len(gaps) and gaps.min() <= reach * reach:
            found[y, x] = seed[rows[own], columns[own]][np.argmin(gaps)]  # the first by row and column
    for number in np.unique(found[found > 0]):  # what nothing of the object connects with its seed is not of it
        part, parts = ndimage.label(found == number, np.ones((3, 3)))
        for each in range(1, parts + 1):
            if not (seed[part == each] == number).any():
                found[part == each] = 0
    rest, _ = ndimage.label(mask & (found == 0), np.ones((3, 3)))
    return np.where(found == 0, np.where(mask, rest + count, 0), found)


def same_partition(one, other):
    """Whether two label images part the same pixels alike."""
    pairs = {(a, b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and ((one > 0) == (other > 0)).all()


@st.composite
def scenes(draw, height=30, width=44):
    """A mask of rectangles, and seeds in it."""
    mask, seeds = np.zeros((2, height, width), bool)
    for target, count, largest in ((mask, 6, 20), (seeds, 9, 6)):
        for _ in range(draw(st.integers(1, count))):
            x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            target[y : y + draw(st.integers(1, largest)), x : x + draw(st.integers(1, largest))] = True
    return mask, seeds & mask


@settings(max_examples=150)
@given(scenes(), st.integers(1, 9), st.integers(1, 6))
def test_each_pixel_is_of_its_nearest_seed(scene, reach, least):
    mask, seeds = scene
    found = parted(whole(mask), Runs.from_mask(seeds), least, reach)
    assert same_partition(labelled(found), plain(mask, seeds, least, reach))
    assert (np.diff(found.owner[np.unique(found.owner, return_index=True)[1]]) == 1).all(), "numbered by first pixel"
    assert found.values["sum"].sum() == pytest.approx(mask.sum())


@settings(max_examples=60)
@given(scenes(), st.integers(3, 17), st.lists(st.integers(1, 29), max_size=4))
def test_blocks_and_strips_change_nothing(scene, edge, cuts):
    mask, seeds = scene
    expected = labelled(parted(whole(mask), Runs.from_mask(seeds), 2, 5))
    before, module.PIECE = module.PIECE, edge
    try:
        in_blocks = parted(whole(mask), Runs.from_mask(seeds), 2, 5)
    finally:
        module.PIECE = before
    assert (labelled(in_blocks) == expected).all()

    height, width = mask.shape
    tracker, waiting = ComponentTracker(height, width, values=SCORES), Waiting(height, width)
    found, count = np.zeros(mask.shape, int), 0
    rows = [0, *sorted(set(cuts)), height]
    for top, bottom in pairwise(rows):
        runs, seen = (Runs.from_mask(each).clip(Window(0, top, width, bottom - top)) for each in (mask, seeds))
        waiting.add(seen)
        closed = tracker.push(Strip(top, bottom, runs), scored(runs))
        own = labelled(parted(closed, waiting.take(closed.runs).runs, 2, 5))
        assert ((found == 0) | (own == 0)).all()
        found[own > 0] = own[own > 0] + count
        count += own.max()
    assert same_partition(found, expected)


def test_a_seed_does_not_reach_into_another_component():
    mask, seeds = np.zeros((2, 9, 20), bool)
    mask[4, :8], mask[4, 9:] = True, True
    seeds[4, 7], seeds[4, 17:19] = True, True
    found = labelled(parted(whole(mask), Runs.from_mask(seeds), 1, 8))[4]
    assert found[:8].tolist() == [1] * 8
    assert len(set(found[9:].tolist())) == 1
    assert found[9] != found[7]


def test_what_no_seed_reaches_is_an_object_of_its_own():
    mask, seeds = np.zeros((2, 3, 40), bool)
    mask[1] = True
    seeds[1, 18:22] = True
    found = labelled(parted(whole(mask), Runs.from_mask(seeds), 1, 5))[1]
    assert found.tolist() == [1] * 13 + [2] * 14 + [3] * 13
    assert (labelled(parted(whole(mask), Runs.from_mask(seeds), 5, 5)) == mask).all(), "too small a seed is none"


def test_steps_go_from_near_to_far_by_row_and_column():
    found = rings(2)
    assert list(found) == [1, 2, 4]
    assert found[1] == [(-1, 0), (0, -1), (0, 1), (1, 0)]
    assert sum(map(len, rings(8).values())) == 196
