"""How well each group was found by models that had seen only others: which one is the odd one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from tilewright.project.rows import OUT_OF_FOLD

LISTED = 12
"""Groups that are told, the worst first."""
COUNTS = ["intersection", "predicted_area", "truth_area"]


class GroupScore(NamedTuple):
    """A group against the others.

    Attributes:
        group: its name.
        slides: how many it has.
        own: of each class the pooled Dice of its slides; NaN where there is nothing to find.
        others: that of all others.
    """

    group: str
    slides: int
    own: list[float]
    others: list[float]


def group_scores(slides: pd.DataFrame, groups: Mapping[str, str], classes: Sequence[str]) -> list[GroupScore]:
    """The Dice of each group and that of the others, each slide by the fold that did not see it; the worst first.

    Args:
        slides: columns set, slide, class, and the pixels of ``COUNTS``, as ``evaluate`` writes them.
        groups: the group of each slide.
        classes: whose Dice is told.

    Returns:
        At most ``LISTED`` groups; none where there are fewer than three.
    """
    own = slides[slides["set"] == OUT_OF_FOLD]
    own = own.assign(group=own["slide"].map(groups))
    if own["group"].nunique() < 3:
        return []
    sums = own.groupby(["group", "class"])[COUNTS].sum()
    whole = own.groupby("class")[COUNTS].sum()
    sizes = own.groupby("group")["slide"].nunique()
    found = [
        GroupScore(
            name,
            int(sizes[name]),
            [_dice(sums, (name, each)) for each in classes],
            [_dice(whole.sub(sums.loc[name], fill_value=0), each) for each in classes],
        )
        for name in sizes.index.astype(str)
    ]
    return sorted(found, key=_behind)[:LISTED]


def _behind(score: GroupScore) -> float:
    """By how much the Dice of a group is above that of the others, in the mean over classes that it has."""
    apart = pd.Series(score.own) - pd.Series(score.others)
    return float(apart.mean()) if apart.notna().any() else float("inf")


def _dice(sums: pd.DataFrame, place: Any) -> float:
    if place not in sums.index:
        return float("nan")
    both, predicted, truth = sums.loc[place].to_numpy(float)
    return float(2 * both / (predicted + truth)) if truth else float("nan")
