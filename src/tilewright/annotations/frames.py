"""Frames: outlines without a class that hold others, as one draws them around what is to be outlined."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations.model import Area

LARGE = 4.0
"""Areas of a small outline from which on one without a class may be a frame."""
FEW = 2
"""Outlines without a class that one without a class holds if it is a frame; a cell holds its nucleus alone."""


class Frames:
    """Remembers where the outlines of a file lie, to say which of those without a class hold others."""

    def __init__(self) -> None:
        self._boxes: list[NDArray[np.float64]] = []
        self._certain: list[NDArray[np.bool_]] = []
        self._small = 0.0

    def doubtful(self, areas: Sequence[Area], certain: Sequence[bool]) -> NDArray[np.bool_]:
        """Take in some outlines, and tell which may be frames: not certain, and large beside the first ones.

        Args:
            areas: the outlines.
            certain: whether each is an object for sure: it has a class, or is of pixels, in which nobody draws frames.
        """
        shapes, known = np.array(areas, dtype=object), np.array(certain, np.bool_)
        if not len(shapes):
            return known
        self._boxes.append(shapely.bounds(shapes))
        self._certain.append(known)
        sizes = shapely.area(shapes)
        self._small = self._small or float(np.quantile(sizes, 0.25, method="lower"))
        doubtful: NDArray[np.bool_] = ~known & (sizes > LARGE * self._small)
        return doubtful

    def held(self, area: Area) -> int:
        """How many outlines one without a class holds, if that makes it a frame; else 0.

        One with a class is enough. An outline is held whose box lies in that of the frame, its centre in the frame.
        """
        boxes, certain = np.concatenate(self._boxes), np.concatenate(self._certain)
        left, top, right, bottom = area.bounds
        smaller = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) < (right - left) * (bottom - top)
        inside = ((boxes[:, :2] >= (left, top)) & (boxes[:, 2:] <= (right, bottom))).all(axis=1) & smaller
        centres = (boxes[inside, :2] + boxes[inside, 2:]) / 2
        held = shapely.contains_xy(area, centres[:, 0], centres[:, 1])
        count = int(held.sum())
        return count if count >= FEW or bool((held & certain[inside]).any()) else 0
