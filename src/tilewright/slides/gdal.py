"""Pictures that GDAL reads by windows: TIFF, PNG, JPEG, JPEG 2000, BMP, WebP, PNM."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from tilewright.rasters import Size, Window
from tilewright.slides.colors import COLORS, Converter, converter
from tilewright.slides.formats import TIFF, Kind, no_image
from tilewright.slides.source import RGB, Source, damaged
from tilewright.slides.stacks import Image, find_image, resolution_mpp
from tilewright.slides.tiff import COMPRESSION, ORIENTATION, PHOTOMETRIC, Tiff

MAX_BLOCK = 2**30
OPTIONS = {
    # decoding a whole PNG at once, GDAL fills what is missing in a truncated one and says nothing
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # files beside the image are no input of the graph, so they may not change what is read
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
}
# none, LZW, JPEG, deflate (two codes), PackBits
USUAL_COMPRESSIONS = {1, 5, 7, 8, 32946, 32773}
GREY, RGB_SAMPLES = 1, 2


class _GdalSource:
    """A file of one dataset, or of three with one band each."""

    def __init__(self, datasets: Sequence[Any], to_rgb: Converter, mpp: float | None, *, plain_tiff: bool) -> None:
        self._datasets, self._to_rgb = datasets, to_rgb
        self.size = Size(datasets[0].width, datasets[0].height)
        self.mpp, self.plain_tiff = mpp, plain_tiff

    def read(self, window: Window) -> RGB:
        where = RasterioWindow(window.x, window.y, window.width, window.height)
        return self._to_rgb(np.concatenate([dataset.read(window=where) for dataset in self._datasets]))


def open_gdal(path: Path, kind: Kind, stack: ExitStack) -> Source:
    """Open a picture.

    Args:
        path: the file.
        kind: what it looks like.
        stack: closes the file.

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
        return _GdalSource([dataset], converter(path, [dataset]), _tagged_mpp(dataset), plain_tiff=False)
    tiff = Tiff(path)
    image = find_image(path, tiff)
    for page in image.pages:
        tiff.refuse_cut_short(page)
    names = [f"GTIFF_DIR:{page.index + 1}:{path}" if page.index else str(path) for page in image.pages]
    datasets = [stack.enter_context(rasterio.open(name, driver=TIFF)) for name in names]
    _refuse_large_blocks(path, datasets[0])
    to_rgb = converter(path, datasets, image.pages[0])
    return _GdalSource(datasets, to_rgb, image.mpp, plain_tiff=_is_plain(tiff, image, datasets[0]))


def _refuse_large_blocks(path: Path, dataset: Any) -> None:
    """A small file can claim tiles of any size; GDAL holds whole ones in memory."""
    height, width = dataset.block_shapes[0]
    if height * width * dataset.count * np.dtype(dataset.dtypes[0]).itemsize > MAX_BLOCK:
        raise damaged(path, f"its tiles or strips of {width} x {height} pixels are too large to be held in memory")


def _is_plain(tiff: Tiff, image: Image, dataset: Any) -> bool:
    """Whether libtiff alone gives the same pixels: see ``Slide.plain_tiff``."""
    page = image.pages[0]
    return (
        len(image.pages) == 1
        and page.index == 0
        # of YCbCr, GDAL's JPEG library and libvips' enlarge the halved colours differently
        and page.first(PHOTOMETRIC, -1) in (GREY, RGB_SAMPLES)
        and page.first(COMPRESSION, 1) in USUAL_COMPRESSIONS
        and page.first(ORIENTATION, 1) == 1
        and set(dataset.dtypes) == {"uint8"}
        and "NBITS" not in dataset.tags(1, ns="IMAGE_STRUCTURE")
        and list(dataset.colorinterp) in ([ColorInterp.gray], COLORS)
        # GDAL reads a missing block as zeros, others refuse it
        and bool(tiff.blocks(page)[1].all())
    )


def _tagged_mpp(dataset: Any) -> float | None:
    """Micrometres a pixel from the resolution that GDAL found in a JPEG or JPEG 2000."""
    tags = dataset.tags()
    try:
        return resolution_mpp(float(tags["TIFFTAG_XRESOLUTION"]), int(tags["TIFFTAG_RESOLUTIONUNIT"][:1]))
    except (KeyError, ValueError):
        return None
