"""Agreement of boundaries (boundary F1: Csurka et al. 2013), by windows with a halo."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import WINDOW, Size, Window, blocks
from tilewright.pixels.instances import Agreement
from tilewright.pixels.runs import Runs, union

Bools = NDArray[np.bool_]


def boundary_agreement(truth: Runs, predicted: Runs, ignored: Runs, tolerance: int) -> Agreement:
    """Compare the boundaries of two masks of the same size.

    A boundary pixel is one of the mask with a neighbour (by edge) in the image that is not; ignored pixels do not
    count.

    Args:
        truth: the true mask.
        predicted: the predicted mask.
        ignored: pixels that do not count.
        tolerance: largest distance between the centres of near pixels, in pixels.
    """
    size, halo = truth.size, tolerance + 1
    result = Agreement(0, 0, 0, 0)
    either = union(truth, predicted).bounds()
    for part in blocks(Size(either.width, either.height), WINDOW):
        core = Window(part.x + either.x, part.y + either.y, part.width, part.height)
        seen = Window(core.x - halo, core.y - halo, core.width + 2 * halo, core.height + 2 * halo).clipped(size)
        inner = (
            slice(core.y - seen.y, core.y - seen.y + core.height),
            slice(core.x - seen.x, core.x - seen.x + core.width),
        )
        counted = ~ignored.to_mask(seen)
        edges = [_edges(mask.to_mask(seen)) & counted for mask in (truth, predicted)]
        near = [_widened(edge, tolerance) for edge in edges]
        counts = [(edge[inner], (edge & other)[inner]) for edge, other in zip(edges, reversed(near), strict=True)]
        result += Agreement(*(int(np.count_nonzero(each)) for pair in counts for each in pair))
    return result


def _edges(mask: Bools) -> Bools:
    """Pixels of a mask with a neighbour that is not in it; beyond the array lies what lies at its border."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.view(np.uint8), cross, borderType=cv2.BORDER_REPLICATE)
    return mask & ~inner.view(np.bool_)


def _widened(mask: Bools, distance: int) -> Bools:
    """Pixels within a distance of a mask."""
    steps = np.arange(-distance, distance + 1)
    disk = (steps[:, None] ** 2 + steps[None, :] ** 2 <= distance**2).astype(np.uint8)
    widened: Bools = cv2.dilate(mask.view(np.uint8), disk).view(np.bool_)
    return widened
