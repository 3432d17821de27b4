"""Files of outlines that many slides share (tables, COCO, JSON lines), grouped once by id.

What belongs to an id waits as JSON, in memory or in an index on disk that other processes read: the first process that
reads a large file leaves one, named by the file's content. A slide then costs what its own outlines cost.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from tilewright.annotations.ids import Id, Ids
from tilewright.project.config import Limits
from tilewright.project.naming import Identity
from tilewright.project.places import index_file
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.errors import AnnotationError, DataError, Problem, no_such_file
from tilewright.runtime.hashed import DIGITS, file_hash
from tilewright.runtime.progress import note

VERSION = 2
"""Of what is kept: another number, where grouping changes, keeps what was left before from being read."""
LEAST = 1 << 20
"""Bytes of a file from which on an index is left: smaller ones are read as fast."""
KEPT = 4
"""Files that are kept, as slides may take turns between some."""


@dataclass(frozen=True)
class Grouped:
    """A file, read and divided.

    Attributes:
        kind: which reader made it, and takes what belongs to an id.
        ids: each id once.
        entries: what belongs to each, as JSON holds it.
        common: what belongs to all.
    """

    kind: str
    ids: Sequence[Id]
    entries: Sequence[Any]
    common: Any = None


@dataclass(frozen=True)
class Shared:
    """A file that is divided by id.

    Attributes:
        path: the file.
        kind: which reader takes what belongs to an id.
        common: what belongs to all.
        ids: the ids, looked up by slide.
        ends: where the text of each id ends, beginning with the start of the first.
        sums: check sums of these texts.
        store: the texts one after the other, or the index that holds them.
    """

    path: Path
    kind: str
    common: Any
    ids: Ids
    ends: Sequence[int]
    sums: Sequence[int]
    store: bytes | Path

    @classmethod
    def of(cls, path: Path, head: Any, start: int, store: bytes | Path) -> Self:
        """Put together from what an index says at its beginning."""
        ends = [start + end for end in (0, *head["ends"])]
        return cls(
            path, head["kind"], head["common"], Ids([Id(*one) for one in head["ids"]]), ends, head["sums"], store
        )

    def entries_of(self, who: Identity) -> Any:
        """What belongs to a slide; None: no id means it.

        Raises:
            AnnotationError: it is not certain which id means the slide.
            DataError: the index is damaged.
        """
        place = self.ids.find(who, self.path)
        if place is None:
            return None
        start, end = self.ends[place : place + 2]
        if isinstance(self.store, bytes):
            text = self.store[start:end]
        else:
            with self.store.open("rb") as stream:
                stream.seek(start)
                text = stream.read(end - start)
        if zlib.crc32(text) != self.sums[place]:
            raise DataError(Problem(str(self.store), "is damaged.", "Delete it and run again, which writes it anew."))
        return json.loads(text)


Group = Callable[[Path, Limits], Grouped]
"""Reads a file and divides it; raises ``AnnotationError``."""


def open_shared(path: Path, limits: Limits, group: Group, index: Path | None) -> Shared:
    """A file that is divided by id; the last ones are kept.

    Args:
        path: the file.
        limits: most vertices in a file.
        group: reads and divides it.
        index: folder of what is left for other processes; None: nothing is.

    Raises:
        AnnotationError: the file cannot be read.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise AnnotationError(no_such_file(path)) from error
    return _open(path, limits, group, index, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=KEPT)
def _open(path: Path, limits: Limits, group: Group, index: Path | None, stamp: tuple[int, int]) -> Shared:
    place = index_file(index, f"{file_hash(path)[:DIGITS]}-{VERSION}") if index and stamp[1] >= LEAST else None
    if place and (known := _read(path, place)):
        return known
    grouped = group(path, limits)
    texts = [json.dumps(entry, separators=(",", ":")).encode() for entry in grouped.entries]
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text))
    head = {
        "kind": grouped.kind, "common": grouped.common, "ids": grouped.ids, "ends": ends[1:],
        "sums": [zlib.crc32(text) for text in texts],
    }  # fmt: skip
    if place and len(texts) > 1 and (start := _write(place, head, texts)):
        return Shared.of(path, head, start, place)
    return Shared.of(path, head, 0, b"".join(texts))


def _write(place: Path, head: Any, texts: Sequence[bytes]) -> int:
    """Leave an index; where its texts begin. 0: it cannot be written, which costs time and nothing else."""
    line = json.dumps(head, separators=(",", ":")).encode()
    first = b"%08x%016x" % (zlib.crc32(line), len(line)) + line
    try:
        with atomic_path(place) as private, private.open("wb") as stream:
            stream.write(first)
            stream.writelines(texts)
    except (DataError, OSError) as error:
        note(f"{place} cannot be written, so that each job reads the whole file of outlines: {error}")
        return 0
    return len(first)


def _read(path: Path, place: Path) -> Shared | None:
    """An index that an earlier process left; None: there is none that is whole."""
    try:
        with place.open("rb") as stream:
            digits = stream.read(24)
            length = int(digits[8:], 16)
            line = stream.read(length)
            if zlib.crc32(line) != int(digits[:8], 16):
                return None
            head = json.loads(line)
            whole = stream.seek(0, 2) == 24 + length + (head["ends"] or [0])[-1]
    except (OSError, ValueError):
        return None
    return Shared.of(path, head, 24 + length, place) if whole else None
