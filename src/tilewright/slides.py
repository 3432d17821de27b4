"""Slides: open an image file and read windows of it as RGB.

Coordinates are pixels of level 0, x before y, counted from the corner of the slide's region. Windows come back as
``uint8`` arrays of rows x columns x 3, whatever the file holds: grey is repeated, palettes are looked up, alpha is laid on
white, and deeper pixels are reduced to 8 bits.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.windows import Window as RasterioWindow

from tilewright.rasters import Frame, Size, Window
from tilewright.runtime.errors import Problem, SlideError
from tilewright.sheet import Region

OPENSLIDE_SUFFIXES = {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"}
MAX_PIXELS = 20_000_000_000
RGB = NDArray[np.uint8]


class _Source(Protocol):
    """An open file: its size, pixel size and pixels."""

    size: Size
    mpp: float | None

    def read(self, window: Window) -> RGB: ...


@dataclass(frozen=True)
class Slide:
    """An open slide, or the region of it that is used.

    Attributes:
        path: the file.
        frame: where the region lies in the image; ``frame.size`` is the size to read.
    """

    path: Path
    frame: Frame
    _source: _Source

    @property
    def size(self) -> Size:
        """Width and height of the region."""
        return self.frame.size

    def read(self, window: Window) -> RGB:
        """Pixels of a window as rows x columns x 3; what lies outside the region is white.

        Raises:
            SlideError: the file is damaged there.
        """
        inside = window.clipped(self.size)
        result = np.full((window.height, window.width, 3), 255, np.uint8)
        if inside.width and inside.height:
            place = Window(inside.x - window.x, inside.y - window.y, inside.width, inside.height)
            try:
                shifted = Window(inside.x + self.frame.x, inside.y + self.frame.y, inside.width, inside.height)
                result[place.slices] = self._source.read(shifted)
            except Exception as error:  # every reader has errors of its own
                raise _unreadable(self.path, f"damaged at x {inside.x}, y {inside.y}: {_reason(error)}") from error
        return result


@contextmanager
def open_slide(
    path: Path, *, region: Region | None = None, mpp: float | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[Slide]:
    """Open a slide: TIFF, PNG and JPEG through GDAL, vendors' formats through OpenSlide.

    Args:
        path: the image file.
        region: the only part to use; None: the whole slide.
        mpp: micrometres a pixel, overriding the file's.
        max_pixels: a larger image is refused before it is decoded.

    Raises:
        SlideError: the file cannot be read, is too large, or does not hold the region.
    """
    with ExitStack() as stack:
        opener = _open_openslide if path.suffix.lower() in OPENSLIDE_SUFFIXES else _open_rasterio
        source = opener(path, stack)
        if source.size.width * source.size.height > max_pixels:
            what = f"{source.size.width} x {source.size.height} pixels are more than limits.max_pixels ({max_pixels})."
            raise SlideError(Problem(str(path), what, "Raise the limit if the image is meant to be so large."))
        part = region or Region(0, 0, *source.size)
        if part.x + part.width > source.size.width or part.y + part.height > source.size.height:
            what = f"the region {','.join(map(str, part))} reaches beyond the image of {source.size.width} x {source.size.height}."
            raise SlideError(Problem(str(path), what, "Correct the region in the sheet."))
        yield Slide(path, Frame(*part, image=source.size, mpp=mpp or source.mpp), source)


def _reason(error: Exception) -> str:
    """What a reader says; rasterio hides it behind "See previous exception"."""
    return str(error.__cause__ or error).rstrip(".")


def _unreadable(path: Path, why: str) -> SlideError:
    return SlideError(Problem(str(path), f"cannot be read: {why}.", "Export or copy the image again."))


class _OpenSlideSource:
    def __init__(self, slide: Any) -> None:
        self._slide = slide
        self.size = Size(*slide.dimensions)
        mpp = slide.properties.get("openslide.mpp-x")
        self.mpp = float(mpp) if mpp else None

    def read(self, window: Window) -> RGB:
        image = self._slide.read_region((window.x, window.y), 0, (window.width, window.height))
        return _on_white(np.asarray(image))


def _open_openslide(path: Path, stack: ExitStack) -> _Source:
    import openslide

    try:
        return _OpenSlideSource(stack.enter_context(openslide.OpenSlide(path)))
    except (openslide.OpenSlideError, OSError) as error:
        raise _unreadable(path, _reason(error)) from error


class _RasterioSource:
    """A file of one dataset with one, three or four bands, or of three datasets with one band each."""

    def __init__(self, datasets: list[Any], to_rgb: Callable[[NDArray[Any]], RGB]) -> None:
        self._datasets, self._to_rgb = datasets, to_rgb
        self.size = Size(datasets[0].width, datasets[0].height)
        self.mpp = _tiff_mpp(datasets[0])

    def read(self, window: Window) -> RGB:
        where = RasterioWindow(window.x, window.y, window.width, window.height)
        return self._to_rgb(np.concatenate([dataset.read(window=where) for dataset in self._datasets]))


def _open_rasterio(path: Path, stack: ExitStack) -> _Source:
    # decoding a whole PNG at once, GDAL fills what is missing in a truncated one and says nothing
    stack.enter_context(rasterio.Env(GDAL_PNG_WHOLE_IMAGE_OPTIM="NO"))
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    try:
        dataset = stack.enter_context(rasterio.open(path))
        datasets = [dataset]
        if dataset.count != 3 and len(dataset.subdatasets) == 3:
            datasets = [stack.enter_context(rasterio.open(name)) for name in dataset.subdatasets]
    except RasterioIOError as error:
        raise _unreadable(path, _reason(error)) from error
    return _RasterioSource(datasets, _converter(path, datasets))


def _converter(path: Path, datasets: list[Any]) -> Callable[[NDArray[Any]], RGB]:
    """How the bands of a file (bands x rows x columns) become RGB."""
    first = datasets[0]
    bands = sum(dataset.count for dataset in datasets)
    if bands == 1 and first.colorinterp[0] == ColorInterp.palette:
        palette = np.zeros((256, 4), np.uint8)
        for index, color in first.colormap(1).items():
            palette[index] = color
        return lambda pixels: palette[pixels[0], :3]
    depth = np.iinfo(first.dtypes[0]).max if np.issubdtype(first.dtypes[0], np.unsignedinteger) else 0
    if not depth or bands > 4:
        raise _unreadable(path, f"{bands} bands of {first.dtypes[0]} are neither grey nor colour")
    return lambda pixels: _bands_to_rgb(pixels, depth)


def _bands_to_rgb(pixels: NDArray[Any], depth: int) -> RGB:
    array = np.moveaxis(pixels, 0, -1)
    if depth != 255:
        array = (array.astype(np.float32) * np.float32(255 / depth) + np.float32(0.5)).astype(np.uint8)
    if array.shape[2] in (2, 4):
        color = np.repeat(array[..., :1], 3, axis=2) if array.shape[2] == 2 else array[..., :3]
        return _on_white(np.concatenate([color, array[..., -1:]], axis=2))
    return np.ascontiguousarray(np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array)


def _on_white(rgba: NDArray[np.uint8]) -> RGB:
    color, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(color)
    mixed = color.astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16))
    return ((mixed + 127) // 255).astype(np.uint8)


def _tiff_mpp(dataset: Any) -> float | None:
    """Micrometres a pixel from the resolution tags; resolutions that screens and printers use say nothing."""
    tags = dataset.tags()
    unit = {"2": 25_400.0, "3": 10_000.0}.get(str(tags.get("TIFFTAG_RESOLUTIONUNIT", ""))[:1])
    try:
        per_unit = float(tags.get("TIFFTAG_XRESOLUTION", "0"))
    except ValueError:
        return None
    mpp = unit / per_unit if unit and per_unit > 0 else 0.0
    return mpp if 0.05 <= mpp <= 20 else None
