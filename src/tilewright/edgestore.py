"""Edges of outlines kept on disk by place, so that memory grows neither with the slide nor with its outlines.

A batch of outlines is appended to the file in the order of the blocks that they start in; the index in memory holds 20
bytes for each block that an outline reaches.
"""

from typing import Any, BinaryIO

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.rasters import Frame, Window
from tilewright.runs import Ints, spread
from tilewright.scanline import Edges

EDGE_BYTES = 32
INDEX = np.dtype([("block", np.int32), ("first", np.int64), ("count", np.int32), ("bits", np.int32)])
"""An outline in a block: number of the block, the outline's first edge in the file and how many it has, the bits it sets."""


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
        self._parts = [np.empty(0, INDEX)]
        self._edges = 0

    def add(self, shapes: NDArray[Any], bits: NDArray[np.int32]) -> NDArray[np.bool_]:
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
        first = self._edges + np.cumsum(count, dtype=np.int64) - count
        self._stream.write(np.ascontiguousarray(edges.points).tobytes())
        self._edges += len(edges.area)
        part = np.empty(len(block), INDEX)
        part["block"], part["first"], part["count"] = block, first[outline], count[outline]
        part["bits"] = bits[order][outline]
        self._parts.append(part)
        return inside

    def near(self, window: Window) -> tuple[Edges, NDArray[np.int32]]:
        """The outlines that may reach into a block.

        Args:
            window: a block of the frame, in pixels from its corner.

        Returns:
            Their edges, numbered by outline from 0, and the bits of each outline, int32[outlines].
        """
        block = window.y // self._block * self._columns + window.x // self._block
        index = self._sorted()
        part = index[slice(*np.searchsorted(index["block"], (block, block + 1)))]
        area = np.repeat(np.arange(len(part), dtype=np.int64), part["count"])
        return Edges(self._read(part["first"], part["first"] + part["count"]), area), part["bits"]

    @property
    def _frame_size(self) -> list[int]:
        return [self._frame.width, self._frame.height]

    def _places(self, bounds: NDArray[np.float64]) -> tuple[Ints, Ints, Ints]:
        """The order of outlines by their first block; and, for each block that one reaches, its place there and the block.

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

    def _sorted(self) -> NDArray[Any]:
        """The whole index, by block."""
        if len(self._parts) > 1:
            self._stream.flush()
            index = np.concatenate(self._parts)
            self._parts = [index[np.argsort(index["block"], kind="stable")]]
        return self._parts[0]

    def _read(self, first: Ints, stop: Ints) -> NDArray[np.float64]:
        """Edges of half-open ranges; neighbouring ranges are read at once."""
        apart = np.flatnonzero(first[1:] != stop[:-1]) + 1
        begins = first[np.concatenate([[0], apart])] if len(first) else first
        ends = stop[np.concatenate([apart - 1, [len(stop) - 1]])] if len(first) else stop
        parts = [np.empty(0)]
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            self._stream.seek(begin * EDGE_BYTES)
            parts.append(np.frombuffer(self._stream.read((end - begin) * EDGE_BYTES), np.float64))
        return np.concatenate(parts).reshape(-1, 4)
