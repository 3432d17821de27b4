"""Probabilities counted in 256 bins, from which the Dice at every threshold follows exactly.

Bin ``b`` holds the pixels whose probability, times 255 and rounded, is ``b``. At the threshold of bin ``b`` the
pixels of ``b`` and above are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 256


@dataclass(frozen=True)
class Histogram:
    """Pixels of one slide and class by probability.

    Attributes:
        positive: 256 counts of pixels of the class.
        negative: 256 counts of the others.
    """

    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


def dice_curve(histograms: Sequence[Histogram], aim: str) -> NDArray[np.float64]:
    """Dice when pixels of bin ``b`` and above are taken, for every ``b`` from 0 to 255.

    Args:
        histograms: one for each slide.
        aim: pooled: of all slides as one; slide: the mean over slides. Nothing to find and nothing found is 1.
    """
    positive = np.stack([each.positive for each in histograms])
    negative = np.stack([each.negative for each in histograms])
    if aim == "pooled":
        positive, negative = positive.sum(0, keepdims=True), negative.sum(0, keepdims=True)
    hits = positive[:, ::-1].cumsum(1)[:, ::-1]
    taken = hits + negative[:, ::-1].cumsum(1)[:, ::-1]
    total = taken + positive.sum(1, keepdims=True)
    curve = np.divide(2.0 * hits, total, out=np.ones(total.shape), where=total > 0)
    return np.asarray(curve.mean(0), np.float64)


def best_bin(curve: NDArray[np.float64]) -> int:
    """The best bin above 0; in the middle where several are equally good."""
    best = np.flatnonzero(curve[1:] >= curve[1:].max() - 1e-12) + 1
    return int(best[len(best) // 2])


def bin_threshold(index: int) -> float:
    """The probability between the bins ``index - 1`` and ``index``."""
    return round((index - 0.5) / (BINS - 1), 6)


def counts_at(histogram: Histogram, index: int) -> tuple[int, int, int]:
    """Pixels that are rightly taken, taken, and of the class, when those of bin ``index`` and above are taken."""
    hits = int(histogram.positive[index:].sum())
    return hits, hits + int(histogram.negative[index:].sum()), int(histogram.positive.sum())


@dataclass(frozen=True)
class Reliability:
    """How often pixels of a predicted probability are of the class, in bins of equal width (Guo et al. 2017).

    Attributes:
        predicted: mean probability of the pixels of each bin that has some, float64[n].
        observed: share of them that are of the class.
        pixels: their number, int64[n].
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, histograms: Sequence[Histogram], bins: int = 20) -> "Reliability":
        """The reliability over all pixels of some slides."""
        positive, negative = (sum(np.asarray(each) for each in side) for side in _sides(histograms))
        value = np.arange(BINS) / (BINS - 1)
        place = np.minimum((value * bins).astype(int), bins - 1)
        pixels = np.bincount(place, positive + negative)
        kept = pixels > 0
        predicted = np.bincount(place, (positive + negative) * value)[kept] / pixels[kept]
        observed = np.bincount(place, positive)[kept] / pixels[kept]
        return cls(predicted, observed, pixels[kept].astype(np.int64))

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of observed and predicted, by pixels."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.pixels))


def _sides(histograms: Sequence[Histogram]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    return [each.positive for each in histograms], [each.negative for each in histograms]
