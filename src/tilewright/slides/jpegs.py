"""What the JPEG of a tile says of its colours, which a TIFF or DICOM around it may say wrongly."""

import mmap
import struct
from pathlib import Path
from typing import Literal, NamedTuple

Colors = Literal["RGB", "YCbCr"]
HEAD = 1 << 16
LOOKED_AT = 1 << 28
"""Bytes of a DICOM file among which its pixels begin."""
_FRAMES = range(0xC0, 0xD0)
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_SCAN, _JFIF, _ADOBE = 0xDA, 0xE0, 0xEE
# of DICOM: pixels in parts, and the text that says what their bands are
_PIXELS, _PART = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0"
_PHOTOMETRIC = b"\x28\x00\x04\x00CS"


class JpegHead(NamedTuple):
    """What the head of a JPEG says.

    Attributes:
        colors: of its three bands; None: it has another number of bands.
        sampled: whether two bands have fewer pixels than the first, as those of a YCbCr may.
        marked: whether a marker says so, not the numbers of its bands alone.
    """

    colors: Colors | None = None
    sampled: bool = False
    marked: bool = False


def jpeg_head(data: bytes) -> JpegHead:
    """What a JPEG is, by the rules of libjpeg: its markers, else the numbers of its bands."""
    place, jfif, adobe = 2, False, -1
    while data[:2] == b"\xff\xd8" and place + 4 <= len(data) and data[place] == 0xFF:
        marker, (length,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
        body = data[place + 4 : place + 2 + length]
        if marker == _JFIF and body.startswith(b"JFIF\0"):
            jfif = True
        elif marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in _FRAMES and marker not in _NO_FRAMES:
            return _head(body, adobe, jfif=jfif)
        elif marker == _SCAN:
            break
        place += 2 + max(length, 2)
    return JpegHead()


def _head(frame: bytes, adobe: int, *, jfif: bool) -> JpegHead:
    bands = [frame[start : start + 3] for start in range(6, len(frame) - 2, 3)]
    if len(bands) != 3:
        return JpegHead()
    sampled = len({band[1] for band in bands}) > 1
    colored = jfif or sampled or [band[0] for band in bands] == [1, 2, 3]
    if not jfif and adobe >= 0:
        colored = adobe == 1
    return JpegHead("YCbCr" if colored else "RGB", sampled, jfif or adobe >= 0)


def dicom_says(path: Path) -> tuple[str, JpegHead]:
    """What a DICOM file says that its bands are, and what its first tile says; empty: it holds no JPEG."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_PIXELS, 0, LOOKED_AT)
        text = data.find(_PHOTOMETRIC, 0, max(start, 0))
        if start < 0 or text < 0:
            return "", JpegHead()
        (length,) = struct.unpack("<H", data[text + 6 : text + 8])
        said = data[text + 8 : text + 8 + length].decode("latin-1").strip(" \0")
        table = start + len(_PIXELS)
        if data[table : table + 4] != _PART:
            return said, JpegHead()
        (skipped,) = struct.unpack("<I", data[table + 4 : table + 8])
        first = table + 8 + skipped + 8
        return said, jpeg_head(data[first : first + HEAD])
