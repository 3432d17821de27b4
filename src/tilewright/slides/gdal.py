"""Pictures that GDAL reads by windows: TIFF, PNG, JPEG, JPEG 2000, BMP, WebP, PNM."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from tilewright.pixels.grid import Size, Window
from tilewright.slides.colors import RGB_COLORS, YCBCR, Converter, contradicted, converter, from_ycbcr
from tilewright.slides.formats import TIFF, Kind, no_image
from tilewright.slides.jpegs import HEAD, jpeg_head
from tilewright.slides.pixelsize import PixelSize, number, tagged_size
from tilewright.slides.source import RGB, Level, Source, Stored, bands, damaged, level_factor
from tilewright.slides.stacks import find_image
from tilewright.slides.tiff import COMPRESSION, JPEG, MASK, PHOTOMETRIC, PLANES, SEPARATE, SUBFILE, Page, Tiff
from tilewright.slides.white import White

MAX_BLOCK = 2**30
OPTIONS = {
    # decoding a whole PNG at once, GDAL fills what is missing in a truncated one and says nothing
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # files beside the image are no input of the graph, so they may not change what is read
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
}


class _GdalSource:
    """A file of one dataset, or of three with one band each."""

    def __init__(
        self, datasets: Sequence[Any], colors: Converter, pixel: PixelSize, levels: Callable[[], list[Level]] = list
    ) -> None:
        self._datasets, self._colors, self.levels = datasets, colors, levels
        self.size = Size(datasets[0].width, datasets[0].height)
        self.block = Size(*datasets[0].block_shapes[0][::-1])
        self.pixel, self.white, self.told = pixel, colors.white, colors.told
        self._bands = sum(dataset.count for dataset in datasets)

    def read(self, window: Window) -> RGB:
        return self._colors.to_rgb(self._bands_of(window))

    def stored(self, window: Window) -> Stored:
        return self._colors.stored(self._bands_of(window))

    def _bands_of(self, window: Window) -> NDArray[Any]:
        where = RasterioWindow(window.x, window.y, window.width, window.height)
        # GDAL fills an array of interleaved bands faster than one band after the other
        pixels = np.empty((window.height, window.width, self._bands), self._datasets[0].dtypes[0])
        planes = np.moveaxis(pixels, -1, 0)
        for dataset in self._datasets:
            dataset.read(out=planes[: dataset.count], window=where)
            planes = planes[dataset.count :]
        return pixels


class _Handles:
    """A page that threads read together, each by a handle of its own: GDAL's threads read the first page alone."""

    def __init__(self, handles: Sequence[_GdalSource], pool: ThreadPoolExecutor) -> None:
        self._handles, self._pool = handles, pool
        self.size, self.block = handles[0].size, handles[0].block
        self.pixel, self.white, self.told, self.stored = (
            PixelSize(),
            handles[0].white,
            handles[0].told,
            handles[0].stored,
        )

    def read(self, window: Window) -> RGB:
        parts = bands(window, self.block.height, len(self._handles))
        if len(parts) == 1:
            return self._handles[0].read(window)
        return np.concatenate(list(self._pool.map(lambda handle, part: handle.read(part), self._handles, parts)))

    def levels(self) -> list[Level]:
        return []


def open_gdal(path: Path, kind: Kind, stack: ExitStack, threads: int = 1, white: int | None = None) -> Source:
    """Open a picture.

    Args:
        path: the file.
        kind: what it looks like.
        stack: closes the file.
        threads: how many decode the tiles of a TIFF.
        white: the value of white, by the sheet.

    Raises:
        SlideError: GDAL does not read it, or it holds no single image in grey or colour.
    """
    if not kind.driver:
        raise no_image(path, kind)
    stack.enter_context(rasterio.Env(**OPTIONS))
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    if kind.driver != TIFF:
        dataset = stack.enter_context(rasterio.open(path, driver=kind.driver))
        _refuse_large_blocks(path, dataset)
        return _GdalSource([dataset], converter(path, [dataset], white=White(white)), _tagged_size(dataset))
    tiff = Tiff(path)
    image = find_image(path, tiff)
    for page in image.pages:
        tiff.refuse_cut_short(page)
    names = [f"GTIFF_DIR:{page.index + 1}:{path}" if page.index else str(path) for page in image.pages]
    datasets = [stack.enter_context(rasterio.open(name, driver=TIFF, num_threads=threads)) for name in names]
    _refuse_large_blocks(path, datasets[0])
    open_page = partial(_open_page, path, tiff, white=White(white, image.white))
    levels = partial(_levels, path, tiff, image.pages[0], stack, threads, open_page) if len(names) == 1 else list
    return _GdalSource(datasets, open_page(datasets, image.pages[0]), image.pixel, levels)


def _open_page(path: Path, tiff: Tiff, datasets: Sequence[Any], page: Page, white: White) -> Converter:
    """How the bands of a page become RGB, by its tags and by the head of its first JPEG."""
    colors = converter(path, datasets, page, white)
    if page.first(COMPRESSION, 1) != JPEG or page.first(PLANES, 1) == SEPARATE:
        return colors
    says, head = page.first(PHOTOMETRIC, -1), jpeg_head(tiff.start_of_block(page, HEAD))
    if says == YCBCR and head.colors == "RGB":
        raise contradicted(path, "YCbCr", "RGB")
    if says != RGB_COLORS or head.colors != "YCbCr":
        return colors
    if head.sampled:
        raise contradicted(path, "RGB", "YCbCr with fewer colours than pixels")
    return replace(colors, to_rgb=lambda pixels: from_ycbcr(colors.to_rgb(pixels)))


def _levels(
    path: Path,
    tiff: Tiff,
    image: Page,
    stack: ExitStack,
    threads: int,
    open_page: Callable[[Sequence[Any], Page], Converter],
) -> list[Level]:
    """The pages, beside and below that of the image, which are smaller copies of it by their sizes and bands."""
    found = []
    for page in (*tiff.pages, *tiff.below(image)):
        factor = level_factor(image.size, page.size)
        if factor and page.samples == image.samples and not page.first(SUBFILE, 0) & MASK:
            found.append(Level(factor, partial(_open_level, path, tiff, page, stack, threads, open_page)))
    return sorted(found, key=lambda level: level.factor)


def _open_level(
    path: Path,
    tiff: Tiff,
    page: Page,
    stack: ExitStack,
    threads: int,
    open_page: Callable[[Sequence[Any], Page], Converter],
) -> _Handles:
    tiff.refuse_cut_short(page)
    name = f"GTIFF_DIR:off:{page.place}:{path}"
    datasets = [stack.enter_context(rasterio.open(name, driver=TIFF)) for _ in range(threads)]
    _refuse_large_blocks(path, datasets[0])
    handles = [_GdalSource([each], open_page([each], page), PixelSize()) for each in datasets]
    return _Handles(handles, stack.enter_context(ThreadPoolExecutor(threads)))


def _refuse_large_blocks(path: Path, dataset: Any) -> None:
    """A small file can claim tiles of any size; GDAL holds whole ones in memory."""
    height, width = dataset.block_shapes[0]
    if height * width * dataset.count * np.dtype(dataset.dtypes[0]).itemsize > MAX_BLOCK:
        raise damaged(path, f"its tiles or strips of {width} x {height} pixels are too large to be held in memory")


def _tagged_size(dataset: Any) -> PixelSize:
    """The size of a pixel from the resolution that GDAL found in a JPEG 2000."""
    tags = dataset.tags()
    unit = tags.get("TIFFTAG_RESOLUTIONUNIT", "")[:1]
    x, y = (number(tags.get(f"TIFFTAG_{axis}RESOLUTION")) for axis in "XY")
    return tagged_size(x, y, int(unit) if unit.isdecimal() else 0)
