"""Whether the outlines of a source differ all together from what networks see: larger, smaller, or moved."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

SURE = 3.0
"""Standard errors of a median from which on a difference is told."""
LEAST_PAIRS = 20
LEAST_PIXELS, LEAST_RATIO = 1.0, 1.1
"""Offsets of less than a pixel and areas that differ by less than a tenth are nothing that a person would correct."""
TO_DEVIATION = 1.4826 * 1.2533
"""From the median absolute deviation to the standard error of a median times the root of the number, for normal
distributions (Rousseeuw & Croux 1993; Kenney & Keeping 1962)."""
OFFSET_COLUMNS = ("source", "class", "pairs", "right", "down", "area_ratio", "verdict")


def source_offsets(pairs: pd.DataFrame) -> pd.DataFrame:
    """How outlines differ from the predicted objects that they belong to, by source and class.

    Args:
        pairs: a row for each outline with a counterpart: columns source, class, right and down (pixels from the centre
            of the predicted object to that of the outline), outlined and predicted (areas in pixels).

    Returns:
        The columns ``OFFSET_COLUMNS``: right, down and area_ratio are medians; the verdict is a sentence, empty where
        nothing is sure.
    """
    rows = [
        _row(source, name, part)
        for source, own in pairs.groupby("source", sort=True)
        for name, part in own.groupby("class", sort=True)
    ]
    return pd.DataFrame(rows, columns=OFFSET_COLUMNS)


def _row(source: Any, name: Any, part: pd.DataFrame) -> tuple[Any, ...]:
    right, down = _Median.of(part["right"]), _Median.of(part["down"])
    ratio = _Median.of(np.log(part["outlined"] / part["predicted"]))
    said = []
    if len(part) >= LEAST_PAIRS:
        if right.differs(LEAST_PIXELS) or down.differs(LEAST_PIXELS):
            across = f"{abs(right.value):.1f} pixels to the {'right' if right.value > 0 else 'left'}"
            along = f"{abs(down.value):.1f} pixels {'below' if down.value > 0 else 'above'}"
            said.append(f"lie {across} of and {along} what the networks see")
        if ratio.differs(math.log(LEAST_RATIO)):
            said.append(f"have {math.exp(ratio.value):.2f} times its area")
    verdict = " and ".join(said)
    return (
        source,
        name,
        len(part),
        round(right.value, 2),
        round(down.value, 2),
        round(math.exp(ratio.value), 4),
        verdict,
    )


class _Median(NamedTuple):
    """A median and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: ArrayLike) -> "_Median":
        numbers = np.asarray(values)
        value = float(np.median(numbers))
        spread = float(np.median(np.abs(numbers - value)))
        return cls(value, TO_DEVIATION * spread / math.sqrt(len(numbers)))

    def differs(self, least: float) -> bool:
        """Whether it is surely not 0, and by so much that it matters."""
        return abs(self.value) >= max(least, SURE * self.error)
