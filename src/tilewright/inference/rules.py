"""Rules by which a threshold follows from slides whose truth is known.

What counts are groups: slides of one patient are alike, and a threshold that is best on few groups is mostly theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Evidence:
    """How good each of some increasing thresholds is, of which the first one takes everything and is never chosen.

    Attributes:
        curve: the score of each on all slides, float64[n].
        drawn: gives the same on draws of as many groups, float64[draws, n].
        groups: how many groups there are.
        half: the place of one half among the thresholds.
    """

    curve: Curve
    drawn: Callable[[], Curve]
    groups: int
    half: int

    def interval(self) -> tuple[int, int]:
        """Between which places nine of ten draws have their best."""
        low, high = np.quantile([best_bin(curve) for curve in self.drawn()], (0.05, 0.95), method="nearest")
        return int(low), int(high)


def fitted_threshold(groups: Sequence[Sequence[Histogram]], aim: str, rule: ThresholdRule) -> float:
    """The threshold of a class.

    Args:
        groups: the slides of each group.
        aim: pooled or slide, as for ``dice_curve``.
        rule: one of ``RULES``.
    """
    return bin_threshold(RULES[rule](_evidence(groups, aim)))


def threshold_interval(groups: Sequence[Sequence[Histogram]], aim: str) -> Interval:
    """How far apart the best thresholds of other groups of this kind would lie, by the bootstrap over groups."""
    low, high = _evidence(groups, aim).interval()
    return Interval(bin_threshold(low), bin_threshold(high))


def _best(evidence: Evidence) -> int:
    """What is best on all slides."""
    return best_bin(evidence.curve)


def _bootstrap(evidence: Evidence) -> int:
    """The mean of what is best on draws of groups."""
    return round(float(np.mean([best_bin(curve) for curve in evidence.drawn()])))


def _one_se(evidence: Evidence) -> int:
    """The nearest to one half of those that are less than one standard error worse than the best."""
    curve, drawn = evidence.curve, evidence.drawn()
    best = best_bin(curve)
    error = (drawn[:, [best]] - drawn).std(axis=0)
    good = np.flatnonzero(curve[best] - curve <= error + 1e-9)
    return int(min(good[good > 0], key=lambda place: abs(place - evidence.half)))


def _shrunk(evidence: Evidence) -> int:
    """The mean of what is best, which counts for as many groups as there are, and one half."""
    return round((evidence.groups * _best(evidence) + PRIOR * evidence.half) / (evidence.groups + PRIOR))


RULES: Mapping[ThresholdRule, Callable[[Evidence], int]] = {
    "best": _best,
    "bootstrap": _bootstrap,
    "one_se": _one_se,
    "shrunk": _shrunk,
}
"""How a rule finds the place of a threshold."""


def draws_of_groups(count: int) -> NDArray[np.int64]:
    """How often each group is in each draw of as many groups, the same draws for the same number: draws x groups."""
    draws = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    return np.asarray(np.apply_along_axis(np.bincount, 1, draws, minlength=count), np.int64)


def _evidence(groups: Sequence[Sequence[Histogram]], aim: str) -> Evidence:
    """What the slides say of each bin."""
    curve = dice_curve([slide for group in groups for slide in group], aim)
    return Evidence(curve, lambda: _drawn(groups, aim), len(groups), HALF)


def _drawn(groups: Sequence[Sequence[Histogram]], aim: str) -> Curve:
    """Dice by bin on draws of groups: draws x 256."""
    times = draws_of_groups(len(groups))
    if aim == "slide":
        curves = np.stack([len(group) * dice_curve(group, aim) for group in groups])
        return np.asarray(times @ curves / (times @ [len(group) for group in groups])[:, None], np.float64)
    positive, negative = (
        np.stack([np.sum([getattr(slide, name) for slide in group], axis=0) for group in groups])
        for name in ("positive", "negative")
    )
    pairs = zip(times @ positive, times @ negative, strict=True)
    return np.stack([dice_curve([Histogram(*pair)], aim) for pair in pairs])
