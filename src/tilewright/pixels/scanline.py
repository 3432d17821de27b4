"""Areas to pixels: the row runs that outlines cover in a window. Masks and evaluation both go by it.

Coordinates are pixels of the image, x before y; the centre of the first pixel is 0.5, 0.5. Everything is computed in
pixels of the image, so that the result does not depend on the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.pixels.grid import Window
from tilewright.pixels.runs import Ints, Runs, merged, spread
from tilewright.project.config import PixelRule


@dataclass(frozen=True)
class Edges:
    """The edges of some areas.

    Attributes:
        points: x and y of the upper end and x and y of the lower end of each edge, float64[n, 4].
        area: number of the area that each edge belongs to, int64[n]. Valid areas only: the parts of an area do not
            overlap, and its holes lie inside.
    """

    points: NDArray[np.float64]
    area: Ints

    @classmethod
    def of(cls, shapes: NDArray[Any] | Sequence[Any]) -> Self:
        """The edges of shapely areas, in their order."""
        parts, owner = shapely.get_parts(np.asarray(shapes, dtype=object), return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        joined = ring[1:] == ring[:-1]
        ends = np.concatenate([points[:-1], points[1:]], axis=1)[joined]
        up = ends[:, 1] > ends[:, 3]
        ends[up] = ends[up][:, [2, 3, 0, 1]]
        return cls(ends, owner[part[ring[1:][joined]]].astype(np.int64, copy=False))

    def take(self, chosen: NDArray[np.bool_]) -> Self:
        """Some of the edges."""
        return type(self)(self.points[chosen], self.area[chosen])

    def on_rows(self, first: NDArray[np.float64], last: NDArray[np.float64], window: Window) -> tuple[Ints, Self]:
        """Each edge once for each row of the window in its half-open range of rows: the rows, and the edges."""
        begin, end = (np.clip(rows, window.y, window.y + window.height).astype(np.int64) for rows in (first, last))
        edge = np.repeat(np.arange(len(begin)), np.maximum(end - begin, 0))
        return spread(begin, end), type(self)(self.points[edge], self.area[edge])


@dataclass(frozen=True)
class Spans:
    """Pixels of some areas in a window, as row runs sorted by area, row and column; those of one area are disjoint.

    Attributes:
        area: number of the area, int64[n].
        row: row in the window, int64[n].
        start: its first column, int64[n].
        stop: the column after its last, int64[n].
    """

    area: Ints
    row: Ints
    start: Ints
    stop: Ints

    def take(self, chosen: NDArray[np.bool_]) -> "Spans":
        """Some of the runs."""
        return Spans(self.area[chosen], self.row[chosen], self.start[chosen], self.stop[chosen])

    def runs(self, window: Window) -> Runs:
        """The pixels of all areas together."""
        return Runs.of(self.row, self.start, self.stop, window.height, window.width)


def covered(edges: Edges, window: Window, rule: PixelRule = "center") -> Spans:
    """The pixels of a window that areas cover.

    Args:
        edges: of the areas.
        window: in pixels of the image.
        rule: center: pixels whose centre lies inside; all_touched: also those into which a border reaches.
    """
    starts, stops = _inside(edges, window)
    if rule == "all_touched":
        more_starts, more_stops = _crossed(edges, window)
        starts, stops = merged(np.concatenate([starts, more_starts]), np.concatenate([stops, more_stops]))
    kept = starts < stops
    starts, stops = starts[kept], stops[kept]
    line = window.width + 1
    place, start = np.divmod(starts, line)
    area, row = np.divmod(place, window.height)
    return Spans(area, row, start, start + stops - starts)


def _inside(edges: Edges, window: Window) -> tuple[Ints, Ints]:
    """First key, and key after the last, of the pixels whose centre lies inside.

    A key is ``(area * height + row) * line + column``.

    On the line through the centres of a row, every second crossing leaves the area.
    """
    upper, lower = edges.points[:, 1], edges.points[:, 3]
    row, chosen = edges.on_rows(np.ceil(upper - 0.5), np.ceil(lower - 0.5), window)
    x0, y0, x1, y1 = chosen.points.T
    crossing = (row + 0.5 - y0) * (x1 - x0) / (y1 - y0) + x0
    keys = np.sort(_keys(chosen.area, row, np.floor(crossing + 0.5), window))
    return keys[0::2], keys[1::2]


def _crossed(edges: Edges, window: Window) -> tuple[Ints, Ints]:
    """The same of the pixels into which a border reaches; those that it only runs along do not count."""
    upper, lower = edges.points[:, 1], edges.points[:, 3]
    row, chosen = edges.on_rows(np.floor(upper), np.ceil(lower), window)
    x0, y0, x1, y1 = chosen.points.T
    slope = (x1 - x0) / np.where(y1 > y0, y1 - y0, 1)
    enters = np.where(row <= y0, x0, x0 + (row - y0) * slope)
    leaves = np.where(row + 1 >= y1, x1, x0 + (row + 1 - y0) * slope)
    ends = np.floor(np.minimum(enters, leaves)), np.ceil(np.maximum(enters, leaves))
    starts, stops = (_keys(chosen.area, row, end, window) for end in ends)
    return starts, stops


def _keys(area: Ints, row: Ints, column: NDArray[np.float64], window: Window) -> Ints:
    """Places of columns of the image in rows of areas; columns beyond the window count as its ends."""
    inside = np.clip(column - window.x, 0, window.width).astype(np.int64)
    keys: Ints = (area * window.height + row - window.y) * (window.width + 1) + inside
    return keys
