"""Masks as pyramidal OME-TIFF, for QuPath, napari and other viewers.

One channel a class, 255 where a pixel belongs to it, with name, colour and pixel size; each level has half the size
of the one before (in SubIFDs), and a pixel of it is set where one of its four is.
"""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffWriter

from tilewright.pixels.grid import BLOCK, Frame, Size, Window, blocks
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.runtime.atomic import atomic_path

NAMES = uuid.UUID("6c1f53f2-5a39-4a3c-9f0e-2f3f4d5b8a11")
LARGE = 1 << 31
LEVEL = 4
"""Of deflate: less than half the time of the usual 6 for files a third larger."""


def write_ome_tiff(mask: Path, colors: Mapping[str, str], out: Path) -> None:
    """Write a mask for viewers.

    Args:
        mask: one band, a bit for each class, as ``mask_writer`` writes it.
        colors: colour of each class, "#rrggbb", in the order of the bits.
        out: the OME-TIFF; appears whole or not at all. The same mask gives the same bytes.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".levels-") as folder, atomic_path(out) as private:
        levels = [mask]
        while max(_size(levels[-1])) > BLOCK:
            levels.append(halved(levels[-1], Path(folder) / f"{len(levels)}.tif"))
        width, height = _size(mask)
        with TiffWriter(private, bigtiff=len(colors) * width * height > LARGE, ome=True) as writer:
            for number, level in enumerate(levels):
                details = {"subfiletype": 1} if number else _details(mask, colors, len(levels) - 1, out.name)
                width, height = _size(level)
                writer.write(
                    _tiles(level, len(colors)), shape=(len(colors), height, width), dtype=np.uint8, tile=(BLOCK, BLOCK),
                    photometric="minisblack", compression="deflate", compressionargs={"level": LEVEL}, **details,
                )  # fmt: skip


def halved(mask: Path, out: Path) -> Path:
    """Write a mask at half the size; a pixel has the bits of all of its four, and blocks without any are left out."""
    with open_raster(mask) as source:
        size = Size(-(-source.size.width // 2), -(-source.size.height // 2))
        with create_raster(out, size, dtype=source.dtype) as target:
            for window in blocks(size, BLOCK):
                pixels = source.read(Window(2 * window.x, 2 * window.y, 2 * window.width, 2 * window.height))[0]
                if pixels.any():
                    both = pixels[::2] | pixels[1::2]
                    target.write(both[:, ::2] | both[:, 1::2], window.x, window.y)
    return out


def _tiles(mask: Path, classes: int) -> Iterator[NDArray[np.uint8]]:
    """Whole tiles of each class, by rows."""
    with open_raster(mask) as raster:
        for bit in range(classes):
            for window in blocks(raster.size, BLOCK):
                pixels = raster.read(Window(window.x, window.y, BLOCK, BLOCK))[0]
                yield ((pixels >> bit) & 1).astype(np.uint8) * np.uint8(255)


def _details(mask: Path, colors: Mapping[str, str], levels: int, name: str) -> dict[str, Any]:
    with open_raster(mask) as raster:
        mpp = Frame.of(raster).mpp
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "UUID": f"urn:uuid:{uuid.uuid5(NAMES, name)}",
        "Channel": {"Name": list(colors), "Color": [_rgba(color) for color in colors.values()]},
    }
    details: dict[str, Any] = {"subifds": levels, "metadata": metadata}
    if mpp is not None:
        metadata |= {f"PhysicalSize{axis}": mpp for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
        details |= {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    return details


def _rgba(color: str) -> int:
    """A colour as OME writes it: red, green, blue and alpha in a signed 32-bit number."""
    value = int(color[1:], 16) << 8 | 0xFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _size(path: Path) -> Sequence[int]:
    with open_raster(path) as raster:
        return raster.size
