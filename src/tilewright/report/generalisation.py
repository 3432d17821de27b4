"""How well slides were found by models that had not seen them, by group and by what the sheet says of them.

Which group is the odd one; whether old donors, or those of one hospital, are found as well as others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tilewright.project.rows import OUT_OF_FOLD

LISTED = 12
"""Groups that are told, the worst first."""
MOST_VALUES = 8
"""A column of more different numbers is told by their quarters."""
COUNTS = ["intersection", "predicted_area", "truth_area"]


class PartScore(NamedTuple):
    """Some slides against the others.

    Attributes:
        name: of the group, or what a column says of them.
        slides: how many there are.
        own: of each class the pooled Dice of its slides; NaN where there is nothing to find.
        others: that of all others.
    """

    name: str
    slides: int
    own: list[float]
    others: list[float]


def group_scores(slides: pd.DataFrame, groups: Mapping[str, str], classes: Sequence[str]) -> list[PartScore]:
    """The Dice of each group and that of the others, each slide by the fold that did not see it; the worst first.

    Args:
        slides: columns set, slide, class, and the pixels of ``COUNTS``, as ``evaluate`` writes them.
        groups: the group of each slide.
        classes: whose Dice is told.

    Returns:
        At most ``LISTED`` groups; none where there are fewer than three.
    """
    own = slides[slides["set"] == OUT_OF_FOLD]
    found = _scores(own, own["slide"].map(groups), classes)
    return sorted(found, key=_behind)[:LISTED] if len(found) > 2 else []


def column_scores(slides: pd.DataFrame, column: str, classes: Sequence[str]) -> list[PartScore]:
    """The same by what a column of the sheet says, in its order; numbers of many values by their quarters.

    Args:
        slides: as of ``group_scores``, with the column as text as it stands in the sheet.
        column: its name.
        classes: whose Dice is told.

    Returns:
        The values, slides without one last; of more than ``LISTED`` those that are furthest behind. None where all
        slides say the same.
    """
    own = slides[slides["set"] == OUT_OF_FOLD]
    texts = own[column]
    numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce")
    are_numbers = bool((numbers.notna() == (texts != "")).all())
    many = are_numbers and numbers.nunique() > MOST_VALUES
    parts = _quarters(texts, numbers, own["slide"]) if many else texts
    place = numbers if are_numbers else texts.where(texts != "")
    order = parts.iloc[place.reset_index(drop=True).sort_values(kind="stable").index].unique()
    found = {part.name: part for part in _scores(own, parts, classes)}
    if len(found) > LISTED:
        return sorted(found.values(), key=_behind)[:LISTED]
    return [found[name] for name in order if name in found]


def _quarters(texts: pd.Series, numbers: pd.Series, slides: pd.Series) -> pd.Series:
    """For each number the quarter of the slides that it lies in, by its first and last value; empty for no number."""
    known = numbers[~slides.duplicated()].dropna().to_numpy(float)
    quarter = np.searchsorted(np.quantile(known, [0.25, 0.5, 0.75]), numbers.to_numpy(float))
    names = texts.copy()
    for number in np.unique(quarter[numbers.notna()]):
        inside = numbers[(quarter == number) & numbers.notna()]
        ends = texts[inside.idxmin()], texts[inside.idxmax()]
        names[inside.index] = " to ".join(dict.fromkeys(ends))
    return names


def _scores(own: pd.DataFrame, names: pd.Series, classes: Sequence[str]) -> list[PartScore]:
    """Of the slides of each name; nothing where all have one."""
    if names.nunique() < 2:
        return []
    own = own.assign(part=names)
    sums = own.groupby(["part", "class"])[COUNTS].sum()
    whole = own.groupby("class")[COUNTS].sum()
    sizes = own.groupby("part")["slide"].nunique()
    return [
        PartScore(
            name,
            int(sizes[name]),
            [_dice(sums, (name, each)) for each in classes],
            [_dice(whole.sub(sums.loc[name], fill_value=0), each) for each in classes],
        )
        for name in sizes.index.astype(str)
    ]


def _behind(score: PartScore) -> float:
    """By how much the Dice of a group is above that of the others, in the mean over classes that it has."""
    apart = pd.Series(score.own) - pd.Series(score.others)
    return float(apart.mean()) if apart.notna().any() else float("inf")


def _dice(sums: pd.DataFrame, place: Any) -> float:
    if place not in sums.index:
        return float("nan")
    both, predicted, truth = sums.loc[place].to_numpy(float)
    return float(2 * both / (predicted + truth)) if truth else float("nan")
