"""Geometry of images without their pixels: sizes, windows, grids of windows, and where a raster lies in its image.

Sizes are width x height, windows x before y, in pixels of one image or scale. Imports nothing that reads files.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

BLOCK = 512
"""Edge of the blocks in which rasters are stored, in pixels."""
WINDOW = 2048
"""Edge in pixels of what a step holds of a raster at a time."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: its left, top, width and height.

    Examples:
        >>> Window(x=10, y=20, width=3, height=2).slices
        (slice(20, 22, None), slice(10, 13, None))
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the window in an array of the whole."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def clipped(self, size: Size) -> "Window":
        """The part of the window that lies inside an image of ``size``; may be empty."""
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.width, size.width), min(self.y + self.height, size.height)
        return Window(left, top, max(right - left, 0), max(bottom - top, 0))


def blocks(size: Size, edge: int | tuple[int, int]) -> Iterator[Window]:
    """Windows that cover ``size`` without overlap, by rows; the last of a row or column may be smaller.

    Args:
        size: width and height to cover.
        edge: edge of a block, or its width and height, in pixels.
    """
    step_x, step_y = (edge, edge) if isinstance(edge, int) else edge
    for y in range(0, size.height, step_y):
        for x in range(0, size.width, step_x):
            yield Window(x, y, min(step_x, size.width - x), min(step_y, size.height - y))


class Corner(NamedTuple):
    """Left and top of a window, in pixels."""

    x: int
    y: int


def size_of(edge: int | tuple[int, int]) -> Size:
    """The size of a square by its edge, or a width and height as a size."""
    return Size(edge, edge) if isinstance(edge, int) else Size(*edge)


def step_of(edge: int, overlap: float) -> int:
    """Pixels from one window to the next."""
    return max(1, round(edge * (1 - overlap)))


def grid(size: Size, edge: int | tuple[int, int], overlap: float, shift: int | tuple[int, int] = 0) -> list[Corner]:
    """Corners of windows that cover an image; the first and the last of a row or column are pushed inside.

    Args:
        size: width and height of the image.
        edge: edge of a window, or its width and height.
        overlap: share of the edge that neighbours have in common at least.
        shift: pixels by which the grid is moved to the left and up, or to each of both, less than an edge.

    Returns:
        The corner of each window, by rows. An image smaller than a window gets one window that starts at 0.
    """
    columns, rows = (
        sorted({min(max(start, 0), max(length - own, 0)) for start in range(-moved, length, step_of(own, overlap))})
        for length, own, moved in zip(size, size_of(edge), size_of(shift), strict=True)
    )
    return [Corner(x, y) for y in rows for x in columns]


class Tagged(Protocol):
    """Something with tags, such as an open raster."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Texts by name."""


@dataclass(frozen=True)
class Frame:
    """Where a raster lies in its image; kept in the raster's tags.

    Attributes:
        x: left edge of the raster, in pixels of the image (level 0).
        y: top edge.
        width: width that the raster covers, in pixels of the image.
        height: height that it covers.
        image: size of the whole image.
        factor: pixels of the image in one pixel of the raster, along an edge.
        mpp: micrometres in one pixel of the image; None: unknown.
    """

    x: int
    y: int
    width: int
    height: int
    image: Size
    factor: float = 1.0
    mpp: float | None = None

    @property
    def size(self) -> Size:
        """Width and height of the raster, in its own pixels; a last partial pixel counts."""
        return Size(_cells(self.width, self.factor), _cells(self.height, self.factor))

    def scaled(self, factor: float) -> "Frame":
        """The same place at another scale."""
        return replace(self, factor=factor)

    def tags(self, classes: Iterable[str] = ()) -> dict[str, str]:
        """The frame as text for ``create_raster``, with the classes of the raster's bits or bands, if any."""
        names = list(classes)
        return {"frame": json.dumps(asdict(self)), **({"classes": json.dumps(names)} if names else {})}

    @classmethod
    def of(cls, raster: Tagged) -> "Frame":
        """The frame that a raster was written with."""
        values = json.loads(raster.tags["frame"])
        return cls(**{**values, "image": Size(*values["image"])})


def _cells(length: int, factor: float) -> int:
    return max(1, math.ceil(length / factor - 1e-9))


def mask_dtype(classes: int) -> np.dtype[Any]:
    """Type of a mask pixel: bit ``k`` is set where class ``k`` is, bit ``classes`` where the pixel is ignored."""
    return np.dtype(next(kind for kind in (np.uint8, np.uint16, np.uint32) if classes < np.iinfo(kind).bits))
