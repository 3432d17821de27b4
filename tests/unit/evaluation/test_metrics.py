import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tilewright.evaluation.metrics import Jaccard, Overlap, Panoptic, SizedTruth
from tilewright.pixels.instances import Instances, match, overlapping
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


def compared(truth, predicted, ignored=None):
    """Pairs of two label images, 0 being no object."""
    hidden = np.zeros(truth.shape, bool) if ignored is None else ignored
    return overlapping(*(of_labels(labels) for labels in (truth, predicted)), Runs.from_mask(hidden))


def of_labels(labels):
    parts = [Runs.from_mask(labels == number) for number in np.unique(labels[labels > 0])]
    keys = [part.intervals() for part in parts]
    starts, stops = (np.array([key for pair in keys for key in pair[side]], np.int64) for side in (0, 1))
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)
    order = np.argsort(starts)
    return Instances(starts[order], stops[order], owner[order], len(parts))


def row(*pixels):
    return np.array([pixels])


def test_panoptic_quality_by_hand():
    """Of three true objects one is found at 3/4, one is half covered, which is not enough, and one is missed."""
    found = Panoptic.of(compared(row(1, 1, 1, 1, 0, 2, 2, 0, 3), row(1, 1, 1, 0, 0, 2, 0, 0, 0)))
    assert (found.truth, found.predicted, found.found, found.iou) == (3, 2, 1, 0.75)
    assert (found.segmentation, found.recognition) == (0.75, 2 / 5)
    assert found.quality == pytest.approx(0.75 / (1 + 1 / 2 + 2 / 2))


def test_the_aggregated_jaccard_index_by_hand():
    """Two true objects that one predicted object covers are both laid beside it; what is in no pair counts too."""
    found = Jaccard.of(compared(row(1, 1, 0, 2, 2, 2, 0, 3, 0, 0), row(5, 5, 5, 5, 5, 0, 0, 0, 0, 7)))
    assert found == Jaccard(2 + 2, 5 + 6 + 1 + 1)
    assert found.index == 4 / 13


def test_of_two_predicted_objects_the_one_that_fits_best_is_laid_beside_a_true_one():
    assert Jaccard.of(compared(row(1, 1, 1, 1), row(2, 3, 3, 3))) == Jaccard(3, 4 + 1)


def test_nothing_is_perfect_and_one_side_alone_is_nothing():
    nothing, something = row(0, 0), row(0, 1)
    for truth, predicted, score in ((nothing, nothing, 1), (something, nothing, 0), (nothing, something, 0)):
        pairs = compared(truth, predicted)
        panoptic = Panoptic.of(pairs)
        assert (panoptic.quality, panoptic.segmentation, panoptic.recognition) == (score, score, score)
        assert Jaccard.of(pairs).index == score


def plain_panoptic(truth, predicted):
    """As published, over sets of pixels: pairs above one half, false positives, false negatives."""
    true, found = ([labels == number for number in np.unique(labels) if number] for labels in (truth, predicted))
    pairs = [(a & b).sum() / (a | b).sum() for a in true for b in found if 2 * (a & b).sum() > (a | b).sum()]
    total = len(pairs) + (len(found) - len(pairs)) / 2 + (len(true) - len(pairs)) / 2
    return sum(pairs) / total if total else 1.0


def plain_aji(truth, predicted):
    """The algorithm as published: a loop over the true objects, then what is left of the predicted ones."""
    true, found = ([labels == number for number in np.unique(labels) if number] for labels in (truth, predicted))
    common = either = 0
    used = set()
    for one in true:
        shares = [(one & other).sum() / (one | other).sum() for other in found]
        if not shares or max(shares) == 0:
            either += one.sum()
            continue
        best = int(np.argmax(shares))
        common += (one & found[best]).sum()
        either += (one | found[best]).sum()
        used.add(best)
    either += sum(other.sum() for place, other in enumerate(found) if place not in used)
    return common / either if either else 1.0


@given(*[arrays(np.int64, (5, 6), elements=st.integers(0, 4), fill=st.nothing())] * 2)
def test_the_scores_are_those_of_the_published_definitions(truth, predicted):
    pairs = compared(truth, predicted)
    assert Panoptic.of(pairs).quality == pytest.approx(plain_panoptic(truth, predicted))
    assert Jaccard.of(pairs).index == pytest.approx(plain_aji(truth, predicted))


@given(*[arrays(np.int64, (5, 6), elements=st.integers(0, 4), fill=st.nothing())] * 2, arrays(bool, (5, 6)))
def test_ignored_pixels_are_those_of_no_object(truth, predicted, ignored):
    pairs = compared(truth, predicted, ignored)
    kept = []
    for labels in (truth, predicted):
        counts = [
            number for number in range(1, 5) if 2 * ((labels == number) & ~ignored).sum() >= (labels == number).sum()
        ]
        kept.append(np.where(np.isin(labels, counts) & ~ignored, labels, 0))
    assert Panoptic.of(pairs).quality == pytest.approx(plain_panoptic(*kept))
    assert Jaccard.of(pairs).index == pytest.approx(plain_aji(*kept))


def test_recall_is_told_by_quarters_of_the_areas():
    area, found = np.array([9, 1, 2, 40, 3, 8, 7, 30]), np.array([1, 0, 0, 1, 1, 0, 1, 1], bool)
    assert SizedTruth(area, found).by_quarter() == [
        {"from": 1, "to": 2, "objects": 2, "recall": 0.0},
        {"from": 3, "to": 7, "objects": 2, "recall": 1.0},
        {"from": 8, "to": 9, "objects": 2, "recall": 0.5},
        {"from": 30, "to": 40, "objects": 2, "recall": 1.0},
    ]


def test_objects_of_one_size_are_not_divided():
    assert SizedTruth(np.full(5, 7), np.arange(5) < 2).by_quarter() == [
        {"from": 7, "to": 7, "objects": 5, "recall": 0.4}
    ]
    assert SizedTruth(np.empty(0, int), np.empty(0, bool)).by_quarter() == []


def test_recall_by_size_is_that_of_the_true_objects_that_have_a_partner():
    pairs = compared(row(1, 1, 1, 1, 0, 2, 2, 0, 3), row(1, 1, 1, 0, 0, 2, 2, 0, 0))
    sized = SizedTruth.of(pairs, match(pairs, 0.5))
    assert (sized.area.tolist(), sized.found.tolist()) == ([4, 2, 1], [True, True, False])
