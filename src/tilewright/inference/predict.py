"""Probabilities of a slide from the parts of a model: folds, or what was trained on all slides.

The slide's scaled image is decoded once, block by block, by a thread that is ahead of the networks. On their device it
is cut into overlapping windows, which all networks see; their mean probabilities are blended by the weight of a pixel's
place in its window, and rounded. Windows without tissue are left out; there the probability is 0.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tilewright.inference.bands import Rows, cut
from tilewright.inference.batches import band_memory, fitting_size, in_batches, read_ahead, write_behind
from tilewright.inference.blending import Band, Blend, Finished, blended, on_host
from tilewright.inference.layers import Layer, Seen, layers_of
from tilewright.inference.loading import load_bundled, load_folds
from tilewright.inference.pieces import Piece, Pixels, covered, read_piece, runs, with_tissue
from tilewright.inference.views import view_probabilities
from tilewright.pixels.grid import Corner, Frame, Window, grid
from tilewright.pixels.rasters import Raster, create_raster, masks_of, open_raster
from tilewright.project.config import Inference, width_and_height
from tilewright.project.orders import PredictOrder
from tilewright.project.places import image_file, probability_file, tissue_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.gpu import claimed_gpus
from tilewright.runtime.progress import note, track
from tilewright.training.segmenter import Segmenter

AHEAD, BEHIND = 8, 4
"""Pieces that are decoded ahead, and parts of maps that wait to be written."""


class Map(NamedTuple):
    """A map of probabilities that is being written: what it holds, and the raster with one band a class."""

    layer: Layer
    raster: Raster


def predict(order: PredictOrder, *, models: Sequence[Path], scaled: Path, out: Path) -> None:
    """Predict every slide of a shard.

    Args:
        order: the slides, windows and blending, and which part of the model each network is.
        models: of each part the folder with ``model.safetensors`` and ``model.json``; or the bundle.
        scaled: the shard's folder of scaled images, at the scale of the model.
        out: the folder to write: ``{slide}.tif``, the mean of the parts that count, one band a class: uint8, 255
            being a probability of 1, or with the depth float16 the probability; what is kept of single parts
            (``{slide}.fold{k}.tif``) and views (``{slide}.view{v}.tif``, in the order of ``views.views``); and where
            it is asked for, the spread of the folds (``{slide}.spread.tif``), one band: 255 being 0.5, or float16.

    Raises:
        DataError: a model or an image cannot be read, or the parts hold different classes.
    """
    torch.set_num_threads(order.inference.threads)
    with claimed_gpus(), torch.inference_mode(), atomic_directory(out) as folder:
        segmenters, classes = load_bundled(models[0], order.bundled) if order.bundled else load_folds(models)
        for segmenter in segmenters:
            segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
        with fast_convolutions(segmenters):
            for slide in order.slides:
                _predict_slide(segmenters, classes, order, slide, scaled, folder)


def fast_convolutions(segmenters: Sequence[Segmenter]) -> AbstractContextManager[None]:
    """All windows have one size, for which a GPU tries its convolutions once; those of 32 bits stay exact."""
    halved = all(segmenter.gpu_dtype for segmenter in segmenters)
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=halved)


def _predict_slide(
    segmenters: Sequence[Segmenter], classes: list[str], order: PredictOrder, slide: str, scaled: Path, folder: Path
) -> None:
    with ExitStack() as stack:
        image = stack.enter_context(open_raster(image_file(scaled, slide)))
        tissue = stack.enter_context(open_raster(tissue_file(scaled, slide)))
        frame, masks = Frame.of(image), len(masks_of(classes))
        maps = [
            Map(layer, stack.enter_context(
                create_raster(
                    probability_file(folder, slide, layer.part), image.size, bands=len(layer.bands(classes)),
                    dtype=order.inference.depth, tags=frame.tags(layer.bands(classes)),
                )
            ))
            for layer in layers_of(order.parts, order.inference, order.averaged, masks)
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
    window = width_and_height(inference.window)
    corners = grid(image.size, window, inference.overlap)
    if inference.skip_background:
        windows, corners = len(corners), with_tissue(corners, window, tissue)
        if not corners:
            note(
                f"{name}: 0 of {windows} windows show tissue, so nothing is predicted; see tissue.method: none and "
                "inference.skip_background"
            )
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

    An image that is too wide for the memory of the device is predicted in strips. Windows across their edges are
    predicted for both, so that there is no seam.

    Args:
        segmenters: the network of each fold, in evaluation mode.
        image: RGB at the network's scale.
        corners: of the windows, by rows.
        inference: edge of a window, blending, views.
        maps: the maps to write.
        name: the slide, for progress.
    """
    device = next(segmenters[0].parameters()).device
    blend = Blend(inference, [layer for layer, _ in maps], maps[0].raster.bands, image.size)
    widest = blend.strip_width(band_memory(device))
    for left in range(0, image.size.width, widest):
        strip = Window(left, 0, widest, image.size.height).clipped(image.size)
        own = [corner for corner in corners if corner.x < left + widest and corner.x + blend.window.width > left]
        if own:
            work = partial(computed, segmenters=segmenters, corners=own, blend=blend, strip=strip, name=name)
            wanted = runs(covered(own, blend.window, image.size), image.size)
            through(image, wanted, work, maps, pinned=device.type == "cuda")


def through(
    image: Pixels,
    wanted: Iterable[Window],
    device: Callable[[Iterator[Piece]], Iterable[Finished]],
    maps: Sequence[Map],
    *,
    pinned: bool = False,
) -> None:
    """Bring windows of an image to a device, and what it makes of them to the maps.

    One thread decodes ahead and one compresses behind.

    Args:
        image: the image.
        wanted: what is read of it, by rows.
        device: makes parts of maps of pieces of the image.
        maps: the maps to write.
        pinned: the device is a GPU, which copies from memory that stays where it is.
    """

    def write(part: Finished) -> None:
        if part.copied:
            part.copied.synchronize()
        maps[part.map].raster.write(part.values.numpy(), part.x, part.y)

    pieces = read_ahead(wanted, partial(read_piece, image, pinned=pinned), AHEAD)
    write_behind(on_host(device(piece for _, piece in pieces)), write, BEHIND)


def computed(
    pieces: Iterator[Piece],
    segmenters: Sequence[Segmenter],
    corners: Sequence[Corner],
    blend: Blend,
    strip: Window,
    name: str,
) -> Iterator[Finished]:
    """Parts of maps of the pieces of a strip; all that is computed, on the device of the networks."""
    inference, device = blend.inference, next(segmenters[0].parameters()).device

    def compute(batch: Sequence[tuple[Corner, Tensor]]) -> Sequence[Tensor]:
        pixels = torch.stack([each for _, each in batch])
        return group_means(segmenters, pixels, inference, blend.groups).unbind()

    columns, (width, height) = [corner.x for corner in corners], blend.window
    wide = Window(min(columns), 0, max(columns) + width - min(columns), blend.size.height)
    # before a batch is measured against what is free
    rows = Rows(3, wide.clipped(blend.size), height, torch.uint8, device)
    band = Band(strip, blend, device)
    count = inference.batch_size
    if count is None:
        blank = torch.zeros(3, height, width, dtype=torch.uint8, device=device)
        count = fitting_size(compute, (corners[0], blank), device)
    windows = cut(pieces, track(corners, f"predict {name}", len(corners)), blend.window, blend.size, rows)
    results = ((corner, values) for (corner, _), values in in_batches(windows, compute, count))
    return blended(results, corners, blend, band)


def group_means(
    segmenters: Sequence[Segmenter], batch: Tensor, inference: Inference, groups: Sequence[frozenset[Seen]]
) -> Tensor:
    """Mean probabilities of windows over groups of networks and views.

    Args:
        segmenters: the networks.
        batch: windows x 3 x rows x columns, uint8, on their device.
        inference: the views.
        groups: what is averaged.

    Returns:
        windows x groups x classes x rows x columns, 0 to 1.
    """
    totals = [torch.zeros((), device=batch.device) for _ in groups]
    for place, segmenter in enumerate(segmenters):
        for view, values in enumerate(view_probabilities(segmenter, batch, inference.tta, inference.tta_scales)):
            for number, group in enumerate(groups):
                if (place, view) in group:
                    totals[number] = totals[number] + values
    return torch.stack([total / len(group) for total, group in zip(totals, groups, strict=True)], dim=1)
