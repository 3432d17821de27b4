"""Where the tissue is: pixels of a scaled image that are coloured or darker than the background, and not black.

No threshold is fitted to the slide, so pale slides keep their tissue.
"""

from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Window, blocks
from tilewright.pixels.rasters import Raster, create_raster, open_raster
from tilewright.project.config import Tissue

CHUNK = 2048


def find_tissue(image: Path, frame: Frame, tissue: Tissue, out: Path) -> int:
    """Write 1 where a scaled image shows tissue and 0 elsewhere, one block in memory at a time.

    Args:
        image: the scaled RGB image.
        frame: its place and factor.
        tissue: thresholds.
        out: the single-band TIFF to write.

    Returns:
        How many pixels are tissue.
    """
    count = 0
    with open_raster(image) as source, create_raster(out, frame.size, tags=frame.tags()) as result:
        for window in blocks(frame.size, CHUNK):
            if tissue.method == "none":
                found = np.ones((window.height, window.width), np.uint8)
            else:
                found = _tissue_in(source, window, tissue)
            if found.any():
                count += int(found.sum(dtype=np.int64))
                result.write(found, window.x, window.y)
    return count


def _tissue_in(source: Raster, window: Window, tissue: Tissue) -> NDArray[np.uint8]:
    """The tissue of a window, from pixels that reach as far beyond it as the smoothing does."""
    halo = int(np.ceil(4 * tissue.smooth))
    wide = Window(window.x - halo, window.y - halo, window.width + 2 * halo, window.height + 2 * halo)
    inside = wide.clipped(source.size)
    pixels = np.ascontiguousarray(np.moveaxis(source.read(inside), 0, -1))
    image = pyvips.Image.new_from_memory(pixels, inside.width, inside.height, 3, "uchar")
    smooth = image.gaussblur(tissue.smooth) if tissue.smooth else image
    found = _is_tissue(smooth.crop(window.x - inside.x, window.y - inside.y, window.width, window.height), tissue)
    return np.asarray(found.numpy(), np.uint8)


def _is_tissue(smooth: pyvips.Image, tissue: Tissue) -> pyvips.Image:
    """1 or 0 for each pixel of an RGB image."""
    brightest = smooth[0].bandrank([smooth[1], smooth[2]], index=2)
    darkest = smooth[0].bandrank([smooth[1], smooth[2]], index=0)
    colored = (brightest - darkest) >= 255 * tissue.min_chroma
    stained = colored | (brightest <= 255 * tissue.max_brightness)
    return ((stained & (brightest >= 255 * tissue.min_brightness)) / 255).cast("uchar")
