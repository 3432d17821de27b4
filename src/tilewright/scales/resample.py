"""Pixels averaged over the area that each covers at a coarser scale, or interpolated at its centre.

A cell of a scale with the factor ``f`` covers ``f`` x ``f`` pixels of the slide, also where its edges cut pixels; at
the end of a slide it covers what is there.
"""

import math
from typing import Any

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.pixels.interpolation import CubicTaps

Corner = tuple[float, float]
"""Where the first cell begins, in pixels: x and y."""
ORIGIN = (0.0, 0.0)


def source_window(cells: Window, factor: float, size: Size, corner: Corner = ORIGIN) -> Window:
    """The pixels of an image of a size that some cells cover, in whole pixels, and at least one."""
    spans = []
    for start, count, begin, length in zip((cells.x, cells.y), (cells.width, cells.height), corner, size, strict=True):
        first = min(int(begin + start * factor + (1e-9 if begin else 0)), length - 1)
        last = min(math.ceil(begin + (start + count) * factor - 1e-9), length)
        spans.append((first, max(last - first, 1)))
    (left, width), (top, height) = spans
    return Window(left, top, width, height)


def area_weights(start: int, count: int, factor: float, low: int, high: int, begin: float = 0.0) -> Any:
    """Share that each pixel in [low, high) has in each of ``count`` cells from ``start``; every row sums to 1.

    Cell 0 begins at ``begin``. A cell beyond all pixels is the last one.
    """
    edges = begin + np.arange(start, start + count + 1) * factor
    first = np.clip(np.floor(edges[:-1] + 1e-9).astype(np.int64), low, high - 1)
    last = np.clip(np.ceil(edges[1:] - 1e-9).astype(np.int64), first + 1, high)
    counts = last - first
    cell = np.repeat(np.arange(count), counts)
    pixel = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts - first, counts)
    overlap = np.minimum(edges[1:][cell], pixel + 1.0) - np.maximum(edges[:-1][cell], pixel)
    overlap = np.maximum(overlap, np.finfo(np.float64).tiny)
    share = overlap / np.bincount(cell, overlap)[cell]
    return scipy.sparse.csr_array((share.astype(np.float32), (cell, pixel - low)), shape=(count, high - low))


def average_image(
    pixels: NDArray[np.uint8], cells: Window, factor: float, source: Window, corner: Corner = ORIGIN
) -> NDArray[np.uint8]:
    """Colours of some cells.

    Args:
        pixels: uint8[rows, columns, 3] of the image in ``source``.
        cells: the cells to compute.
        factor: pixels of the image in one cell, along an edge.
        source: what ``source_window`` gives for the cells.
        corner: where the first cell begins.

    Returns:
        uint8[rows, columns, 3], the mean rounded to the nearest.
    """
    if _is_exact(cells, factor, source, corner):
        size = (cells.width, cells.height)
        return pixels if factor == 1 else np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    down = area_weights(cells.y, cells.height, factor, source.y, source.y + source.height, corner[1])
    across = area_weights(cells.x, cells.width, factor, source.x, source.x + source.width, corner[0])
    rows = (down @ pixels.reshape(source.height, -1).astype(np.float32)).reshape(cells.height, source.width, 3)
    means = across @ np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(source.width, -1)
    result = np.floor(means.reshape(cells.width, cells.height, 3) + np.float32(0.5 + 1e-4)).astype(np.uint8)
    return np.ascontiguousarray(result.transpose(1, 0, 2))


def cubic_image(
    pixels: NDArray[np.uint8], cells: Window, factor: float, source: Window, _corner: Corner = ORIGIN
) -> NDArray[np.uint8]:
    """Colours at the centres of some cells, with arguments as those of ``average_image``.

    ``source`` holds two pixels more on each side, where the image has them. It is what OpenCV's ``resize`` gives with
    INTER_CUBIC: nothing is smoothed before, so that what is finer than a cell may show as a pattern.
    """
    rows = CubicTaps.of(cells.y, cells.y + cells.height, source.y + source.height, pixel=factor, cell=1)
    columns = CubicTaps.of(cells.x, cells.x + cells.width, source.x + source.width, pixel=factor, cell=1)
    lines = rows.since(source.y).blend(pixels.astype(np.float32), axis=0)
    values = columns.since(source.x).blend(lines, axis=1)
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _is_exact(cells: Window, factor: float, source: Window, corner: Corner) -> bool:
    """Whether the edges of some cells are those of their pixels, and no pixel is missing."""
    x, y = corner
    edges = (x + cells.x * factor, y + cells.y * factor, cells.width * factor, cells.height * factor)
    return edges == (source.x, source.y, source.width, source.height)


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
