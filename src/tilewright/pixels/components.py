"""Connected components of masks, from row runs: of a mask as a whole, or strip by strip with union-find across strips.

Pixels that share an edge or a corner are connected, unless stated otherwise.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy  # its parts load when they are first used: few steps pay for them
from numpy.typing import DTypeLike, NDArray

from tilewright.pixels.runs import Ints, Runs, overlaps
from tilewright.pixels.strips import Strip


def components_of(runs: Runs, connectivity: Literal[4, 8] = 8) -> Ints:
    """The connected component of each run.

    Args:
        runs: a mask.
        connectivity: 8: pixels that share a corner belong together; 4: only those that share an edge.

    Returns:
        int64[n], from 0, in the order of the components' first pixels, by rows.
    """
    starts, stops = runs.intervals()
    below = runs.width + 1
    reach = 1 if connectivity == 8 else 0
    upper, lower = overlaps(starts + below - reach, stops + below + reach, starts, stops)
    count = len(runs)
    return by_first(_merged(upper, lower, count))


def groups(owner: Ints) -> tuple[Ints, Ints]:
    """Where the members of each owner are.

    Args:
        owner: int64[n]; every number from 0 to the largest occurs.

    Returns:
        The order that sorts the members by owner, int64[n], and the place in it of each owner's first, int64[owner].
    """
    order = np.argsort(owner, kind="stable")
    count = int(owner.max(initial=-1)) + 1
    return order, np.searchsorted(owner[order], np.arange(count)).astype(np.int64, copy=False)


def stacked(runs: Runs, owner: Ints) -> tuple[Runs, Ints, Ints]:
    """Objects one below the other with a free row between them, so that none touches another.

    Args:
        runs: their pixels.
        owner: the object of each run, int64[n]; every number from 0 to the largest occurs.

    Returns:
        The runs, the place that each had, int64[n], and what brings the rows of each object back, int64[objects].
    """
    order, first = groups(owner)
    row = runs.row[order]
    if not len(first):
        return runs, order, np.empty(0, np.int64)
    top, bottom = row[first], row[np.append(first[1:], len(row)) - 1]
    end = np.cumsum(bottom - top + 2)
    down = top - (end - (bottom - top + 2))
    moved = Runs(row - down[owner[order]], runs.start[order], runs.stop[order], int(end[-1]), runs.width)
    return moved, order, down


@dataclass(frozen=True)
class Components:
    """Whole components of a mask, and nothing else of it.

    Attributes:
        runs: their pixels, in the coordinates of the mask.
        owner: the component of each run, int64[n], from 0 in the order of the components' first pixels, by rows.
        values: what came with each run, [n], of the type that the tracker was made for.
    """

    runs: Runs
    owner: Ints
    values: NDArray[Any]


class ComponentTracker:
    """Finds the components of a mask whose strips arrive from top to bottom.

    Each is given out once it can grow no more.

    In memory are the components that reach the last row seen, and no others.

    Args:
        height: rows of the mask.
        width: columns of the mask.
        values: type of what comes with each run; structured where that is more than one number.
        connectivity: 8 or 4, as of ``components_of``.
    """

    def __init__(self, height: int, width: int, values: DTypeLike = np.bool_, connectivity: Literal[4, 8] = 8) -> None:
        self._height, self._connectivity = height, connectivity
        self._runs = Runs.empty(height, width)
        self._component = np.empty(0, np.int64)
        self._values = np.empty(0, values)

    def push(self, strip: Strip, values: NDArray[Any] | None = None) -> Components:
        """Add the next strip.

        Args:
            strip: follows the last one without a gap.
            values: what comes with each run, [runs].

        Returns:
            The components that end above the last row of the strip; after the last strip all that are left. Together,
            the components of all calls are those of the mask, by the strip of their last row, then by their first
            pixel.
        """
        runs, component = self._joined(strip)
        given = values if values is not None else np.zeros(len(strip.runs), self._values.dtype)
        carried = np.concatenate([self._values, given])
        count = int(component.max(initial=-1)) + 1
        open_ends = np.zeros(count, np.bool_)
        if strip.bottom < self._height:
            open_ends[component[np.searchsorted(runs.row, strip.bottom - 1) :]] = True
        stays = open_ends[component]
        self._runs, self._values = runs.take(stays), carried[stays]
        self._component = (np.cumsum(open_ends) - 1)[component[stays]]
        closed = component[~stays]
        return Components(runs.take(~stays), by_first(closed), carried[~stays])

    def first_row_of_smaller(self, area: float) -> int:
        """The first row of the components that are still open and have fewer pixels than ``area``.

        -1: there is none.
        """
        found = np.bincount(self._component, self._runs.lengths())
        small = found[self._component] < area
        return int(self._runs.row[np.argmax(small)]) if small.any() else -1

    def forget_upper_rows(self, amount: float) -> int:
        """Of open components whose values sum to ``amount`` or more keep the last row alone, and ``amount``.

        The values are plain numbers.

        Returns:
            The first row of the other open components; -1: there is none.
        """
        if not len(self._runs):
            return -1
        large = (np.bincount(self._component, self._values) >= amount)[self._component]
        self._values[large] = amount
        first = int(self._runs.row[np.argmin(large)]) if not large.all() else -1
        stays = ~large | (self._runs.row == self._runs.row[-1])
        self._runs, self._component, self._values = self._runs.take(stays), self._component[stays], self._values[stays]
        return first

    def _joined(self, strip: Strip) -> tuple[Runs, Ints]:
        """The runs that were open and those of the strip, and the component of each, numbered without gaps."""
        before, after = self._runs, strip.runs
        new, reach = components_of(after, self._connectivity), 1 if self._connectivity == 8 else 0
        known = int(self._component.max(initial=-1)) + 1
        edge = np.searchsorted(before.row, strip.top - 1)
        above, below = before.take(slice(int(edge), None)), after.take(after.row == strip.top)
        starts, stops = above.intervals()
        step = after.width + 1
        upper, lower = overlaps(starts + step - reach, stops + step + reach, *below.intervals())
        count = known + int(new.max(initial=-1)) + 1
        merged = _merged(self._component[int(edge) :][upper], known + new[: len(below)][lower], count)
        runs = Runs.concatenate(((0, before), (0, after)), after.height, after.width)
        return runs, merged[np.concatenate([self._component, known + new])]


def _merged(one: Ints, other: Ints, count: int) -> Ints:
    """The part of a graph that each of ``count`` nodes belongs to, where edges lead from ``one`` to ``other``."""
    graph = scipy.sparse.coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    _, found = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(found, np.int64)


def by_first(component: Ints) -> Ints:
    """Components, or other labels, renumbered from 0 in the order in which they first occur."""
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank: Ints = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    renumbered: Ints = rank[inverse]
    return renumbered
