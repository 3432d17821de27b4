"""Objects as intervals of pixels, and which of two sides are the same. Pure functions on runs; areas in pixels.

Where both sides are empty a score is 1; where only its denominator is 0 it is 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.pixels.runs import Ints, Runs, overlaps
from tilewright.pixels.scanline import Edges, covered
from tilewright.project.config import PixelRule

OUTLINES_AT_ONCE = 20_000
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps that a mean is taken over (COCO, Data Science Bowl 2018)."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Things of truth and of prediction, and how many of each the other side confirms.

    Such as objects, or pixels of boundaries.
    """

    truth: int
    truth_found: int
    predicted: int
    predicted_found: int

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.truth + other.truth,
            self.truth_found + other.truth_found,
            self.predicted + other.predicted,
            self.predicted_found + other.predicted_found,
        )

    @property
    def precision(self) -> float:
        """Share of the predicted ones that the truth confirms."""
        return ratio(self.predicted_found, self.predicted, empty=self.truth + self.predicted == 0)

    @property
    def recall(self) -> float:
        """Share of the true ones that the prediction confirms."""
        return ratio(self.truth_found, self.truth, empty=self.truth + self.predicted == 0)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return ratio(2 * self.precision * self.recall, self.precision + self.recall, empty=False)


@dataclass(frozen=True)
class Instances:
    """Objects as intervals on the line of ``runs`` (row * (width + 1) + column).

    Attributes:
        starts: first key of each interval, int64[n].
        stops: key after its last, int64[n].
        owner: object of each interval, int64[n].
        count: number of objects; one may have no interval.
    """

    starts: Ints
    stops: Ints
    owner: Ints
    count: int

    @classmethod
    def of(cls, runs: Runs, owner: Ints) -> "Instances":
        """The components of a mask: ``owner`` is the component of each run."""
        return cls(*runs.intervals(), owner, int(owner.max(initial=-1)) + 1)

    @classmethod
    def joined(cls, parts: "Sequence[Instances]") -> "Instances":
        """The objects of several: those of the second are counted on from those of the first."""
        before = np.cumsum([0, *(part.count for part in parts)]).tolist()
        starts, stops = (np.concatenate([getattr(part, side) for part in parts]) for side in ("starts", "stops"))
        owner = np.concatenate([part.owner + first for part, first in zip(parts, before, strict=False)])
        return cls(starts, stops, owner, before[-1])

    def area(self) -> Ints:
        """Pixels of each object, int64[count]."""
        return np.bincount(self.owner, self.stops - self.starts, minlength=self.count).astype(np.int64)

    def centers(self, width: int) -> Ints:
        """Key of the pixel in which the centre of mass of each object lies, int64[count]; -1 for one without a pixel.

        Args:
            width: columns of the mask.
        """
        row, start = np.divmod(self.starts, width + 1)
        length = self.stops - self.starts
        area = np.maximum(self.area(), 1)
        down = np.bincount(self.owner, length * row, minlength=self.count) / area + 0.5
        across = np.bincount(self.owner, length * (2 * start + length), minlength=self.count) / (2 * area)
        keys = down.astype(np.int64) * (width + 1) + across.astype(np.int64)
        return np.where(self.area() > 0, keys, -1)

    def only(self, chosen: NDArray[np.bool_]) -> "Instances":
        """The same objects, of which those that are not chosen have no pixel."""
        kept = chosen[self.owner]
        return Instances(self.starts[kept], self.stops[kept], self.owner[kept], self.count)

    def taken(self, chosen: NDArray[np.bool_]) -> "Instances":
        """Some of the objects, counted anew in their order."""
        kept = chosen[self.owner]
        owner = (np.cumsum(chosen) - 1)[self.owner[kept]]
        return Instances(self.starts[kept], self.stops[kept], owner, int(np.count_nonzero(chosen)))

    def between(self, first: int | Ints, last: int | Ints) -> "Instances":
        """The same objects, of which only intervals that begin between two keys are left.

        Args:
            first: first key; for all, or for each interval.
            last: key after the last; likewise.
        """
        kept = (first <= self.starts) & (self.starts < last)
        return Instances(self.starts[kept], self.stops[kept], self.owner[kept], self.count)

    def moved(self, right: Ints, down: Ints, size: Size) -> "Instances":
        """The objects moved; what leaves the mask is cut off.

        Args:
            right: columns by which each object moves, int64[count].
            down: rows by which each object moves, int64[count].
            size: of the mask.
        """
        line = size.width + 1
        row, start = np.divmod(self.starts, line)
        stop = start + self.stops - self.starts + right[self.owner]
        row, start = row + down[self.owner], start + right[self.owner]
        start, stop = np.clip(start, 0, size.width), np.clip(stop, 0, size.width)
        kept = (row >= 0) & (row < size.height) & (start < stop)
        base = (row * line)[kept]
        return Instances(base + start[kept], base + stop[kept], self.owner[kept], self.count)

    def outside(self, mask: Runs) -> "Instances":
        """The parts of the objects that do not lie in ``mask``."""
        starts, stops = mask.intervals()
        gap_starts, gap_stops = np.concatenate([[0], stops]), np.concatenate([starts, [np.iinfo(np.int64).max]])
        one, gap = overlaps(self.starts, self.stops, gap_starts, gap_stops)
        first = np.maximum(self.starts[one], gap_starts[gap])
        return Instances(first, np.minimum(self.stops[one], gap_stops[gap]), self.owner[one], self.count)


def instances_of_outlines(outlines: NDArray[Any], window: Window, rule: PixelRule = "center") -> Instances:
    """The pixels that each outline covers, as ``rasterize`` draws them; outlines may overlap.

    Args:
        outlines: polygons and multipolygons (shapely), in pixels of the image, x before y.
        window: what the mask shows of the image; what lies outside is cut off.
        rule: which pixels an outline covers.
    """
    parts = list(_scanned(outlines, window, rule))
    starts, stops, owner = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Instances(starts, stops, owner, len(outlines))


def _scanned(outlines: NDArray[Any], window: Window, rule: PixelRule) -> Iterator[tuple[Ints, Ints, Ints]]:
    for begin in range(0, max(len(outlines), 1), OUTLINES_AT_ONCE):
        spans = covered(Edges.of(outlines[begin : begin + OUTLINES_AT_ONCE]), window, rule)
        line = spans.row * (window.width + 1)
        yield line + spans.start, line + spans.stop, spans.area + begin


@dataclass(frozen=True)
class Matches:
    """Which predicted object is which true one.

    Attributes:
        partner: the true object of each predicted one, int64[predicted]; -1: none.
        best_iou: largest overlap of each predicted object with any true one, float64[predicted].
        truth_counts: true objects that count, bool[truth].
        predicted_counts: predicted objects that count, bool[predicted].
    """

    partner: Ints
    best_iou: Floats
    truth_counts: NDArray[np.bool_]
    predicted_counts: NDArray[np.bool_]

    @property
    def found(self) -> Agreement:
        """Objects that count, and how many of them have a partner."""
        counts = (self.truth_counts, self.predicted_counts, self.partner >= 0)
        truth, predicted, matched = (int(np.count_nonzero(chosen)) for chosen in counts)
        return Agreement(truth, matched, predicted, matched)


@dataclass(frozen=True)
class Pairs:
    """True and predicted objects that have pixels in common, among those that count.

    Attributes:
        truth: the true object of each pair, int64[pairs].
        predicted: the predicted one, int64[pairs].
        iou: their intersection over union, float64[pairs].
        truth_counts: true objects that count, bool[truth].
        predicted_counts: predicted objects that count, bool[predicted].
        common: pixels that both have, int64[pairs].
        truth_area: pixels of each true object that are not ignored, int64[truth].
        predicted_area: the same of each predicted one, int64[predicted].
    """

    truth: Ints
    predicted: Ints
    iou: Floats
    truth_counts: NDArray[np.bool_]
    predicted_counts: NDArray[np.bool_]
    common: Ints
    truth_area: Ints
    predicted_area: Ints


def overlapping(truth: Instances, predicted: Instances, ignored: Runs) -> Pairs:
    """The pairs of true and predicted objects that overlap.

    Ignored pixels belong to neither side. An object without a pixel, or with more than half of its pixels ignored, does
    not count.

    Args:
        truth: true objects; may overlap.
        predicted: predicted objects; increasing and disjoint.
        ignored: pixels that do not count.
    """
    truth_seen, predicted_seen = truth.outside(ignored), predicted.outside(ignored)
    truth_area, predicted_area = truth_seen.area(), predicted_seen.area()
    counts = _mostly(truth_area, truth.area()), _mostly(predicted_area, predicted.area())
    one, other, shared = intersections(truth_seen, predicted_seen)
    common = shared.area()
    both = counts[0][one] & counts[1][other]
    one, other, common = one[both], other[both], common[both]
    overlap = common / (truth_area[one] + predicted_area[other] - common)
    return Pairs(one, other, overlap, *counts, common, truth_area, predicted_area)


def match(pairs: Pairs, iou: float) -> Matches:
    """Pair true and predicted objects one to one, the pair with the largest intersection over union first.

    Args:
        pairs: those that overlap.
        iou: least intersection over union of a pair.
    """
    best = np.zeros(len(pairs.predicted_counts))
    np.maximum.at(best, pairs.predicted, pairs.iou)
    partner = np.full(len(best), -1, np.int64)
    taken: set[int] = set()
    for pair in np.lexsort((pairs.truth, pairs.predicted, -pairs.iou)).tolist():
        if pairs.iou[pair] < iou:
            break
        if partner[pairs.predicted[pair]] < 0 and int(pairs.truth[pair]) not in taken:
            partner[pairs.predicted[pair]] = pairs.truth[pair]
            taken.add(int(pairs.truth[pair]))
    return Matches(partner, best, pairs.truth_counts, pairs.predicted_counts)


def _mostly(seen: Ints, whole: Ints) -> NDArray[np.bool_]:
    return (whole > 0) & (2 * seen >= whole)


def intersections(truth: Instances, predicted: Instances) -> tuple[Ints, Ints, Instances]:
    """The pixels that objects of two sides have in common.

    Args:
        truth: objects that may overlap.
        predicted: objects whose intervals are increasing and disjoint.

    Returns:
        Object of the one and of the other side of each pair that has such pixels, int64[pairs], and those pixels.
    """
    one, other = overlaps(truth.starts, truth.stops, predicted.starts, predicted.stops)
    starts = np.maximum(truth.starts[one], predicted.starts[other])
    stops = np.minimum(truth.stops[one], predicted.stops[other])
    pairs, place = np.unique(truth.owner[one] * predicted.count + predicted.owner[other], return_inverse=True)
    return *np.divmod(pairs, max(predicted.count, 1)), Instances(starts, stops, place, len(pairs))


def ratio(part: float, whole: float, *, empty: bool) -> float:
    """A part of a whole, and what it is where there is nothing at all."""
    return part / whole if whole else float(empty)
