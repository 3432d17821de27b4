"""Windows over an image and the weights with which they are blended. Pixels of one scale, x before y."""

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.project.config.results import BlendName

LEAST_WEIGHT = 1e-3


def blend_weights(blend: BlendName, edge: int) -> NDArray[np.float32]:
    """Weight of each pixel of a window, from 1 in the centre towards 0 at the border, but never 0.

    Args:
        blend: mean, discard, minimum: 1 everywhere; pyramid: distance to the nearest border; hann: product of two
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
