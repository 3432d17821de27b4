"""What every reader of slides offers, and how it refuses a file."""

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
