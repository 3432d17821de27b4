"""What networks say of objects: sums of probabilities over the pixels of each."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import BLOCK, Frame, Window
from tilewright.pixels.instances import Instances
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Ints

Floats = NDArray[np.float64]


def believed(raster: Raster, objects: Instances, bands: Sequence[int]) -> Floats:
    """The sum of probabilities over the pixels of each object, float64[bands, objects].

    A pixel has the probability of the cell of the raster in which it lies. A row of cells is added up once, and an
    interval of pixels is the difference of two sums, so that the work grows with intervals and cells, not with pixels.

    Args:
        raster: probabilities times 255, uint8, with its frame among the tags.
        objects: in pixels of the slide, in any order; they may overlap.
        bands: those that are wanted.
    """
    frame = Frame.of(raster)
    row, start = np.divmod(objects.starts, frame.width + 1)
    stop = start + objects.stops - objects.starts
    cells = np.minimum(((row + 0.5) / frame.factor).astype(np.int64), raster.size.height - 1)
    order = np.argsort(cells, kind="stable")
    rows = cells[order]
    first, sums = 0, np.zeros((len(bands), objects.count))
    while first < len(order):
        top = int(rows[first]) // BLOCK * BLOCK
        last = int(np.searchsorted(rows, top + BLOCK))
        chosen, first = order[first:last], last
        ends = [side[chosen] / frame.factor for side in (start, stop)]
        for place, totals in enumerate(_totals(raster, top, bands)):
            before, after = (_until(totals, cells[chosen] - top, end) for end in ends)
            sums[place] += np.bincount(objects.owner[chosen], after - before, minlength=objects.count)
    return sums * frame.factor / 255


def _totals(raster: Raster, top: int, bands: Sequence[int]) -> Iterator[Ints]:
    """Of bands of a row of blocks, what lies before each cell of a row, int64[rows, columns + 1]."""
    values = raster.read(Window(0, top, raster.size.width, min(BLOCK, raster.size.height - top)))
    for band in bands:
        totals = np.zeros((values.shape[1], values.shape[2] + 1), np.int64)
        np.cumsum(values[band], axis=1, dtype=np.int64, out=totals[:, 1:])
        yield totals


def _until(totals: Ints, line: Ints, position: Floats) -> Floats:
    """What lies before positions in rows of cells; within a cell it grows evenly."""
    last = totals.shape[1] - 1
    cell = np.minimum(position.astype(np.int64), last)
    before = totals[line, cell]
    share = np.where(cell < last, position - cell, 0.0)
    values: Floats = before + share * (totals[line, np.minimum(cell + 1, last)] - before)
    return values
