"""Windows over an image and the weights with which they are blended. Pixels of one scale, x before y."""

import numpy as np
from numpy.typing import NDArray

from tilewright.config import BlendName
from tilewright.rasters import Size

LEAST_WEIGHT = 1e-3


def grid(size: Size, edge: int, overlap: float) -> list[tuple[int, int]]:
    """Corners of windows that cover an image; the last of a row or column is pushed back inside.

    Args:
        size: width and height of the image.
        edge: edge of a window.
        overlap: share of the edge that neighbours have in common at least.

    Returns:
        x, y of each window, by rows. An image smaller than a window gets one window that starts at 0.
    """
    step = max(1, round(edge * (1 - overlap)))
    columns, rows = (sorted({min(start, max(length - edge, 0)) for start in range(0, length, step)}) for length in size)
    return [(x, y) for y in rows for x in columns]


def blend_weights(blend: BlendName, edge: int) -> NDArray[np.float32]:
    """Weight of each pixel of a window, from 1 in the centre towards 0 at the border, but never 0.

    Args:
        blend: mean: 1 everywhere; pyramid: distance to the nearest border (S3-17); hann: product of two Hann windows;
            gaussian: sigma of an eighth of the edge (nnU-Net).
        edge: edge of the window.

    Returns:
        edge x edge weights.
    """
    place = (np.arange(edge) + 0.5) / edge
    if blend == "mean":
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
