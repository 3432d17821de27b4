"""Areas to pixels: the row runs that the edges of outlines enclose or touch in a window.

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
from tilewright.pixels.runs import Ints, Runs, spread


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


def filled(edges: Edges, window: Window) -> Runs:
    """The pixels of a window whose centre lies inside an area.

    On the line through the centres of a row, every second crossing leaves the area.
    """
    upper, lower = edges.points[:, 1], edges.points[:, 3]
    row, chosen = edges.on_rows(np.ceil(upper - 0.5), np.ceil(lower - 0.5), window)
    x0, y0, x1, y1 = chosen.points.T
    crossing = (row + 0.5 - y0) * (x1 - x0) / (y1 - y0) + x0
    column = np.clip(np.floor(crossing + 0.5) - window.x, 0, window.width).astype(np.int64)
    line = window.width + 1
    keys = np.sort((chosen.area * window.height + row - window.y) * line + column) % (window.height * line)
    inside, start = np.divmod(keys[0::2], line)
    return Runs.of(inside, start, keys[1::2] % line, window.height, window.width)


def crossed(edges: Edges, window: Window) -> Runs:
    """The pixels of a window into which a border reaches; those that it only runs along do not count."""
    upper, lower = edges.points[:, 1], edges.points[:, 3]
    row, chosen = edges.on_rows(np.floor(upper), np.ceil(lower), window)
    x0, y0, x1, y1 = chosen.points.T
    slope = (x1 - x0) / np.where(y1 > y0, y1 - y0, 1)
    enters = np.where(row <= y0, x0, x0 + (row - y0) * slope)
    leaves = np.where(row + 1 >= y1, x1, x0 + (row + 1 - y0) * slope)
    ends = np.floor(np.minimum(enters, leaves)), np.ceil(np.maximum(enters, leaves))
    start, stop = (np.clip(end - window.x, 0, window.width).astype(np.int64) for end in ends)
    return Runs.of(row - window.y, start, stop, window.height, window.width)
