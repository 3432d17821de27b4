"""Files that carry the hash of their content, in their name or behind their end, so that damage is known before they are used.

What a format says of damage is little: a wrong bit in a TIFF that is compressed with zstd decodes to other pixels.
"""

import hashlib
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from tilewright.runtime.atomic import private_path, settle

DIGITS = 16
SEAL = b"\ntilewright crc32 "
CHUNK = 1 << 20


def write_sealed(folder: Path, stem: str, suffix: str, write: Callable[[Path], object]) -> Path:
    """Write ``{stem}-{hash}{suffix}``, whole or not at all, and return its path.

    Args:
        folder: where.
        stem: the name before the hash.
        suffix: the name after it, with its dot.
        write: writes the file that it is given.
    """
    with private_path(folder / f"unsealed{suffix}") as private:
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


def append_seal(path: Path) -> None:
    """Append the CRC-32 of a file to it, for formats that pass over what lies behind their end, as TIFF does."""
    with path.open("r+b") as stream:
        checksum = 0
        while chunk := stream.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
        stream.write(_seal(checksum))


def has_seal(path: Path) -> bool:
    """Whether a file is what it was when ``append_seal`` was called; a file is read once for all calls of a process.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    return _has_seal(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=1024)
def _has_seal(path: Path, stamp: tuple[int, int, int]) -> bool:
    left, checksum = stamp[2] - len(_seal(0)), 0
    with path.open("rb") as stream:
        while chunk := stream.read(min(CHUNK, max(left, 0))):
            checksum = zlib.crc32(chunk, checksum)
            left -= len(chunk)
        return stream.read() == _seal(checksum)


def _seal(checksum: int) -> bytes:
    return SEAL + f"{checksum:08x}".encode()
