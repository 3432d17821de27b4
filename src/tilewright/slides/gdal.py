"""Pictures that GDAL reads by windows: TIFF, PNG, JPEG, JPEG 2000, BMP, WebP, PNM."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from tilewright.pixels.grid import Size, Window
from tilewright.slides.colors import Converter, converter
from tilewright.slides.formats import TIFF, Kind, no_image
from tilewright.slides.source import RGB, Level, Source, bands, damaged, level_factor
from tilewright.slides.stacks import find_image, resolution_mpp
from tilewright.slides.tiff import MASK, SUBFILE, Page, Tiff

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
        self, datasets: Sequence[Any], to_rgb: Converter, mpp: float | None, levels: Callable[[], list[Level]] = list
    ) -> None:
        self._datasets, self._to_rgb, self.levels = datasets, to_rgb, levels
        self.size = Size(datasets[0].width, datasets[0].height)
        self.block = Size(*datasets[0].block_shapes[0][::-1])
        self.mpp = mpp
        self._bands = sum(dataset.count for dataset in datasets)

    def read(self, window: Window) -> RGB:
        where = RasterioWindow(window.x, window.y, window.width, window.height)
        # GDAL fills an array of interleaved bands faster than one band after the other
        pixels = np.empty((window.height, window.width, self._bands), self._datasets[0].dtypes[0])
        planes = np.moveaxis(pixels, -1, 0)
        for dataset in self._datasets:
            dataset.read(out=planes[: dataset.count], window=where)
            planes = planes[dataset.count :]
        return self._to_rgb(pixels)


class _Handles:
    """A page that threads read together, each by a handle of its own: GDAL's threads read the first page alone."""

    def __init__(self, handles: Sequence[_GdalSource], pool: ThreadPoolExecutor) -> None:
        self._handles, self._pool = handles, pool
        self.size, self.block = handles[0].size, handles[0].block
        self.mpp: float | None = None

    def read(self, window: Window) -> RGB:
        parts = bands(window, self.block.height, len(self._handles))
        if len(parts) == 1:
            return self._handles[0].read(window)
        return np.concatenate(list(self._pool.map(lambda handle, part: handle.read(part), self._handles, parts)))

    def levels(self) -> list[Level]:
        return []


def open_gdal(path: Path, kind: Kind, stack: ExitStack, threads: int = 1) -> Source:
    """Open a picture.

    Args:
        path: the file.
        kind: what it looks like.
        stack: closes the file.
        threads: how many decode the tiles of a TIFF.

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
        return _GdalSource([dataset], converter(path, [dataset]), _tagged_mpp(dataset))
    tiff = Tiff(path)
    image = find_image(path, tiff)
    for page in image.pages:
        tiff.refuse_cut_short(page)
    names = [f"GTIFF_DIR:{page.index + 1}:{path}" if page.index else str(path) for page in image.pages]
    datasets = [stack.enter_context(rasterio.open(name, driver=TIFF, num_threads=threads)) for name in names]
    _refuse_large_blocks(path, datasets[0])
    to_rgb = converter(path, datasets, image.pages[0])
    levels = partial(_levels, path, tiff, image.pages[0], stack, threads) if len(image.pages) == 1 else list
    return _GdalSource(datasets, to_rgb, image.mpp, levels)


def _levels(path: Path, tiff: Tiff, image: Page, stack: ExitStack, threads: int) -> list[Level]:
    """The pages, beside and below that of the image, which are smaller copies of it by their sizes and bands."""
    found = []
    for page in (*tiff.pages, *tiff.below(image)):
        factor = level_factor(image.size, page.size)
        if factor and page.samples == image.samples and not page.first(SUBFILE, 0) & MASK:
            found.append(Level(factor, partial(_open_level, path, tiff, page, stack, threads)))
    return sorted(found, key=lambda level: level.factor)


def _open_level(path: Path, tiff: Tiff, page: Page, stack: ExitStack, threads: int) -> _Handles:
    tiff.refuse_cut_short(page)
    name = f"GTIFF_DIR:off:{page.place}:{path}"
    datasets = [stack.enter_context(rasterio.open(name, driver=TIFF)) for _ in range(threads)]
    _refuse_large_blocks(path, datasets[0])
    handles = [_GdalSource([each], converter(path, [each], page), None) for each in datasets]
    return _Handles(handles, stack.enter_context(ThreadPoolExecutor(threads)))


def _refuse_large_blocks(path: Path, dataset: Any) -> None:
    """A small file can claim tiles of any size; GDAL holds whole ones in memory."""
    height, width = dataset.block_shapes[0]
    if height * width * dataset.count * np.dtype(dataset.dtypes[0]).itemsize > MAX_BLOCK:
        raise damaged(path, f"its tiles or strips of {width} x {height} pixels are too large to be held in memory")


def _tagged_mpp(dataset: Any) -> float | None:
    """Micrometres a pixel from the resolution that GDAL found in a JPEG or JPEG 2000."""
    tags = dataset.tags()
    try:
        return resolution_mpp(float(tags["TIFFTAG_XRESOLUTION"]), int(tags["TIFFTAG_RESOLUTIONUNIT"][:1]))
    except (KeyError, ValueError):
        return None
