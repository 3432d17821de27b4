"""Probabilities of a slide from the folds of a model.

The slide's scaled image is read in overlapping windows, each once for all folds, by a thread that is ahead of the
networks; their mean probabilities are blended by the weight of a pixel's place in its window. Windows without tissue
are left out; there the probability is 0.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilewright.inference.bands import Band, add_weighted, keep_least
from tilewright.inference.batches import fitting_size, in_batches, read_ahead
from tilewright.inference.layers import Layer, Seen, layers_of
from tilewright.inference.loading import load_bundled, load_folds
from tilewright.inference.views import view_probabilities
from tilewright.inference.windows import Pixels, blend_weights, kept_part, read_window
from tilewright.pixels.grid import Corner, Frame, Window, grid
from tilewright.pixels.rasters import Raster, create_raster, open_raster
from tilewright.project.config import Inference
from tilewright.project.orders import PredictOrder
from tilewright.project.places import image_file, probability_file, tissue_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.gpu import claimed_gpus
from tilewright.runtime.progress import track
from tilewright.training.segmenter import Segmenter

Read = tuple[Corner, NDArray[np.uint8]]
AHEAD = 16


class Map(NamedTuple):
    """A map of probabilities that is being written: what it holds, and the raster with one band a class."""

    layer: Layer
    raster: Raster


def predict(order: PredictOrder, *, models: Sequence[Path], scaled: Path, out: Path) -> None:
    """Predict every slide of a shard.

    Args:
        order: the slides, windows and blending, and the number of each fold.
        models: of each fold the folder with ``model.safetensors`` and ``model.json``; or the bundle.
        scaled: the shard's folder of scaled images, at the scale of the model.
        out: the folder to write: ``{slide}.tif``, the mean of the folds, one band a class: uint8, 255 being a
            probability of 1, or with the depth float16 the probability; and what is kept of single folds
            (``{slide}.fold{k}.tif``) and views (``{slide}.view{v}.tif``, in the order of ``views.views``).

    Raises:
        DataError: a model or an image cannot be read, or the folds hold different classes.
    """
    torch.set_num_threads(order.inference.threads)
    with claimed_gpus(), torch.inference_mode(), atomic_directory(out) as folder:
        segmenters, classes = load_bundled(models[0], order.bundled) if order.bundled else load_folds(models)
        for segmenter in segmenters:
            segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
        for slide in order.slides:
            with ExitStack() as stack:
                image = stack.enter_context(open_raster(image_file(scaled, slide)))
                tissue = stack.enter_context(open_raster(tissue_file(scaled, slide)))
                tags = Frame.of(image).tags(classes)
                depth = order.inference.depth
                maps = [
                    Map(layer, stack.enter_context(
                        create_raster(
                            probability_file(folder, slide, layer.part), image.size, bands=len(classes), dtype=depth,
                            tags=tags,
                        )
                    ))
                    for layer in layers_of(order.folds, order.inference)
                ]  # fmt: skip
                predict_image(segmenters, image, tissue, order.inference, maps, slide)


def predict_image(
    segmenters: Sequence[Segmenter],
    image: Raster,
    tissue: Raster,
    inference: Inference,
    maps: Sequence[Map],
    name: str = "image",
) -> None:
    """Predict one image by windows.

    Args:
        segmenters: the network of each fold, in evaluation mode.
        image: RGB at the network's scale.
        tissue: 1 where there is tissue, the same size.
        inference: windows and blending.
        maps: the maps to write.
        name: the slide, for progress.
    """
    edge = inference.window
    corners = grid(image.size, edge, inference.overlap)
    if inference.skip_background:
        corners = [corner for corner in corners if tissue.read(Window(*corner, edge, edge)).any()]
    predict_windows(segmenters, image, corners, inference, maps, name)


def predict_windows(
    segmenters: Sequence[Segmenter],
    image: Pixels,
    corners: Sequence[Corner],
    inference: Inference,
    maps: Sequence[Map],
    name: str = "image",
) -> None:
    """Predict some windows of an image and blend them; what none covers stays 0.

    Args:
        segmenters: the network of each fold, in evaluation mode.
        image: RGB at the network's scale.
        corners: of the windows, by rows.
        inference: edge of a window, blending, views.
        maps: the maps to write.
        name: the slide, for progress.
    """
    edge, device = inference.window, next(segmenters[0].parameters()).device
    margin = round(edge * inference.overlap) // 2 if inference.blend == "discard" else 0
    weights = blend_weights(inference.blend, edge)
    combine = keep_least if inference.blend == "minimum" else add_weighted
    bands = [Band(raster, edge, combine, len(layer.groups)) for layer, raster in maps]
    groups = list(dict.fromkeys(group for layer, _ in maps for group in layer.groups))
    places = [[groups.index(group) for group in layer.groups] for layer, _ in maps]

    def read(corner: Corner) -> NDArray[np.uint8]:
        return read_window(image, Window(*corner, edge, edge))

    def compute(batch: Sequence[Read]) -> list[NDArray[np.float32]]:
        pixels = torch.from_numpy(np.stack([each for _, each in batch])).to(device)
        return list(group_means(segmenters, pixels, inference, groups).cpu().numpy())

    size = inference.batch_size
    if size is None:
        size = fitting_size(compute, (Corner(0, 0), np.zeros((3, edge, edge), np.uint8)), device)
    windows = read_ahead(track(corners, f"predict {name}"), read, max(AHEAD, 2 * size))
    for ((x, y), _), values in in_batches(windows, compute, size):
        part = kept_part(x, y, edge, image.size, margin)
        for band, own in zip(bands, places, strict=True):
            band.add(values[(own, slice(None), *part.slices)], weights[part.slices], x + part.x, y + part.y)
    for band in bands:
        band.finish()


def group_means(
    segmenters: Sequence[Segmenter], batch: Tensor, inference: Inference, groups: Sequence[frozenset[Seen]]
) -> Tensor:
    """Mean probabilities of windows over groups of networks and views.

    Args:
        segmenters: the networks.
        batch: windows x 3 x edge x edge, uint8, on their device.
        inference: the views.
        groups: what is averaged.

    Returns:
        windows x groups x classes x edge x edge, 0 to 1.
    """
    totals = [torch.zeros((), device=batch.device) for _ in groups]
    for place, segmenter in enumerate(segmenters):
        for view, values in enumerate(view_probabilities(segmenter, batch, inference.tta, inference.tta_scales)):
            for number, group in enumerate(groups):
                if (place, view) in group:
                    totals[number] = totals[number] + values
    return torch.stack([total / len(group) for total, group in zip(totals, groups, strict=True)], dim=1)
