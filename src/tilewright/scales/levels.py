"""From which level of a slide a scale is made: the coarsest that is at least as fine, and shows the same picture.

Some programs write levels that are shifted, of another part, of other colours or empty. So a level is compared with the
slide itself in small windows before it is taken.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.runtime.errors import SlideError
from tilewright.runtime.progress import note
from tilewright.scales.resample import ORIGIN, Corner, average_image, source_window
from tilewright.slides import RGB, Level, Slide

FINER = 1e-6
"""By how much of it a level may be coarser than the scale: what a number loses where it is written."""
ACROSS, COMPARED = 6, 5
"""Windows along an edge in which a level is looked at, and those with the most structure, which are compared."""
WINDOW, LEAST, MOST = 256, 8, 32
"""Edge of a compared window in pixels of the slide, and its least and largest in those of the level."""
HELD = 2**24
"""The most pixels of a level that is held in memory."""
NOISE, SHARE = 6.0, 0.5
"""Mean difference of two pictures of the same: of plain areas, compressed twice; and of the contrast."""

HALF = 1.25
"""How many times less a level may differ where it is moved by a pixel; where it is moved by half a one, that is 1."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """What a scale is averaged from: a slide, or a coarser copy of it.

    Attributes:
        factor: pixels of the slide in one of the plane, along an edge.
        size: right and bottom edge of the slide in the plane; what lies beyond is not read.
        block: see ``Slide.block``.
        read: gives the pixels of a window, rows x columns x 3.
        corner: left and top edge of the slide in the plane, in its pixels; they may cut pixels.
    """

    factor: float
    size: Size
    block: Size
    read: Callable[[Window], RGB]
    corner: Corner = ORIGIN

    def under(self, cells: Window, factor: float) -> Window:
        """The pixels of the plane that some cells of a scale cover, each of ``factor`` pixels."""
        return source_window(cells, factor, self.size, self.corner)


def planes_of(slide: Slide, factors: Sequence[float], *, levels: bool = True) -> list[tuple[Plane, list[float]]]:
    """What scales are averaged from, and of each the factors of its scales.

    Args:
        slide: the open slide.
        factors: of the scales, pixels of the slide in one of theirs.
        levels: whether levels are used.
    """
    whole, known = Plane(1.0, slide.size, slide.block, slide.read), slide.levels() if levels else []
    opened = cache(lambda level: _held(_plane(slide, level)))
    checked = cache(lambda level: _checked(slide, whole, level, lambda: (opened(level), opened(known[-1]))))
    found: list[tuple[Plane, list[float]]] = []
    for factor in sorted(set(factors)):
        fitting = (checked(level) for level in reversed(known) if level.factor <= factor * (1 + FINER))
        plane = next((plane for plane in fitting if plane), whole)
        if found and found[-1][0] is plane:
            found[-1][1].append(factor)
        else:
            found.append((plane, [factor]))
    return found


def _checked(slide: Slide, whole: Plane, level: Level, opened: Callable[[], tuple[Plane, Plane]]) -> Plane | None:
    """A level to average from; None: it cannot be read, or does not show what the slide does.

    Args:
        slide: the slide.
        whole: its level 0.
        level: the level.
        opened: opens it and the coarsest one.
    """
    name = f"{slide.path.name}: the level of {level.factor:g}"
    try:
        plane, coarsest = opened()
        difference = compare(whole, plane, coarsest)
    except SlideError as error:
        note(f"{name} is not used ({error.problems[0].what})")
        return None
    said = f"differs from level 0 by {difference.mean:.1f} of 255 on average"
    if not difference.same:
        note(f"{name} shows another picture ({said}) and is not used")
        return None
    note(f"{name} is used; it {said}")
    return plane


def _plane(slide: Slide, level: Level) -> Plane:
    """Open a level.

    Raises:
        SlideError: it is no picture that can be read.
    """
    try:
        source = level.open()
    except Exception as error:  # every reader has errors of its own
        raise slide.unreadable(f"its level of {level.factor:g}", error) from error
    limit = (
        math.ceil(start + length / level.factor - 1e-9)
        for start, length in zip((level.x, level.y), slide.size, strict=True)
    )

    def read(window: Window) -> RGB:
        try:
            return source.read(window)
        except Exception as error:
            raise slide.unreadable(f"its level of {level.factor:g}, at x {window.x}, y {window.y}", error) from error

    return Plane(level.factor, Size(*map(min, limit, source.size)), source.block, read, (level.x, level.y))


def _held(plane: Plane) -> Plane:
    """A level, held in memory if it is small: all threads read it at once, and nothing is decoded twice."""
    left, top = map(int, plane.corner)
    whole = Window(left, top, plane.size.width - left, plane.size.height - top)
    if whole.width * whole.height > HELD:
        return plane
    pixels = plane.read(whole)
    return replace(plane, read=lambda window: pixels[replace(window, x=window.x - left, y=window.y - top).slices])


@dataclass(frozen=True)
class Difference:
    """How a level differs from the slide, over all windows that were compared.

    Attributes:
        mean: mean difference of their pixels, of 255.
        contrast: mean difference of the slide's pixels from the mean of their window.
        color: largest difference of the mean colours of a window.
        moved: the mean difference where the level is moved by a pixel, at the best of four sides.
    """

    mean: float
    contrast: float
    color: float
    moved: float

    @property
    def same(self) -> bool:
        """Whether it is the same picture at the same place."""
        in_place = self.mean <= HALF * self.moved
        return in_place and self.mean <= max(NOISE, SHARE * self.contrast) and self.color <= 2 * NOISE


def compare(slide: Plane, level: Plane, coarsest: Plane) -> Difference:
    """Compare a level with the slide where the coarsest level has the most structure, and at its corners and centre."""
    edge = int(np.clip(WINDOW // level.factor, LEAST, MOST))
    if min(level.size) < LEAST:  # too little to compare
        return Difference(mean=255.0, contrast=0.0, color=255.0, moved=255.0)
    pairs = [_pair(slide, level, window) for window in _windows(slide, level, coarsest, edge)]
    inside = np.s_[1:-1, 1:-1]
    errors, contrast, color = [], [], []
    for ours, theirs in pairs:
        own = ours[inside]
        errors.append([np.abs(own - _moved(theirs, *move)).mean() for move in MOVES])
        contrast.append(np.abs(own - own.mean((0, 1))).mean())
        color.append(np.abs(own.mean((0, 1)) - theirs[inside].mean((0, 1))).max())
    mean, *moved = np.mean(errors, axis=0).tolist()
    return Difference(mean, float(np.mean(contrast)), float(np.max(color)), min(moved))


MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


def _moved(pixels: Floats, down: int, right: int) -> Floats:
    """All but a border of one pixel, of a picture that is moved."""
    height, width = pixels.shape[:2]
    return pixels[1 + down : height - 1 + down, 1 + right : width - 1 + right]


def _windows(slide: Plane, level: Plane, coarsest: Plane, edge: int) -> list[Window]:
    """Windows of the level to compare, of ``edge`` pixels or what there is, in single blocks if they fit."""
    left, top = map(math.ceil, level.corner)
    width, height = (max(1, end - start) for end, start in zip(level.size, (left, top), strict=True))
    columns, rows = (
        _places(start, length - edge, max(1, int(block / level.factor)))
        for start, length, block in ((left, width, slide.block.width), (top, height, slide.block.height))
    )
    found = [Window(x, y, min(edge, width), min(edge, height)) for y in rows for x in columns]
    by_structure = sorted(found, key=lambda window: -_structure(coarsest, window, level.factor / coarsest.factor))
    return list(dict.fromkeys([*by_structure[:COMPARED], found[0], found[len(found) // 2], found[-1]]))


def _structure(plane: Plane, window: Window, ratio: float) -> float:
    """How much the colours of a plane differ where a window of a level lies that is finer by a ratio."""
    x, y = (min(int(place * ratio), length - 1) for place, length in zip((window.x, window.y), plane.size, strict=True))
    edge = max(2, round(max(window.width, window.height) * ratio))
    return float(plane.read(Window(x, y, edge, edge).clipped(plane.size)).std(axis=(0, 1)).sum())


def _places(start: int, room: int, step: int) -> list[int]:
    """Places from ``start`` up to ``room`` pixels further, whole steps away from it."""
    even = np.linspace(0, max(0, room), ACROSS).astype(int)
    return sorted({start + int(place) for place in even // step * step})


def _pair(slide: Plane, level: Plane, window: Window) -> tuple[Floats, Floats]:
    """A window of the level as the slide shows it, and as the level does."""
    x, y = level.corner
    corner = (-x * level.factor, -y * level.factor)
    source = source_window(window, level.factor, slide.size, corner)
    shown = average_image(slide.read(source), window, level.factor, source, corner)
    return shown.astype(np.float32), level.read(window).astype(np.float32)
