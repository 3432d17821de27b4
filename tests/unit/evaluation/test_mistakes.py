import numpy as np
import pytest
import shapely

from tilewright.evaluation.mistakes import KINDS, Mistakes
from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Window
from tilewright.pixels.instances import Instances, instances_of_outlines, match, overlapping
from tilewright.pixels.runs import Runs

HEIGHT, WIDTH = 40, 60


def found(truth, predicted, ignored=()):
    """The mistakes as kinds and boxes; boxes are left, top, right, bottom."""
    masks = [np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)]
    for mask, boxes in zip(masks, (predicted, ignored), strict=True):
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = True
    runs, hidden = map(Runs.from_mask, masks)
    outlines = np.array([shapely.box(*each) for each in truth], dtype=object)
    true = instances_of_outlines(outlines, Window(0, 0, WIDTH, HEIGHT))
    some = Instances.of(runs, components_of(runs))
    pairs = overlapping(true, some, hidden)
    mistakes = Mistakes.of(pairs, match(pairs, 0.5), true, some, WIDTH)
    return [(KINDS[kind], *box) for kind, box in zip(mistakes.kind.tolist(), mistakes.box.tolist(), strict=True)]


LEFT, RIGHT = (2, 2, 12, 12), (13, 2, 23, 12)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([LEFT, RIGHT], [LEFT, RIGHT], []),
        ([LEFT, RIGHT], [(2, 2, 23, 12)], [("merged", 2, 2, 23, 12)]),
        # half of one lies in the object of the other, in a box that holds both
        ([LEFT, RIGHT], [(2, 2, 18, 12)], [("merged", 2, 2, 23, 12)]),
        ([LEFT, RIGHT], [(2, 2, 17, 12)], [("missed", 13, 2, 23, 12)]),
        ([(2, 2, 23, 12)], [LEFT, RIGHT], [("cut", 2, 2, 23, 12)]),
        # a crumb is no part, whether the rest is found or not
        ([(2, 2, 23, 12)], [(2, 2, 21, 12), (22, 2, 23, 6)], []),
        ([LEFT], [], [("missed", 2, 2, 12, 12)]),
        ([], [LEFT], [("false", 2, 2, 12, 12)]),
        # outlines that differ much are neither missed nor false
        ([(2, 2, 12, 12)], [(2, 2, 12, 22)], []),
        ([LEFT, (30, 30, 31, 31)], [LEFT, (40, 20, 41, 21)], [("missed", 30, 30, 31, 31), ("false", 40, 20, 41, 21)]),
    ],
)
def test_a_mistake_is_told_by_its_kind_and_box(truth, predicted, expected):
    assert found(truth, predicted) == expected


def test_what_is_ignored_is_no_mistake():
    ignored = [(0, 0, 30, 30)]
    assert found([LEFT], [], ignored) == found([], [RIGHT], ignored) == []
    assert found([LEFT, RIGHT], [(2, 2, 23, 12)], ignored) == []


def test_an_object_without_a_pixel_is_no_mistake():
    assert found([(100, 100, 110, 110), LEFT], [LEFT]) == []
