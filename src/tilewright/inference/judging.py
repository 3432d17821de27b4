"""Slides with known truth that something is fitted on, and how good it is on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tilewright.inference.rules import Interval
from tilewright.pixels.histograms import Histogram
from tilewright.project.project import Bounds

Counts = tuple[int, int, int]
"""Pixels that are rightly taken, taken, and of the class."""


@dataclass(frozen=True, eq=False)
class KnownSlide:
    """A slide that is labelled for a class.

    Attributes:
        name: its name.
        fold: the fold that validates on it.
        group: its group.
        source: its source.
        histogram: its probabilities, counted.
        probability: where they are.
        mask: where the truth is.
        outlines: where the true objects are.
    """

    name: str
    fold: int | None
    group: str
    source: str
    histogram: Histogram
    probability: Path
    mask: Path
    outlines: Path


class Judged(NamedTuple):
    """How good bounds are.

    Attributes:
        dice: of pixels; None: nothing is known of it.
        f1: of objects; None: they are not the aim.
    """

    dice: float | None
    f1: float | None = None


class Fitter(Protocol):
    """Finds what becomes an object of a class."""

    def fit(self, slides: Sequence[KnownSlide]) -> Bounds:
        """What is best on some slides."""

    def interval(self, slides: Sequence[KnownSlide]) -> Interval | None:
        """Where the best threshold for other groups would lie; None where it is given, or there is one group only."""

    def judge(self, bounds: Mapping[KnownSlide, Bounds]) -> Judged:
        """How good the bounds of some slides are on them."""


def nested(fitter: Fitter, slides: Sequence[KnownSlide]) -> dict[KnownSlide, Bounds]:
    """For each slide what is best on those of the other folds; empty where there is one fold only."""
    found: dict[KnownSlide, Bounds] = {}
    for fold in {slide.fold: None for slide in slides}:
        own, others = ([slide for slide in slides if (slide.fold == fold) is same] for same in (True, False))
        if others:
            found |= dict.fromkeys(own, fitter.fit(others))
    return found


def by_group(slides: Sequence[KnownSlide]) -> list[list[KnownSlide]]:
    """The slides of each group."""
    groups: dict[str, list[KnownSlide]] = {}
    for slide in slides:
        groups.setdefault(slide.group, []).append(slide)
    return list(groups.values())


def dice_of(counts: Sequence[Counts], aim: str) -> float:
    """Dice of slides, the mean over them or of all as one; nothing to find and nothing found is 1.

    Args:
        counts: of each slide.
        aim: slide: the mean over slides; else of all as one.
    """
    table = np.array(counts, np.int64)
    if aim != "slide":
        table = table.sum(axis=0, keepdims=True)
    total = table[:, 1] + table[:, 2]
    return float(np.divide(2 * table[:, 0], total, out=np.ones(len(table)), where=total > 0).mean())
