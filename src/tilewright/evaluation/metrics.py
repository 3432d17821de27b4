"""Overlap of masks and agreement of centres. Pure functions on runs; areas in pixels.

Where both sides are empty a score is 1; where only its denominator is 0 it is 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.instances import Agreement, Instances, Pairs, ratio
from tilewright.pixels.runs import Ints, Runs, intersection_area


@dataclass(frozen=True)
class Overlap:
    """Pixels of truth, of prediction, and of both."""

    truth: int
    predicted: int
    both: int

    @classmethod
    def of(cls, truth: Runs, predicted: Runs) -> "Overlap":
        """The overlap of two masks of the same size."""
        return cls(truth.area(), predicted.area(), intersection_area(truth, predicted))

    @property
    def dice(self) -> float:
        """Twice the common pixels over the sum of both areas."""
        return ratio(2 * self.both, self.truth + self.predicted, empty=self.truth + self.predicted == 0)

    @property
    def iou(self) -> float:
        """Common pixels over the pixels of either."""
        either = self.truth + self.predicted - self.both
        return ratio(self.both, either, empty=either == 0)


def center_agreement(truth: Instances, predicted: Instances, pairs: Pairs, width: int, min_area: int = 0) -> Agreement:
    """Objects whose centre of mass lies in an object of the other side, among those that count.

    Args:
        truth: true objects.
        predicted: predicted objects.
        pairs: which of them count.
        width: columns of the mask.
        min_area: predicted objects with fewer pixels are taken as not predicted.
    """
    large = predicted.area() >= min_area
    truth_counts, predicted_counts = pairs.truth_counts, pairs.predicted_counts & large
    truth_found = _holds(predicted.only(large), truth.centers(width)) & truth_counts
    predicted_found = _holds(truth, predicted.centers(width)) & predicted_counts
    numbers = (truth_counts, truth_found, predicted_counts, predicted_found)
    return Agreement(*(int(np.count_nonzero(chosen)) for chosen in numbers))


def _holds(objects: Instances, keys: Ints) -> NDArray[np.bool_]:
    """Whether any of some objects, which may overlap, holds each key."""
    opened = np.searchsorted(np.sort(objects.starts), keys, side="right")
    closed = np.searchsorted(np.sort(objects.stops), keys, side="right")
    held: NDArray[np.bool_] = opened > closed
    return held
