"""What files and folders hold, as digests: each file is read once, and remembered by its path, size and time.

The memory is a small file for each path, beside the results, without locks: whoever writes last has told the truth too.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from tilewright.runtime.atomic import SNAKEMAKES_MARK
from tilewright.runtime.hashed import file_hash

MEMORY = ".made"
"""The folder of the memory, in each folder of results."""
BELOW = "./"
"""How the memory names what lies below the results; no other path starts so."""
LARGE = 1_000_000
"""Bytes from which on files are told by their times; Snakemake's own bound (--max-checksum-file-size)."""
SET_BACK = 1
"""The time, in seconds since 1970, of a result that is to be made anew."""
SETTLED = 2_000_000_000
"""Nanoseconds; a file that was written less long ago may be written again within one tick of its clock."""


class Facts(NamedTuple):
    """By what a file is known again without being read, and what it held.

    Attributes:
        size: bytes.
        time: of the last change, in nanoseconds since 1970.
        inode: its number on the disk.
        digest: SHA-256 of its content; empty: not read yet.
        touched: when anything of it was changed, names and rights included, in the same unit; nobody can set it back.
    """

    size: int
    time: int
    inode: int
    digest: str = ""
    touched: int = 0

    @classmethod
    def of(cls, status: os.stat_result) -> "Facts":
        """Those of a file that was not read."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, touched=status.st_ctime_ns)

    def is_of(self, other: "Facts") -> bool:
        """Whether both are of one file that was not changed in between."""
        return self[:3] == other[:3]


Files = Mapping[str, Facts]
"""The files of a folder by their names in it; of a file, itself under an empty name."""


@dataclass(frozen=True)
class Made:
    """How a result came to be.

    Attributes:
        verb: the step; empty: no step of this project has made it.
        version: of the program that computed it.
        code: hash of the code that did.
        recipe: digest of all that it depends on; empty: nobody asked.
        computed: when, in seconds since 1970.
        taken: when it was taken from what was kept; None: it was computed where it lies.
    """

    verb: str = ""
    version: str = ""
    code: str = ""
    recipe: str = ""
    computed: float = 0
    taken: float | None = None


@dataclass(frozen=True)
class Remembered:
    """What is known of a path."""

    made: Made = Made()
    files: Files = field(default_factory=dict)


@dataclass(frozen=True)
class Digests:
    """The memory of a folder of results.

    Attributes:
        results: the folder; paths in it are remembered relative to it, so that a copy of it knows them too.
    """

    results: Path

    def of(self, path: Path) -> str:
        """The digest of a file, or of a folder as a whole.

        Raises:
            OSError: it cannot be read.
        """
        return digest_of(self.read(path))

    def read(self, path: Path) -> Files:
        """The files of a path with their digests; those that were not changed are not read again.

        Raises:
            OSError: one cannot be read.
        """
        return self._up_to_date(path, self.recall(path))

    def _up_to_date(self, path: Path, known: Remembered) -> Files:
        found = facts_of(path)
        same = {name: each for name, each in known.files.items() if name in found and each.is_of(found[name])}
        if not known.made.verb:  # results are linked by this project itself; what users have may be rewritten
            same = {name: each for name, each in same.items() if each.touched == found[name].touched}
        read = {name: each for name, each in same.items() if each.digest}
        if found.keys() == known.files.keys() == read.keys():
            return known.files
        started = time.time_ns()
        files = {name: read[name] if name in read else _read(path, name, facts) for name, facts in found.items()}
        if all(facts.time < started - SETTLED for facts in files.values()):
            with suppress(OSError):  # of a full disk: it is read again then
                self.remember(path, Remembered(known.made, files))
        return files

    def read_anew(self, path: Path) -> str:
        """The digest of what a path holds now, whatever is remembered of it.

        Raises:
            OSError: it cannot be read.
        """
        return digest_of({name: _read(path, name, facts) for name, facts in facts_of(path).items()})

    def glance(self, path: Path) -> Sequence[int | str]:
        """By what a file is told from others: a small one by its content, a large one by its size and time.

        Of a file that is gone it is what it was when it was last looked at; of one that never was, and of a folder,
        nothing.

        Raises:
            OSError: a small one cannot be read.
        """
        known = self.recall(path)
        if path.is_file():
            facts = Facts.of(path.stat())
            if facts.size < LARGE:
                facts = self._up_to_date(path, known)[""]
            elif not ("" in known.files and known.files[""].is_of(facts)):
                with suppress(OSError):
                    self.remember(path, Remembered(known.made, {"": facts}))
        elif "" in known.files:
            facts = known.files[""]
        else:
            return ()
        return (facts.digest,) if facts.size < LARGE else (facts.size, facts.time)

    def recall(self, path: Path) -> Remembered:
        """What is known of a path, whether it is still true or not."""
        return _told(self._place(path))[1]

    def all(self) -> Iterator[tuple[Path, Remembered]]:
        """All paths of which something is known; those below the results start with their folder."""
        for place in sorted(self.results.glob(f"{MEMORY}/*/*.json")):
            name, known = _told(place)
            if name:
                yield self.results / name if name.startswith(BELOW) else Path(name), known

    def remember(self, path: Path, known: Remembered) -> None:
        """Write down what a path holds and how it came to be.

        Raises:
            OSError: it cannot be written.
        """
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        private = place.with_suffix(f".{os.getpid()}.partial")
        # not synced: what a crash has cut short is no JSON, and is found out anew
        told = {"path": self._name(path), "made": asdict(known.made), "files": known.files}
        private.write_text(json.dumps(told), encoding="utf-8")
        private.replace(place)

    def forget(self, path: Path) -> None:
        """Leave nothing written down of a path."""
        self._place(path).unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        """A path from the results if it lies below them; any other one as it is given."""
        whole, results = os.path.abspath(path), os.path.abspath(self.results)  # noqa: PTH100 - links are not followed
        return BELOW + os.path.relpath(whole, results) if whole.startswith(results + os.sep) else str(path)

    def _place(self, path: Path) -> Path:
        key = hashlib.sha256(self._name(path).encode()).hexdigest()[:32]
        return self.results / MEMORY / key[:2] / f"{key}.json"


def day_of(seconds: float) -> str:
    """A time since 1970 as people write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def facts_of(path: Path) -> dict[str, Facts]:
    """The files of a path, unread.

    Raises:
        OSError: it is not there.
    """
    if not path.is_dir():
        return {"": Facts.of(path.stat())}
    return dict(sorted(_below(path, "")))


def _read(path: Path, name: str, facts: Facts) -> Facts:
    return facts._replace(digest=file_hash(path / name if name else path))


def digest_of(files: Files) -> str:
    """The digest of files, and of their names."""
    if files.keys() == {""}:
        return files[""].digest
    text = "".join(f"{facts.digest} {name}\n" for name, facts in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _told(place: Path) -> tuple[str, Remembered]:
    """The path that a file of the memory is about, and what it says; empty: it cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        told = json.loads(place.read_text("utf-8"))
        files = {name: Facts(*facts) for name, facts in told["files"].items()}
        return told["path"], Remembered(Made(**told["made"]), files)
    return "", Remembered()


def _below(folder: Path, before: str) -> Iterator[tuple[str, Facts]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _below(Path(entry.path), f"{before}{entry.name}/")
            elif entry.name != SNAKEMAKES_MARK:
                yield f"{before}{entry.name}", Facts.of(entry.stat())
