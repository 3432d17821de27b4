"""What a person would see at once in a slide: that it is dark, white, without tissue, turned, of impossible pixels.

A slide is looked at in small windows all over it, of its full resolution, whose number is bounded; where these show
nothing, in more of them and in a coarse level.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window, blocks
from tilewright.project.config import Tissue
from tilewright.runtime.errors import Problem
from tilewright.slides import Slide
from tilewright.slides.pixelsize import MICROSCOPES

EDGE, POOL = 64, 4
"""Edge of a window that is looked at, and of the squares of it that are averaged before they count as tissue or not."""
FEW, MANY = 12, 48
"""Windows along an edge of a slide; where nothing is seen in the first."""
COARSE, HELD = 512, 2**26
"""Least longest edge and most pixels of a level that is looked at as a whole."""
HALF, QUARTER = 2, 4
BRIGHT = 0.99
DEPTHS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
"""Values of white by the bits that cameras use."""
BY_EYE = "Look at it: tilewright check --thumbnails FOLDER."
Means = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """What was seen of a slide.

    Attributes:
        largest: the largest value in the file.
        bright: the value in the file that 1 of 100 pixels exceeds; neither hot pixels nor a scale bar count.
        opaque: the largest alpha, as a share.
        tissue: how many of the squares are tissue.
        count: how many squares there are.
    """

    largest: int
    bright: int
    opaque: float
    tissue: int
    count: int

    def value(self, *, told: bool) -> int:
        """The value that says how bright a slide is.

        Where white is told, a few bright cells on black are as they should be; where it has to be guessed, a scale bar
        or hot pixels must not hide that all else is dark.
        """
        return self.largest if told else self.bright


def look_at(slide: Slide, tissue: Tissue) -> Look:
    """Look at a slide, at more of it where nothing is seen."""
    found = _look(slide, tissue, FEW)
    if found.tissue or max(slide.size) <= FEW * EDGE:
        return found
    found = _look(slide, tissue, MANY)
    return found if found.tissue else replace(found, tissue=_tissue_of_level(slide, tissue))


def _tissue_of_level(slide: Slide, tissue: Tissue) -> int:
    """How many squares of a coarse level of a slide are tissue; none where no level is coarse enough or can be read."""
    for level in reversed(slide.levels()):
        size = Size(*(math.ceil(length / level.factor) for length in slide.size))
        if max(size) >= COARSE and size.width * size.height <= HELD:
            with suppress(Exception):  # every reader has errors of its own, and level 0 is what counts
                source = level.open()
                whole = Window(int(level.x), int(level.y), *size).clipped(source.size)
                parts = blocks(Size(whole.width, whole.height), EDGE * FEW)
                shifted = (replace(part, x=part.x + whole.x, y=part.y + whole.y) for part in parts)
                return sum(int(_tissue_of(source.read(part), tissue).sum()) for part in shifted)
    return 0


def _look(slide: Slide, tissue: Tissue, across: int) -> Look:
    stored = [slide.stored(window) for window in windows(slide.size, across)]
    seen = [_tissue_of(each.rgb, tissue) for each in stored]
    values = np.concatenate([each.bright.ravel() for each in stored])
    return Look(
        largest=int(values.max()),
        bright=int(np.quantile(values, BRIGHT, method="higher")),
        opaque=max(each.opaque for each in stored),
        tissue=sum(int(each.sum()) for each in seen),
        count=sum(each.size for each in seen),
    )


def windows(size: Size, across: int) -> Iterator[Window]:
    """Windows all over an image, by rows, at most ``across`` along an edge; of a small image all of it."""
    starts = [_starts(length, across) for length in size]
    for y in starts[1]:
        for x in starts[0]:
            yield Window(x, y, EDGE, EDGE).clipped(size)


def _starts(length: int, across: int) -> list[int]:
    """Where windows begin along an edge: at multiples of their own, so that none lies in two tiles of a file."""
    even = np.linspace(0, max(0, length - 1) // EDGE, min(across, -(-length // EDGE)))
    return [int(place) * EDGE for place in even]


def _tissue_of(rgb: NDArray[np.uint8], tissue: Tissue) -> NDArray[np.bool_]:
    """Whether squares of a picture are tissue, by the thresholds of the config."""
    means = _means(rgb) / 255
    brightest = means.max(axis=2)
    colored = brightest - means.min(axis=2) >= tissue.min_chroma
    return np.asarray((colored | (brightest <= tissue.max_brightness)) & (brightest >= tissue.min_brightness))


def _means(rgb: NDArray[np.uint8]) -> Means:
    """Means of squares; the last of a row or column may be smaller."""
    rows, columns = (np.arange(0, length, POOL) for length in rgb.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(rgb.astype(np.float32), rows, axis=0), columns, axis=1)
    counts = np.outer(
        *(np.diff([*starts, length]) for starts, length in ((rows, rgb.shape[0]), (columns, rgb.shape[1])))
    )
    return np.asarray(sums / counts[..., np.newaxis], np.float32)


def judge(look: Look, slide: Slide, tissue: Tissue, where: str) -> Iterator[tuple[str, Problem]]:
    """What a person would say of a slide: a kind, such as "dark", and the problem.

    Args:
        look: what was seen.
        slide: the slide.
        tissue: what counts as tissue.
        where: the slide, for messages.
    """
    mpp = slide.frame.mpp
    if mpp is not None and not MICROSCOPES[0] <= mpp <= MICROSCOPES[1]:
        what = f"its pixels of {mpp:g} um are beyond belief for a slide ({MICROSCOPES[0]:g} to {MICROSCOPES[1]:g})."
        yield "of odd pixel size", Problem(where, what, "Give the right mpp in the sheet, or correct it there.")
    if look.opaque == 0:
        what = "alpha is 0 in the part that was read: the slide is white, and nothing of it is tissue."
        yield "white", Problem(where, what, "Save the image without its alpha, if its colours are meant.")
    elif look.bright > slide.white:
        what = f"values up to {look.bright}, above its white of {slide.white}: all that is brighter becomes white."
        yield "bright", Problem(where, what, f"Give its value of white in the column white of the sheet. {BY_EYE}")
    elif look.value(told=slide.is_white_told) * (QUARTER if slide.is_white_told else HALF) <= slide.white:
        bits, value = "8 bit" if slide.white == DEPTHS[0] else "16 bit", look.value(told=slide.is_white_told)
        told = f"largest value {look.largest}" if look.largest <= value * HALF else f"99 of 100 values up to {value}"
        what = f"{bits}, {told} of {slide.white} in the part that was read: dark."
        guess = next(depth for depth in DEPTHS if value <= depth)
        likely = f", such as {guess}" if guess < slide.white else ""
        remedy = f"Give its value of white{likely}, in the column white of the sheet, or export it brighter. {BY_EYE}"
        yield "dark", Problem(where, what, remedy)
    elif tissue.method != "none" and not look.tissue:
        what = (
            f"0 of {look.count * POOL * POOL} pixels that were read are tissue, by the config's thresholds, so no tile "
            "is cut and nothing is predicted there."
        )
        remedy = f"See tissue.method: none and inference.skip_background: false. {BY_EYE}"
        yield "without tissue", Problem(where, what, remedy)
