"""An index of objects on disk: which lie in a part of a slide, without reading the others.

Objects are sorted by the square of ``CELL`` pixels that holds the middle of their box; a part of a slide is then some
ranges of rows of files that are mapped, not read. Boxes wider or higher than a square stand apart, and are all asked.
Beside the boxes lie bytes for each object (its outline), which are read for those that are found alone.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL = 256
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some objects.

    Attributes:
        boxes: left, top, right and bottom, in pixels of the slide, float32[n, 4].
        numbers: float32[n, k]: what is told of each.
        payloads: bytes of each, or nothing at all.
    """

    boxes: Floats
    numbers: Floats
    payloads: list[bytes]


@dataclass(frozen=True)
class ObjectIndex:
    """Objects on disk; made by ``build``.

    Attributes:
        boxes: left, top, right and bottom, sorted by square; then those that are larger than one, float32[n, 4].
        numbers: what is told of each, float32[n, k].
        source: the place of each in the table that it comes from, int64[n].
        first: the place of the first object of each square, int64[squares + 1].
        across: squares in a row.
        payload: the file of bytes, and where those of each object of the table begin, int64[n + 1].
    """

    boxes: Floats
    numbers: Floats
    source: Ints
    first: Ints
    across: int
    payload: tuple[Path, Ints]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def build(cls, batches: Iterable[Batch], folder: Path) -> "ObjectIndex":
        """Write the index of some objects into a folder that is there, and open it."""
        boxes, numbers, offsets, columns = array("f"), array("f"), array("q", [0]), 0
        with (folder / "payload").open("wb") as stream:
            for batch in batches:
                boxes.frombytes(batch.boxes.tobytes())
                numbers.frombytes(batch.numbers.tobytes())
                columns = batch.numbers.shape[1]
                stream.writelines(batch.payloads)
                offsets.extend(accumulate(map(len, batch.payloads), initial=offsets.pop()))
        placed = np.frombuffer(boxes, np.float32).reshape(-1, 4)
        square, across, down = _squares(placed)
        order = np.argsort(square, kind="stable")

        def mapped(name: str, values: NDArray[Any]) -> NDArray[Any]:
            """Written at once, so that no two of them are held."""
            np.save(folder / f"{name}.npy", values)
            return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

        told = np.frombuffer(numbers, np.float32).reshape(len(placed), columns)
        return cls(
            mapped("boxes", placed[order]), mapped("numbers", told[order]), mapped("source", order),
            mapped("first", np.searchsorted(square[order], np.arange(across * down + 1))), across,
            (folder / "payload", mapped("offsets", np.frombuffer(offsets, np.int64))),
        )  # fmt: skip

    def near(self, box: tuple[float, float, float, float], most: int) -> Ints | int:
        """The places of the objects whose boxes meet a box, or about how many they are, where they are more."""
        candidates = sum(stop - start for start, stop in self._ranges(box))
        if candidates > 4 * most + len(self) - int(self.first[-1]):
            return candidates
        found = [self._meeting(box, start, stop) for start, stop in self._ranges(box)]
        places = np.concatenate([np.empty(0, np.int64), *found])
        return places if len(places) <= most else len(places)

    def payload_of(self, place: int) -> bytes:
        """The bytes of an object."""
        path, offsets = self.payload
        begin, end = (int(offsets[int(self.source[place]) + step]) for step in (0, 1))
        with path.open("rb") as stream:
            stream.seek(begin)
            return stream.read(end - begin)

    def _ranges(self, box: tuple[float, float, float, float]) -> Iterator[tuple[int, int]]:
        """The ranges of places that may hold objects in a box: squares around it, and large objects."""
        squares = len(self.first) - 1
        last = self.across - 1, squares // self.across - 1
        # a box reaches half a square beyond that of its middle at most
        left, top, right, bottom = box
        low = [int(max(0, (start - CELL / 2) // CELL)) for start in (left, top)]
        high = [int(min(end, (stop + CELL / 2) // CELL)) for stop, end in zip((right, bottom), last, strict=True)]
        for row in range(low[1], high[1] + 1):
            if low[0] <= high[0]:
                start, stop = row * self.across + low[0], row * self.across + high[0] + 1
                yield int(self.first[start]), int(self.first[stop])
        yield int(self.first[-1]), len(self)

    def _meeting(self, box: tuple[float, float, float, float], start: int, stop: int) -> Ints:
        left, top, right, bottom = box
        own = np.asarray(self.boxes[start:stop])
        meets = (own[:, 0] < right) & (own[:, 2] > left) & (own[:, 1] < bottom) & (own[:, 3] > top)
        return start + np.flatnonzero(meets)


def _squares(boxes: Floats) -> tuple[NDArray[np.int32], int, int]:
    """The square of each box, of the large ones the number of squares; and squares in a row and in a column."""
    middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 // CELL).clip(0).astype(np.int32)
    across, down = (middle.max(axis=0, initial=0) + 1).tolist()
    large = (boxes[:, 2:] - boxes[:, :2] > CELL).any(axis=1)
    return np.where(large, across * down, middle[:, 1] * np.int32(across) + middle[:, 0]), across, down
