"""Windows over an image and the weights with which they are blended. Pixels of one scale, x before y."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tilewright.config.results import BlendName
from tilewright.rasters import Size, Window

LEAST_WEIGHT = 1e-3
Corner = tuple[int, int]


class Pixels(Protocol):
    """An image that is read by windows: bands x rows x columns."""

    size: Size

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels of a window."""


def step_of(edge: int, overlap: float) -> int:
    """Pixels from one window to the next."""
    return max(1, round(edge * (1 - overlap)))


def grid(size: Size, edge: int, overlap: float, shift: int = 0) -> list[Corner]:
    """Corners of windows that cover an image; the first and the last of a row or column are pushed inside.

    Args:
        size: width and height of the image.
        edge: edge of a window.
        overlap: share of the edge that neighbours have in common at least.
        shift: pixels by which the grid is moved up and to the left, less than an edge.

    Returns:
        x, y of each window, by rows. An image smaller than a window gets one window that starts at 0.
    """
    step = step_of(edge, overlap)
    columns, rows = (
        sorted({min(max(start, 0), max(length - edge, 0)) for start in range(-shift, length, step)}) for length in size
    )
    return [(x, y) for y in rows for x in columns]


def blend_weights(blend: BlendName, edge: int) -> NDArray[np.float32]:
    """Weight of each pixel of a window, from 1 in the centre towards 0 at the border, but never 0.

    Args:
        blend: mean, discard, minimum: 1 everywhere; pyramid: distance to the nearest border (S3-17); hann: product of two
            Hann windows; gaussian: sigma of an eighth of the edge (nnU-Net).
        edge: edge of the window.

    Returns:
        edge x edge weights.
    """
    place = (np.arange(edge) + 0.5) / edge
    if blend in ("mean", "discard", "minimum"):
        return np.ones((edge, edge), np.float32)
    if blend == "pyramid":
        distance = 2 * np.minimum(place, 1 - place)
        weights = np.minimum(distance[:, None], distance[None, :])
    elif blend == "hann":
        line = np.sin(np.pi * place) ** 2
        weights = np.outer(line, line)
    else:
        line = np.exp(-0.5 * ((place - 0.5) * 8) ** 2)
        weights = np.outer(line, line)
    return np.asarray(np.maximum(weights, LEAST_WEIGHT), np.float32)


def kept_part(x: int, y: int, edge: int, size: Size, margin: int) -> Window:
    """What remains of a window when a margin is cut off each side that is not on the border of the image.

    Args:
        x: left edge of the window.
        y: top edge.
        edge: edge of the window.
        size: width and height of the image.
        margin: pixels to cut off.

    Returns:
        The part, in pixels of the window.
    """
    left, top = (margin if start > 0 else 0 for start in (x, y))
    right, bottom = (
        edge - margin if start + edge < length else edge for start, length in ((x, size.width), (y, size.height))
    )
    return Window(left, top, right - left, bottom - top)


def read_window(image: Pixels, window: Window) -> NDArray[np.uint8]:
    """A window as 3 x rows x columns; what lies beyond the image is its mirror image."""
    inside = window.clipped(image.size)
    pixels: NDArray[np.uint8] = image.read(inside)
    missing = (window.height - inside.height, window.width - inside.width)
    if any(missing):
        pixels = np.pad(pixels, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
    return pixels
