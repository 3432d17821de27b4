import numpy as np

from tilewright.evaluation.metrics import Overlap
from tilewright.pixels.runs import Runs

HEIGHT, WIDTH = 40, 50


def runs(*boxes: tuple[int, int, int, int]) -> Runs:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return Runs.from_mask(mask)


def test_disjoint_disks_have_no_overlap():
    overlap = Overlap.of(runs((0, 0, 10, 10)), runs((20, 20, 30, 30)))
    # A mean over rows would call them alike where both leave a row empty.
    assert (overlap.dice, overlap.iou) == (0, 0)


def test_overlap_is_that_of_pixels():
    overlap = Overlap.of(runs((0, 0, 4, 1)), runs((2, 0, 6, 1)))
    assert (overlap.dice, overlap.iou) == (0.5, 2 / 6)


def test_scores_of_nothing_are_one():
    assert Overlap(0, 0, 0).dice == Overlap(0, 0, 0).iou == 1
