"""Networks whose answers are known, and the maps that ``predict`` makes of them."""

from contextlib import ExitStack

import numpy as np
import torch
from torch import nn

from tilewright.inference.layers import layers_of
from tilewright.inference.predict import Map, predict_image
from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import Inference


class Pixelwise(nn.Module):
    """Gives each pixel's mean over the channels as its probability; counts the windows that it sees."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 255))
        self.windows = 0

    def forward(self, images):
        self.windows += len(images)
        return torch.logit(images.float().mean(1, keepdim=True) * self.scale, eps=1e-6)


class Shifted(Pixelwise):
    """As ``Pixelwise``, but what a window's left edge holds changes the whole window, so that blending matters."""

    def forward(self, images):
        return super().forward(images) * images[:, :1, :1, :1].float() / 128


def write(path, array, frame=None):
    """Write bands x rows x columns as a raster."""
    size = Size(array.shape[2], array.shape[1])
    tags = frame.tags() if frame else None
    with create_raster(path, size, bands=len(array), dtype=array.dtype, tags=tags) as raster:
        raster.write(array, 0, 0)
    return path


def maps_of(tmp_path, networks, image, tissue=None, **options):
    """All maps that are written of an image, by their parts."""
    tissue = np.ones((1, *image.shape[1:]), np.uint8) if tissue is None else tissue
    write(tmp_path / "i.tif", image)
    write(tmp_path / "t.tif", tissue)
    inference = Inference(**{"window": 64, "overlap": 0.25, **options})
    layers = layers_of([f"fold{place}" for place in range(len(networks))], inference)
    files = {layer.part: tmp_path / f"o{layer.part}.tif" for layer in layers}
    with torch.inference_mode(), ExitStack() as stack:
        image_raster, tissue_raster = (stack.enter_context(open_raster(tmp_path / f"{name}.tif")) for name in "it")
        size, depth = image_raster.size, inference.depth
        maps = [
            Map(layer, stack.enter_context(create_raster(files[layer.part], size, dtype=depth))) for layer in layers
        ]
        predict_image(networks, image_raster, tissue_raster, inference, maps)
    result = {}
    for part, path in files.items():
        with open_raster(path) as raster:
            result[part] = raster.read()[0]
    return result
