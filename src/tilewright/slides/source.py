"""What every reader of slides offers, and how it refuses a file."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from errno import ENOMEM
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.runtime.errors import Problem, SlideError, SlideMemoryError
from tilewright.runtime.failures import failure_of
from tilewright.slides.pixelsize import PixelSize

RGB = NDArray[np.uint8]


class Source(Protocol):
    """An open file.

    Attributes:
        size: width and height in pixels of level 0.
        pixel: width and height of a pixel.
        block: see ``Slide.block``.
        white: the value of white in the file.
        told: the file, its kind or the sheet says what white is; False: it is taken to be the largest of 16 bits.
    """

    size: Size
    pixel: PixelSize
    block: Size
    white: int
    told: bool

    def read(self, window: Window) -> RGB:
        """Pixels of a window that lies inside, as rows x columns x 3."""
        ...

    def stored(self, window: Window) -> "Stored":
        """The same pixels, and what the file holds of them."""
        ...

    def levels(self) -> Sequence["Level"]:
        """The coarser copies of the image that the file holds, from fine to coarse."""
        ...


class Stored(NamedTuple):
    """Pixels of a window, and what the file holds of them.

    Attributes:
        rgb: rows x columns x 3, as they are read.
        bright: the brightest channel of each of them, in the values of the file.
        opaque: the largest alpha, as a share; 1 where there is no alpha.
    """

    rgb: RGB
    bright: NDArray[np.integer[Any]]
    opaque: float = 1.0


@dataclass(frozen=True)
class Level:
    """A coarser copy of an image.

    Attributes:
        factor: pixels of the image in one of the copy's, along an edge.
        open: gives what reads the copy.
        x: left edge of the image in the copy, in its pixels; may cut a pixel.
        y: top edge.
    """

    factor: float
    open: Callable[[], Source]
    x: float = 0.0
    y: float = 0.0


def bands(window: Window, height: int, count: int) -> list[Window]:
    """Parts of a window, one below the other, for threads to read; no block lies in two of them.

    Args:
        window: the window.
        height: of a row of blocks, of which the first begins at 0.
        count: the most parts.
    """
    first, last = window.y // height, -(-(window.y + window.height) // height)
    rows = -(-(last - first) // count) * height
    edges = [first * height + place * rows for place in range(count + 1)]
    tops = [min(max(edge, window.y), window.y + window.height) for edge in edges]
    return [replace(window, y=top, height=end - top) for top, end in pairwise(tops) if end > top]


def level_factor(image: Size, copy: Size) -> float | None:
    """How many times smaller a copy of an image is, along an edge; None: it is no smaller copy of it.

    Scanners halve sizes and round them, so that the power of two counts that fits both edges to a pixel, and after it
    the whole number, before the ratio itself.
    """
    ratio = max(image.width, image.height) / max(1, *copy)
    if min(copy) < 1 or ratio <= 1:
        return None
    for factor in (2.0 ** round(math.log2(ratio)), float(round(ratio)), ratio):
        if factor > 1 and all(abs(whole / factor - part) <= 1 for whole, part in zip(image, copy, strict=True)):
            return factor
    return None


def damaged(path: Path, why: str) -> SlideError:
    """The error for a file that cannot be read."""
    return SlideError(Problem(str(path), f"cannot be read: {why}.", "Export or copy the image again."))


def unclear(path: Path, what: str) -> SlideError:
    """The error for a sound file that holds something else than one picture in colours or greys."""
    remedy = "Export the image as RGB with 8 bits a channel, one page."
    return SlideError(Problem(str(path), f"cannot be read as RGB: it holds {what}.", remedy))


def unreadable(path: Path, error: Exception, where: str = "") -> SlideError:
    """The error for what a reader has said: damage only where nothing else explains it.

    Args:
        path: the file.
        error: of the reader.
        where: the part that was read, such as "x 0, y 0".
    """
    if isinstance(error, SlideError):
        return error
    said = _said(error)
    if found := PROGRESSIVE.search(said):
        what = f"its progressive JPEG needs {found[1]}B of memory at once, more than is given unasked."
        remedy = f"Save it as a baseline JPEG or a tiled TIFF, or give it the memory: export JPEGMEM={found[1]}"
        return SlideError(Problem(str(path), what, remedy))
    if SCANS.search(said):
        what = "its progressive JPEG has too many scans, as files have that are made to do harm."
        return SlideError(Problem(str(path), what, "Save it as a baseline JPEG or a tiled TIFF."))
    if found := CODEC.search(said):
        method = CODECS.get(found[1], f"a method of code {found[1]}")
        what = f"its pixels are compressed by {method}, which is not read in a TIFF."
        remedy = "Save it with JPEG, LZW or deflate: from QuPath as OME-TIFF, or bfconvert -compression JPEG IN OUT."
        return SlideError(Problem(str(path), what, remedy))
    if failure := failure_of(error, path):
        kind = SlideMemoryError if failure.code == ENOMEM else SlideError
        return kind(Problem(str(path), f"cannot be read: {failure.why}.", failure.remedy))
    return damaged(path, f"damaged at {where}: {said}" if where else said)


# what GDAL says of a JPEG whose coefficients it would have to hold in memory, and of compression that it does not know
PROGRESSIVE = re.compile(r"JPEGMEM environment variable to a value greater or equal to '(\w+)'")
SCANS = re.compile(r"exceeds maximum scans")
CODEC = re.compile(r"missing codec (?:of code )?(\w+)")
CODECS = {
    **dict.fromkeys(("33003", "33004", "33005", "34712", "JP2000"), "JPEG 2000"),
    **dict.fromkeys(("22610", "34934"), "JPEG XR"),
    **dict.fromkeys(("50002", "52546", "JXL"), "JPEG XL"),
    "JBIG": "JBIG",
}


def _said(error: Exception) -> str:
    """What a reader says in one line; rasterio hides it behind "See previous exception"."""
    return " ".join(str(error.__cause__ or error).split()).rstrip(".") or type(error).__name__
