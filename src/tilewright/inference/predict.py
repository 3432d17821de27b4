"""Probabilities of a slide from one fold of a model.

The slide's scaled image is read in overlapping windows, by a thread that is ahead of the network; the network's
probabilities are blended by the weight of a pixel's place in its window. Windows without tissue are left out; there the
probability is 0.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from tilewright.inference.bands import Band, add_weighted, keep_least
from tilewright.inference.batches import fitting_size, in_batches, read_ahead
from tilewright.inference.views import probabilities
from tilewright.inference.windows import Pixels, blend_weights, kept_part, read_window
from tilewright.pixels.grid import Corner, Frame, Window, grid
from tilewright.pixels.rasters import Raster, create_raster, open_raster
from tilewright.project.config import Inference, Network
from tilewright.project.orders import PredictOrder
from tilewright.project.places import CARD, NETWORK, image_file, probability_file, tissue_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.gpu import claimed_gpus
from tilewright.runtime.hashed import file_hash
from tilewright.runtime.progress import track
from tilewright.training.architectures import build_network
from tilewright.training.segmenter import Segmenter

Read = tuple[Corner, NDArray[np.uint8]]
AHEAD = 16


def predict(order: PredictOrder, *, model: Path, scaled: Path, out: Path) -> None:
    """Predict every slide of a shard.

    Args:
        order: the slides, windows and blending.
        model: folder with ``model.safetensors`` and ``model.json``.
        scaled: the shard's folder of scaled images, at the scale of the model.
        out: the folder to write: ``{slide}.tif``, uint8, one band a class, 255 being a probability of 1.

    Raises:
        DataError: the model or an image cannot be read.
    """
    torch.set_num_threads(order.inference.threads)
    with claimed_gpus(), torch.inference_mode(), atomic_directory(out) as folder:
        segmenter, classes = load_model(model)
        segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
        for slide in order.slides:
            with (
                open_raster(image_file(scaled, slide)) as image,
                open_raster(tissue_file(scaled, slide)) as tissue,
            ):
                tags = Frame.of(image).tags(classes)
                path = probability_file(folder, slide)
                with create_raster(path, image.size, bands=len(classes), tags=tags) as raster:
                    predict_image(segmenter, image, tissue, order.inference, raster, slide)


def load_model(folder: str | Path) -> tuple[Segmenter, list[str]]:
    """Build the network of a folder that ``train`` wrote, with its weights, ready to predict.

    Returns:
        The network and the names of its classes.

    Raises:
        DataError: a file is missing or does not fit.

    Examples:
        >>> model, classes = load_model("results/models/unet/fold0")
        >>> with torch.inference_mode():
        ...     probabilities = model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).sigmoid()
        >>> classes, tuple(probabilities.shape)
        (['connective', 'inflammatory', 'neoplastic'], (1, 3, 64, 64))
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(Problem(str(folder), "there is no such folder.", "Name one that `train` wrote."))
    try:
        content = read_document(folder / CARD, folder)
        segmenter = build_network(Network(**content["network"]), len(content["classes"]), pretrained=False)
        if file_hash(folder / NETWORK) != content["weights"]:
            raise ValueError(f"{NETWORK} is not the file that {CARD} describes")
        segmenter.load_state_dict(load_file(folder / NETWORK))
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
        corners = [corner for corner in corners if tissue.read(Window(*corner, edge, edge)).any()]
    predict_windows(segmenter, image, corners, inference, out, name)


def predict_windows(
    segmenter: Segmenter,
    image: Pixels,
    corners: Sequence[Corner],
    inference: Inference,
    out: Raster,
    name: str = "image",
) -> None:
    """Predict some windows of an image and blend them; what none covers stays 0.

    Args:
        segmenter: the network, in evaluation mode.
        image: RGB at the network's scale.
        corners: of the windows, by rows.
        inference: edge of a window, blending, views.
        out: the raster to write, one band a class.
        name: the slide, for progress.
    """
    edge, device = inference.window, next(segmenter.parameters()).device
    margin = round(edge * inference.overlap) // 2 if inference.blend == "discard" else 0
    weights = blend_weights(inference.blend, edge)
    band = Band(out, edge, keep_least if inference.blend == "minimum" else add_weighted)

    def read(corner: Corner) -> NDArray[np.uint8]:
        return read_window(image, Window(*corner, edge, edge))

    def compute(batch: Sequence[Read]) -> list[NDArray[np.float32]]:
        pixels = np.stack([each for _, each in batch])
        return list(probabilities(segmenter, pixels, inference.tta, inference.tta_scales))

    size = inference.batch_size
    if size is None:
        size = fitting_size(compute, (Corner(0, 0), np.zeros((3, edge, edge), np.uint8)), device)
    windows = read_ahead(track(corners, f"predict {name}"), read, max(AHEAD, 2 * size))
    for ((x, y), _), values in in_batches(windows, compute, size):
        part = kept_part(x, y, edge, image.size, margin)
        band.add(values[(slice(None), *part.slices)], weights[part.slices], x + part.x, y + part.y)
    band.finish()
