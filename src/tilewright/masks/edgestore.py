"""Edges of outlines kept on disk by place, so that memory grows neither with the slide nor with its outlines.

A batch of outlines is appended to the file in the order of the blocks that they start in, and after it the batch's
index, by block. In memory is, of each batch, only where the index of each block begins.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.runs import Ints, spread
from tilewright.pixels.scanline import Edges

EDGE_BYTES = 32
INDEX = np.dtype([("first", np.int64), ("count", np.int32), ("bits", np.int64)])
"""An outline that reaches a block: the byte at which its edges begin, how many they are, and the bits that it sets."""


@dataclass(frozen=True)
class _Batch:
    """Where the index of a batch is.

    Its first byte, and for each block how many entries come before, int32[blocks + 1].
    """

    start: int
    before: NDArray[np.int32]


class EdgeStore:
    """Outlines of one slide, written once and then read block by block.

    Args:
        stream: an empty file, open for reading and writing; the caller closes and removes it.
        frame: the part of the image that is drawn.
        block: edge of a block, in pixels, counted from the corner of the frame.
    """

    def __init__(self, stream: BinaryIO, frame: Frame, block: int) -> None:
        self._stream, self._frame, self._block = stream, frame, block
        self._columns = -(-frame.width // block)
        self._blocks = self._columns * -(-frame.height // block)
        self._batches: list[_Batch] = []
        self._end = 0

    def add(self, shapes: NDArray[Any], bits: Ints) -> NDArray[np.bool_]:
        """Append valid areas in pixels of the image, and the bits that each sets.

        Returns:
            Whether each lies wholly inside the frame, bool[n].
        """
        corner = [self._frame.x, self._frame.y]
        bounds = shapely.bounds(shapes).reshape(-1, 4) - [*corner, *corner]
        inside: NDArray[np.bool_] = (bounds[:, :2] >= 0).all(1) & (bounds[:, 2:] <= self._frame_size).all(1)
        order, outline, block = self._places(bounds)
        edges = Edges.of(shapes[order])
        count = np.bincount(edges.area, minlength=len(order)).astype(np.int32)
        first = self._end + EDGE_BYTES * (np.cumsum(count, dtype=np.int64) - count)
        self._append(np.ascontiguousarray(edges.points))
        by_block = np.argsort(block, kind="stable")
        outline, block = outline[by_block], block[by_block]
        index = np.empty(len(block), INDEX)
        index["first"], index["count"], index["bits"] = first[outline], count[outline], bits[order][outline]
        before = np.searchsorted(block, np.arange(self._blocks + 1)).astype(np.int32)
        self._batches.append(_Batch(self._end, before))
        self._append(index)
        return inside

    def near(self, window: Window) -> tuple[Edges, Ints]:
        """The outlines that may reach into a window.

        Args:
            window: a part of the frame, in pixels from its corner.

        Returns:
            Their edges, numbered by outline from 0, and the bits of each outline, int64[outlines].
        """
        rows, columns = (
            range(start // self._block, -(-(start + length) // self._block))
            for start, length in ((window.y, window.height), (window.x, window.width))
        )
        blocks = [row * self._columns + column for row in rows for column in columns]
        reached = [self._index(batch, block) for batch in self._batches for block in blocks]
        part = np.concatenate([np.empty(0, INDEX), *reached])
        if len(blocks) > 1:
            part = part[np.unique(part["first"], return_index=True)[1]]
        area = np.repeat(np.arange(len(part), dtype=np.int64), part["count"])
        return Edges(self._edges(part["first"], part["first"] + EDGE_BYTES * part["count"]), area), part["bits"]

    @property
    def _frame_size(self) -> list[int]:
        return [self._frame.width, self._frame.height]

    def _places(self, bounds: NDArray[np.float64]) -> tuple[Ints, Ints, Ints]:
        """The order of outlines by their first block.

        And, for each block that one reaches, its place there and the block.

        Outlines beyond the frame are left out.
        """
        last = -(-np.array(self._frame_size) // self._block)
        low = np.clip(np.floor(bounds[:, :2] / self._block), 0, last).astype(np.int64)
        high = np.clip(np.ceil(bounds[:, 2:] / self._block), 0, last).astype(np.int64)
        wide, tall = np.maximum(high - low, 0).T
        kept = np.flatnonzero(wide * tall > 0)
        order = kept[np.argsort(low[kept, 1] * self._columns + low[kept, 0], kind="stable")]
        rows = np.repeat(np.arange(len(order)), tall[order])
        row = spread(low[order, 1], high[order, 1])
        outline = np.repeat(rows, wide[order][rows])
        column = spread(low[order, 0][rows], high[order, 0][rows])
        block = np.repeat(row, wide[order][rows]) * self._columns + column
        return order, outline, block

    def _append(self, values: NDArray[Any]) -> None:
        self._end += self._stream.write(values.tobytes())

    def _index(self, batch: _Batch, block: int) -> NDArray[Any]:
        """The entries of a batch for a block."""
        first, last = batch.before[block : block + 2].tolist()
        if first == last:
            return np.empty(0, INDEX)
        start = batch.start + first * INDEX.itemsize
        return np.frombuffer(self._bytes(start, start + (last - first) * INDEX.itemsize), INDEX)

    def _edges(self, first: Ints, stop: Ints) -> NDArray[np.float64]:
        """Edges in half-open ranges of bytes; neighbouring ranges are read at once."""
        apart = np.flatnonzero(first[1:] != stop[:-1]) + 1
        begins = first[np.concatenate([[0], apart])] if len(first) else first
        ends = stop[np.concatenate([apart - 1, [len(stop) - 1]])] if len(first) else stop
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        parts = [np.empty(0), *(np.frombuffer(self._bytes(begin, end), np.float64) for begin, end in spans)]
        return np.concatenate(parts).reshape(-1, 4)

    def _bytes(self, begin: int, end: int) -> bytes:
        self._stream.seek(begin)
        return self._stream.read(end - begin)
