"""Pixels averaged over the area that each covers at a coarser scale.

A cell of a scale with the factor ``f`` covers ``f`` x ``f`` pixels of the slide, also where its edges cut pixels; at
the end of a slide it covers what is there.
"""

from typing import Any

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from tilewright.pixels.grid import Window


def source_window(cells: Window, factor: float, width: int, height: int) -> Window:
    """The pixels of a slide of ``width`` x ``height`` that some cells cover, in whole pixels."""
    left, top = int(cells.x * factor), int(cells.y * factor)
    right = min(pixels_under(cells.x + cells.width, factor), width)
    bottom = min(pixels_under(cells.y + cells.height, factor), height)
    return Window(left, top, right - left, bottom - top)


def pixels_under(cells: int, factor: float) -> int:
    """Pixels needed to cover a number of cells."""
    return int(np.ceil(cells * factor - 1e-9))


def area_weights(start: int, count: int, factor: float, low: int, high: int) -> Any:
    """Share that each pixel in [low, high) has in each of ``count`` cells from ``start``; every row sums to 1."""
    edges = np.arange(start, start + count + 1) * factor
    first = np.clip(np.floor(edges[:-1] + 1e-9).astype(np.int64), low, high - 1)
    last = np.clip(np.ceil(edges[1:] - 1e-9).astype(np.int64), first + 1, high)
    counts = last - first
    cell = np.repeat(np.arange(count), counts)
    pixel = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts - first, counts)
    overlap = np.minimum(edges[1:][cell], pixel + 1.0) - np.maximum(edges[:-1][cell], pixel)
    share = overlap / np.bincount(cell, overlap)[cell]
    return scipy.sparse.csr_array((share.astype(np.float32), (cell, pixel - low)), shape=(count, high - low))


def average_image(pixels: NDArray[np.uint8], cells: Window, factor: float, source: Window) -> NDArray[np.uint8]:
    """Colours of some cells.

    Args:
        pixels: uint8[rows, columns, 3] of the slide in ``source``.
        cells: the cells to compute.
        factor: pixels of the slide in one cell, along an edge.
        source: what ``source_window`` gives for the cells.

    Returns:
        uint8[rows, columns, 3], the mean rounded to the nearest.
    """
    if factor == 1:
        return pixels
    size = (cells.width, cells.height)
    if (source.width, source.height) == (cells.width * factor, cells.height * factor):
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    down = area_weights(cells.y, cells.height, factor, source.y, source.y + source.height)
    across = area_weights(cells.x, cells.width, factor, source.x, source.x + source.width)
    rows = (down @ pixels.reshape(source.height, -1).astype(np.float32)).reshape(cells.height, source.width, 3)
    means = across @ np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(source.width, -1)
    result = np.floor(means.reshape(cells.width, cells.height, 3) + np.float32(0.5 + 1e-4)).astype(np.uint8)
    return np.ascontiguousarray(result.transpose(1, 0, 2))


def average_bands(values: NDArray[np.float32], cells: Window, factor: float, source: Window) -> NDArray[np.float32]:
    """Values of some cells, as they are, without rounding.

    Args:
        values: float32[bands, rows, columns] in ``source``.
        cells: the cells to compute.
        factor: pixels in one cell, along an edge.
        source: the pixels under the cells, at least one.

    Returns:
        float32[bands, rows, columns], the mean over the area of each cell.
    """
    down = area_weights(cells.y, cells.height, factor, source.y, source.y + source.height)
    across = area_weights(cells.x, cells.width, factor, source.x, source.x + source.width)
    return np.stack([np.asarray(down @ band @ across.T, np.float32) for band in values])


def nearest(start: int, count: int, factor: float, limit: int) -> NDArray[np.int64]:
    """The pixel in which the centre of each of ``count`` cells from ``start`` lies, of ``limit`` pixels."""
    centers = (np.arange(start, start + count) + 0.5) * factor
    return np.asarray(np.minimum(centers, limit - 1), np.int64)
