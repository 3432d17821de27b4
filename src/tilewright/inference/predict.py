"""Probabilities of a slide from one fold of a model.

The slide's scaled image is read in overlapping windows; the network's probabilities are blended by the weight of a pixel's
place in its window. Windows without tissue are left out; there the probability is 0.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tilewright.config import Inference, Network
from tilewright.inference.bands import Band
from tilewright.inference.windows import blend_weights, grid
from tilewright.rasters import Frame, Raster, Window, create_raster, open_raster
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.gpu import claimed_gpus
from tilewright.runtime.progress import track
from tilewright.settings import PredictSettings
from tilewright.sheet import read_shard
from tilewright.training.architectures import build
from tilewright.training.segmenter import Segmenter

Flip = tuple[int, ...]
FLIPS: tuple[Flip, ...] = ((), (-1,), (-2,), (-2, -1))


def predict(
    shard: str,
    *,
    sheet: Path,
    data: Path,
    model: Path,
    scaled: Path,
    settings: PredictSettings,
    out: Path,
) -> None:
    """Predict every slide of a shard.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        model: folder with ``model.safetensors`` and ``model.json``.
        scaled: the shard's folder of scaled images, at the scale of the model.
        settings: windows and blending.
        out: the folder to write: ``{slide}.tif``, uint8, one band a class, 255 being a probability of 1.

    Raises:
        DataError: the model or an image cannot be read.
    """
    torch.set_num_threads(settings.inference.threads)
    with claimed_gpus(), torch.inference_mode(), atomic_directory(out) as folder:
        segmenter, classes = load_model(model)
        segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
        for row in read_shard(sheet, data, shard):
            with (
                open_raster(scaled / f"{row.slide}.image.tif") as image,
                open_raster(scaled / f"{row.slide}.tissue.tif") as tissue,
            ):
                frame = Frame.of(image)
                tags = {**frame.tags(), "classes": json.dumps(classes)}
                path = folder / f"{row.slide}.tif"
                with create_raster(path, image.size, bands=len(classes), tags=tags) as raster:
                    predict_image(segmenter, image, tissue, settings.inference, raster, row.slide)


def load_model(folder: Path) -> tuple[Segmenter, list[str]]:
    """Build the network of a folder that ``train`` wrote, with its weights, ready to predict.

    Returns:
        The network and the names of its classes.

    Raises:
        DataError: a file is missing or does not fit.
    """
    try:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        segmenter = build(Network(**content["network"]), len(content["classes"]), pretrained=False)
        segmenter.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        remedy = "Delete the folder and run the same command again."
        raise DataError(Problem(str(folder), f"holds no usable model ({error}).", remedy)) from error
    return segmenter.eval(), content["classes"]


def predict_image(
    segmenter: Segmenter, image: Raster, tissue: Raster, inference: Inference, out: Raster, name: str = "image"
) -> None:
    """Predict one image by windows.

    Args:
        segmenter: the network, in evaluation mode.
        image: RGB at the network's scale.
        tissue: 1 where there is tissue, the same size.
        inference: windows and blending.
        out: the raster to write, one band a class.
        name: the slide, for progress.
    """
    edge = inference.window
    corners = grid(image.size, edge, inference.overlap)
    if inference.skip_background:
        corners = [(x, y) for x, y in corners if tissue.read(Window(x, y, edge, edge)).any()]
    weights = blend_weights(inference.blend, edge)
    band = Band(out, edge)
    for batch in _batched(track(corners, f"predict {name}"), inference.batch_size):
        pixels = np.stack([_read(image, Window(x, y, edge, edge)) for x, y in batch])
        for (x, y), values in zip(batch, probabilities(segmenter, pixels, inference.tta), strict=True):
            band.add(values, weights, x, y)
    band.finish()


def probabilities(segmenter: Segmenter, images: NDArray[np.uint8], tta: str) -> NDArray[np.float32]:
    """Probabilities of windows, averaged over test-time augmentations.

    Args:
        segmenter: the network.
        images: windows x 3 x rows x columns.
        tta: none; flips: identity and three flips; d4: these and their transposes.

    Returns:
        windows x classes x rows x columns, 0 to 1.
    """
    device = next(segmenter.parameters()).device
    batch = torch.from_numpy(images).to(device)
    half = segmenter.gpu_dtype if device.type == "cuda" else None
    mixed = torch.autocast("cuda", half) if half else nullcontext()
    with mixed:
        views = [
            _back(torch.sigmoid(segmenter(_view(batch, flip, turned)).float()), flip, turned)
            for turned in ((False, True) if tta == "d4" else (False,))
            for flip in (FLIPS[:1] if tta == "none" else FLIPS)
        ]
    mean: NDArray[np.float32] = torch.stack(views).mean(dim=0).cpu().numpy()
    return mean


def _view(batch: Tensor, flip: Flip, turned: bool) -> Tensor:
    flipped = batch.flip(flip) if flip else batch
    return flipped.transpose(-2, -1) if turned else flipped


def _back(batch: Tensor, flip: Flip, turned: bool) -> Tensor:
    straight = batch.transpose(-2, -1) if turned else batch
    return straight.flip(flip) if flip else straight


def _read(image: Raster, window: Window) -> NDArray[np.uint8]:
    """A window as 3 x rows x columns; what lies beyond the image is its mirror image."""
    inside = window.clipped(image.size)
    pixels: NDArray[np.uint8] = image.read(inside)
    missing = (window.height - inside.height, window.width - inside.width)
    if any(missing):
        pixels = np.pad(pixels, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
    return pixels


def _batched(items: Iterator[tuple[int, int]], count: int) -> Iterator[Sequence[tuple[int, int]]]:
    while batch := list(islice(items, count)):
        yield batch
