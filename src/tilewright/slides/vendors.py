"""Slides in scanners' own formats, through OpenSlide. Importing it takes 50 ms, so that pictures do without."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.pixels.grid import Size, Window
from tilewright.slides.colors import on_white
from tilewright.slides.source import RGB, Level, Source, bands, level_factor
from tilewright.slides.tiff import Tiff

GENERIC = "generic-tiff"
# vendors whose files are TIFFs that libtiff can read, so that their pages tell whether they are complete
TIFFS = {"aperio", "leica", "philips", "trestle", "ventana"}
SIDES = ("width", "height")
# of decoded tiles, which neighbouring windows share
CACHE = 64 * 2**20


class _OpenSlideSource:
    """A level of an OpenSlide, or the part of it that lies in ``bounds``."""

    def __init__(self, slide: Any, bounds: Window, pool: ThreadPoolExecutor, threads: int, level: int = 0) -> None:
        self._slide, self._bounds, self._level = slide, bounds, level
        self._pool, self._threads = pool, threads
        self.size = Size(bounds.width, bounds.height)
        self.mpp = _mpp(slide.properties.get("openslide.mpp-x"))
        self.block = Size(*(_edge(slide.properties.get(f"openslide.level[{level}].tile-{name}")) for name in SIDES))

    def read(self, window: Window) -> RGB:
        place = replace(window, x=window.x + self._bounds.x, y=window.y + self._bounds.y)
        return np.concatenate(list(self._pool.map(self._read, bands(place, self.block.height, self._threads))))

    def _read(self, window: Window) -> RGB:
        # OpenSlide counts in pixels of level 0; between two of the level, it mixes them
        step = self._slide.level_downsamples[self._level]
        corner = (round(window.x * step), round(window.y * step))
        return on_white(np.asarray(self._slide.read_region(corner, self._level, (window.width, window.height))))

    def levels(self) -> list[Level]:
        found = []
        for level, size in enumerate(self._slide.level_dimensions):
            if level and (factor := level_factor(Size(*self._slide.dimensions), Size(*size))):
                part = (Window(0, 0, *size), self._pool, self._threads, level)
                source = partial(_OpenSlideSource, self._slide, *part)
                found.append(Level(factor, source, self._bounds.x / factor, self._bounds.y / factor))
        return found


def find_vendor(path: Path) -> str | None:
    """The vendor of a slide by its content.

    None: not one of OpenSlide's, or a plain tiled TIFF, which GDAL reads too.
    """
    from openslide import OpenSlide

    vendor = OpenSlide.detect_format(path)
    return None if vendor is None or vendor == GENERIC else str(vendor)


def open_vendor(path: Path, vendor: str, stack: ExitStack, *, crop_to_bounds: bool, threads: int = 1) -> Source:
    """Open a slide of a known vendor.

    Args:
        path: the file.
        vendor: as ``find_vendor`` gives it.
        stack: closes the file.
        crop_to_bounds: take only the part that was scanned, where the file says so.
        threads: how many read a window together.

    Raises:
        SlideError: the file is cut short.
        OpenSlideError: OpenSlide does not read it.
    """
    from openslide import OpenSlide, OpenSlideCache

    if vendor in TIFFS:
        tiff = Tiff(path)
        for page in tiff.pages:
            if page.tiled:
                tiff.refuse_cut_short(page)
    slide = stack.enter_context(OpenSlide(path))
    slide.set_cache(OpenSlideCache(CACHE))
    whole = Window(0, 0, *slide.dimensions)
    pool = stack.enter_context(ThreadPoolExecutor(threads))
    return _OpenSlideSource(slide, _bounds(slide) if crop_to_bounds else whole, pool, threads)


def _bounds(slide: Any) -> Window:
    """The part of a slide that was scanned; the whole where the file does not say."""
    size = Size(*slide.dimensions)
    try:
        edges = [int(slide.properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height")]
    except (KeyError, ValueError):
        return Window(0, 0, *size)
    found = Window(*edges).clipped(size)
    return found if found.width and found.height else Window(0, 0, *size)


def _edge(text: str | None) -> int:
    """Edge of a tile; where the file does not say, an usual one."""
    return int(text) if text and text.isdigit() and int(text) else 256


def _mpp(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) and value > 0 else None
