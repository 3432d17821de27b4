"""What is read of an image for its windows: each covered block once, and nothing of what none covers."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilewright.pixels.grid import BLOCK, Corner, Size, Window, blocks, size_of
from tilewright.pixels.rasters import Raster

WIDEST = 8
"""Blocks beside each other that are read, or written, at a time."""


class Pixels(Protocol):
    """An image that is read by windows."""

    size: Size

    def read_into(self, out: NDArray[np.uint8], window: Window) -> None:
        """Read a window inside the image into an array of bands x rows x columns."""


class Piece(NamedTuple):
    """A part of one row of blocks.

    Attributes:
        x: left edge in the image.
        y: top edge.
        pixels: 3 x rows x columns, uint8.
    """

    x: int
    y: int
    pixels: Tensor


def covered(corners: Sequence[Corner], edge: int | tuple[int, int], size: Size) -> NDArray[np.bool_]:
    """Which blocks of an image some windows touch, bool[rows of blocks, columns of blocks]."""
    result = np.zeros((-(-size.height // BLOCK), -(-size.width // BLOCK)), np.bool_)
    starts = np.array(corners)
    left, top = (starts // BLOCK).T
    right, bottom = (np.minimum(starts + edge, size) - 1).T // BLOCK
    width, height = size_of(edge)
    for rows in range(-(-height // BLOCK) + 1):
        for columns in range(-(-width // BLOCK) + 1):
            result[np.minimum(top + rows, bottom), np.minimum(left + columns, right)] = True
    return result


def runs(found: NDArray[np.bool_], size: Size) -> Iterator[Window]:
    """Windows over the covered blocks, by rows of blocks; at most ``WIDEST`` blocks wide."""
    for row, line in enumerate(found):
        for part in range(0, len(line), WIDEST):
            edges = np.flatnonzero(np.diff(line[part : part + WIDEST], prepend=False, append=False)) + part
            for start, stop in edges.reshape(-1, 2).tolist():
                yield Window(start * BLOCK, row * BLOCK, (stop - start) * BLOCK, BLOCK).clipped(size)


def read_piece(image: Pixels, window: Window, *, pinned: bool) -> Piece:
    """Decode a window of an image; ``pinned``: into memory that a GPU copies from while both go on."""
    pixels = torch.empty(3, window.height, window.width, dtype=torch.uint8, pin_memory=pinned)
    image.read_into(pixels.numpy(), window)
    return Piece(window.x, window.y, pixels)


def with_tissue(corners: Sequence[Corner], edge: int | tuple[int, int], tissue: Raster) -> list[Corner]:
    """The windows that hold tissue. The mask is read once, whatever the overlap.

    Args:
        corners: of the windows.
        edge: their edge, or their width and height.
        tissue: 1 where there is tissue.
    """
    size = np.array(tissue.size)
    left, top = starts = np.array(corners).T
    right, bottom = stops = np.minimum((starts.T + edge).T, size[:, np.newaxis])
    columns, rows = (np.unique([*each, *other, 0, end]) for each, other, end in zip(starts, stops, size, strict=True))
    sums = np.zeros((len(rows), len(columns)), np.int64)
    sums[1:, 1:] = _cells(tissue, columns, rows).cumsum(0).cumsum(1)
    left, right = np.searchsorted(columns, left), np.searchsorted(columns, right)
    top, bottom = np.searchsorted(rows, top), np.searchsorted(rows, bottom)
    count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return [corner for corner, each in zip(corners, count.tolist(), strict=True) if each]


def _cells(tissue: Raster, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether there is tissue between neighbouring edges of windows, bool[rows - 1, columns - 1]."""
    found = np.zeros((len(rows) - 1, len(columns) - 1), np.bool_)
    for block in blocks(tissue.size, (WIDEST * BLOCK, BLOCK)):
        across, down = (
            np.array([start, *ends[(ends > start) & (ends < start + length)]])
            for ends, start, length in ((columns, block.x, block.width), (rows, block.y, block.height))
        )
        lines = [rows.max(axis=0) for rows in np.split(tissue.read(block)[0], down[1:] - block.y)]
        some = np.maximum.reduceat(np.stack(lines), across - block.x, axis=1)
        row, column = (np.searchsorted(ends, each, "right") - 1 for ends, each in ((rows, down), (columns, across)))
        found[np.ix_(row, column)] |= some > 0
    return found
