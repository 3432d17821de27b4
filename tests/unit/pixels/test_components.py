"""Components of strips, by masks that can be drawn by hand."""

import numpy as np

from tilewright.pixels.components import ComponentTracker, groups
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import Strip

MASK = np.array([
    [1, 0, 0, 1, 0],
    [1, 0, 0, 1, 0],
    [1, 1, 0, 1, 0],
    [0, 1, 0, 0, 1],
    [0, 1, 0, 0, 0],
], bool)  # fmt: skip


def strip(top, bottom):
    part = Runs.from_mask(MASK[top:bottom])
    return Strip(top, bottom, Runs(part.row + top, part.start, part.stop, *MASK.shape))


def test_members_come_by_their_owner():
    order, first = groups(np.array([2, 0, 2, 1, 0]))
    assert order.tolist() == [1, 4, 3, 0, 2]
    assert first.tolist() == [0, 2, 3]
    assert [each.tolist() for each in groups(np.array([], np.int64))] == [[], []]


def test_open_components_that_are_small_are_known_by_their_first_row():
    tracker = ComponentTracker(*MASK.shape)
    tracker.push(strip(0, 3))
    assert tracker.first_row_of_smaller(4) == 0  # the right one has three pixels
    assert tracker.first_row_of_smaller(3) == -1
    assert ComponentTracker(*MASK.shape).first_row_of_smaller(9) == -1


def test_of_large_open_components_the_last_row_alone_is_kept():
    tracker = ComponentTracker(*MASK.shape, values=np.int64)
    assert tracker.forget_upper_rows(1) == -1
    tracker.push(strip(0, 3), strip(0, 3).runs.lengths())
    assert tracker.forget_upper_rows(4) == 0  # the right one has less, and began in the first row
    assert [len(part) for part in (tracker._runs, tracker._values)] == [4, 4]  # three of it, and one of the left one
    assert sorted(tracker._values.tolist()) == [1, 1, 1, 4]
    assert tracker.forget_upper_rows(3) == -1
    closed = tracker.push(strip(3, 5), strip(3, 5).runs.lengths())
    assert closed.runs.row.tolist() == [2, 2, 3, 3, 4]
    assert closed.values.tolist() == [3, 3, 1, 1, 1]
    assert closed.owner.tolist() == [0, 1, 0, 1, 0]
