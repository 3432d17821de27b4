"""What is known of objects: area, place, confidence. Pixels of the slide, x before y."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.components import Components, groups
from tilewright.pixels.runs import Ints, Runs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objects:
    """The objects of a class, in the order of their first pixels by rows.

    Attributes:
        runs: their pixels.
        owner: the object of each run, int64[runs], from 0.
        area: pixels of each object, int64[n].
        x: column of the centre of mass, float64[n]; the centre of the first pixel is 0.5.
        y: row of it.
        left: first column, int64[n].
        top: first row.
        first_x: column of the first pixel of that row.
        right: the column after the last.
        bottom: the row after the last.
        confidence: 0 to 1, float64[n].
    """

    runs: Runs
    owner: Ints
    area: Ints
    x: Floats
    y: Floats
    left: Ints
    top: Ints
    first_x: Ints
    right: Ints
    bottom: Ints
    confidence: Floats

    def __len__(self) -> int:
        return len(self.area)

    def take(self, chosen: NDArray[np.bool_]) -> "Objects":
        """Some of the objects.

        Args:
            chosen: bool[n].
        """
        inside = chosen[self.owner]
        own = {
            field.name: getattr(self, field.name)[chosen]
            for field in fields(self)
            if field.name not in ("runs", "owner")
        }
        return replace(self, runs=self.runs.take(inside), owner=(np.cumsum(chosen) - 1)[self.owner[inside]], **own)


def measure(components: Components, *, use_max: bool) -> Objects:
    """The components as objects.

    Their confidence is the mean or the largest value of the pixels at or above the threshold.

    Args:
        components: with the ``SCORES`` of each run.
        use_max: whether the confidence is the largest value.
    """
    runs, owner = components.runs, components.owner
    order, first = groups(owner)
    start, stop, row = runs.start[order], runs.stop[order], runs.row[order]
    if not len(first):
        nothing, none = np.empty(0), np.empty(0, np.int64)
        return Objects(runs, owner, none, nothing, nothing, none, none, none, none, none, nothing)
    length, area = stop - start, np.add.reduceat(stop - start, first)
    values = components.values[order]
    value = (
        np.maximum.reduceat(values["largest"], first)
        if use_max
        else np.add.reduceat(values["sum"], first) / np.maximum(np.add.reduceat(values["count"], first), 1)
    )
    return Objects(
        runs=runs,
        owner=owner,
        area=area,
        x=np.add.reduceat(length * (start + stop), first) / (2 * area),
        y=np.add.reduceat(length * (2 * row + 1), first) / (2 * area),
        left=np.minimum.reduceat(start, first),
        top=row[first],
        first_x=start[first],
        right=np.maximum.reduceat(stop, first),
        bottom=np.maximum.reduceat(row, first) + 1,
        confidence=value / 255,
    )
