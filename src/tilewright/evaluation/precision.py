"""Average precision of objects over their confidence.

A predicted object is correct at a threshold where it is paired with a true one that it overlaps so much; predicted
objects choose by confidence, each the one that it overlaps most among those that are left, as in COCO and Open
Images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.instances import OVERLAPS, Pairs
from tilewright.pixels.runs import Ints

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
OPEN_IMAGES = 0.6
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Detections:
    """Predicted objects of one slide and class that count.

    Attributes:
        confidence: float64[n].
        correct: at each of ``OVERLAPS``, bool[n, 10].
        truth: number of true objects that count.
    """

    confidence: Floats
    correct: Bools
    truth: int

    @classmethod
    def of(cls, pairs: Pairs, confidence: Floats) -> "Detections":
        """The detections of a slide.

        Args:
            pairs: true and predicted objects that overlap.
            confidence: of each predicted object, float64[predicted].
        """
        correct = np.stack([chosen(pairs, confidence, least) for least in OVERLAPS], axis=1)
        counts = pairs.predicted_counts
        return cls(confidence[counts], correct[counts], int(pairs.truth_counts.sum()))

    def share_correct(self) -> float:
        """Mean over the thresholds of correct / (correct + wrong + missed).

        1 without any object (Data Science Bowl 2018).
        """
        correct = self.correct.sum(axis=0)
        either = len(self.confidence) + self.truth - correct
        return float(np.mean(np.divide(correct, either, out=np.ones(len(correct)), where=either > 0)))


def chosen(pairs: Pairs, confidence: Floats, least: float) -> Bools:
    """Which predicted objects find a true one that they overlap by ``least`` (intersection over union).

    Args:
        pairs: true and predicted objects that overlap.
        confidence: of each predicted object, float64[predicted].
        least: the threshold.
    """
    near = np.flatnonzero(pairs.iou >= least)
    order = near[np.lexsort((-pairs.iou[near], pairs.predicted[near], -confidence[pairs.predicted[near]]))]
    found, taken = np.zeros(len(confidence), np.bool_), np.zeros(len(pairs.truth_counts), np.bool_)
    for predicted, truth in zip(pairs.predicted[order].tolist(), pairs.truth[order].tolist(), strict=True):
        if not found[predicted] and not taken[truth]:
            found[predicted] = taken[truth] = True
    return found


@dataclass(frozen=True)
class Ranked:
    """The detections of several slides by falling confidence.

    Attributes:
        correct: at each of ``OVERLAPS``, bool[n, 10].
        slide: the slide of each, int64[n].
        truth: true objects of each slide, int64[slides].
    """

    correct: Bools
    slide: Ints
    truth: Ints

    @classmethod
    def of(cls, detections: Sequence[Detections]) -> "Ranked":
        """Rank detections, one item for each slide."""
        order = np.argsort(-np.concatenate([each.confidence for each in detections]), kind="stable")
        correct = np.concatenate([each.correct for each in detections])[order]
        slide = np.repeat(np.arange(len(detections)), [len(each.confidence) for each in detections])[order]
        return cls(correct, slide, np.array([each.truth for each in detections]))

    def curve(self, least: float, weights: Ints | None = None) -> tuple[Floats, Floats]:
        """Recall after each detection, and the largest precision there or later; empty where nothing is true.

        Args:
            least: one of ``OVERLAPS``.
            weights: how often each slide counts, int64[slides]; None: once.
        """
        times = np.ones(len(self.truth), np.int64) if weights is None else weights
        truth, each = int(times @ self.truth), times[self.slide]
        if not truth:
            return np.empty(0), np.empty(0)
        found, all_found = np.cumsum(self.correct[:, OVERLAPS.index(least)] * each), np.cumsum(each)
        precision = np.divide(found, all_found, out=np.zeros(len(found)), where=all_found > 0)
        return found / truth, np.maximum.accumulate(precision[::-1])[::-1]


def area_under_curve(ranked: Ranked, least: float, weights: Ints | None = None) -> float:
    """Area under the interpolated curve of precision over recall (Open Images, Pascal VOC 2010).

    NaN without true objects.

    Args:
        ranked: detections.
        least: one of ``OVERLAPS``.
        weights: as of ``Ranked.curve``.
    """
    recall, precision = ranked.curve(least, weights)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision)) if len(recall) else _nothing_found(ranked, weights)


def coco_precision(ranked: Ranked, least: float, weights: Ints | None = None) -> float:
    """Mean precision at 101 recalls, as pycocotools computes it; NaN without true objects. Arguments as before."""
    recall, precision = ranked.curve(least, weights)
    if not len(recall):
        return _nothing_found(ranked, weights)
    place = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(precision, 0.0)[place].mean())


def coco_map(ranked: Ranked, weights: Ints | None = None) -> float:
    """Mean of ``coco_precision`` over the thresholds 0.50, 0.55, ... 0.95."""
    return float(np.mean([coco_precision(ranked, least, weights) for least in OVERLAPS]))


def _nothing_found(ranked: Ranked, weights: Ints | None) -> float:
    truth = ranked.truth if weights is None else ranked.truth * weights
    return 0.0 if truth.any() else float("nan")
