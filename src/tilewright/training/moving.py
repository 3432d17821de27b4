"""How a tile is moved: flips, turns, scale, shear and bends as one, computed for the pixels of a crop alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tilewright.tiles.archive import Labelled
from tilewright.training.cropping import Mask, Place
from tilewright.training.warps import Map, Warp

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]
Pixels = NDArray[Any]
UNITS = {(1, 0), (-1, 0), (0, 1), (0, -1)}
BORDER = cv2.BORDER_REFLECT_101

cv2.setNumThreads(1)  # a training uses the threads that it was given, and each loader one


@dataclass(frozen=True)
class Movement:
    """Where each pixel of a moved tile comes from: first through a bend, then through a matrix.

    Attributes:
        matrix: 3 x 3, takes column, row and 1.
        warp: the bend; what it takes from beyond the tile is mirrored.
    """

    matrix: Matrix
    warp: Warp | None = None

    def crop(self, image: Image, mask: Mask, place: Place) -> tuple[Image, Mask]:
        """Image (rows x columns x 3) and mask (rows x columns) of a place of a tile (the same) that is moved."""
        taken = self._taker(mask.shape, place)
        return taken(image, cv2.INTER_LINEAR), _mask_by(taken, mask)

    def mask(self, mask: Mask) -> Mask:
        """The whole mask of a tile that is moved."""
        rows, columns = mask.shape
        return _mask_by(self._taker(mask.shape, (slice(0, rows), slice(0, columns))), mask)

    def objects(self, objects: Labelled, place: Place) -> Labelled:
        """The objects of a place of a tile that is moved."""
        taken = self._taker(objects.shared.shape, place)
        labels = [np.ascontiguousarray(taken(each, cv2.INTER_NEAREST)) for each in objects.labels]
        return Labelled(np.stack(labels), _mask_by(taken, objects.shared))

    def _taker(self, shape: tuple[int, ...], place: Place) -> "Taker":
        """What takes the pixels of a place from a tile of so many rows and columns."""
        if self.warp is not None:
            return _mapped(*self._maps(self.warp, shape, place))
        rows, columns = place
        matrix = self.matrix.copy()
        matrix[:, 2] = matrix @ (columns.start, rows.start, 1)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        turns = {tuple(row[:2]) for row in matrix[:2].tolist()} <= UNITS
        return (
            _flipped(matrix, size)
            if turns and float(matrix[:2, 2].sum()).is_integer()
            else _affine(matrix, size, shape)
        )

    def _maps(self, warp: Warp, shape: tuple[int, ...], place: Place) -> tuple[Map, Map]:
        height, width = shape
        x, y = map(_mirrored, warp((height, width), *place), (width, height))
        (xx, xy, x0), (yx, yy, y0) = self.matrix[:2].astype(np.float32)
        if xy == yx == 0:
            return xx * x + x0, yy * y + y0
        return xx * x + (xy * y + x0), yx * x + (yy * y + y0)


Taker = Callable[[Pixels, int], Pixels]
"""Takes pixels from a tile with an interpolation of OpenCV."""


def planes(image: Image) -> Image:
    """An image of rows x columns x 3 or 4 as 3 x rows x columns."""
    found = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image if image.shape[2] == 3 else cv2.cvtColor(image, cv2.COLOR_RGBA2RGB), list(found))
    return found


def _mask_by(taken: Taker, mask: Mask) -> Mask:
    """A mask as OpenCV can move it: of 32 bits as two planes of 16."""
    if mask.dtype != np.uint32:
        return np.ascontiguousarray(taken(mask, cv2.INTER_NEAREST))
    halves = np.ascontiguousarray(mask).view(np.uint16).reshape(*mask.shape, 2)
    return np.ascontiguousarray(taken(halves, cv2.INTER_NEAREST)).view(np.uint32)[..., 0]


def _flipped(matrix: Matrix, size: tuple[int, int]) -> Taker:
    """Takes a part of a tile and flips and turns it."""
    (across, turned_across, x), (turned_down, down, y), _ = matrix.tolist()
    left, top = int(x), int(y)
    width, height = size
    turned = across == 0
    # a negative sign reads a line from its end
    mirrored, upside_down = (turned_down < 0, turned_across < 0) if turned else (across < 0, down < 0)
    backward_x, backward_y = (upside_down, mirrored) if turned else (mirrored, upside_down)
    wide, high = (height, width) if turned else (width, height)
    left, top = left - backward_x * (wide - 1), top - backward_y * (high - 1)

    def taken(pixels: Pixels, _: int) -> Pixels:
        part = pixels[top : top + high, left : left + wide]
        if turned:
            part = cv2.transpose(part)
        if mirrored or upside_down:
            part = cv2.flip(part, -1 if mirrored and upside_down else int(mirrored))
        return part

    return taken


def _affine(matrix: Matrix, size: tuple[int, int], shape: tuple[int, ...]) -> Taker:
    """Takes what a matrix tells, from the part of a tile that this concerns."""
    width, height = size
    spans = []
    for (x, y, start), edge in zip(matrix[:2].tolist(), shape[::-1], strict=True):
        first, last = (start + pick(0, x * width) + pick(0, y * height) for pick in (min, max))
        spans.append(_reach(math.floor(first) - 1, math.ceil(last) + 2, edge))
    (left, right), (top, bottom) = spans
    shifted = matrix[:2].copy()
    shifted[:, 2] -= (left, top)

    def taken(pixels: Pixels, interpolation: int) -> Pixels:
        part = pixels[top:bottom, left:right]
        return cv2.warpAffine(
            _with_fourth(part), shifted, size, flags=interpolation | cv2.WARP_INVERSE_MAP, borderMode=BORDER
        )

    return taken


def _mapped(x: Map, y: Map) -> Taker:
    """Takes what two maps tell."""

    def taken(pixels: Pixels, interpolation: int) -> Pixels:
        return cv2.remap(_with_fourth(pixels), x, y, interpolation, borderMode=BORDER)

    return taken


def _with_fourth(pixels: Pixels) -> Pixels:
    """OpenCV 5 moves four channels in less than half the time of three."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA) if pixels.shape[2:] == (3,) else pixels


def _reach(start: int, stop: int, edge: int) -> tuple[int, int]:
    """The part of a line that a span takes from, if what lies beyond its ends is mirrored."""
    inner_stop = max(stop, 1 - start) if start < 0 else stop
    inner_start = min(start, 2 * edge - 1 - stop) if stop > edge else start
    return max(0, inner_start), min(edge, inner_stop)


def _mirrored(places: Map, edge: int) -> Map:
    """Places beyond a line of pixels as those within that show the same."""
    if places.min() >= 0 and places.max() <= edge - 1:
        return places
    period = np.float32(2 * (edge - 1))
    turned = np.abs(places) % period
    return np.asarray(np.minimum(turned, period - turned), np.float32)


@cache
def around_center(turn: tuple[tuple[int, int], tuple[int, int]], shape: tuple[int, int]) -> Matrix:
    """The matrix of a turn (2 x 2) around the centre of a tile of so many rows and columns."""
    matrix, center = np.eye(3), (np.array(shape[::-1]) - 1) / 2
    matrix[:2, :2] = turn
    matrix[:2, 2] = center - np.array(turn) @ center
    return matrix


def enlarged(left: int, top: int, side: int, edge: int) -> Matrix:
    """The matrix that enlarges a part of a tile, as much as a square of a side has to be to have an edge."""
    scale = side / edge
    return np.array([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2], [0, 0, 1]])
