"""Tiled TIFF files, read and written by windows. Sizes are width x height, windows x before y, arrays rows x columns.

Every mask, scaled image and probability map is a tiled, compressed TIFF that is written block by block and appears
whole or not at all. Behind its end stands a checksum, which readers of TIFF pass over and ``open_raster`` compares.
"""

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.windows import Window as RasterioWindow

from tilewright.pixels.grid import BLOCK, Size, Window
from tilewright.pixels.seals import append_seal, has_seal
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.failures import remedy_for
from tilewright.runtime.hashed import FILE_TAG

Compression = Literal["zstd", "deflate"]

# GDAL keeps decoded blocks in 5 % of the machine's memory unless told otherwise, in MB; steps promise less.
os.environ.setdefault("GDAL_CACHEMAX", "64")


class Raster:
    """A TIFF opened for reading or writing by windows; made by ``open_raster`` and ``create_raster``."""

    def __init__(self, dataset: Any, half: bool = False) -> None:
        self._dataset, self._half = dataset, half
        self.size = Size(dataset.width, dataset.height)
        self.bands: int = dataset.count
        self.dtype = np.dtype(dataset.dtypes[0])
        self.tags: dict[str, str] = dataset.tags()

    @property
    def classes(self) -> list[str]:
        """Names of the classes that bits or bands stand for, in their order."""
        names: list[str] = json.loads(self.tags.get("classes", "[]"))
        return names

    def read(self, window: Window | None = None) -> NDArray[Any]:
        """Pixels of ``window`` (default: all), bands x rows x columns; outside the image they are 0."""
        window = window or Window(0, 0, *self.size)
        inside = window.clipped(self.size)
        result = np.zeros((self.bands, window.height, window.width), self.dtype)
        if inside.width and inside.height:
            place = Window(inside.x - window.x, inside.y - window.y, inside.width, inside.height)
            result[(slice(None), *place.slices)] = self._dataset.read(window=_rasterio_window(inside))
        return result

    def read_into(self, out: NDArray[Any], window: Window) -> None:
        """Read a window inside the image into an array of bands x rows x columns, which is the fastest way."""
        self._dataset.read(out=out, window=_rasterio_window(window))

    def reduced(self, size: Size, resampling: Resampling) -> NDArray[Any]:
        """All of it, at most as large as ``size``, rows x columns x bands; GDAL holds only some blocks at a time."""
        shape = (self.bands, min(size.height, self.size.height), min(size.width, self.size.width))
        return np.moveaxis(self._dataset.read(out_shape=shape, resampling=resampling), 0, -1)

    def tag(self, name: str, text: str) -> None:
        """Store a text in a raster that is being written."""
        self._dataset.update_tags(**{name: text})

    def write(self, pixels: NDArray[Any], x: int, y: int) -> None:
        """Write pixels (bands x rows x columns, or rows x columns for one band) with their corner at ``x``, ``y``."""
        array = pixels[np.newaxis] if pixels.ndim == 2 else pixels
        if self._half:  # GDAL would cut off what does not fit
            array = array.astype(np.float16).astype(np.float32)
        self._dataset.write(array, window=RasterioWindow(x, y, array.shape[2], array.shape[1]))


@contextmanager
def open_raster(path: Path, classes: Sequence[str] | None = None, remedy: str = "") -> Iterator[Raster]:
    """Open a TIFF written by ``create_raster``.

    Args:
        path: the file.
        classes: what its bits or bands must stand for, beside which there may be bands of other targets
            (``CLASS:TARGET``); None: anything.
        remedy: what to do about a file that cannot be used; empty: to let a step make it again.

    Raises:
        DataError: the file is missing or damaged, or holds other classes.
    """
    _require_seal(path, remedy)
    with open_tiff(path, remedy) as raster:
        if classes is not None and masks_of(raster.classes) != list(classes):
            what = f"holds the classes {_listed(raster.classes)}, not {_listed(classes)}."
            raise _unreadable(path, what, remedy)
        yield raster


def masks_of(bands: Sequence[str]) -> list[str]:
    """The bands that say where classes are, without those of other targets."""
    return [band for band in bands if ":" not in band]


@contextmanager
def open_tiff(path: Path, remedy: str = "") -> Iterator[Raster]:
    """Open any TIFF, whoever wrote it; ``remedy`` as for ``open_raster``.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with quiet(), rasterio.open(path) as dataset:
            yield Raster(dataset)
    except RasterioIOError as error:
        what = f"cannot be read ({error})."
        raise _unreadable(path, what, remedy_for(error, remedy, path)) from error


def read_tags(path: Path, remedy: str = "") -> dict[str, str]:
    """The tags of any TIFF; its pixels are neither read nor checked, ``remedy`` is as for ``open_raster``.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    with open_tiff(path, remedy) as raster:
        return raster.tags


def read_file_print(image: Path) -> str:
    """The ``file_print`` of the slide that a scaled image was made of.

    Raises:
        DataError: the image is missing or does not say it.
    """
    tags = read_tags(image)
    if FILE_TAG not in tags:
        raise _unreadable(image, "does not say of which file it is.", "")
    return tags[FILE_TAG]


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "of no name"


def _require_seal(path: Path, remedy: str) -> None:
    try:
        intact = has_seal(path)
    except OSError as error:
        what = f"cannot be read ({error.strerror})."
        raise _unreadable(path, what, remedy_for(error, remedy)) from error
    if not intact:
        raise _unreadable(path, "is damaged: it is not what was written.", remedy)


def _unreadable(path: Path, what: str, remedy: str) -> DataError:
    return DataError(Problem(str(path), what, remedy or f"Delete {path.parent} and run the same command again."))


@contextmanager
def create_raster(
    path: Path,
    size: Size,
    *,
    bands: int = 1,
    dtype: DTypeLike = np.uint8,
    tags: dict[str, str] | None = None,
    compression: Compression = "zstd",
    threads: int = 1,
) -> Iterator[Raster]:
    """Create a tiled, sparse, compressed TIFF; blocks that are never written read as zero.

    Args:
        path: the file; appears when the block ends without an error.
        size: width and height.
        bands: number of bands.
        dtype: type of a pixel; float16 is read as float32.
        tags: text stored in the file.
        compression: zstd is the fastest; deflate is read by every viewer.
        threads: how many compress blocks; the bytes are the same.
    """
    level = {"zstd": {"zstd_level": 1}, "deflate": {"zlevel": 1}}[compression]
    kind = np.dtype(dtype)
    half = kind == np.float16
    options: dict[str, Any] = {"photometric": "rgb"} if bands == 3 else {}
    if half:  # which GDAL knows as a shorter float32
        kind, options = np.dtype(np.float32), options | {"nbits": 16}
    with atomic_path(path) as private:
        with quiet(), rasterio.open(
            private, "w", driver="GTiff", width=size.width, height=size.height, count=bands, dtype=kind.name,
            tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress=compression, interleave="pixel",
            sparse_ok=True, bigtiff="if_safer", num_threads=threads, **level, **options,
        ) as dataset:  # fmt: skip
            dataset.update_tags(**(tags or {}))
            yield Raster(dataset, half)
        append_seal(private)


@contextmanager
def quiet() -> Iterator[None]:
    """Slides have no place on Earth; rasterio's warning about that is noise here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.x, window.y, window.width, window.height)
