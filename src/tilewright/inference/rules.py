"""Rules by which a threshold follows from slides whose truth is known.

What counts are groups: slides of one patient are alike, and a threshold that is best on few groups is mostly theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.histograms import BINS, Histogram, best_bin, bin_threshold, dice_curve
from tilewright.project.config.results import ThresholdRule

HALF = BINS // 2
"""The bin from which on probabilities are above one half."""
PRIOR = 2
"""Groups that one half counts for in the rule ``shrunk``."""
DRAWS = 200
"""Draws of groups of a bootstrap."""
FEW = 8
"""Groups below which a threshold says more of them than of others."""

Curve = NDArray[np.float64]


class Interval(NamedTuple):
    """Between which thresholds nine of ten draws of as many groups have their best."""

    low: float
    high: float


def fitted_threshold(groups: Sequence[Sequence[Histogram]], aim: str, rule: ThresholdRule) -> float:
    """The threshold of a class.

    Args:
        groups: the slides of each group.
        aim: pooled or slide, as for ``dice_curve``.
        rule: one of ``RULES``.
    """
    return bin_threshold(RULES[rule](groups, aim))


def threshold_interval(groups: Sequence[Sequence[Histogram]], aim: str) -> Interval:
    """How far apart the best thresholds of other groups of this kind would lie, by the bootstrap over groups."""
    best = [best_bin(curve) for curve in _drawn(groups, aim)]
    low, high = np.quantile(best, (0.05, 0.95), method="nearest")
    return Interval(bin_threshold(int(low)), bin_threshold(int(high)))


def _best(groups: Sequence[Sequence[Histogram]], aim: str) -> int:
    """What is best on all slides."""
    return best_bin(_curve(groups, aim))


def _bootstrap(groups: Sequence[Sequence[Histogram]], aim: str) -> int:
    """The mean of what is best on draws of groups."""
    return round(float(np.mean([best_bin(curve) for curve in _drawn(groups, aim)])))


def _one_se(groups: Sequence[Sequence[Histogram]], aim: str) -> int:
    """The nearest to one half of those that are less than one standard error worse than the best."""
    curve, drawn = _curve(groups, aim), _drawn(groups, aim)
    best = best_bin(curve)
    error = (drawn[:, [best]] - drawn).std(axis=0)
    good = np.flatnonzero(curve[best] - curve <= error + 1e-9)
    return int(min(good[good > 0], key=lambda place: abs(place - HALF)))


def _shrunk(groups: Sequence[Sequence[Histogram]], aim: str) -> int:
    """The mean of what is best, which counts for as many groups as there are, and one half."""
    count = len(groups)
    return round((count * _best(groups, aim) + PRIOR * HALF) / (count + PRIOR))


RULES: Mapping[ThresholdRule, Callable[[Sequence[Sequence[Histogram]], str], int]] = {
    "best": _best,
    "bootstrap": _bootstrap,
    "one_se": _one_se,
    "shrunk": _shrunk,
}
"""How a rule finds the bin from which on pixels are taken."""


def _curve(groups: Sequence[Sequence[Histogram]], aim: str) -> Curve:
    return dice_curve([slide for group in groups for slide in group], aim)


def _drawn(groups: Sequence[Sequence[Histogram]], aim: str) -> Curve:
    """Dice by bin on draws of as many groups, with the same draws for the same number: draws x 256."""
    count = len(groups)
    draws = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    times = np.apply_along_axis(np.bincount, 1, draws, minlength=count)
    if aim == "slide":
        curves = np.stack([len(group) * dice_curve(group, aim) for group in groups])
        return np.asarray(times @ curves / (times @ [len(group) for group in groups])[:, None], np.float64)
    positive, negative = (
        np.stack([np.sum([getattr(slide, name) for slide in group], axis=0) for group in groups])
        for name in ("positive", "negative")
    )
    pairs = zip(times @ positive, times @ negative, strict=True)
    return np.stack([dice_curve([Histogram(*pair)], aim) for pair in pairs])
