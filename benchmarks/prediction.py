"""Prediction of a slide by windows: tilewright, MONAI and the bare network, with the same weights, windows and threads.

Measured functions are generators as ``child.py`` wants them. The network is a U-Net with an EfficientNet-lite0
encoder and random weights, or a single convolution where memory alone is of interest.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import rasterio
import torch
from shared import nothing, plain_network
from torch import nn

from tilewright.inference.blending import Finished
from tilewright.inference.layers import layers_of
from tilewright.inference.pieces import covered, runs, with_tissue
from tilewright.inference.predict import Map, predict_image, through
from tilewright.pixels.grid import Size, Window, blocks, grid
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import Inference, Network
from tilewright.training.architectures import build_network
from tilewright.training.segmenter import Segmenter

BATCH = 4


def predict(image, network, window, overlap, out, tissue=None):
    """Predict an image file as the step does; ``tissue`` is the share of its width that holds tissue."""
    yield
    segmenter, inference = _network(network), Inference(window=window, overlap=overlap, blend="mean", batch_size=BATCH)
    mask = Path(out).with_suffix(".tissue.tif")
    with open_raster(Path(image)) as raster:
        size = raster.size
    (mean,) = layers_of(["fold0"], inference)
    with create_raster(mask, size) as raster:
        width = round(size.width * (tissue or 1))
        for top in range(0, size.height, 512):
            raster.write(np.ones((min(512, size.height - top), width), np.uint8), 0, top)
    yield
    with (
        torch.inference_mode(),
        open_raster(Path(image)) as pixels,
        open_raster(mask) as where,
        create_raster(Path(out), size) as result,
    ):
        predict_image([segmenter], pixels, where, inference, [Map(mean, result)])
    yield


def host(image, overlap, out):
    """All of a prediction but the device, in whose place finished rows come at once, as many as there would be."""
    yield
    with open_raster(Path(image)) as raster:
        size, rows = raster.size, torch.from_numpy(raster.read()[:1])
    mask = Path(out).with_suffix(".tissue.tif")
    with create_raster(mask, size) as raster:
        for window in blocks(size, (size.width, 512)):
            raster.write(np.ones((window.height, window.width), np.uint8), 0, window.y)

    def device(pieces):
        for piece in pieces:
            yield Finished(0, piece.x, piece.y, rows[(slice(None), *_window(piece).slices)])

    yield
    with open_raster(Path(image)) as pixels, open_raster(mask) as where, create_raster(Path(out), size) as result:
        corners = with_tissue(grid(size, 512, overlap), 512, where)
        (mean,) = layers_of(["fold0"], Inference())
        through(pixels, runs(covered(corners, 512, size), size), device, [Map(mean, result)])
    yield


def decode_and_write(image, out):
    """Decode an image once and write a band of it once, in whole blocks, by the libraries that we use."""
    yield
    with open_raster(Path(image)) as raster:
        band = raster.read()[:1]
    yield
    with rasterio.open(image) as file:
        for _, window in file.block_windows(1):
            file.read(window=window)
        options = {
            key: file.profile[key] for key in ("width", "height", "tiled", "blockxsize", "blockysize", "compress")
        }
    with rasterio.open(out, "w", driver="GTiff", count=1, dtype="uint8", zstd_level=1, **options) as file:
        for _, window in file.block_windows(1):
            rows, columns = window.toslices()
            file.write(band[:, rows, columns], window=window)
    yield


def _window(piece):
    return Window(piece.x, piece.y, piece.pixels.shape[2], piece.pixels.shape[1])


def predict_monai(image, network, window, overlap, out):
    """Predict an image file as a whole with MONAI's sliding windows, and write the result."""
    from monai.inferers import sliding_window_inference

    yield
    segmenter = _network(network)
    yield
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(image) as file:
            pixels = torch.from_numpy(file.read())[None].float()
        found = sliding_window_inference(
            pixels, window, BATCH, lambda batch: torch.sigmoid(segmenter(batch)), overlap=overlap
        )
        height, width = found.shape[-2:]
        values = (found[0] * 255 + 0.5).to(torch.uint8).numpy()
        with rasterio.open(
            out, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", tiled=True, compress="zstd"
        ) as file:
            file.write(values)
    yield


def predict_bare(image, network, window, overlap):
    """Run the network on as many windows, which are in memory."""
    yield
    segmenter = _network(network)
    with open_raster(Path(image)) as raster:
        corners = grid(Size(*raster.size), window, overlap)
        pixels = raster.read(Window(0, 0, window, window))
    batch = torch.from_numpy(np.repeat(pixels[None], BATCH, axis=0))
    yield
    with torch.inference_mode():
        for start in range(0, len(corners), BATCH):
            torch.sigmoid(segmenter(batch[: len(corners) - start]))
    yield


def _network(name):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    if name == "convolution":
        return Segmenter(nn.Conv2d(3, 1, 3, padding=1), [0.5] * 3, [0.5] * 3).eval()
    if name == "nothing":
        return Segmenter(nothing(), [0.5] * 3, [0.5] * 3).eval()
    if name == "plain":
        return Segmenter(plain_network(), [0.5] * 3, [0.5] * 3).eval()
    options = {"decoder_channels": [128, 64, 32, 16, 16]}
    return build_network(Network(tiles="any", encoder_weights="random", options=options), 1, pretrained=False).eval()


def finder_of_dark():
    """A single convolution of one pixel: dark red is a nucleus."""
    convolution = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        convolution.weight[:] = torch.tensor([-16.0, 0.0, 0.0]).view(1, 3, 1, 1)
        convolution.bias[:] = -1.0
    return Segmenter(convolution, [0.5] * 3, [0.5] * 3).eval()
