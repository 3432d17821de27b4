"""Windows over an image and the weights with which they are blended. Pixels of one scale, x before y."""

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window, size_of
from tilewright.project.config.results import BlendName

LEAST_WEIGHT = 1e-3


def blend_weights(blend: BlendName, edge: int | tuple[int, int]) -> NDArray[np.float32]:
    """Weight of each pixel of a window, from 1 in the centre towards 0 at the border, but never 0.

    Args:
        blend: mean, discard, minimum: 1 everywhere; pyramid: distance to the nearest border; hann: product of two
            Hann windows; gaussian: sigma of an eighth of the edge (nnU-Net).
        edge: edge of the window, or its width and height.

    Returns:
        rows x columns of weights.
    """
    width, height = size_of(edge)
    if blend in ("mean", "discard", "minimum"):
        return np.ones((height, width), np.float32)
    places = [(np.arange(length) + 0.5) / length for length in (height, width)]
    if blend == "pyramid":
        rows, columns = (2 * np.minimum(place, 1 - place) for place in places)
        weights = np.minimum(rows[:, None], columns[None, :])
    elif blend == "hann":
        weights = np.outer(*(np.sin(np.pi * place) ** 2 for place in places))
    else:
        weights = np.outer(*(np.exp(-0.5 * ((place - 0.5) * 8) ** 2) for place in places))
    return np.asarray(np.maximum(weights, LEAST_WEIGHT), np.float32)


def kept_part(x: int, y: int, edge: int | tuple[int, int], size: Size, margin: int | tuple[int, int]) -> Window:
    """What remains of a window when a margin is cut off each side that is not on the border of the image.

    Args:
        x: left edge of the window.
        y: top edge.
        edge: edge of the window, or its width and height.
        size: width and height of the image.
        margin: pixels to cut off, or those to the sides and those above and below.

    Returns:
        The part, in pixels of the window.
    """
    edges, margins = size_of(edge), size_of(margin)
    left, top = (cut if start > 0 else 0 for start, cut in zip((x, y), margins, strict=True))
    right, bottom = (
        own - cut if start + own < length else own
        for start, own, length, cut in zip((x, y), edges, size, margins, strict=True)
    )
    return Window(left, top, right - left, bottom - top)
