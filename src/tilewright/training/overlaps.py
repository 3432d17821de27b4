"""Tiles of a slide that hold the same pixels: which one counts them, and which are left out."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.tiles.archive import TileTable

REPEATED = 0.9
"""Share of a tile from which on it is a repetition."""


class Overlaps:
    """Divides the pixels of slides among the tiles of a table, so that each counts once.

    A pixel counts in the tile whose centre is nearest, where the network sees most around it; of tiles as near, in the
    first.
    """

    def __init__(self, table: TileTable) -> None:
        self._x, self._y = table.x, table.y
        self._slide = _slides(table)
        order = np.argsort(self._slide, kind="stable")
        self._rows = np.split(order, np.cumsum(np.bincount(self._slide))[:-1])

    def elsewhere(self, row: int, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Which pixels of a tile count in another one.

        Args:
            row: the tile, by its row of the table.
            shape: rows and columns of every tile.

        Returns:
            rows x columns; None where all pixels count here.
        """
        height, width = shape
        same = self._rows[self._slide[row]]
        right, down = self._x[same] - self._x[row], self._y[same] - self._y[row]
        near = (np.abs(right) < width) & (np.abs(down) < height) & (same != row)
        if not near.any():
            return None
        taken = np.zeros(shape, np.bool_)
        for other, dx, dy in zip(same[near].tolist(), right[near].tolist(), down[near].tolist(), strict=True):
            place = _common(dy, height), _common(dx, width)
            # twice the distance from the centre of this tile, along the way to that of the other one
            along = _centred(dy, height)[:, None] + _centred(dx, width)[None, :]
            half = dx * dx + dy * dy
            taken[place] |= along >= half if other < row else along > half
        return taken


def repeats(table: TileTable, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which tiles of a grid show more than 90 % of what one before them shows.

    The last row or column of a grid is pushed back into the slide, almost onto the one before it where little is left.

    Args:
        table: the tiles.
        shape: rows and columns of every tile.
    """
    (height, width), result = shape, np.zeros(len(table.x), np.bool_)
    # tiles that share so much lie in cells beside each other; to compare all of a slide would take its square
    across, down = (max(1, math.ceil((1 - REPEATED) * length)) for length in (width, height))
    kept: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    rows = np.flatnonzero(table.kind != "object")
    places = np.stack([rows, _slides(table)[rows], table.x[rows], table.y[rows]], axis=1)
    for row, slide, x, y in places.tolist():
        column, line = x // across, y // down
        beside = ((slide, column + i, line + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
        near = (place for cell in beside for place in kept.get(cell, ()))
        result[row] = any(_shared(x - u, width) * _shared(y - v, height) > REPEATED * height * width for u, v in near)
        if not result[row]:
            kept.setdefault((slide, column, line), []).append((x, y))
    return result


def _shared(shift: int, length: int) -> int:
    return max(length - abs(shift), 0)


def _slides(table: TileTable) -> NDArray[np.int64]:
    """A number for the slide of each tile, which is that of its archive."""
    _, numbers = np.unique(np.stack([table.archive.astype(str), table.slide]), axis=1, return_inverse=True)
    return numbers.reshape(-1)


def _common(shift: int, length: int) -> slice:
    """What a tile shares with one that lies further by ``shift`` pixels."""
    return slice(max(shift, 0), min(length, length + shift))


def _centred(shift: int, length: int) -> NDArray[Any]:
    """The pixels that both share, counted twice from the centre, times the shift."""
    return shift * (2 * np.arange(length)[_common(shift, length)] + 1 - length)
