"""Touching objects cut apart where they are narrow."""

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from tilewright.pixels.components import Components, components_of
from tilewright.pixels.grid import Size, Window, blocks
from tilewright.pixels.runs import Ints, Runs, difference
from tilewright.project.config.results import Split

PIECE = 1024
LEAST_HALO = 128


def split_touching(components: Components, split: Split) -> tuple[Components, Runs]:
    """Cut components along the watersheds of the distance to their edge.

    A centre is a pixel that lies deepest among all within half of ``split.distance``. Two centres belong to one
    object where the way between them is nowhere narrower than ``split.neck`` of the narrower part. The cuts are one
    pixel wide, so that the connected components of what remains are the objects (as by the binary watershed of
    ImageJ).

    The pixels are seen in blocks with a halo; objects smaller than the halo are cut as they would be in one piece.

    Args:
        components: with the ``SCORES`` of each run. A run that is cut shares its sum and its count by length.
        split: least distance and neck.

    Returns:
        The components that remain, and the pixels that were cut away.
    """
    whole = components.runs
    cuts = [np.empty((3, 0), np.int64)]
    bounds, halo = whole.bounds(), max(LEAST_HALO, math.ceil(4 * split.distance))
    for part in blocks(Size(bounds.width, bounds.height), PIECE):
        core = Window(part.x + bounds.x, part.y + bounds.y, part.width, part.height)
        if len(whole.clip(core)):
            seen = Window(core.x - halo, core.y - halo, core.width + 2 * halo, core.height + 2 * halo)
            cuts.append(_cuts(whole, core, seen.clipped(whole.size), split))
    row, start, stop = np.concatenate(cuts, axis=1)
    lines = Runs.of(row, start, stop, whole.height, whole.width)
    remaining = difference(whole, lines)
    return Components(remaining, components_of(remaining), shared_values(components, remaining)), lines


def _cuts(whole: Runs, core: Window, seen: Window, split: Split) -> Ints:
    """The cuts within ``core``: row, start and stop of each run, int64[3, n]."""
    mask = whole.to_mask(seen)
    if mask.all():
        return np.empty((3, 0), np.int64)
    depth = scipy.ndimage.distance_transform_edt(mask).astype(np.float32)
    centers, count = scipy.ndimage.label(_deepest(depth, split.distance) & mask, np.ones((3, 3)))
    if count < 2:
        return np.empty((3, 0), np.int64)
    # its own watershed_line never ends on some masks (scikit-image 0.26, neighbours by corners)
    from skimage.segmentation import watershed  # takes a while to load, and few objects are cut

    basins = watershed(-depth, centers, np.ones((3, 3)), mask=mask)  # type: ignore[no-untyped-call]
    joined = _joined_basins(basins, depth, count, split.neck)[basins]
    lines = _first_of_neighbours(joined) < joined
    inner = lines[core.y - seen.y :, core.x - seen.x :][: core.height, : core.width]
    found = Runs.from_mask(inner)
    return np.stack([found.row + core.y, found.start + core.x, found.stop + core.x])


def _deepest(depth: NDArray[np.float32], distance: float) -> NDArray[np.bool_]:
    """Pixels as deep as any within half of a distance."""
    edge = 2 * max(1, round(distance / 2)) + 1
    found: NDArray[np.bool_] = depth >= scipy.ndimage.maximum_filter(depth, edge, mode="nearest")
    return found


def _joined_basins(basins: NDArray[np.int32], depth: NDArray[np.float32], count: int, neck: float) -> NDArray[np.int32]:
    """The label of each basin after joining those that no narrow neck parts: the first of theirs, int32[count + 1].

    The widest necks are looked at first; a part is as wide as its deepest pixel is deep.
    """
    label_of = np.arange(count + 1, dtype=np.int32)
    width = scipy.ndimage.maximum(depth, basins, np.arange(count + 1)).astype(np.float64)

    def first(basin: int) -> int:
        while label_of[basin] != basin:
            basin = int(label_of[basin])
        return basin

    for one, other, passage in zip(*_passages(basins, depth), strict=True):
        low, high = sorted((first(int(one)), first(int(other))))
        if low != high and passage >= neck * min(width[low], width[high]):
            label_of[high] = low
            width[low] = max(width[low], width[high])
    return np.array([first(basin) for basin in range(count + 1)], np.int32)


def _passages(basins: NDArray[np.int32], depth: NDArray[np.float32]) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """Pairs of basins that touch, and the depth of the deepest way between them, the deepest first."""
    rows, columns = basins.shape
    parts = []
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        near = slice(0, rows - down), slice(max(0, -across), columns - max(0, across))
        far = slice(down, rows), slice(max(0, across), columns + min(0, across))
        touch = (basins[near] != basins[far]) & (basins[near] > 0) & (basins[far] > 0)
        pair = np.sort(np.stack([basins[near][touch], basins[far][touch]]), axis=0)
        parts.append((pair[0], pair[1], np.minimum(depth[near][touch], depth[far][touch])))
    one, other, passage = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((other, one, -passage))
    return one[order].astype(np.int64), other[order].astype(np.int64), passage[order]


def _first_of_neighbours(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The least label in the 3 x 3 pixels around each pixel, 0 not counting.

    Centres are labelled by rows in every block.
    """
    most = np.iinfo(labels.dtype).max
    found: NDArray[np.int32] = scipy.ndimage.minimum_filter(np.where(labels > 0, labels, most), 3, mode="nearest")
    return found


def shared_values(components: Components, remaining: Runs) -> NDArray[np.void]:
    """Values of the runs that remain of those of components; parts of a run share its sum and its count by length."""
    starts, _ = components.runs.intervals()
    place = np.searchsorted(starts, remaining.intervals()[0], side="right") - 1
    values = components.values[place]
    share = remaining.lengths() / components.runs.lengths()[place]
    values["sum"] *= share
    values["count"] *= share
    return values
