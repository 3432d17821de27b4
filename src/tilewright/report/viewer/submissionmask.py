"""Rows of a submission as what ``segment`` writes: the mask of a slide, and a table of its objects with their pixels.

Rows are decoded one at a time; pixels wait on disk, by strip of ``BLOCK`` rows, until all are there. Memory grows with
the longest row and the width of the slide.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tilewright.annotations.tables import EMPTY, check_size
from tilewright.pixels.components import Components, components_of
from tilewright.pixels.grid import BLOCK, Frame, Size, Window, blocks
from tilewright.pixels.measuring import measure
from tilewright.pixels.rle import DECODERS
from tilewright.pixels.runs import Ints, Runs
from tilewright.pixels.thresholds import SCORES
from tilewright.project.places import objects_file, segment_file
from tilewright.report.viewer.submission import NUMBER, ORDERS, Line, RunOrder, Submission
from tilewright.runtime.errors import DataError, Problem, did_you_mean
from tilewright.segments.mask import mask_writer
from tilewright.segments.writing import SHARING_SCHEMA, object_table

TOGETHER, WAITING = 1 << 16, 1 << 19
"""Runs of a class whose objects are measured together, and runs that wait in memory before they are written."""
NOTHING = {*EMPTY, "none", "1 0", "0 0"}
"""Run lengths of no pixels, as others write them."""
TOLD = 20
"""Rows that are wrong and told."""
ALIKE = 16
"""Rows that are looked at in both orders of pixels."""
CERTAIN = 3.0
"""How much longer the edges of the pixels are in the wrong order, at least, before it is said."""


class Objects(NamedTuple):
    """Some objects of a row.

    Attributes:
        class_name: of all of them.
        runs: their pixels, in the slide.
        owner: the object of each run, int64[runs].
        confidence: of all of them; NaN: not told.
    """

    class_name: str
    runs: Runs
    owner: Ints
    confidence: float


@dataclass
class Drawn:
    """A slide of a submission.

    Attributes:
        folder: holds mask and table, under the names that ``segment`` gives them.
        problems: rows that are wrong and left out, and what is doubtful.
        wrong: how many rows are wrong.
    """

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    wrong: int = 0

    def tell(self, problem: Problem) -> None:
        """Keep what is wrong with a row."""
        self.wrong += 1
        if self.wrong <= TOLD:
            self.problems.append(problem)


def draw_submitted(found: Submission, name: str, slide: str, frame: Frame, classes: Sequence[str], out: Path) -> Drawn:
    """Write mask and table of a slide; rows that cannot be read are left out and told.

    Args:
        found: the file.
        name: the id of the slide in it.
        slide: the slide.
        frame: where it lies in its image, whose pixels the run lengths count.
        classes: those of the mask, by bit.
        out: the folder to write into.
    """
    drawn, place = Drawn(out), frame.scaled(1.0)
    with TemporaryFile(dir=out) as stream, pq.ParquetWriter(
        objects_file(out, slide), SHARING_SCHEMA, compression="zstd"
    ) as table:  # fmt: skip
        pixels, count = _Pixels(stream, len(classes)), 0
        for together in _together(_known(_objects(found, name, place, drawn), classes, found, drawn)):
            pixels.add(classes.index(together[0].class_name), [objects.runs for objects in together])
            table.write_table(rows := _rows(together, count))
            count += len(rows)
        with mask_writer(segment_file(out, slide), place, classes) as mask:
            for window in blocks(place.size, (place.width, BLOCK)):
                for bit in range(len(classes)):
                    mask.add(bit, pixels.strip(bit, window, place.size))
                mask.write_until(window.y + window.height)
    if pixels.twice:
        what = f"gives {pixels.twice} pixels of slide {slide} to several objects of a class."
        remedy = "Right where objects overlap; if the form allows one row an id, one stands there twice."
        drawn.problems.append(Problem(str(found.path), what, remedy))
    if drawn.wrong > TOLD:
        drawn.problems.append(Problem(str(found.path), f"has {drawn.wrong} such rows of slide {slide}."))
    return drawn


def _known(objects: Iterable[Objects], classes: Sequence[str], found: Submission, drawn: Drawn) -> Iterator[Objects]:
    """The objects of the classes of a mask; others are told."""
    for some in objects:
        if some.class_name in classes:
            yield some
        else:
            what = f'has objects of "{some.class_name}", which these results do not know.'
            drawn.tell(Problem(str(found.path), what, did_you_mean(some.class_name, classes)))


def _together(found: Iterable[Objects]) -> Iterator[list[Objects]]:
    """Objects of one class at a time, so many that they fill a part of the table."""
    waiting: dict[str, list[Objects]] = {}
    held = dict[str, int]()
    for objects in found:
        name = objects.class_name
        waiting.setdefault(name, []).append(objects)
        held[name] = held.get(name, 0) + len(objects.runs)
        if held[name] >= TOGETHER:
            del held[name]
            yield waiting.pop(name)
    yield from waiting.values()


def _rows(together: Sequence[Objects], before: int) -> pa.Table:
    """Rows of the table, of objects of one class."""
    parts = [objects.runs for objects in together]
    runs = Runs.concatenate(((0, part) for part in parts), parts[0].height, parts[0].width)
    counts = [int(objects.owner.max()) + 1 for objects in together]
    first = np.cumsum([0, *counts[:-1]])
    owner = np.concatenate([objects.owner + start for objects, start in zip(together, first, strict=True)])
    measured = measure(Components(runs, owner, np.zeros(len(runs), SCORES)), use_max=False)
    sure = np.repeat([objects.confidence for objects in together], counts)
    return object_table(together[0].class_name, replace(measured, confidence=sure), before, sharing=True)


def _objects(found: Submission, name: str, frame: Frame, drawn: Drawn) -> Iterator[Objects]:
    """The objects of an id; where a class has one row alone, these are the connected parts of its pixels."""
    rows = {(line.label, hash(line.code)) for line in found.lines(name) if not _is_empty(line.code)}
    labels = Counter(label for label, _ in rows)
    orders, seen = _Orders(), dict[tuple[str, int], int]()
    for line in found.lines(name):
        if _is_empty(line.code):
            continue
        where = f"{found.path}, row {line.number} (slide {name})"
        first = seen.setdefault(("", 0) if found.has_words else (line.label, hash(line.code)), line.number)
        try:
            size = _size(line, frame, where)
            if first != line.number:
                what = f"is a second one: row {first} is its row." if found.has_words else f"is row {first} again."
                raise DataError(Problem(where, what, "Take one of the two out."))
            if found.has_words:
                yield from _of_words(found, line, size, frame, where)
            else:
                yield from _of_row(found, line, size, frame, where, orders, alone=labels[line.label] == 1)
        except DataError as error:
            for problem in error.problems:
                drawn.tell(problem)
    if doubt := orders.doubt(found):
        drawn.problems.append(doubt)


def _is_empty(code: str) -> bool:
    return code.lower() in NOTHING


def _size(line: Line, frame: Frame, where: str) -> Size:
    """The size of what is encoded: the image, or the used part of it where the row states that.

    Raises:
        AnnotationError: the row states another one.
    """
    size = frame.size if (line.width, line.height) == tuple(map(str, frame.size)) else frame.image
    check_size((line.width, line.height), size, where)
    return size


def _of_row(
    found: Submission, line: Line, size: Size, frame: Frame, where: str, orders: "_Orders", *, alone: bool
) -> Iterator[Objects]:
    runs = _decoded(found, line.code, size, where)
    orders.look(found, line.code, runs)
    class_name = found.class_of(line.label)
    assert class_name, "checked when the file was read"
    runs = _in_slide(runs, size, frame)
    if len(runs):
        yield Objects(class_name, runs, components_of(runs) if alone else np.zeros(len(runs), np.int64), np.nan)


def _of_words(found: Submission, line: Line, size: Size, frame: Frame, where: str) -> Iterator[Objects]:
    """The objects of a row of words; what is wrong with one ends it, as none after it can be trusted."""
    words = line.code.split()
    for number in range(0, len(words), 3):
        here, some = f"{where}, object {number // 3 + 1}", words[number : number + 3]
        if len(some) < 3:
            raise DataError(
                Problem(here, f'"{" ".join(some)[:40]}" is not all of an object.', "Expected: class confidence code.")
            )
        class_name = found.class_of(some[0]) if NUMBER.fullmatch(some[0]) else None
        if class_name is None:
            remedy = f"Numbers are those of {', '.join(found.classes)}, from 0; --classes names others."
            raise DataError(Problem(here, f'"{some[0][:40]}" is the number of no class.', remedy))
        confidence = _confidence(some[1], here)
        runs = _in_slide(_decoded(found, some[2], size, here), size, frame)
        if len(runs):
            yield Objects(class_name, runs, np.zeros(len(runs), np.int64), confidence)


def _confidence(text: str, where: str) -> float:
    try:
        if 0 <= (found := float(text)) <= 1:
            return found
    except ValueError:
        pass
    raise DataError(Problem(where, f'"{text[:40]}" is no confidence.', "Expected a number from 0 to 1."))


def _decoded(found: Submission, code: str, size: Size, where: str) -> Runs:
    packed = found.has_words or (code[:1].isalpha() and " " not in code)
    try:
        return DECODERS["coco" if packed else found.order](code, size.height, size.width)
    except DataError as error:
        raise DataError([replace(problem, where=where) for problem in error.problems]) from error


def _in_slide(runs: Runs, size: Size, frame: Frame) -> Runs:
    """Pixels of the image, or of its used part, as those of the used part."""
    if size == frame.size:
        return runs
    inside = runs.clip(Window(frame.x, frame.y, frame.width, frame.height))
    return inside.shift(-frame.x, -frame.y, frame.height, frame.width)


class _Orders:
    """How long the edges of the first rows are in the order that is taken, and in the other."""

    def __init__(self) -> None:
        self._own, self._other, self._rows = 0, 0, 0

    def look(self, found: Submission, code: str, runs: Runs) -> None:
        """Look at a row."""
        if self._rows < ALIKE and code[:1].isdecimal():
            self._rows += 1
            self._own += _edges(runs)
            self._other += _edges(DECODERS[_other(found)](code, runs.height, runs.width))

    def doubt(self, found: Submission) -> Problem | None:
        """What is to be said of the order."""
        if self._own <= CERTAIN * self._other or not self._other:
            return None
        what = f"its pixels lie scattered in the order {found.order}, and hang together in {_other(found)}."
        return Problem(str(found.path), what, f"Try --rle-order {_other(found)}.")


def _other(found: Submission) -> RunOrder:
    return next(order for order in ORDERS if order != found.order)


def _edges(runs: Runs) -> int:
    """The length of all edges, in pixels; between rows they are where one has runs and the other none."""
    starts, stops = runs.intervals()
    below = runs.width + 1
    ends = np.sort(np.concatenate([starts, stops, starts + below, stops + below])).reshape(-1, 2)
    return 2 * len(runs) + int((ends[:, 1] - ends[:, 0]).sum())


class _Pixels:
    """Runs that arrive in any order, on disk by strip and bit.

    Attributes:
        twice: pixels that strips, as far as they were asked for, held more than once.
    """

    def __init__(self, stream: BinaryIO, bits: int) -> None:
        self.twice = 0
        self._stream, self._bits, self._count = stream, bits, 0
        self._waiting: list[tuple[int, Runs]] = []
        self._parts: list[tuple[int, Ints]] = []

    def add(self, bit: int, parts: Sequence[Runs]) -> None:
        """Keep some runs."""
        self._waiting += [(bit, runs) for runs in parts]
        self._count += sum(map(len, parts))
        if self._count >= WAITING:
            self._write()

    def strip(self, bit: int, window: Window, size: Size) -> Runs:
        """The runs of a strip of ``BLOCK`` rows, each pixel once."""
        self._write()
        key = window.y // BLOCK * self._bits + bit
        parts = [self._read(start, keys, key) for start, keys in self._parts]
        row, start, stop = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
        runs = Runs.of(row, start, stop, size.height, size.width)
        self.twice += int((stop - start).sum()) - runs.area()
        return runs

    def _write(self) -> None:
        if not self._waiting:
            return
        columns = [
            np.concatenate([getattr(runs, name) for _, runs in self._waiting]) for name in ("row", "start", "stop")
        ]
        bit = np.repeat([bit for bit, _ in self._waiting], [len(runs) for _, runs in self._waiting])
        key = columns[0] // BLOCK * self._bits + bit
        order = np.argsort(key, kind="stable")
        first = np.searchsorted(key[order], np.arange(int(key.max(initial=0)) + 2))
        self._parts.append((self._stream.seek(0, 2), first.astype(np.int64)))
        self._stream.write(np.stack(columns, axis=1)[order].astype(np.int32).tobytes())
        self._waiting, self._count = [], 0

    def _read(self, start: int, first: Ints, key: int) -> NDArray[np.int64]:
        if key + 1 >= len(first):
            return np.empty((0, 3), np.int64)
        self._stream.seek(start + 12 * int(first[key]))
        found = self._stream.read(12 * int(first[key + 1] - first[key]))
        return np.frombuffer(found, np.int32).reshape(-1, 3).astype(np.int64)
