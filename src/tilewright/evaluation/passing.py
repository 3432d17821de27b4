"""Objects while strips of a slide go by: those that reach the current one, with what was added up of each.

Objects are numbered; each arrives with the first strip that it may have pixels in, and leaves after the last.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.pixels.instances import Instances
from tilewright.pixels.runs import Ints

SAME = 0.8
"""From this intersection over union on, two outlines are one that was drawn twice."""
INTERVALS = 100_000
"""Of objects that are looked at together."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Passed:
    """Objects that have left, with what was added up of them.

    Attributes:
        number: of each, int64[n].
        area: its pixels, int64[n].
        counted: as of ``Passing``.
        beliefs: as of ``Passing``.
    """

    number: Ints
    area: Ints
    counted: Ints
    beliefs: Floats


class Passing:
    """Objects that come and go.

    Args:
        first: first row in which each may count, by number, int64[count].
        last: the row after the last, int64[count].
        sums: how many sums of beliefs are kept of each: of bands, and of views.

    Attributes:
        number: of each object that is there, int64[n].
        pixels: their pixels.
        counted: pixels that count, added up by the caller, int64[n].
        beliefs: sums of beliefs, added up by the caller, float64[bands, views, n].
    """

    def __init__(self, first: Ints, last: Ints, sums: tuple[int, int]) -> None:
        self._order, self._last, self._sums = np.argsort(first, kind="stable"), last, sums
        self._first = first[self._order]
        nothing = np.empty(0, np.int64)
        self._come, self.number, self.counted = 0, nothing, nothing
        self.pixels = Instances(nothing, nothing, nothing, 0)
        self.beliefs = np.empty((*sums, 0))

    def due(self, bottom: int) -> Ints:
        """The numbers of those that arrive above a row and have not been asked for."""
        before, self._come = self._come, int(np.searchsorted(self._first, bottom))
        return self._order[before : self._come]

    def arrive(self, number: Ints, pixels: Instances) -> None:
        """Add objects; their intervals are sorted by object."""
        self.number = np.concatenate([self.number, number])
        self.pixels = Instances.joined([self.pixels, pixels])
        self.counted = np.concatenate([self.counted, np.zeros(len(number), np.int64)])
        self.beliefs = np.concatenate([self.beliefs, np.zeros((*self._sums, len(number)))], axis=2)

    def portions(self) -> Iterator[tuple[slice, Instances]]:
        """Some objects after the other, by where they stand, with so many intervals that copies take little."""
        ends = np.cumsum(np.bincount(self.pixels.owner, minlength=self.pixels.count))
        portion = np.maximum(ends - 1, 0) // INTERVALS
        edges = [0, *(np.flatnonzero(np.diff(portion)) + 1).tolist(), len(ends)]
        for first, last in pairwise(edges):
            begin, end = np.searchsorted(self.pixels.owner, (first, last))
            held = self.pixels.starts[begin:end], self.pixels.stops[begin:end], self.pixels.owner[begin:end] - first
            yield slice(first, last), Instances(*held, last - first)

    def leave(self, bottom: int) -> Passed:
        """Take away the objects that end above a row."""
        stays, area = self._last[self.number] > bottom, self.pixels.area()
        gone = Passed(self.number[~stays], area[~stays], self.counted[~stays], self.beliefs[..., ~stays])
        self.number, self.counted, self.pixels = self.number[stays], self.counted[stays], self.pixels.taken(stays)
        self.beliefs = self.beliefs[..., stays]
        return gone


class Repeats:
    """Finds outlines that repeat an earlier one, among those that arrive.

    Args:
        place: of each outline in the order in which they were drawn, by number, int64[count].
        last: as of ``Passing``.

    Attributes:
        overlap: intersection over union with an earlier outline that each repeats, float64[count]; 0: with none.
    """

    def __init__(self, place: Ints, last: Ints) -> None:
        self._place, self._last = place, last
        self._number, self._shapes = np.empty(0, np.int64), np.empty(0, object)
        self.overlap = np.zeros(len(place))

    def arrive(self, number: Ints, shapes: NDArray[Any]) -> None:
        """Compare outlines that arrive with each other, and with those that are there."""
        known = len(self._number)
        self._number, self._shapes = np.concatenate([self._number, number]), np.concatenate([self._shapes, shapes])
        new, other = shapely.STRtree(self._shapes).query(shapes)
        new += known
        place = self._place[self._number]
        once = (other < known) | (place[other] < place[new])
        new, other = new[once], other[once]
        swapped = place[other] > place[new]
        later, earlier = np.where(swapped, other, new), np.where(swapped, new, other)
        found, overlap = self._same(later, earlier)
        np.maximum.at(self.overlap, self._number[found], overlap)

    def _same(self, later: Ints, earlier: Ints) -> tuple[Ints, Floats]:
        """Of pairs that may be the same the later ones of those that are, and their overlap."""
        shapes, overlap = self._shapes, np.empty(0)
        boxes = shapely.box(*shapely.bounds(shapes).T)
        for of in (boxes, shapes):  # boxes first, which cost nothing
            area, common = shapely.area(of), shapely.area(shapely.intersection(of[later], of[earlier]))
            overlap = common / np.maximum(area[later] + area[earlier] - common, 1e-9)
            same = overlap >= SAME
            later, earlier, overlap = later[same], earlier[same], overlap[same]
        return later, overlap

    def leave(self, bottom: int) -> None:
        """Forget the outlines that end above a row."""
        stays = self._last[self._number] > bottom
        self._number, self._shapes = self._number[stays], self._shapes[stays]
