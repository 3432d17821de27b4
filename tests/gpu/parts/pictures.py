"""Large images, made of the demo's picture again and again."""

from contextlib import contextmanager

import numpy as np

from parts.setting import ROOT

PICTURE = ROOT / "config" / "demo" / "hgsc_nest.jpg"
TISSUE = 0.35
"""Radius of the disk of tissue on a slide, as a share of the slide's edge."""


def picture():
    """The picture as 3 x rows x columns."""
    from tilewright.pixels.grid import Window
    from tilewright.slides import open_slide

    with open_slide(PICTURE) as slide:
        return np.moveaxis(slide.read(Window(0, 0, *slide.size)), -1, 0)


def rows(whole, top, count, edge):
    """Rows of an image of an edge, 3 x rows x columns."""
    height, width = whole.shape[1:]
    return whole[:, np.arange(top, top + count) % height][:, :, np.arange(edge) % width]


@contextmanager
def scaled(setting, edge):
    """An image as ``downscale`` writes it, and its tissue, which is all of it; both open."""
    from tilewright.pixels.grid import BLOCK, Size
    from tilewright.pixels.rasters import create_raster, open_raster

    files = {"image": setting.folder / f"{edge}.image.tif", "tissue": setting.folder / f"{edge}.tissue.tif"}
    if not files["tissue"].is_file():
        whole, size = picture(), Size(edge, edge)
        with (
            create_raster(files["image"], size, bands=3, threads=setting.cores) as image,
            create_raster(files["tissue"], size) as tissue,
        ):
            for top in range(0, edge, BLOCK):
                count = min(BLOCK, edge - top)
                image.write(rows(whole, top, count, edge), 0, top)
                tissue.write(np.ones((count, edge), np.uint8), 0, top)
    with open_raster(files["image"]) as image, open_raster(files["tissue"]) as tissue:
        yield image, tissue


def write_slide(setting, path, edge):
    """A slide as scanners write them, in JPEG tiles: a disk of tissue on white."""
    import rasterio
    from rasterio.windows import Window

    from tilewright.pixels.rasters import quiet

    whole, step = picture(), 512
    middle, reach = edge / 2, TISSUE * edge
    with quiet(), rasterio.open(
        path, "w", driver="GTiff", width=edge, height=edge, count=3, dtype="uint8", tiled=True, blockxsize=step,
        blockysize=step, compress="jpeg", photometric="ycbcr", interleave="pixel", num_threads=setting.cores,
    ) as file:  # fmt: skip
        across = (np.arange(edge) - middle) ** 2
        for top in range(0, edge, step):
            count = min(step, edge - top)
            down = (np.arange(top, top + count) - middle) ** 2
            inside = down[:, np.newaxis] + across < reach**2
            file.write(np.where(inside, rows(whole, top, count, edge), 255), window=Window(0, top, edge, count))
