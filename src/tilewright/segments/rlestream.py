"""Run-length encodings of masks that arrive strip by strip, as pieces of text; ``rle`` describes the dialects.

Memory grows neither with the height of the mask nor with the number of its runs: row-major runs are written as they
come; for column-major ones, the pixels at which a column changes wait on disk, sorted by columns within each strip.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from tilewright.pixels.rle import numbers_as_text
from tilewright.pixels.runs import Ints, Runs, changes_of_columns
from tilewright.pixels.strips import Strip

SLICE = 64
TOGETHER = 1 << 19
KEY_BYTES = 8


def stream_row_major(strips: Iterable[Strip]) -> Iterator[str]:
    """The text of ``encode_row_major`` in pieces.

    Args:
        strips: of one mask, from top to bottom.
    """
    flat = ((runs.row * runs.width + runs.start, runs.row * runs.width + runs.stop) for _, _, runs in strips)
    yield from _texts(flat)


def stream_column_major(strips: Iterable[Strip], height: int, width: int, folder: Path) -> Iterator[str]:
    """The text of ``encode_column_major`` in pieces.

    Args:
        strips: of one mask, from top to bottom; rows below the last one are empty.
        height: rows of the mask.
        width: columns of the mask.
        folder: where a temporary file may be written.
    """
    with TemporaryFile(dir=folder) as stream:
        waiting = _Changes(stream, height, width)
        for strip in strips:
            waiting.add(strip)
        waiting.finish()
        yield from _texts(waiting.columns())


class _Changes:
    """Pixels at which a column changes, on disk by strip and slice of columns.

    As keys ``column * (height + 1) + row``.
    """

    def __init__(self, stream: BinaryIO, height: int, width: int) -> None:
        self._stream, self._height = stream, height
        self._slice = max(SLICE, -(-width // 4096))
        self._slices = -(-width // self._slice)
        self._counts = [np.zeros(self._slices, np.int64)]
        self._above = Runs.empty(height, width)
        self._bottom = 0

    def add(self, strip: Strip) -> None:
        top = strip.top
        above = self._above.take(self._above.row == top - 1)
        runs = Runs.concatenate([(0, above), (0, strip.runs)], strip.runs.height, strip.runs.width)
        column, row = changes_of_columns(runs)
        inside = (row >= top) & (row < strip.bottom)
        self._write(column[inside], row[inside])
        self._above = strip.runs.take(strip.runs.row == strip.bottom - 1)
        self._bottom = strip.bottom

    def finish(self) -> None:
        """End the runs of the last row."""
        column, row = changes_of_columns(self._above)
        below = row == self._bottom
        self._write(column[below], row[below])

    def columns(self) -> Iterator[tuple[Ints, Ints]]:
        """Starts and stops of the runs down the columns, counted in pixels down the columns; some columns at a time."""
        counts = np.stack(self._counts)
        total = counts.sum()
        before = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
        per_slice = counts.sum(axis=0)
        group = np.cumsum(per_slice) // TOGETHER
        for first, last in _ranges(group) if total else ():
            size = counts[:, first:last].sum(axis=1)
            keys = np.sort(np.concatenate([self._read(*span) for span in zip(before[:, first], size, strict=True)]))
            column, row = np.divmod(keys, self._height + 1)
            ends = column * self._height + row
            yield ends[0::2], ends[1::2]

    def _write(self, column: Ints, row: Ints) -> None:
        keys = np.sort(column * (self._height + 1) + row)
        bounds = np.arange(1, self._slices) * self._slice * (self._height + 1)
        self._counts.append(np.diff(np.searchsorted(keys, bounds), prepend=0, append=len(keys)))
        self._stream.write(keys.tobytes())

    def _read(self, first: int, count: int) -> Ints:
        self._stream.seek(int(first) * KEY_BYTES)
        return np.frombuffer(self._stream.read(int(count) * KEY_BYTES), np.int64)


def _ranges(group: Ints) -> Iterator[tuple[int, int]]:
    """First and last of equal neighbours."""
    ends = np.concatenate([np.flatnonzero(np.diff(group)) + 1, [len(group)]]).tolist()
    yield from zip([0, *ends[:-1]], ends, strict=True)


def _texts(flat: Iterable[tuple[Ints, Ints]]) -> Iterator[str]:
    """Text of runs that arrive in increasing order; those that touch are joined."""
    separator = ""
    for starts, stops in _joined(flat):
        for first in range(0, len(starts), TOGETHER):
            part = slice(first, first + TOGETHER)
            yield separator + numbers_as_text(np.stack([starts[part] + 1, stops[part] - starts[part]], axis=1).ravel())
            separator = " "


def _joined(flat: Iterable[tuple[Ints, Ints]]) -> Iterator[tuple[Ints, Ints]]:
    """The same runs without borders between those that touch; the last one waits for what follows."""
    start, stop = np.empty(0, np.int64), np.empty(0, np.int64)
    for more_starts, more_stops in flat:
        if len(more_starts):
            starts, stops = np.concatenate([start, more_starts]), np.concatenate([stop, more_stops])
            apart = starts[1:] != stops[:-1]
            starts, stops = starts[np.concatenate([[True], apart])], stops[np.concatenate([apart, [True]])]
            if len(starts) > 1:
                yield starts[:-1], stops[:-1]
            start, stop = starts[-1:], stops[-1:]
    if len(start):
        yield start, stop
