"""Slides in scanners' own formats, through OpenSlide. Importing it takes 50 ms, so that pictures do without."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tilewright.pixels.grid import Size, Window
from tilewright.slides.colors import RGB_COLORS, contradicted, eight_bits, from_ycbcr, on_white
from tilewright.slides.jpegs import HEAD, dicom_says, jpeg_head
from tilewright.slides.pixelsize import PixelSize, number
from tilewright.slides.source import RGB, Level, Source, Stored, bands, level_factor
from tilewright.slides.tiff import COMPRESSION, JPEG, PHOTOMETRIC, Page, Tiff
from tilewright.slides.white import White

GENERIC, DICOM = "generic-tiff", "dicom"
# vendors whose files are TIFFs that libtiff can read, so that their pages tell whether they are complete
TIFFS = {"aperio", "leica", "philips", "trestle", "ventana"}
SIDES = ("width", "height")
# of decoded tiles, which neighbouring windows share
CACHE = 64 * 2**20


class _Reading(NamedTuple):
    """How pixels are read.

    Attributes:
        pool: of the threads that read a window together.
        threads: how many they are.
        colored: what OpenSlide gives as RGB is YCbCr.
        white: the value of white.
    """

    pool: ThreadPoolExecutor
    threads: int
    colored: bool
    white: int


class _OpenSlideSource:
    """A level of an OpenSlide, or the part of it that lies in ``bounds``."""

    def __init__(self, slide: Any, bounds: Window, how: "_Reading", level: int = 0) -> None:
        self._slide, self._bounds, self._level, self._how = slide, bounds, level, how
        self.size, self.white, self.told = Size(bounds.width, bounds.height), how.white, True
        self.pixel = PixelSize(*(number(slide.properties.get(f"openslide.mpp-{axis}")) for axis in "xy"))
        self.block = Size(*(_edge(slide.properties.get(f"openslide.level[{level}].tile-{name}")) for name in SIDES))

    def read(self, window: Window) -> RGB:
        place = replace(window, x=window.x + self._bounds.x, y=window.y + self._bounds.y)
        parts = bands(place, self.block.height, self._how.threads)
        return np.concatenate(list(self._how.pool.map(self._read, parts)))

    def stored(self, window: Window) -> Stored:
        rgb = self.read(window)
        return Stored(rgb, rgb.max(axis=2).astype(np.int64) * self.white // 255)

    def _read(self, window: Window) -> RGB:
        # OpenSlide counts in pixels of level 0; between two of the level, it mixes them
        step = self._slide.level_downsamples[self._level]
        corner = (round(window.x * step), round(window.y * step))
        pixels = np.asarray(self._slide.read_region(corner, self._level, (window.width, window.height)))
        if self._how.colored:
            pixels = np.dstack([from_ycbcr(pixels[..., :3]), pixels[..., 3]])
        return eight_bits(on_white(pixels), self._how.white)

    def levels(self) -> list[Level]:
        found = []
        for level, size in enumerate(self._slide.level_dimensions):
            if level and (factor := level_factor(Size(*self._slide.dimensions), Size(*size))):
                source = partial(_OpenSlideSource, self._slide, Window(0, 0, *size), self._how, level)
                found.append(Level(factor, source, self._bounds.x / factor, self._bounds.y / factor))
        return found


def find_vendor(path: Path) -> str | None:
    """The vendor of a slide by its content.

    None: not one of OpenSlide's, or a plain tiled TIFF, which GDAL reads too.
    """
    from openslide import OpenSlide

    vendor = OpenSlide.detect_format(path)
    return None if vendor is None or vendor == GENERIC else str(vendor)


def open_vendor(
    path: Path, vendor: str, stack: ExitStack, *, crop_to_bounds: bool, threads: int = 1, white: int | None = None
) -> Source:
    """Open a slide of a known vendor.

    Args:
        path: the file.
        vendor: as ``find_vendor`` gives it.
        stack: closes the file.
        crop_to_bounds: take only the part that was scanned, where the file says so.
        threads: how many read a window together.
        white: the value of white, by the sheet.

    Raises:
        SlideError: the file is cut short, or says its colours wrongly.
        OpenSlideError: OpenSlide does not read it.
    """
    from openslide import OpenSlide, OpenSlideCache

    colored = vendor == DICOM and _is_ycbcr(path)
    if vendor in TIFFS:
        tiff = Tiff(path)
        tiled = [page for page in tiff.pages if page.tiled]
        for page in tiled:
            tiff.refuse_cut_short(page, empty=True)
        colored = bool(tiled) and _is_marked_ycbcr(tiff, tiled[0])
    slide = stack.enter_context(OpenSlide(path))
    slide.set_cache(OpenSlideCache(CACHE))
    whole = Window(0, 0, *slide.dimensions)
    pool = stack.enter_context(ThreadPoolExecutor(threads))
    how = _Reading(pool, threads, colored, White(white).of(path, 8, 8)[0])
    return _OpenSlideSource(slide, _bounds(slide) if crop_to_bounds else whole, how)


def _is_marked_ycbcr(tiff: Tiff, page: Page) -> bool:
    """Whether tiles that are called RGB have the marker of YCbCr; scanners write RGB without any."""
    if (page.first(COMPRESSION, 1), page.first(PHOTOMETRIC, -1)) != (JPEG, RGB_COLORS):
        return False
    head = jpeg_head(tiff.start_of_block(page, HEAD))
    return head.marked and head.colors == "YCbCr"


def _is_ycbcr(path: Path) -> bool:
    """Whether the tiles of a DICOM slide are YCbCr that it says to be RGB.

    Raises:
        SlideError: they are RGB that it says to be YCbCr.
    """
    says, head = dicom_says(path)
    if says.startswith("YBR") and head.colors == "RGB":
        raise contradicted(path, says, "RGB")
    return says == "RGB" and head.colors == "YCbCr"


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
