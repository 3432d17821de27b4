"""Objects that touch, told apart by seeds: each pixel goes to the nearest seed of its component.

A seed is a connected part of a mask that is surely of one object. Pixels of the mask that are farther than ``reach``
from every seed of their component, or that no pixels of the same object connect with its seed, are no object's: what is
connected of them becomes an object of its own.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.components import Components, by_first, components_of, stacked
from tilewright.pixels.grid import Size, Window, blocks
from tilewright.pixels.runs import Ints, Runs, spread
from tilewright.pixels.thresholds import SCORES

PIECE = 1024
Labels = NDArray[np.int32]


class Pixels(NamedTuple):
    """Pixels and their values.

    Attributes:
        runs: the pixels.
        values: of each, run after run, uint8; empty: they have none.
    """

    runs: Runs
    values: NDArray[np.uint8]


class Waiting:
    """Pixels in a mask whose components may still grow, by increasing place.

    Args:
        height: rows of the mask.
        width: columns of the mask.
    """

    def __init__(self, height: int, width: int) -> None:
        self._runs, self._values = Runs.empty(height, width), np.empty(0, np.uint8)

    def add(self, runs: Runs, values: NDArray[np.uint8] | None = None) -> None:
        """Add those of the next rows, all with values or all without; they lie in the mask."""
        self._runs = Runs.concatenate(((0, self._runs), (0, runs)), runs.height, runs.width)
        if values is not None:
            self._values = np.concatenate([self._values, values])

    def take(self, mask: Runs) -> Pixels:
        """Take out those that lie in whole components of the mask."""
        begins = self._runs.intervals()[0]
        starts, stops = mask.intervals()
        taken = np.zeros(len(begins), np.bool_)
        taken[spread(np.searchsorted(begins, starts), np.searchsorted(begins, stops))] = True
        own = np.repeat(taken, self._runs.lengths()) if len(self._values) else np.empty(0, np.bool_)
        found = Pixels(self._runs.take(taken), self._values[own])
        self._runs, self._values = self._runs.take(~taken), self._values[~own]
        return found


def part_by_seeds(components: Components, seeds: Runs, pixels: Pixels, least: float, reach: int) -> Components:
    """Give each pixel of whole components to its nearest seed.

    Of seeds that are as near, that in the uppermost row counts, then that in the first column. Components are seen in
    blocks with a halo, which changes nothing.

    Args:
        components: with the ``SCORES`` of each run.
        seeds: pixels of seeds; those that share an edge are one seed. All lie in the components.
        pixels: those of the components that have a value, as the scores count it.
        least: seeds of fewer pixels are none.
        reach: the farthest that a seed reaches, in pixels.

    Returns:
        The objects; their pixels are those of the components.
    """
    whole, seed = components.runs, components_of(seeds, connectivity=4)
    large = np.bincount(seed, seeds.lengths())[seed] >= least if len(seed) else np.empty(0, np.bool_)
    seeds, seed = seeds.take(large), by_first(seed[large])
    count = int(seed.max(initial=-1)) + 1
    if not count:
        return components
    # pixels of components without any seed need no look
    inside = np.searchsorted(whole.intervals()[0], seeds.intervals()[0], side="right") - 1
    seeded = np.zeros(int(components.owner.max()) + 1, np.bool_)
    seeded[components.owner[inside]] = True
    looked = seeded[components.owner]
    parts = list(_parts(whole.take(looked), components.owner[looked], seeds, seed, reach))
    row, start, stop, label = (np.concatenate(column) for column in zip(*parts, strict=True))
    near, label = _joined(row, start, stop, label, whole.size)
    own = _hold_seeds(near, label, seeds)
    lost, plain = near.take(~own), whole.take(~looked)
    rest = Runs.of(lost.row, lost.start, lost.stop, whole.height, whole.width)
    pieces = [
        (near.row[own], near.start[own], near.stop[own], label[own]),
        (rest.row, rest.start, rest.stop, components_of(rest) + count + 1),
    ]
    after = max((int(each[3].max(initial=0)) for each in pieces), default=0) + 1
    pieces.append((plain.row, plain.start, plain.stop, components.owner[~looked] + after))
    row, start, stop, label = (np.concatenate(column) for column in zip(*pieces, strict=True))
    runs, owner = _joined(row, start, stop, label, whole.size)
    return Components(runs, by_first(owner), _scores(runs, pixels))


def _parts(
    whole: Runs, component: Ints, seeds: Runs, seed: Ints, reach: int
) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """Row, start, stop and label of runs, block by block; label 0: no seed reaches them."""
    bounds, halo = whole.bounds(), reach + 1
    numbered, labelled = _Painter(whole, component + 1), _Painter(seeds, seed + 1)
    for part in blocks(Size(bounds.width, bounds.height), PIECE):
        core = Window(part.x + bounds.x, part.y + bounds.y, part.width, part.height)
        if not len(whole.clip(core)):
            continue
        seen = Window(core.x - halo, core.y - halo, core.width + 2 * halo, core.height + 2 * halo)
        labels, inside = labelled.paint(seen), numbered.paint(seen)
        grow(labels, inside, halo, reach)
        rows, columns = slice(halo, halo + core.height), slice(halo, halo + core.width)
        row, start, stop, label = _runs_of(np.where(inside[rows, columns] > 0, labels[rows, columns], -1))
        yield row + core.y, start + core.x, stop + core.x, label


def _hold_seeds(runs: Runs, label: Ints, seeds: Runs) -> NDArray[np.bool_]:
    """Whether each run is of the part of its object that holds the seed; others are cut off by what is not of it.

    Args:
        runs: the pixels of objects.
        label: the object of each run; 0: none.
        seeds: the pixels of seeds, each in a run of its object.
    """
    moved, order, _ = stacked(runs, np.unique(label, return_inverse=True)[1])
    part = np.empty(len(runs), np.int64)
    part[order] = components_of(moved)
    inside = np.searchsorted(runs.intervals()[0], seeds.intervals()[0], side="right") - 1
    return np.isin(part, part[inside]) & (label > 0)


def _scores(runs: Runs, pixels: Pixels) -> NDArray[np.void]:
    """The ``SCORES`` of runs by the values of their pixels; of a run none of which has a value, zeros."""
    owner = np.searchsorted(runs.intervals()[0], spread(*pixels.runs.intervals()), side="right") - 1
    found, values = np.zeros(len(runs), SCORES), pixels.values.astype(np.float64)
    if len(owner):
        first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
        place = owner[first]
        found["count"][place] = np.diff(first, append=len(owner))
        found["sum"][place] = np.add.reduceat(values, first)
        found["largest"][place] = np.maximum.reduceat(values, first)
    return found


class _Painter:
    """Runs with numbers, to be painted into windows, which may reach beyond the mask."""

    def __init__(self, runs: Runs, numbers: Ints) -> None:
        self._runs, self._numbers = runs, numbers

    def paint(self, window: Window) -> Labels:
        """The number of each pixel, 0 where there is no run, int32[rows, columns]."""
        found = np.zeros((window.height, window.width), np.int32)
        first, last = np.searchsorted(self._runs.row, (window.y, window.y + window.height))
        part = self._runs.take(slice(int(first), int(last)))
        start = np.maximum(part.start, window.x) - window.x
        stop = np.minimum(part.stop, window.x + window.width) - window.x
        line = (part.row - window.y) * window.width
        length = np.maximum(stop - start, 0)
        found.reshape(-1)[spread(line + start, line + stop)] = np.repeat(self._numbers[first:last], length)
        return found


def grow(labels: Labels, inside: Labels, margin: int, reach: int) -> None:
    """Label pixels by the nearest seed of their component, in place.

    Args:
        labels: of the seeds from 1 on, 0 elsewhere; of pixels at least ``margin`` from the border it is completed.
        inside: the component of each pixel from 1 on, 0 beyond the mask.
        margin: larger than ``reach``.
        reach: the farthest that a seed reaches.
    """
    import cv2  # takes a while to load, and most masks have no seeds

    height, width = labels.shape
    waiting = (inside > 0) & (labels == 0)
    waiting[:margin] = waiting[height - margin :] = waiting[:, :margin] = waiting[:, width - margin :] = False
    places = np.flatnonzero(waiting)
    if not len(places) or not labels.any():
        return
    depth = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    square = np.rint(depth.reshape(-1)[places].astype(np.float64) ** 2).astype(np.int64)
    seen, component, found = labels.reshape(-1), inside.reshape(-1), np.zeros(len(places), np.int32)
    order = np.argsort(square, kind="stable")
    places, square = places[order], square[order]
    passed = np.empty(0, np.int64)  # those whose nearest seed is of another component
    for distance, around in rings(reach).items():
        first, last = np.searchsorted(square, (distance, distance + 1))
        asked = np.concatenate([passed, np.arange(first, last)])
        for row, column in around:
            if not len(asked):
                break
            other = places[asked] + row * width + column
            reached = (seen[other] > 0) & (component[other] == component[places[asked]])
            found[asked[reached]] = seen[other[reached]]
            asked = asked[~reached]
        passed = asked
    seen[places] = found


@cache
def rings(reach: int) -> Mapping[int, list[tuple[int, int]]]:
    """Steps (rows, columns) by their squared length, from near to far, each by row and column."""
    found: dict[int, list[tuple[int, int]]] = {}
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            if 0 < row * row + column * column <= reach * reach:
                found.setdefault(row * row + column * column, []).append((row, column))
    return dict(sorted(found.items()))


def _runs_of(labels: Labels) -> tuple[Ints, Ints, Ints, Ints]:
    """Row, start, stop and label of the runs of equal labels; -1 is none."""
    height, width = labels.shape
    ends = np.ones((height, width + 1), np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=ends[:, 1:-1])
    row, column = np.nonzero(ends)
    row, start, stop = row[:-1], column[:-1], column[1:]
    whole = start < stop  # not from the end of a row to the next
    row, start, stop = row[whole], start[whole], stop[whole]
    label = labels[row, start]
    kept = label >= 0
    return row[kept], start[kept], stop[kept], label[kept].astype(np.int64)


def _joined(row: Ints, start: Ints, stop: Ints, label: Ints, size: Size) -> tuple[Runs, Ints]:
    """Runs with their labels by place; where two of one label touch, as at the border of blocks, they are one."""
    order = np.lexsort((start, row))
    row, start, stop, label = row[order], start[order], stop[order], label[order]
    opens = np.ones(len(row), np.bool_)
    opens[1:] = (row[1:] != row[:-1]) | (start[1:] != stop[:-1]) | (label[1:] != label[:-1])
    closes = np.append(opens[1:], True)
    return Runs(row[opens], start[opens], stop[closes], size.height, size.width), label[opens]
