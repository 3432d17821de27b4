"""What a network is taught of the objects in a tile, beside where they are: made of label images.

Labels are those of the moved tile, so that a rim is as wide and a distance as long as the network sees them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from tilewright.project.targets import MASK, Target
from tilewright.tiles.archive import Labelled
from tilewright.training.cropping import Place

MARGIN = 32
"""Pixels around a crop in which the rest of its objects is looked for."""
SMALL, NEAR, NEARER = 150, 2, 1
"""Objects of fewer pixels are near a pixel from ``NEARER`` pixels on, others from ``NEAR``."""
INNER, OUTER = 2, 1
"""Width of the rim inside and outside of an object, in pixels."""
CERTAIN, UNKNOWN = 254, 255
"""A band's value for 1, and for a pixel that does not count."""

Labels = NDArray[np.uint16]
Bands = NDArray[np.uint8]


@dataclass(frozen=True)
class ObjectBands:
    """Makes the bands of some targets.

    Attributes:
        targets: those of the network; the mask is no concern of this.
    """

    targets: Sequence[Target]

    def __call__(self, objects: Labelled) -> Bands:
        """The bands of the objects of a view: target by target, each class, uint8, ``CERTAIN`` for 1."""
        found = [
            MAKERS[target](labels, (objects.shared >> place & 1).astype(np.bool_))
            for target in self.targets
            if target != MASK
            for place, labels in enumerate(objects.labels)
        ]
        return np.stack([np.round(CERTAIN * band).astype(np.uint8) for band in found])

    def unknown(self, classes: int, shape: tuple[int, int]) -> Bands:
        """The bands of a view whose objects nobody knows: no pixel counts."""
        return np.full((classes * (len(self.targets) - 1), *shape), UNKNOWN, np.uint8)


def widened(place: Place, size: tuple[int, int]) -> tuple[Place, Place]:
    """A place with ``MARGIN`` pixels around it, as far as the tile goes, and where the place lies in that.

    Args:
        place: rows and columns.
        size: rows and columns of the tile.
    """
    rows, columns = (
        slice(max(0, span.start - MARGIN), min(span.stop + MARGIN, edge))
        for span, edge in zip(place, size, strict=True)
    )
    inner_rows, inner_columns = (
        slice(span.start - view.start, span.stop - view.start)
        for span, view in zip(place, (rows, columns), strict=True)
    )
    return (rows, columns), (inner_rows, inner_columns)


def touching(labels: Labels, shared: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that two objects are near, or that lie near an overlap."""
    area = np.bincount(labels.ravel(), minlength=1)
    small = (area < SMALL)[labels]
    first, last = np.zeros_like(labels), np.zeros_like(labels)
    overlap = np.zeros(labels.shape, np.bool_)
    top = np.uint16(np.iinfo(np.uint16).max)
    for some, reach in ((small, NEARER), (~small, NEAR)):
        own = np.where(some, labels, 0)
        last = np.maximum(last, cv2.dilate(own, disc(reach)))
        # the least label that is not 0 is the largest of those that are counted from the other end
        first = np.maximum(first, cv2.dilate(np.where(own > 0, top - own, 0), disc(reach)))
        overlap |= cv2.dilate((shared & some).astype(np.uint8), disc(reach)) > 0
    near: NDArray[np.bool_] = ((last > 0) & (top - first != last)) | overlap
    return near


def border(labels: Labels, _shared: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rims of objects: ``INNER`` pixels inside of their edge and ``OUTER`` outside."""
    inside = cv2.dilate(labels, disc(INNER)) != cv2.erode(labels, disc(INNER))
    rim: NDArray[np.bool_] = np.where(labels > 0, inside, cv2.dilate(labels, disc(OUTER)) > 0)
    return rim


def distance(labels: Labels, _shared: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Of each pixel of an object the distance to what is not of it, over the largest of these; elsewhere 0.

    The border of the view is no edge: an object that it cuts goes on.
    """
    found = np.zeros(labels.shape, np.float32)
    for number, place in enumerate(scipy.ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        wide = tuple(slice(max(0, span.start - 1), span.stop + 1) for span in place)
        own = labels[wide] == number
        depth = cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        found[wide][own] = (depth / depth.max())[own] if not own.all() else 1
    return found


def disc(reach: int) -> Bands:
    """The pixels within a distance, as a kernel of OpenCV."""
    line = np.arange(-reach, reach + 1)
    return (line[:, None] ** 2 + line[None] ** 2 <= reach**2).astype(np.uint8)


MAKERS: Mapping[Target, Callable[[Labels, NDArray[np.bool_]], NDArray[np.bool_ | np.float32]]] = {
    "touching": touching,
    "border": border,
    "distance": distance,
}
