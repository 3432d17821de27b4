import numpy as np
import pytest
from scipy import ndimage

from tilewright.evaluation import boundary
from tilewright.evaluation.boundary import boundary_agreement
from tilewright.evaluation.metrics import center_agreement
from tilewright.pixels.grid import Window
from tilewright.pixels.instances import Agreement, instances_of_outlines, overlapping
from tilewright.pixels.runs import Runs

NONE = Runs.empty(150, 130)


def noise(seed):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((150, 130)), 4)
    return smooth > 0.02


def edges(mask):
    padded = np.pad(mask, 1, mode="edge")
    return mask & ~ndimage.binary_erosion(padded, ndimage.generate_binary_structure(2, 1), border_value=1)[1:-1, 1:-1]


def plain(truth, predicted, ignored, tolerance):
    one, other = (edges(mask) & ~ignored for mask in (truth, predicted))
    far_one, far_other = (ndimage.distance_transform_edt(~mask) for mask in (one, other))
    near = int((one & (far_other <= tolerance)).sum()), int((other & (far_one <= tolerance)).sum())
    return Agreement(int(one.sum()), near[0], int(other.sum()), near[1])


@pytest.mark.parametrize("window", [32, 47, 2048])
@pytest.mark.parametrize("tolerance", [0, 1, 3, 7])
def test_windows_of_any_size_give_the_agreement_of_the_whole(monkeypatch, window, tolerance):
    monkeypatch.setattr(boundary, "WINDOW", window)
    truth, predicted, ignored = noise(0), noise(0) ^ (noise(1) & noise(2)), noise(3) & noise(4)
    found = boundary_agreement(*map(Runs.from_mask, (truth, predicted, ignored)), tolerance)
    assert found == plain(truth, predicted, ignored, tolerance)


def test_a_mask_moved_by_less_than_the_tolerance_agrees():
    mask = np.zeros((150, 130), bool)
    mask[40:90, 30:80] = True
    truth, moved = Runs.from_mask(mask), Runs.from_mask(np.roll(mask, 3, axis=1))
    assert boundary_agreement(truth, moved, NONE, 3).f1 == 1
    assert boundary_agreement(truth, moved, NONE, 1).f1 < 0.7


def test_boundaries_of_nothing_agree_and_of_one_side_do_not():
    mask = Runs.from_mask(noise(0))
    assert boundary_agreement(NONE, NONE, NONE, 2).f1 == 1
    assert boundary_agreement(mask, NONE, NONE, 2).f1 == boundary_agreement(NONE, mask, NONE, 2).f1 == 0


def test_objects_are_found_by_their_centres():
    """The second predicted disk hits none, the ring's centre lies in its hole, the third true one is missed."""
    from shapely import Point, box

    def instances(*shapes):
        return instances_of_outlines(np.array(shapes, dtype=object), Window(0, 0, 130, 150))

    truth = instances(Point(30, 30).buffer(10), box(60, 60, 100, 100), Point(20, 120).buffer(5))
    ring = Point(80, 80).buffer(25).difference(Point(80, 80).buffer(15))
    predicted = instances(Point(33, 30).buffer(9), Point(110, 20).buffer(6), ring)
    pairs = overlapping(truth, predicted, NONE)
    assert center_agreement(truth, predicted, pairs, 130) == Agreement(3, 1, 3, 2)
    disk, small, ringed = predicted.area().tolist()
    assert small < disk < ringed
    for least, agreement in (
        (small, Agreement(3, 1, 3, 2)),
        (small + 1, Agreement(3, 1, 2, 2)),
        (disk + 1, Agreement(3, 0, 1, 1)),
    ):
        assert center_agreement(truth, predicted, pairs, 130, least) == agreement
    nothing = instances()
    assert center_agreement(nothing, nothing, overlapping(nothing, nothing, NONE), 130).f1 == 1
