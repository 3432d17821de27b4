"""Predicted masks as tiled TIFF, one bit a class, written from row runs; rows may become known late."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tilewright.pixels.grid import BLOCK, Frame, Size, Window, blocks, mask_dtype
from tilewright.pixels.rasters import Raster, create_raster
from tilewright.pixels.runs import Ints, Runs, difference

CHUNK = 8 * BLOCK


@contextmanager
def mask_writer(path: Path, frame: Frame, classes: Sequence[str]) -> Iterator["MaskWriter"]:
    """Create a mask of the size of ``frame`` at factor 1, one bit a class; blocks without a pixel are left out.

    Rows that were not written before are written at the end.

    Args:
        path: the TIFF; appears whole or not at all.
        frame: its place; the factor is not used.
        classes: the names of the bits, in their order.
    """
    full = frame.scaled(1.0)
    kind, tags = mask_dtype(len(classes)), full.tags(classes)
    with create_raster(path, full.size, dtype=kind, tags=tags, compression="deflate") as raster:
        writer = MaskWriter(raster, len(classes))
        yield writer
        writer.write_until(full.size.height)


class MaskWriter:
    """Writes a mask from top to bottom; made by ``mask_writer``."""

    def __init__(self, raster: Raster, classes: int) -> None:
        self._raster, self._written = raster, 0
        empty = Runs.empty(raster.size.height, raster.size.width)
        self._added = [empty] * classes
        self._removed = [empty] * classes

    def add(self, bit: int, runs: Runs) -> None:
        """Set pixels of a class, below those added before."""
        self._added[bit] = _appended(self._added[bit], runs)

    def remove(self, bit: int, runs: Runs) -> None:
        """Take back pixels of a class that were added and not written."""
        self._removed[bit] = Runs.of(*_columns(_appended(self._removed[bit], runs)), runs.height, runs.width)

    def write_until(self, row: int) -> None:
        """Write the blocks that end at ``row`` or above it: nothing will be added there or taken back."""
        size = self._raster.size
        bottom = size.height if row >= size.height else row // BLOCK * BLOCK
        if bottom <= self._written:
            return
        band = Window(0, self._written, size.width, bottom - self._written)
        layers = [
            difference(added.clip(band), removed.clip(band))
            for added, removed in zip(self._added, self._removed, strict=True)
        ]
        for part in blocks(Size(band.width, band.height), (CHUNK, BLOCK)):
            self._write(layers, Window(part.x, part.y + band.y, part.width, part.height))
        rest = Window(0, bottom, size.width, size.height - bottom)
        self._added = [runs.clip(rest) for runs in self._added]
        self._removed = [runs.clip(rest) for runs in self._removed]
        self._written = bottom

    def _write(self, layers: Sequence[Runs], window: Window) -> None:
        parts = [layer.clip(window) for layer in layers]
        if any(map(len, parts)):
            dtype = self._raster.dtype
            pixels = np.zeros((window.height, window.width), dtype)
            for bit, part in enumerate(parts):
                if len(part):
                    pixels |= part.to_mask(window).astype(dtype) << dtype.type(bit)
            self._raster.write(pixels, window.x, window.y)


def _columns(runs: Runs) -> tuple[Ints, Ints, Ints]:
    return runs.row, runs.start, runs.stop


def _appended(runs: Runs, more: Runs) -> Runs:
    return Runs.concatenate([(0, runs), (0, more)], runs.height, runs.width)
