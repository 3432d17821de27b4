"""What every reader of slides offers, and how it refuses a file."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.runtime.errors import Problem, SlideError

RGB = NDArray[np.uint8]


class Source(Protocol):
    """An open file.

    Attributes:
        size: width and height in pixels of level 0.
        mpp: micrometres a pixel; None: the file does not say.
        block: see ``Slide.block``.
    """

    size: Size
    mpp: float | None
    block: Size

    def read(self, window: Window) -> RGB:
        """Pixels of a window that lies inside, as rows x columns x 3."""
        ...

    def levels(self) -> Sequence["Level"]:
        """The coarser copies of the image that the file holds, from fine to coarse."""
        ...


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


def reason(error: Exception) -> str:
    """What a reader says in one line; rasterio hides it behind "See previous exception"."""
    return " ".join(str(error.__cause__ or error).split()).rstrip(".") or type(error).__name__
