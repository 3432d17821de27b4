"""Blend overlapping windows in a band of rows: memory grows with the width of a slide and not with its height."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import BLOCK, Size
from tilewright.pixels.rasters import Raster

COLUMNS = 8 * BLOCK
Floats = NDArray[np.float32]
Combine = Callable[[Floats, Floats, Floats, Floats], None]


def add_weighted(total: Floats, weight: Floats, values: Floats, weights: Floats) -> None:
    """Add a window to the weighted sum of those before it."""
    total += values * weights
    weight += weights


def keep_least(total: Floats, weight: Floats, values: Floats, _weights: Floats) -> None:
    """Keep the least value of all windows, so that a pixel reaches a threshold where it does in each of them."""
    np.copyto(total, np.where(weight > 0, np.minimum(total, values), values))
    weight[:] = 1


class Band:
    """What windows that arrive in row order say together; finished rows go to a raster, in bytes or as they are.

    A row is finished when no later window can reach it. Rows are written in whole blocks of the raster, so that each
    block is compressed once.
    """

    def __init__(self, out: Raster, window: int, combine: Combine = add_weighted, groups: int = 1) -> None:
        """Begin at the top.

        Args:
            out: the raster, one band a class; bytes: 255 is a probability of 1.
            window: edge of the windows.
            combine: how windows are blended.
            groups: maps that are blended each for itself and averaged where they are written.
        """
        self._out, self._combine, self._top = out, combine, 0
        rows = min(window + BLOCK, _blocks(out.size.height))
        self._sum = np.zeros((groups, out.bands, rows, out.size.width), np.float32)
        self._weight = np.zeros((rows, out.size.width), np.float32)

    def add(self, values: Floats, weights: Floats, x: int, y: int) -> None:
        """Add a window.

        Args:
            values: groups x classes x rows x columns, 0 to 1.
            weights: rows x columns, above 0.
            x: left edge of the window; what lies beyond the raster is dropped.
            y: top edge; not above that of an earlier window.
        """
        self._flush(y)
        size = Size(*self._out.size)
        height, width = min(values.shape[-2], size.height - y), min(values.shape[-1], size.width - x)
        part = weights[:height, :width]
        place: tuple[Any, ...] = (slice(y - self._top, y - self._top + height), slice(x, x + width))
        self._combine(self._sum[(..., *place)], self._weight[place], values[..., :height, :width], part)

    def finish(self) -> None:
        """Write what is left."""
        while self._top < self._out.size.height:
            self._write()

    def _flush(self, y: int) -> None:
        while self._top + BLOCK <= y:
            self._write()

    def _write(self) -> None:
        rows, exact = min(BLOCK, self._out.size.height - self._top), self._out.dtype.kind == "f"
        # some columns at a time, so that what is computed on the way stays small
        for left in range(0, self._out.size.width, COLUMNS):
            total, weight = (array[..., left : left + COLUMNS] for array in (self._sum, self._weight))
            if weight[:rows].any():
                sums = total[..., :rows, :]
                mean = np.divide(sums, weight[:rows], out=np.zeros_like(sums), where=weight[:rows] > 0).mean(axis=0)
                self._out.write(mean if exact else (mean * 255 + 0.5).astype(np.uint8), left, self._top)
            for array in (total, weight):
                array[..., : -BLOCK or None, :] = array[..., BLOCK:, :].copy()
                array[..., max(array.shape[-2] - BLOCK, 0) :, :] = 0
        self._top += BLOCK


def _blocks(height: int) -> int:
    return -(-height // BLOCK) * BLOCK
