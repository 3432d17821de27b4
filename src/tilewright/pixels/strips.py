"""Masks read strip by strip, so that memory grows with the width of a slide and not with its height."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tilewright.pixels.grid import BLOCK, blocks
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.runs import Runs


class Strip(NamedTuple):
    """Some whole rows of a mask.

    Attributes:
        top: the first row.
        bottom: the row after the last.
        runs: the pixels in these rows; coordinates and size are those of the whole mask.
    """

    top: int
    bottom: int
    runs: Runs


def strips_of_bits(path: Path, bits: Sequence[int], classes: Sequence[str] | None = None) -> Iterator[list[Strip]]:
    """The strips of a mask file from top to bottom, a row of blocks at a time, each as one ``Strip`` for each bit.

    Args:
        path: a mask written by ``create_raster``; one band of unsigned integers.
        bits: numbers of the bits, 0 the lowest.
        classes: what the bits must stand for; None: anything.
    """
    with open_raster(path, classes) as raster:
        width, height = raster.size
        for window in blocks(raster.size, (width, BLOCK)):
            pixels = raster.read(window)[0]
            filled = pixels.any()
            strip = []
            for bit in bits:
                runs = Runs.empty(height, width)
                if filled:
                    part = Runs.from_mask((pixels & raster.dtype.type(1 << bit)) != 0)
                    runs = Runs(part.row + window.y, part.start, part.stop, height, width)
                strip.append(Strip(window.y, window.y + window.height, runs))
            yield strip


def strips_between(strips: Iterator[list[Strip]], edges: Sequence[int]) -> Iterator[list[Strip]]:
    """The same masks in other strips.

    Args:
        strips: of masks, from top to bottom.
        edges: the first row of each strip, and the row after the last of all.
    """
    held: list[Strip] = []
    for top, bottom in pairwise(edges):
        while not held or held[0].bottom < bottom:
            after = next(strips)
            held = [_joined(*pair) for pair in zip(held, after, strict=True)] if held else after
        cuts = [int(np.searchsorted(each.runs.row, bottom)) for each in held]
        yield [Strip(top, bottom, each.runs.take(slice(cut))) for each, cut in zip(held, cuts, strict=True)]
        held = [
            Strip(bottom, each.bottom, each.runs.take(slice(cut, None))) for each, cut in zip(held, cuts, strict=True)
        ]


def _joined(upper: Strip, lower: Strip) -> Strip:
    size = lower.runs.size
    runs = Runs.concatenate([(0, upper.runs), (0, lower.runs)], size.height, size.width)
    return Strip(upper.top, lower.bottom, runs)


def runs_of_bits(path: Path, bits: Sequence[int], classes: Sequence[str] | None = None) -> list[Runs]:
    """The runs of some bits of a mask file, which is read once; arguments as of ``strips_of_bits``."""
    with open_raster(path) as raster:
        width, height = raster.size
    strips = list(strips_of_bits(path, bits, classes))
    return [Runs.concatenate(((0, each[place].runs) for each in strips), height, width) for place in range(len(bits))]
