"""Files that carry the hash of their content in their name, so that a damaged one is known before it is used."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from tilewright.runtime.atomic import private_path, settle

DIGITS = 16


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
