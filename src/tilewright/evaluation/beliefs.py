"""What networks say of objects: sums of probabilities over the pixels of each."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import BLOCK, Frame, Window
from tilewright.pixels.instances import Instances
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Ints

Floats = NDArray[np.float64]


def add_beliefs(raster: Raster, objects: Instances, bands: Sequence[int], sums: Floats) -> None:
    """Add the sum of probabilities over the pixels of each object to earlier sums: of other rows of the same objects.

    A pixel has the probability of the cell of the raster in which it lies. A row of cells is added up once, and an
    interval of pixels is the difference of two sums, so that the work grows with intervals and cells, not with pixels.
    Where rows come from top to bottom, in whole rows of blocks (``block_edges``), the sums are those of all rows at
    once to the last bit.

    Args:
        raster: probabilities times 255, uint8, with its frame among the tags.
        objects: in pixels of the slide, in any order; they may overlap.
        bands: those that are wanted.
        sums: in units of the raster, float64[bands, objects]; ``in_pixels`` makes probabilities of them.
    """
    frame = Frame.of(raster)
    row, start = np.divmod(objects.starts, frame.width + 1)
    stop = start + objects.stops - objects.starts
    cells = _cells_of(row, raster)
    order = np.argsort(cells, kind="stable")
    rows = cells[order]
    first = 0
    while first < len(order):
        top = int(rows[first]) // BLOCK * BLOCK
        last = int(np.searchsorted(rows, top + BLOCK))
        chosen, first = order[first:last], last
        ends = [side[chosen] / frame.factor for side in (start, stop)]
        for place, totals in enumerate(_totals(raster, top, bands)):
            before, after = (_until(totals, cells[chosen] - top, end) for end in ends)
            sums[place] += np.bincount(objects.owner[chosen], after - before, minlength=objects.count)


def in_pixels(raster: Raster, sums: Floats) -> Floats:
    """Sums of ``add_beliefs`` as sums of probabilities over pixels."""
    pixels: Floats = sums * Frame.of(raster).factor / 255
    return pixels


def block_edges(raster: Raster, blocks: int) -> list[int]:
    """The rows of the slide at which rows of blocks of its raster begin, and the row after the last.

    Args:
        raster: probabilities.
        blocks: rows of blocks from one to the next.
    """
    frame = Frame.of(raster)
    cells = _cells_of(np.arange(frame.height), raster)
    edges = np.searchsorted(cells, np.arange(0, raster.size.height, BLOCK * blocks)).tolist()
    return [*dict.fromkeys([*edges, frame.height])]


def _cells_of(row: Ints, raster: Raster) -> Ints:
    return np.minimum(((row + 0.5) / Frame.of(raster).factor).astype(np.int64), raster.size.height - 1)


def _totals(raster: Raster, top: int, bands: Sequence[int]) -> Iterator[NDArray[np.int32]]:
    """Of bands of a row of blocks, what lies before each cell of a row, int32[rows, columns + 1]."""
    values = raster.read(Window(0, top, raster.size.width, min(BLOCK, raster.size.height - top)))
    for band in bands:
        totals = np.zeros((values.shape[1], values.shape[2] + 1), np.int32)
        np.cumsum(values[band], axis=1, dtype=np.int32, out=totals[:, 1:])
        yield totals


def _until(totals: NDArray[np.int32], line: Ints, position: Floats) -> Floats:
    """What lies before positions in rows of cells; within a cell it grows evenly."""
    last = totals.shape[1] - 1
    cell = np.minimum(position.astype(np.int64), last)
    before = totals[line, cell]
    share = np.where(cell < last, position - cell, 0.0)
    values: Floats = before + share * (totals[line, np.minimum(cell + 1, last)] - before)
    return values
