"""Touching objects cut apart where they are narrow."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from tilewright.components import Components, label
from tilewright.rasters import Size, Window, blocks
from tilewright.runs import Ints, Runs, difference
from tilewright.thresholds import Floats

BLOCK = 1024
LEAST_HALO = 128


def split_touching(components: Components, distance: float) -> tuple[Components, Runs]:
    """Cut components along the watersheds of the distance to their edge.

    A centre is a pixel that lies deepest among all within half of ``distance``. The cuts are one pixel wide, so that the
    connected components of what remains are the objects (as by the binary watershed of ImageJ).

    The pixels are seen in blocks with a halo; objects smaller than the halo are cut as they would be in one piece.

    Args:
        components: with the sum, the largest and the number of the values of each run. A run that is cut shares its sum
            and its number by length.
        distance: least distance between two centres, in pixels.

    Returns:
        The components that remain, and the pixels that were cut away.
    """
    whole = components.runs
    cuts = [np.empty((3, 0), np.int64)]
    bounds, halo = whole.bounds(), max(LEAST_HALO, math.ceil(4 * distance))
    for part in blocks(Size(bounds.width, bounds.height), BLOCK):
        core = Window(part.x + bounds.x, part.y + bounds.y, part.width, part.height)
        if len(whole.clip(core)):
            seen = Window(core.x - halo, core.y - halo, core.width + 2 * halo, core.height + 2 * halo)
            cuts.append(_cuts(whole, core, seen.clipped(whole.size), distance))
    row, start, stop = np.concatenate(cuts, axis=1)
    lines = Runs.of(row, start, stop, whole.height, whole.width)
    remaining = difference(whole, lines)
    return Components(remaining, label(remaining), _shared(components, remaining)), lines


def _cuts(whole: Runs, core: Window, seen: Window, distance: float) -> Ints:
    """The cuts within ``core``: row, start and stop of each run, int64[3, n]."""
    mask = whole.to_mask(seen)
    if mask.all():
        return np.empty((3, 0), np.int64)
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    centers, count = ndimage.label(_deepest(depth, distance) & mask, np.ones((3, 3)))
    if count < 2:
        return np.empty((3, 0), np.int64)
    # its own watershed_line never ends on some masks (scikit-image 0.26, neighbours by corners)
    basins = watershed(-depth, centers, np.ones((3, 3)), mask=mask)  # type: ignore[no-untyped-call]
    lines = _first_of_neighbours(basins) < basins
    inner = lines[core.y - seen.y :, core.x - seen.x :][: core.height, : core.width]
    found = Runs.from_mask(inner)
    return np.stack([found.row + core.y, found.start + core.x, found.stop + core.x])


def _first_of_neighbours(basins: NDArray[np.int32]) -> NDArray[np.int32]:
    """The least label in the 3 x 3 pixels around each pixel, 0 not counting; centres are labelled by rows in every block."""
    most = np.iinfo(basins.dtype).max
    found: NDArray[np.int32] = ndimage.minimum_filter(np.where(basins > 0, basins, most), 3, mode="nearest")
    return found


def _deepest(depth: NDArray[np.float32], distance: float) -> NDArray[np.bool_]:
    """Pixels as deep as any within half of a distance."""
    edge = 2 * max(1, round(distance / 2)) + 1
    found: NDArray[np.bool_] = depth >= ndimage.maximum_filter(depth, edge, mode="nearest")
    return found


def _shared(components: Components, remaining: Runs) -> Floats:
    """Values of the runs that remain of those of components."""
    starts, _ = components.runs.intervals()
    place = np.searchsorted(starts, remaining.intervals()[0], side="right") - 1
    values: Floats = components.values[place]
    share = remaining.lengths() / components.runs.lengths()[place]
    values[:, 0] *= share
    values[:, 2] *= share
    return values
