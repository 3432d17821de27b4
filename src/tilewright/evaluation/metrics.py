"""Overlap of masks, agreement of centres, panoptic quality, Jaccard index of objects. Pure functions; areas in pixels.

Where both sides are empty a score is 1; where only its denominator is 0 it is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.instances import Agreement, Instances, Matches, Pairs, match, ratio
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


@dataclass(frozen=True)
class Panoptic:
    """True and predicted objects that share more than half of their pixels, hence one with one (Kirillov et al. 2019).

    Attributes:
        truth: true objects.
        predicted: predicted objects.
        found: pairs of them.
        iou: sum of the intersections over union of the pairs.
    """

    truth: int
    predicted: int
    found: int
    iou: float

    @classmethod
    def of(cls, pairs: Pairs) -> "Panoptic":
        """Of the objects that count."""
        # where true objects overlap, several may share more than half of their pixels with one predicted object
        matches = match(pairs, np.nextafter(0.5, 1))
        same = matches.partner[pairs.predicted] == pairs.truth
        agreement = matches.found
        return cls(agreement.truth, agreement.predicted, agreement.truth_found, float(pairs.iou[same].sum()))

    @property
    def recognition(self) -> float:
        """RQ: F1 of the objects."""
        total = self.truth + self.predicted
        return ratio(2 * self.found, total, empty=total == 0)

    @property
    def segmentation(self) -> float:
        """SQ: mean intersection over union of the pairs."""
        return ratio(self.iou, self.found, empty=self.truth + self.predicted == 0)

    @property
    def quality(self) -> float:
        """PQ: the product of both."""
        return self.recognition * self.segmentation


@dataclass(frozen=True)
class Jaccard:
    """The aggregated Jaccard index of objects (AJI, Kumar et al. 2017).

    Each true object is laid beside the predicted one with the largest intersection over union.

    Attributes:
        common: pixels that these pairs have in common.
        either: pixels of either of each pair, of true objects that overlap nothing, and of predicted ones in no pair.
    """

    common: int
    either: int

    @classmethod
    def of(cls, pairs: Pairs) -> "Jaccard":
        """Of the objects that count."""
        order = np.lexsort((pairs.predicted, -pairs.iou, pairs.truth))
        chosen = order[np.unique(pairs.truth[order], return_index=True)[1]]
        common = int(pairs.common[chosen].sum())
        used = np.unique(pairs.predicted[chosen])
        # each true object counts once, and a predicted one as often as it is chosen, but at least once
        truth = int(pairs.truth_area[pairs.truth_counts].sum())
        predicted = int(pairs.predicted_area[pairs.predicted_counts].sum() - pairs.predicted_area[used].sum())
        taken = int(pairs.predicted_area[pairs.predicted[chosen]].sum())
        return cls(common, truth + predicted + taken - common)

    @property
    def index(self) -> float:
        """Common pixels over those of either."""
        return ratio(self.common, self.either, empty=self.either == 0)


@dataclass(frozen=True)
class SizedTruth:
    """True objects that count, by their size.

    Attributes:
        area: pixels of each that are not ignored, int64[n].
        found: whether each has a partner, bool[n].
    """

    area: Ints
    found: NDArray[np.bool_]

    @classmethod
    def of(cls, pairs: Pairs, matches: Matches) -> "SizedTruth":
        """Those of some pairs."""
        found = np.zeros(len(pairs.truth_counts), np.bool_)
        found[matches.partner[matches.partner >= 0]] = True
        return cls(pairs.truth_area[pairs.truth_counts], found[pairs.truth_counts])

    @classmethod
    def concatenate(cls, parts: "Sequence[SizedTruth]") -> "SizedTruth":
        """Those of several slides."""
        return cls(np.concatenate([part.area for part in parts]), np.concatenate([part.found for part in parts]))

    def by_quarter(self) -> list[dict[str, float | int]]:
        """How many are found among the smallest quarter, and so on: areas from and to, objects, recall.

        Objects of one size stand together; a quarter that none is left for is left out.
        """
        if not len(self.area):
            return []
        ends = np.unique(np.quantile(self.area, (0.25, 0.5, 0.75, 1), method="lower"))
        quarter = np.searchsorted(ends, self.area)
        return [
            {
                "from": int(self.area[own].min()), "to": int(self.area[own].max()), "objects": int(own.sum()),
                "recall": round(float(self.found[own].mean()), 6),
            }
            for own in (quarter == place for place in range(len(ends)))
        ]  # fmt: skip


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
