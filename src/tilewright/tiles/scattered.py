"""Places of tiles without any class, drawn at random inside structures of a slide, such as its cortex."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Size, Window
from tilewright.pixels.rasters import Raster
from tilewright.project.config import TileSet, width_and_height
from tilewright.tiles.archive import TilePlace

TRIALS, STEP = 25, 25.0
"""Places that are tried before the structure is taken wider, and by how many pixels of the slide."""
DRAWS = 1000
"""Times that as many points are drawn around an area, of which those in it are taken."""


def scattered_corners(
    slide: str, mask: Raster, tissue: Raster, tiles: TileSet, classes: int, allowed: shapely.Geometry | None
) -> Iterator[TilePlace]:
    """Corners of tiles at random places: without any class, with enough tissue, wholly inside the slide.

    For each tile 25 places are tried whose centre lies in the structure, then 25 within 25 pixels of it, and so on,
    until the whole slide is tried: then there are no more. A place depends on the seed, the slide and the number of
    the tile alone.

    Args:
        slide: name of the slide.
        mask: bits of the classes.
        tissue: of the same size.
        tiles: the tile set.
        classes: number of classes.
        allowed: where the centres lie, in pixels of the slide; None: anywhere.
    """
    factor, size, bits = Frame.of(mask).factor, Size(*width_and_height(tiles.size)), (1 << classes) - 1
    centres = _centres(mask.size, size, factor)
    areas = _Widened(centres if allowed is None else allowed, centres)
    for number in range(tiles.scattered):
        word = hashlib.sha256(f"scattered {tiles.seed} {slide} {number}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(word[:8]))
        for x, y in areas.tried(generator):
            left, top = map(_start, (x / factor, y / factor), size, mask.size)
            window = Window(left, top, *size).clipped(mask.size)
            pixels, share = mask.read(window), tissue.read(window).mean()
            if share >= tiles.min_tissue and not (pixels & bits).any() and not (pixels >> classes & 1).all():
                yield TilePlace(left, top, "scattered")
                break
        else:
            if allowed is not None:
                return


def _start(center: float, edge: int, length: int) -> int:
    return min(max(round(center - edge / 2), 0), max(length - edge, 0))


def _centres(image: Size, size: Size, factor: float) -> shapely.Geometry:
    """Where centres of tiles that lie wholly inside a slide are, in its pixels; of a small slide, all of it."""
    margins = [edge / 2 if length > edge else 0 for edge, length in zip(size, image, strict=True)]
    (left, right), (top, bottom) = (
        (margin * factor, (length - margin) * factor) for margin, length in zip(margins, image, strict=True)
    )
    return shapely.box(left, top, right, bottom)


class _Widened:
    """An area, and what lies within 25 pixels of it, within 50, and so on, inside the places of centres."""

    def __init__(self, area: shapely.Geometry, centres: shapely.Geometry) -> None:
        self._area, self._centres = area, centres
        self._parts: list[shapely.Geometry] = []
        left, top, right, bottom = shapely.union(area, centres).bounds
        self._rounds = 1 + (0 if area is centres else math.ceil(math.hypot(right - left, bottom - top) / STEP))

    def tried(self, generator: np.random.Generator) -> Iterator[Sequence[float]]:
        """Places in the area, then in wider ones."""
        for number in range(self._rounds):
            if number == len(self._parts):
                wider = self._area.buffer(number * STEP) if number else self._area
                self._parts.append(shapely.intersection(wider, self._centres))
                shapely.prepare(self._parts[-1])
            yield from _points(self._parts[number], generator).tolist()


def _points(area: shapely.Geometry, generator: np.random.Generator) -> NDArray[np.float64]:
    """25 points inside an area, each place as likely; fewer, or none, where it is thin or empty."""
    found = np.empty((0, 2))
    if area.is_empty:
        return found
    left, top, right, bottom = area.bounds
    for _ in range(DRAWS):
        points = generator.uniform((left, top), (right, bottom), (TRIALS, 2))
        found = np.concatenate([found, points[shapely.contains_xy(area, points)]])
        if len(found) >= TRIALS:
            break
    return found[:TRIALS]
