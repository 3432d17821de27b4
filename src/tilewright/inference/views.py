"""Test-time augmentation: a window is predicted as it is, flipped, turned and at other sizes."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tilewright.training.segmenter import Segmenter

Flip = tuple[int, ...]
FLIPS: tuple[Flip, ...] = ((), (-1,), (-2,), (-2, -1))
STEP = 32


class View(NamedTuple):
    """How a batch is seen: resized, then flipped, then turned.

    Attributes:
        size: its rows and columns after resizing, in pixels.
        flip: axes that are flipped.
        turned: whether rows become columns.
    """

    size: tuple[int, int]
    flip: Flip
    turned: bool

    def of(self, batch: Tensor) -> Tensor:
        """The batch as it is seen."""
        resized = _resized(batch, self.size)
        flipped = resized.flip(self.flip) if self.flip else resized
        return flipped.transpose(-2, -1) if self.turned else flipped

    def back(self, seen: Tensor, size: tuple[int, int]) -> Tensor:
        """What was computed on the view, in its place in a batch of so many rows and columns."""
        straight = seen.transpose(-2, -1) if self.turned else seen
        return _resized(straight.flip(self.flip) if self.flip else straight, size)


def views(tta: str, scales: Sequence[float], size: tuple[int, int]) -> Iterator[View]:
    """The views of a test-time augmentation.

    Args:
        tta: none; flips: identity and three flips; d4: these and their transposes.
        scales: sizes relative to the window; at others than 1 an edge becomes the nearest multiple of 32.
        size: rows and columns of a window.
    """
    for scale in scales:
        rows, columns = size if scale == 1 else (max(STEP, round(each * scale / STEP) * STEP) for each in size)
        for turned in (False, True) if tta == "d4" else (False,):
            for flip in FLIPS[:1] if tta == "none" else FLIPS:
                yield View((rows, columns), flip, turned)


def view_probabilities(segmenter: Segmenter, batch: Tensor, tta: str, scales: Sequence[float]) -> Iterator[Tensor]:
    """Probabilities of windows as each view gives them, in its place in the window.

    Args:
        segmenter: the network.
        batch: windows x 3 x rows x columns, uint8, on the device of the network.
        tta: as of ``views``.
        scales: as of ``views``.

    Yields:
        windows x classes x rows x columns, float32, 0 to 1.
    """
    size = (batch.shape[-2], batch.shape[-1])
    half = segmenter.gpu_dtype if batch.device.type == "cuda" else None
    with torch.autocast("cuda", half) if half else nullcontext():
        for view in views(tta, scales, size):
            yield view.back(torch.sigmoid(segmenter(view.of(batch)).float()), size)


def _resized(batch: Tensor, size: tuple[int, int]) -> Tensor:
    if batch.shape[-2:] == size:
        return batch
    return functional.interpolate(batch.float(), size, mode="bilinear", antialias=True)
