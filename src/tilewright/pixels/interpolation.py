"""Bilinear and bicubic interpolation between scales.

Cell ``k`` of a scale has its centre at ``k + 0.5``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Size, Window
from tilewright.pixels.rasters import Raster

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Taps:
    """The two cells between whose centres each pixel of a row or column lies, and the share of the second one.

    Attributes:
        lower: the cell before each pixel, int64[n].
        upper: the cell after it, int64[n]; the same where the pixel lies on a centre or beyond the outermost ones.
        share: of the second one, float32[n].
    """

    lower: Ints
    upper: Ints
    share: NDArray[np.float32]

    @classmethod
    def of(cls, start: int, stop: int, cells: int, *, pixel: float, cell: float) -> Self:
        """The taps of the pixels from ``start`` to ``stop``; beyond the outermost centres the outermost cell goes on.

        Args:
            start: the first pixel.
            stop: the pixel after the last.
            cells: number of cells.
            pixel: size of a pixel, in any unit.
            cell: size of a cell, in the same unit.
        """
        position = np.clip((np.arange(start, stop) + 0.5) * pixel / cell - 0.5, 0, cells - 1)
        lower = np.floor(position).astype(np.int64)
        return cls(lower, np.ceil(position).astype(np.int64), (position - lower).astype(np.float32))

    @property
    def span(self) -> tuple[int, int]:
        """The first cell that is needed, and the number of cells."""
        first = int(self.lower[0])
        return first, int(self.upper[-1]) + 1 - first

    def since(self, first: int) -> "Taps":
        """The same taps in cells that count from ``first``."""
        return Taps(self.lower - first, self.upper - first, self.share)

    def blend(self, cells: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Interpolate along an axis: float32, cells along it to pixels along it."""
        share = self.share.reshape([-1 if place == axis else 1 for place in range(cells.ndim)])
        low, high = cells.take(self.lower, axis), cells.take(self.upper, axis)
        return np.asarray(low + share * (high - low), np.float32)


@dataclass(frozen=True)
class CubicTaps:
    """The four cells around each pixel of a row or column, and their weights, as OpenCV's INTER_CUBIC has them.

    Attributes:
        cells: int64[4, n]; beyond the outermost cells these go on.
        weights: float32[4, n], which sum to 1.
    """

    cells: Ints
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, start: int, stop: int, cells: int, *, pixel: float, cell: float) -> Self:
        """The taps of the pixels from ``start`` to ``stop``, with arguments as those of ``Taps.of``."""
        position = (np.arange(start, stop) + 0.5) * pixel / cell - 0.5
        before = np.floor(position).astype(np.int64)
        around = np.clip(before + np.arange(-1, 3)[:, np.newaxis], 0, cells - 1)
        return cls(around, _cubic(position - before))

    @property
    def span(self) -> tuple[int, int]:
        """The first cell that is needed, and the number of cells."""
        first = int(self.cells[0, 0])
        return first, int(self.cells[-1, -1]) + 1 - first

    def since(self, first: int) -> "CubicTaps":
        """The same taps in cells that count from ``first``."""
        return CubicTaps(self.cells - first, self.weights)

    def blend(self, cells: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Interpolate along an axis: float32, cells along it to pixels along it."""
        shape = [-1 if place == axis else 1 for place in range(cells.ndim)]
        taps = zip(self.cells, self.weights, strict=True)
        total = sum(cells.take(own, axis) * weight.reshape(shape) for own, weight in taps)
        return np.asarray(total, np.float32)


def _cubic(share: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights of the cells at the distances 1 + t, t, 1 - t and 2 - t, with the slope -0.75 of OpenCV at distance 1."""
    slope = -0.75
    far = [((slope * d - 5 * slope) * d + 8 * slope) * d - 4 * slope for d in (1 + share, 2 - share)]
    near = [((slope + 2) * d - (slope + 3)) * d * d + 1 for d in (share, 1 - share)]
    return np.stack([far[0], near[0], near[1], far[1]]).astype(np.float32)


class Placed(Protocol):
    """A raster, or what can be read as one: pixels with tags that hold its frame."""

    @property
    def size(self) -> Size:
        """Width and height."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Texts by name."""

    def read(self, window: Window) -> NDArray[Any]:
        """Pixels of a window, bands x rows x columns."""


def read_at(source: Placed, target: Raster, window: Window) -> NDArray[np.float32]:
    """Values of ``source``, bands x rows x columns, in a window of ``target``, which may have another scale."""
    pixel, cell = Frame.of(target).factor, Frame.of(source).factor
    if pixel == cell:
        return source.read(window).astype(np.float32)
    rows = Taps.of(window.y, window.y + window.height, source.size.height, pixel=pixel, cell=cell)
    columns = Taps.of(window.x, window.x + window.width, source.size.width, pixel=pixel, cell=cell)
    (top, height), (left, width) = rows.span, columns.span
    pixels = source.read(Window(left, top, width, height)).astype(np.float32)
    return columns.since(left).blend(rows.since(top).blend(pixels, axis=1), axis=2)
