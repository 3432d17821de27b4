"""Masks as row runs: the form in which masks travel, whose memory grows with outlines and not with pixels.

A run is a row and a half-open range of columns, in pixels. Most operations see the runs as intervals of a line on which
row ``r``, column ``c`` has the key ``r * (width + 1) + c``: the spare key at the end of a row keeps runs of
neighbouring rows apart, so that one-dimensional interval arithmetic is exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tilewright.pixels.grid import Size, Window

Ints = NDArray[np.int64]
STRIP_PIXELS = 1 << 21


@dataclass(frozen=True, eq=False)
class Runs:
    """A mask as runs, sorted by row, then start; disjoint and, unless each has an owner, not adjacent within a row.

    Attributes:
        row: row of each run, int64[n].
        start: its first column, int64[n].
        stop: the column after its last, int64[n].
        height: rows of the mask.
        width: columns of the mask.
    """

    row: Ints
    start: Ints
    stop: Ints
    height: int
    width: int

    @classmethod
    def empty(cls, height: int, width: int) -> Self:
        """A mask without a pixel."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing, height, width)

    @classmethod
    def of(cls, row: ArrayLike, start: ArrayLike, stop: ArrayLike, height: int, width: int) -> Self:
        """A mask of runs in any order, which may overlap or touch; empty runs are dropped.

        Raises:
            ValueError: a run lies outside the mask.
        """
        rows, starts, stops = (np.asarray(values, np.int64) for values in (row, start, stop))
        kept = starts < stops
        rows, starts, stops = rows[kept], starts[kept], stops[kept]
        if rows.size and (rows.min() < 0 or rows.max() >= height or starts.min() < 0 or stops.max() > width):
            raise ValueError(f"runs outside a mask of {width} x {height} pixels")
        base = rows * (width + 1)
        return cls._of_keys(*merged(base + starts, base + stops), height, width)

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_]) -> Self:
        """The runs of a mask.

        Args:
            mask: bool[rows, columns].
        """
        height, width = mask.shape
        step = max(1, STRIP_PIXELS // (width + 1))
        edges = [_edges(mask[top : top + step]) + top * (width + 1) for top in range(0, height, step)]
        keys = np.concatenate(edges) if edges else np.empty(0, np.int64)
        return cls._of_keys(keys[0::2], keys[1::2], height, width)

    @classmethod
    def concatenate(cls, strips: "Iterable[tuple[int, Runs]]", height: int, width: int) -> Self:
        """The mask of strips stacked from top to bottom.

        Args:
            strips: first row and runs of each strip, the runs counted from that row; by increasing row.
            height: rows of the result.
            width: columns of the result.
        """
        parts = [(runs.row + top, runs.start, runs.stop) for top, runs in strips]
        if not parts:
            return cls.empty(height, width)
        row, start, stop = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(row, start, stop, height, width)

    @classmethod
    def _of_keys(cls, starts: Ints, stops: Ints, height: int, width: int) -> Self:
        row, start = np.divmod(starts, width + 1)
        return cls(row, start, start + (stops - starts), height, width)

    def intervals(self) -> tuple[Ints, Ints]:
        """First key and key after the last of each run, both int64[n] and increasing."""
        base = self.row * (self.width + 1)
        return base + self.start, base + self.stop

    @property
    def size(self) -> Size:
        """Width and height of the mask."""
        return Size(self.width, self.height)

    def __len__(self) -> int:
        return len(self.row)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        return self.size == other.size and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("row", "start", "stop")
        )

    def area(self) -> int:
        """Number of pixels."""
        return int(self.lengths().sum())

    def lengths(self) -> Ints:
        """Pixels of each run, int64[n]."""
        return self.stop - self.start

    def bounds(self) -> Window:
        """The smallest window that holds every pixel; empty at 0, 0 for an empty mask."""
        if not len(self):
            return Window(0, 0, 0, 0)
        left, top = int(self.start.min()), int(self.row[0])
        return Window(left, top, int(self.stop.max()) - left, int(self.row[-1]) + 1 - top)

    def take(self, chosen: NDArray[Any] | slice) -> Self:
        """Some of the runs, in the same mask.

        Args:
            chosen: bool[n], increasing indices, or a slice.
        """
        return type(self)(self.row[chosen], self.start[chosen], self.stop[chosen], self.height, self.width)

    def clip(self, window: Window) -> Self:
        """The part inside ``window``; coordinates and size stay."""
        first, last = np.searchsorted(self.row, (window.y, window.y + window.height))
        part = self.take(slice(first, last))
        start = np.maximum(part.start, window.x)
        stop = np.minimum(part.stop, window.x + window.width)
        return type(self)(part.row, start, stop, self.height, self.width).take(start < stop)

    def shift(self, x: int, y: int, height: int, width: int) -> Self:
        """The mask moved by ``x`` columns and ``y`` rows into one of another size; its runs stay what they are.

        Raises:
            ValueError: a pixel would lie outside.
        """
        moved = type(self)(self.row + y, self.start + x, self.stop + x, height, width)
        if len(moved) and (place := moved.bounds()) != place.clipped(moved.size):
            raise ValueError(f"runs outside a mask of {width} x {height} pixels")
        return moved

    def to_mask(self, window: Window | None = None) -> NDArray[np.bool_]:
        """The pixels of ``window`` (default: all), bool[rows, columns]."""
        window = window or Window(0, 0, self.width, self.height)
        part = self.clip(window)
        changes = np.zeros((window.height, window.width + 1), np.int8)
        changes[part.row - window.y, part.start - window.x] = 1
        changes[part.row - window.y, part.stop - window.x] = -1
        inside = np.cumsum(changes.ravel(), dtype=np.int8).reshape(changes.shape)
        return inside[:, :-1].astype(np.bool_)

    def transpose(self) -> "Runs":
        """The mask with rows and columns exchanged.

        A pixel begins or ends a vertical run where it differs from the pixel above it.
        """
        column, row = changes_of_columns(self)
        changes = np.sort(column * (self.height + 1) + row)
        return Runs._of_keys(changes[0::2], changes[1::2], self.width, self.height)


def changes_of_columns(runs: Runs) -> tuple[Ints, Ints]:
    """The pixels that differ from the pixel above them: their columns and rows, by rows.

    The columns in which two rows differ are the intervals between consecutive ends of their runs, sorted together. The
    row after the last counts too.
    """
    starts, stops = runs.intervals()
    below = runs.width + 1
    ends = np.sort(np.concatenate([starts, stops, starts + below, stops + below])).reshape(-1, 2)
    ends = ends[ends[:, 0] < ends[:, 1]]
    row, column = np.divmod(spread(ends[:, 0], ends[:, 1]), below)
    return column, row


def union(a: Runs, b: Runs) -> Runs:
    """Pixels of either mask; both have the same size."""
    _same_size(a, b)
    starts, stops = (np.concatenate(pair) for pair in zip(a.intervals(), b.intervals(), strict=True))
    return Runs._of_keys(*merged(starts, stops), a.height, a.width)


def intersection(a: Runs, b: Runs) -> Runs:
    """Pixels of both masks; both have the same size."""
    _same_size(a, b)
    return Runs._of_keys(*_common(*a.intervals(), *b.intervals()), a.height, a.width)


def difference(a: Runs, b: Runs) -> Runs:
    """Pixels of ``a`` that are not in ``b``; both have the same size."""
    _same_size(a, b)
    starts, stops = b.intervals()
    end = a.height * (a.width + 1)
    gaps = np.concatenate([[0], stops]), np.concatenate([starts, [end]])
    return Runs._of_keys(*_common(*a.intervals(), *gaps), a.height, a.width)


def intersection_area(a: Runs, b: Runs) -> int:
    """Number of pixels in both masks; both have the same size."""
    return intersection(a, b).area()


def overlaps(starts: Ints, stops: Ints, others_start: Ints, others_stop: Ints) -> tuple[Ints, Ints]:
    """Pairs of intervals that have a point in common, one from each of two increasing lists.

    Args:
        starts: first point of each interval of the one list, int64[n].
        stops: the point after its last; intervals of one list may touch by their last point, as widened runs do.
        others_start: the same of the other list, whose intervals are disjoint, int64[m].
        others_stop: likewise.

    Returns:
        Index into the one and into the other list, sorted, both int64[pairs].
    """
    first = np.searchsorted(others_stop, starts, side="right")
    last = np.searchsorted(others_start, stops, side="left")
    return np.repeat(np.arange(len(starts)), np.maximum(last - first, 0)), spread(first, last)


def spread(starts: Ints, stops: Ints) -> Ints:
    """The integers of half-open ranges, one range after the other, int64."""
    counts = np.maximum(stops - starts, 0)
    before = np.cumsum(counts) - counts
    values: Ints = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
    return values


def _edges(mask: NDArray[np.bool_]) -> Ints:
    """Keys at which a mask changes along its rows: starts and stops of runs in turn."""
    height, width = mask.shape
    changes = np.zeros((height, width + 1), np.bool_)
    if width:
        changes[:, 0] = mask[:, 0]
        np.not_equal(mask[:, 1:], mask[:, :-1], out=changes[:, 1:-1])
        changes[:, -1] = mask[:, -1]
    return np.flatnonzero(changes).astype(np.int64, copy=False)


def merged(starts: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """Intervals in any order as increasing ones that neither overlap nor touch; empty ones may stay."""
    if not len(starts):
        return starts, stops
    order = np.argsort(starts, kind="stable")
    starts, reached = starts[order], np.maximum.accumulate(stops[order])
    opens = np.concatenate([[True], starts[1:] > reached[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return starts[opens], reached[closes]


def _common(starts: Ints, stops: Ints, others_start: Ints, others_stop: Ints) -> tuple[Ints, Ints]:
    one, other = overlaps(starts, stops, others_start, others_stop)
    first = np.maximum(starts[one], others_start[other])
    return first, np.minimum(stops[one], others_stop[other])


def _same_size(a: Runs, b: Runs) -> None:
    if a.size != b.size:
        raise ValueError(f"masks of {a.width} x {a.height} and {b.width} x {b.height} pixels")
