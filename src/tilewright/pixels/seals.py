"""A checksum behind the end of a file, for formats that pass over what stands there, as TIFF does.

What TIFF says of damage itself is little: a wrong bit in a file that is compressed with zstd decodes to other pixels.
"""

import zlib
from functools import lru_cache
from pathlib import Path

MARK = b"\ntilewright crc32 "
CHUNK = 1 << 20


def append_seal(path: Path) -> None:
    """Append the CRC-32 of a file to it."""
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
    return MARK + f"{checksum:08x}".encode()
