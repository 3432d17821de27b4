"""An index of objects on disk: which lie in a part of a slide, without reading the others.

Objects are sorted by the square of ``CELL`` pixels that holds the middle of their box; a part of a slide is then some
ranges of rows of files that are mapped, not read. Boxes wider or higher than a square stand apart, and are all asked.
Beside the boxes lie bytes for each object (its outline), which are read for those that are found alone.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
        parts: list[Batch] = []
        lengths = array("i")
        with (folder / "payload").open("wb") as stream:
            for batch in batches:
                parts.append(Batch(batch.boxes, batch.numbers, []))
                stream.writelines(batch.payloads)
                lengths.extend(map(len, batch.payloads))
        boxes = np.concatenate([np.empty((0, 4), np.float32), *(part.boxes for part in parts)])
        columns = parts[0].numbers.shape[1] if parts else 0
        numbers = np.concatenate([np.empty((0, columns), np.float32), *(part.numbers for part in parts)])
        large = (boxes[:, 2] - boxes[:, 0] > CELL) | (boxes[:, 3] - boxes[:, 1] > CELL)
        column, row = (((boxes[:, low] + boxes[:, low + 2]) / 2 // CELL).clip(0).astype(np.int64) for low in (0, 1))
        across, down = int(column.max(initial=0)) + 1, int(row.max(initial=0)) + 1
        square = np.where(large, across * down, row * across + column)
        order = np.argsort(square, kind="stable")
        first = np.searchsorted(square[order], np.arange(across * down + 1))
        offsets = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int64)
        files = {"boxes": boxes[order], "numbers": numbers[order], "source": order, "first": first, "offsets": offsets}
        for name, values in files.items():
            np.save(folder / f"{name}.npy", values)
        mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in files}
        return cls(
            mapped["boxes"], mapped["numbers"], mapped["source"], mapped["first"], across,
            (folder / "payload", mapped["offsets"]),
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
