"""How much a prediction depends on where its windows lie.

A part of a slide is predicted on a grid of windows and again on the grid moved by half a step, which is half a window
where windows do not overlap (moved by half a window, windows that overlap by half would lie where they were). The
mean difference of the probabilities where windows of the first grid end is the seam.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from tilewright.inference.layers import layers_of
from tilewright.inference.loading import load_model
from tilewright.inference.predict import Map, predict_windows
from tilewright.inference.views import views
from tilewright.pixels.grid import BLOCK, Corner, Size, Window, blocks, grid, size_of, step_of
from tilewright.pixels.rasters import Raster, create_raster, open_raster
from tilewright.project.config import Inference, width_and_height
from tilewright.project.orders import SeamsOrder
from tilewright.project.places import FINAL, image_file, tissue_file
from tilewright.runtime.documents import write_document
from tilewright.runtime.gpu import claimed_gpus
from tilewright.runtime.progress import note
from tilewright.training.segmenter import Segmenter

NEAR = 2


def seams(order: SeamsOrder, *, model: Path, scaled: Path, out: Path) -> None:
    """Measure the seams of a model on a slide that it was not trained on, for its own windows and for others.

    Args:
        order: the slides of a shard, of which the one with the most tissue is taken; windows of the model, further
            overlaps and blends, and the longest edge of the part.
        model: folder with ``model.safetensors`` and ``model.json``.
        scaled: the shard's folder of scaled images, at the scale of the model.
        out: the JSON to write: slide, part (x, y, width, height, at the model's scale), and of each kind of windows
            overlap, blend, cost (pixels computed for one of the slide), seam and difference (mean over all pixels); and
            operations, thousands of floating-point operations for a pixel that is computed, with all views.

    Raises:
        DataError: the model or an image cannot be read.
    """
    torch.set_num_threads(order.inference.threads)
    with claimed_gpus(), torch.inference_mode():
        segmenter, classes = load_model(model)
        segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
        slide = max(order.slides, key=lambda name: _tissue(tissue_file(scaled, name)))
        with open_raster(image_file(scaled, slide)) as image, open_raster(tissue_file(scaled, slide)) as tissue:
            part = richest(tissue, order.max_edge)
            found = []
            for inference in kinds(order.inference, order.overlaps, order.blends):
                seam = measure_seam(segmenter, Part(image, part), inference, len(classes))
                note(f"{slide}: overlap {inference.overlap:g}, {inference.blend}: seam {seam.seam:.4f}")
                found.append({"overlap": inference.overlap, "blend": inference.blend, **seam.__dict__})
        work = operations(segmenter, order.inference)
    content = {
        "format": 1, "slide": slide, "part": [part.x, part.y, part.width, part.height], "operations": work,
        "windows": found,
    }  # fmt: skip
    write_document(out, content)


@dataclass(frozen=True)
class Seam:
    """How two grids differ.

    Attributes:
        cost: pixels computed for each pixel of the part.
        seam: mean difference of probabilities where windows of the first grid end.
        difference: mean difference over all pixels.
    """

    cost: float
    seam: float
    difference: float


class Part:
    """A rectangle of a raster, read as one of its own; pixels of the raster's scale."""

    def __init__(self, raster: Raster, window: Window) -> None:
        self._raster, self._window = raster, window
        self.size = Size(window.width, window.height)

    def read_into(self, out: NDArray[np.uint8], window: Window) -> None:
        """Read a window of the part into an array of bands x rows x columns."""
        self._raster.read_into(out, replace(window, x=window.x + self._window.x, y=window.y + self._window.y))


def operations(segmenter: Segmenter, inference: Inference) -> float:
    """Thousands of floating-point operations (a multiplication and an addition are two) for each pixel of a window."""
    (width, height), device = width_and_height(inference.window), next(segmenter.parameters()).device
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        images = torch.zeros(1, 3, height, width, device=device)
        for view in views(inference.tta, inference.tta_scales, (height, width)):
            segmenter(view.of(images))
    return round(float(counter.get_total_flops()) / (width * height) / 1e3, 3)


def kinds(own: Inference, overlaps: Sequence[float], blends: Sequence[str]) -> list[Inference]:
    """The windows of a model and those with every other overlap and blend, without those that come twice."""
    pairs = [(own.overlap, own.blend), *((o, b) for o in overlaps or [own.overlap] for b in blends or [own.blend])]
    return [Inference(**{**own.model_dump(), "overlap": o, "blend": b}) for o, b in dict.fromkeys(pairs)]


def richest(tissue: Raster, edge: int) -> Window:
    """The square of at most ``edge`` pixels, out of half-overlapping ones, that holds the most tissue.

    The first of equals.
    """
    corners = grid(tissue.size, edge, 0.5)
    windows = [Window(x, y, edge, edge).clipped(tissue.size) for x, y in corners]
    return max(windows, key=lambda window: int(np.count_nonzero(tissue.read(window))))


def measure_seam(segmenter: Segmenter, image: Part, inference: Inference, classes: int) -> Seam:
    """Predict a part on two grids and compare."""
    window = Size(*width_and_height(inference.window))
    half = (step_of(window.width, inference.overlap) // 2, step_of(window.height, inference.overlap) // 2)
    plain, moved = (grid(image.size, window, inference.overlap, shift) for shift in ((0, 0), half))
    first, second = (_predicted(segmenter, image, corners, inference, classes) for corners in (plain, moved))
    difference = np.abs(first - second)
    near = ends(image.size, plain, window)
    whole = float(difference.mean())
    return Seam(
        cost=round(len(plain) * math.prod(window) / (image.size.width * image.size.height), 3),
        seam=round(float(difference[:, near].mean()), 6) if near.any() else 0.0,
        difference=round(whole, 6),
    )


def ends(size: Size, corners: Sequence[Corner], edge: int | tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels at most ``NEAR`` from where a window ends inside the image, bool[rows, columns]."""
    near = np.zeros((size.height, size.width), np.bool_)
    for axis, (length, own) in enumerate(zip(size, size_of(edge), strict=True)):
        starts = {corner[axis] for corner in corners}
        for place in {*starts, *(start + own for start in starts)}:
            if 0 < place < length:
                around = slice(max(place - NEAR, 0), place + NEAR)
                near[(slice(None), around) if axis == 0 else around] = True
    return near


def _predicted(
    segmenter: Segmenter, image: Part, corners: Sequence[Corner], inference: Inference, classes: int
) -> NDArray[np.float32]:
    """Probabilities, classes x rows x columns, 0 to 1."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probabilities.tif"
        with create_raster(path, image.size, bands=classes) as out:
            (mean,) = layers_of([FINAL], inference)
            predict_windows([segmenter], image, corners, inference, [Map(mean, out)])
        with open_raster(path) as raster:
            return raster.read().astype(np.float32) / np.float32(255)


def _tissue(path: Path) -> int:
    with open_raster(path) as raster:
        return sum(int(np.count_nonzero(raster.read(window))) for window in blocks(raster.size, BLOCK))
