"""The files of a bundle, in a folder or in a zip: their names and sizes, and their content.

A bundle comes from anywhere. Only plain files with plain names inside it are taken; a zip may not compress them, so
that none is larger than the zip itself. Imports nothing heavy.
"""

import json
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tilewright.runtime.atomic import MARK, MARKS
from tilewright.runtime.errors import DataError, Problem, raise_all

LONGEST_MARK = 1 << 20
"""Bytes of a file that marks a folder; nobody reads those of a bundle."""
REMEDY = "Get the bundle again, from where it was made."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
ENCRYPTED = 1


@dataclass(frozen=True)
class BundleFiles:
    """What lies in a bundle.

    Attributes:
        path: the folder or the zip.
        sizes: bytes of each file, by name.
    """

    path: Path
    sizes: dict[str, int]

    def read(self, name: str, most: int) -> bytes:
        """The content of a file.

        Raises:
            DataError: it cannot be read, or has more than ``most`` bytes.
        """
        try:
            with self._open(name) as stream:
                content = stream.read(most + 1)
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise DataError(Problem(str(self.path), f"its file {name} cannot be read ({error}).", REMEDY)) from error
        if len(content) > most:
            raise DataError(Problem(str(self.path), f"its file {name} has more than {most} bytes.", REMEDY))
        return content

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self.path.is_dir():
            with (self.path / name).open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
            yield file


def bundle_files(path: Path) -> BundleFiles:
    """Look at a bundle without reading its files.

    Raises:
        DataError: there is none, or it holds what no bundle may hold: everything that it does.
    """
    if not path.exists():
        remedy = "Name the folder or the zip of a bundle, as `tilewright pack` writes them."
        raise DataError(Problem(str(path), "there is no such bundle.", remedy))
    found: dict[str, int] = {}
    problems: list[Problem] = []
    for name, size, fault in _in_folder(path) if path.is_dir() else _in_zip(path):
        if what := name_fault(name) or fault:
            problems.append(Problem(str(path), f"holds {quoted(name)}, which {what}.", REMEDY))
        found[name] = size
    raise_all(DataError, problems)
    return BundleFiles(path, found)


def name_fault(name: str) -> str:
    """What is wrong with the name of a file; empty where nothing is."""
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        return "leads outside of it"
    return "" if NAME.fullmatch(name) else "is no name that a file of a bundle has"


def quoted(name: str) -> str:
    """A name in quotes, whatever characters it has."""
    return json.dumps(name)


def _in_folder(path: Path) -> Iterator[tuple[str, int, str]]:
    """Name, bytes and fault of each file."""
    for parent, folders, files in os.walk(path):
        for entry in sorted((*folders, *files)):
            place = Path(parent, entry)
            name, state = place.relative_to(path).as_posix(), place.lstat()
            if stat.S_ISDIR(state.st_mode) or (name in MARKS and state.st_size <= LONGEST_MARK * (name == MARK)):
                continue
            yield name, state.st_size, _kind_fault(state.st_mode)


def _in_zip(path: Path) -> Iterator[tuple[str, int, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        what = f"is neither a folder nor a zip that can be read ({error})."
        raise DataError(Problem(str(path), what, REMEDY)) from error
    times = Counter(entry.filename for entry in entries)
    for entry in entries:
        if not entry.is_dir() or name_fault(entry.filename[:-1]):
            yield entry.filename, entry.file_size, _entry_fault(entry, times[entry.filename])


def _entry_fault(entry: zipfile.ZipInfo, times: int) -> str:
    if times > 1:
        return "is there more than once"
    if entry.compress_type != zipfile.ZIP_STORED:
        return "is compressed: the zip of a bundle holds its files as they are"
    if entry.flag_bits & ENCRYPTED:
        return "is encrypted"
    if entry.compress_size != entry.file_size:
        return f"has {entry.compress_size} bytes, and is said to have {entry.file_size}"
    mode = entry.external_attr >> 16
    return _kind_fault(mode) if stat.S_IFMT(mode) else ""


def _kind_fault(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    return "" if stat.S_ISREG(mode) else "is no plain file"
