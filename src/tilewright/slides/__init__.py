"""Slides: open an image file and read windows of it as RGB.

Coordinates are pixels of level 0, x before y, counted from the corner of the slide's region. Windows come back as
``uint8`` arrays of rows x columns x 3, whatever the file holds: grey is repeated, palettes are looked up, alpha is
laid on white, and deeper pixels are reduced to 8 bits.

What a file is, its content says and not its name. Vendors' formats are read by OpenSlide (``vendors``), all others by
GDAL (``gdal``); which pages of a TIFF make up the image is found in ``stacks``. A file that could be read in two ways
is refused.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tilewright.pixels.grid import Frame, Size, Window
from tilewright.project.config import DEFAULT_LIMITS
from tilewright.project.rows import Region
from tilewright.runtime.errors import Problem, SlideError
from tilewright.slides.formats import look_at
from tilewright.slides.gdal import open_gdal
from tilewright.slides.source import RGB, Level, Source, Stored, unreadable
from tilewright.slides.vendors import find_vendor, open_vendor

__all__ = ["RGB", "Level", "Slide", "open_slide"]


@dataclass(frozen=True)
class Slide:
    """An open slide, or the region of it that is used.

    Attributes:
        path: the file.
        frame: where the region lies in the image; ``frame.size`` is the size to read.
    """

    path: Path
    frame: Frame
    _source: Source

    @property
    def size(self) -> Size:
        """Width and height of the region."""
        return self.frame.size

    @property
    def block(self) -> Size:
        """Width and height of what is decoded at once, about; as wide as the image where rows are stored one by one."""
        return self._source.block

    def read(self, window: Window) -> RGB:
        """Pixels of a window as rows x columns x 3; what lies outside the region is white.

        Raises:
            SlideError: the file is damaged there.
        """
        inside = window.clipped(self.size)
        if inside == window:
            return self._read(inside)
        result = np.full((window.height, window.width, 3), 255, np.uint8)
        if inside.width and inside.height:
            place = Window(inside.x - window.x, inside.y - window.y, inside.width, inside.height)
            result[place.slices] = self._read(inside)
        return result

    def levels(self) -> list[Level]:
        """The coarser copies of the region that the file holds, from fine to coarse; not compared with it."""
        return [
            replace(level, x=level.x + self.frame.x / level.factor, y=level.y + self.frame.y / level.factor)
            for level in self._source.levels()
        ]

    @property
    def white(self) -> int:
        """The value of white in the file."""
        return self._source.white

    @property
    def is_white_told(self) -> bool:
        """Whether the file, its kind or the sheet says what white is; else it is the largest value of 16 bits."""
        return self._source.told

    def stored(self, window: Window) -> Stored:
        """Pixels of a window that lies inside, and what the file holds of them.

        Raises:
            SlideError: the file is damaged there.
        """
        with self._named(window):
            return self._source.stored(self._shifted(window))

    def unreadable(self, where: str, error: Exception) -> SlideError:
        """The error for a part of the file that cannot be read."""
        return unreadable(self.path, error, where)

    def _read(self, window: Window) -> RGB:
        with self._named(window):
            return self._source.read(self._shifted(window))

    def _shifted(self, window: Window) -> Window:
        return replace(window, x=window.x + self.frame.x, y=window.y + self.frame.y)

    @contextmanager
    def _named(self, window: Window) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every reader has errors of its own
            raise self.unreadable(f"x {window.x}, y {window.y}", error) from error


@contextmanager
def open_slide(
    path: str | Path,
    *,
    region: Region | None = None,
    mpp: float | None = None,
    white: int | None = None,
    max_pixels: int = DEFAULT_LIMITS.max_pixels,
    crop_to_bounds: bool = True,
    threads: int = 1,
) -> Iterator[Slide]:
    """Open a slide.

    Args:
        path: the image file.
        region: the only part to use, in pixels of level 0; None: the whole slide.
        mpp: micrometres a pixel, overriding the file's.
        white: the value of white, overriding the file's.
        max_pixels: a larger image is refused before it is decoded.
        crop_to_bounds: the slide is the part that its scanner marked as scanned, where a format has such bounds (MRXS,
            SCN); all coordinates count from its corner. False: the slide is the whole, with the empty parts.
        threads: how many decode a window together; does not change the pixels.

    Raises:
        SlideError: the file cannot be read, is too large, has pixels that are no squares, or does not hold the region.

    Examples:
        >>> with open_slide("config/demo/hgsc_nest.jpg") as slide:
        ...     slide.size, slide.read(Window(700, 700, 4, 2)).shape
        (Size(width=1500, height=1500), (2, 4, 3))
    """
    path = Path(path)
    with ExitStack() as stack:
        source = _open(path, stack, crop_to_bounds=crop_to_bounds, threads=threads, white=white)
        if source.size.width * source.size.height > max_pixels:
            what = f"{source.size.width} x {source.size.height} pixels are more than limits.max_pixels ({max_pixels})."
            raise SlideError(Problem(str(path), what, "Raise the limit if the image is meant to be so large."))
        part = region or Region(0, 0, *source.size)
        if part.x + part.width > source.size.width or part.y + part.height > source.size.height:
            image = f"the image of {source.size.width} x {source.size.height}"
            what = f"the region {','.join(map(str, part))} reaches beyond {image}."
            raise SlideError(Problem(str(path), what, "Correct the region in the sheet."))
        yield Slide(path, Frame(*part, image=source.size, mpp=mpp or source.pixel.edge(path)), source)


def _open(path: Path, stack: ExitStack, *, crop_to_bounds: bool, threads: int, white: int | None) -> Source:
    kind = look_at(path)
    try:
        if kind.vendor_possible and (vendor := find_vendor(path)):
            return open_vendor(path, vendor, stack, crop_to_bounds=crop_to_bounds, threads=threads, white=white)
        return open_gdal(path, kind, stack, threads, white)
    except SlideError:
        raise
    except Exception as error:  # every reader has errors of its own
        raise unreadable(path, error) from error
