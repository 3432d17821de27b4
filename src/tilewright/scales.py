"""Slides and masks at a lower resolution, and where the tissue is.

One pixel of a scaled raster covers ``factor`` x ``factor`` pixels of the slide, counted from the corner of the slide's
region; a last partial pixel is filled by repeating the edge. Images are averaged over that area, masks by majority, so
that areas are kept.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from tilewright.config import Scale, Tissue
from tilewright.rasters import BLOCK, Frame, Raster, Window, blocks, create_raster, open_raster
from tilewright.runtime.atomic import atomic_directory, atomic_path
from tilewright.runtime.errors import Problem, SlideError
from tilewright.settings import DownscaleSettings
from tilewright.sheet import read_shard
from tilewright.slides import Slide, open_slide

STRIP = 256
TIFF = {"tile": True, "compression": "deflate", "level": 1, "bigtiff": True}


def downscale(shard: str, *, sheet: Path, data: Path, masks: Path, settings: DownscaleSettings, out: Path) -> None:
    """Write image, mask and tissue of every slide of a shard at one scale.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        masks: the shard's folder of masks, as ``rasterize`` writes it.
        settings: the scale and what counts as tissue.
        out: the folder to write: ``{slide}.image.tif``, ``{slide}.mask.tif`` and ``{slide}.tissue.tif``.

    Raises:
        SlideError: an image cannot be read, or its pixel size is needed and unknown.
    """
    with atomic_directory(out) as folder:
        for row in read_shard(sheet, data, shard):
            limit, crop = settings.limits.max_pixels, settings.slides.crop_to_bounds
            with open_slide(row.image, region=row.region, mpp=row.mpp, max_pixels=limit, crop_to_bounds=crop) as slide:
                frame = slide.frame.scaled(scale_factor(settings.scale, slide))
                image = folder / f"{row.slide}.image.tif"
                downscale_image(slide, frame, image)
            downscale_mask(masks / f"{row.slide}.tif", frame, folder / f"{row.slide}.mask.tif")
            find_tissue(image, frame, settings.tissue, folder / f"{row.slide}.tissue.tif")


def scale_factor(scale: Scale, slide: Slide) -> float:
    """Pixels of the slide in one pixel of the scale.

    Raises:
        SlideError: the scale is a pixel size that the slide does not have, or finer than the slide's.
    """
    if scale.factor is not None:
        return scale.factor
    assert scale.mpp is not None
    if slide.frame.mpp is None:
        what = f"its pixel size is unknown, and a scale of {scale.mpp} micrometres a pixel was asked for."
        raise SlideError(Problem(str(slide.path), what, "Give mpp in the sheet, or use a factor for the scale."))
    factor = scale.mpp / slide.frame.mpp
    if factor < 0.999:
        what = f"its pixels of {slide.frame.mpp} micrometres are coarser than the scale's {scale.mpp}."
        raise SlideError(Problem(str(slide.path), what, "Choose a coarser scale."))
    return max(factor, 1.0)


def downscale_image(slide: Slide, frame: Frame, out: Path) -> None:
    """Stream a slide once through libvips and write it at the scale of ``frame``.

    Args:
        slide: the open slide.
        frame: the place and factor of the result.
        out: the RGB TIFF to write.
    """
    factor, (width, height) = frame.factor, frame.size
    with _streamed(slide) as image, atomic_path(out) as private:
        if factor == int(factor):
            padded = image.embed(0, 0, width * int(factor), height * int(factor), extend="copy")
            reduced = padded.shrink(int(factor), int(factor)) if factor > 1 else padded
        else:
            padded = image.embed(0, 0, _cover(width, factor), _cover(height, factor), extend="copy")
            reduced = padded.resize(1 / factor).extract_area(0, 0, width, height)
        _save(reduced, private)
        _tag(private, frame)


def downscale_mask(source: Path, frame: Frame, out: Path) -> None:
    """Write a mask at the scale of ``frame``: a bit is set where it covers at least half of the pixel.

    Args:
        source: the full-size bit mask.
        frame: the place and factor of the result.
        out: the bit mask to write; blocks without any bit are left out.
    """
    with open_raster(source) as full, create_raster(out, frame.size, dtype=full.dtype, tags=frame.tags()) as small:
        for window in blocks(frame.size, BLOCK):
            pixels = _reduced_window(full, window, frame.factor)
            if pixels.any():
                small.write(pixels, window.x, window.y)


def _reduced_window(full: Raster, window: Window, factor: float) -> NDArray[Any]:
    left, top = int(window.x * factor), int(window.y * factor)
    right = min(_cover(window.x + window.width, factor), full.size.width)
    bottom = min(_cover(window.y + window.height, factor), full.size.height)
    pixels = full.read(Window(left, top, right - left, bottom - top))[0]
    if factor == 1 or not pixels.any():
        return np.asarray(pixels[: window.height, : window.width])
    down = _area_weights(window.y, window.height, factor, top, bottom)
    across = _area_weights(window.x, window.width, factor, left, right)
    result: NDArray[Any] = np.zeros((window.height, window.width), pixels.dtype)
    for bit in range(full.dtype.itemsize * 8):
        plane = (pixels >> bit) & 1
        if plane.any():
            covered = down @ plane.astype(np.float32) @ across.T
            result |= (covered >= 0.5 - 1e-4).astype(pixels.dtype) << pixels.dtype.type(bit)
    return result


def _area_weights(start: int, count: int, factor: float, low: int, high: int) -> NDArray[np.float32]:
    """Share that each source pixel in [low, high) has in each of ``count`` cells; every row sums to 1."""
    edges = np.arange(start, start + count + 1) * factor
    pixels = np.arange(low, high)
    upper = np.minimum(edges[1:, None], pixels + 1.0)
    lower = np.maximum(edges[:-1, None], pixels)
    overlap = np.clip(upper - lower, 0, None)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True), np.float32)


def find_tissue(image: Path, frame: Frame, tissue: Tissue, out: Path) -> None:
    """Write 1 where a scaled image shows tissue and 0 elsewhere.

    Tissue is coloured (the channels differ) or darker than the background, and not black. No threshold is fitted to
    the slide, so pale slides keep their tissue.

    Args:
        image: the scaled RGB image.
        frame: its place and factor.
        tissue: thresholds.
        out: the single-band TIFF to write.
    """
    pixels = pyvips.Image.new_from_file(str(image), access="sequential", revalidate=True)
    if tissue.method == "none":
        found = pyvips.Image.black(*frame.size) + 1
    else:
        smooth = pixels.gaussblur(tissue.smooth) if tissue.smooth else pixels
        brightest = smooth[0].bandrank([smooth[1], smooth[2]], index=2)
        darkest = smooth[0].bandrank([smooth[1], smooth[2]], index=0)
        colored = (brightest - darkest) >= 255 * tissue.min_chroma
        stained = colored | (brightest <= 255 * tissue.max_brightness)
        found = (stained & (brightest >= 255 * tissue.min_brightness)) / 255
    with atomic_path(out) as private:
        _save(found.cast("uchar"), private)
        _tag(private, frame)


@contextmanager
def _streamed(slide: Slide) -> Iterator[pyvips.Image]:
    """A slide as a libvips image that is read once, from top to bottom, whatever the file is.

    libvips swallows what a reader raises and goes on with grey pixels, so an error is kept and raised at the end.
    """
    rows = _png(slide)
    buffer = bytearray()
    errors: list[SlideError] = []

    def read(wanted: int) -> bytes:
        try:
            while len(buffer) < wanted and (more := next(rows, b"")):
                buffer.extend(more)
        except SlideError as error:
            errors.append(error)
        part = bytes(buffer[:wanted])
        del buffer[:wanted]
        return part

    source = pyvips.SourceCustom()
    source.on_read(read)
    try:
        yield pyvips.Image.new_from_source(source, "", access="sequential", fail_on="truncated", unlimited=True)
    except pyvips.Error as error:
        if errors:
            raise errors[0] from error
        raise SlideError(Problem(str(slide.path), f"cannot be downscaled ({error}).")) from error


def _png(slide: Slide) -> Iterator[bytes]:
    """The slide as a PNG with stored (uncompressed) pixels: the one format that every libvips reads from a stream."""
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">2I5B", *slide.size, 8, 2, 0, 0, 0))
    packer = zlib.compressobj(level=0)
    for window in blocks(slide.size, (slide.size.width, STRIP)):
        rows = slide.read(window).reshape(window.height, -1)
        unfiltered = np.pad(rows, ((0, 0), (1, 0)))
        yield _chunk(b"IDAT", packer.compress(unfiltered.tobytes()))
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _cover(cells: int, factor: float) -> int:
    """Source pixels needed to cover a number of cells."""
    return int(np.ceil(cells * factor - 1e-9))


def _save(image: pyvips.Image, path: Path) -> None:
    """Write a tiled TIFF; libvips refuses to read blocks much larger than the image."""
    width, height = (min(BLOCK, -(-length // 16) * 16) for length in (image.width, image.height))
    image.tiffsave(str(path), tile_width=width, tile_height=height, **TIFF)


def _tag(path: Path, frame: Frame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**frame.tags())
