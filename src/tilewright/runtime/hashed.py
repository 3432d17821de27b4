"""Hashes of files: in the names of some, so that a damaged one is known before it is used, and of slides."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tilewright.runtime.atomic import private_path, settle

DIGITS = 16
FILE_TAG = "file"
"""The tag of a scaled image that holds the ``file_print`` of the slide."""
PIECE, PIECES = 1 << 16, 64
WHOLE = PIECE * PIECES
"""Bytes up to which ``file_print`` reads the whole of a file."""


def write_hashed(folder: Path, stem: str, suffix: str, write: Callable[[Path], object]) -> Path:
    """Write ``{stem}-{hash}{suffix}``, whole or not at all, and return its path.

    Args:
        folder: where.
        stem: the name before the hash.
        suffix: the name after it, with its dot.
        write: writes the file that it is given.
    """
    with private_path(folder / f"unnamed{suffix}") as private:
        write(private)
        path = folder / f"{stem}-{file_hash(private)[:DIGITS]}{suffix}"
        settle(private, path)
    return path


def is_intact(path: Path) -> bool:
    """Whether a file is there and is what its name says."""
    try:
        return path.stem.rpartition("-")[2] == file_hash(path)[:DIGITS]
    except OSError:
        return False


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_print(path: Path) -> str:
    """A hash by which the file of a slide is known again, whatever its name, in hexadecimal digits.

    SHA-256 of its length and its content; of a file of more than ``WHOLE`` bytes, of 64 pieces that lie evenly from its
    first byte to its last one. Slides have gigabytes, and lie on disks that need minutes to read one; two scans agree
    in no piece that shows an image.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        found = hashlib.sha256(size.to_bytes(8, "little"))
        starts = [(size - PIECE) * place // (PIECES - 1) for place in range(PIECES)] if size > WHOLE else [0]
        for start in starts:
            stream.seek(start)
            found.update(stream.read(PIECE if size > WHOLE else WHOLE))
    return found.hexdigest()
