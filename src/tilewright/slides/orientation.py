"""How a picture says that it is to be turned before it is shown, which readers of slides do not do and others do."""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tilewright.runtime.errors import SlideError
from tilewright.slides.formats import TIFF, look_at
from tilewright.slides.tiff import ORIENTATION, Tiff

TURNS = {
    2: "mirrored from left to right",
    3: "turned by 180 degrees",
    4: "mirrored from top to bottom",
    5: "mirrored along its diagonal",
    6: "turned by 90 degrees",
    7: "mirrored along its other diagonal",
    8: "turned by 270 degrees",
}
"""What the numbers of an orientation say that a viewer should do, clockwise; 1: nothing."""
MOST = 1 << 20
_EXIF = b"Exif\0\0"
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])\b")
_APP1, _SCAN = 0xE1, 0xDA


def orientation_of(path: Path) -> int:
    """The orientation of a TIFF, JPEG, PNG or WebP, from 1 to 8; 1 where it says none or cannot be read."""
    with suppress(SlideError, OSError, struct.error):
        kind = look_at(path)
        if kind.driver == TIFF:
            value = Tiff(path).pages[0].first(ORIENTATION, 1)
        else:
            with path.open("rb") as file:
                value = next(filter(None, map(_told, BLOCKS.get(kind.driver, _nothing)(file))), 1)
        return value if value in TURNS else 1
    return 1


def _told(block: bytes) -> int:
    """The orientation in a block of metadata, by Exif or XMP; 0: none."""
    if found := _XMP.search(block):
        return int(found[1])
    exif = block.removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    with suppress(struct.error):
        if order:
            (place,) = struct.unpack_from(order + "I", exif, 4)
            (count,) = struct.unpack_from(order + "H", exif, place)
            for number in range(count):
                tag, _, _, value = struct.unpack_from(order + "HHIH", exif, place + 2 + 12 * number)
                if tag == ORIENTATION:
                    return int(value)
    return 0


def _nothing(_file: BinaryIO) -> Iterator[bytes]:
    return iter(())


def _of_jpeg(file: BinaryIO) -> Iterator[bytes]:
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != _SCAN:
        (length,) = struct.unpack(">H", head[2:])
        block = file.read(length - 2)
        if head[1] == _APP1:
            yield block


def _of_png(file: BinaryIO) -> Iterator[bytes]:
    yield from _chunks(file, 8, ">I4s", (b"eXIf", b"iTXt"), after=4)


def _of_webp(file: BinaryIO) -> Iterator[bytes]:
    yield from _chunks(file, 12, "<4sI", (b"EXIF", b"XMP "), after=0)


def _chunks(file: BinaryIO, start: int, layout: str, names: tuple[bytes, ...], after: int) -> Iterator[bytes]:
    """The chunks of some names, from a start; each has a length, a name, its content, and some bytes after it."""
    file.seek(start)
    while len(head := file.read(8)) == 8:
        length, name = sorted(struct.unpack(layout, head), key=lambda part: isinstance(part, bytes))
        padded = length + after + (0 if after else length % 2)
        if name in names and length <= MOST:
            yield file.read(length)
            file.seek(padded - length, 1)
        else:
            file.seek(padded, 1)


BLOCKS = {"JPEG": _of_jpeg, "PNG": _of_png, "WEBP": _of_webp}
"""What finds the blocks of metadata, by the driver that reads the pixels."""
