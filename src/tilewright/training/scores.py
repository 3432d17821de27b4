"""Dice and IoU of batches, from counts that stay on the device until somebody asks for the score."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from tilewright.pixels.histograms import BINS, Histogram, dice_curve
from tilewright.training.data import Targets


def no_counts(sets: int, classes: int) -> Tensor:
    """Counts of nothing: sets x classes x truth (no, yes) x bins of probability, int64."""
    return torch.zeros(sets, classes, 2, BINS, dtype=torch.int64)


@torch.no_grad()
def add_counts(counts: Tensor, logits: Tensor, expected: Targets) -> None:
    """Add the pixels of a batch to the counts of one set, without waiting for the device.

    Args:
        counts: classes x 2 x bins.
        logits: batch x classes x rows x columns.
        expected: what they are compared with.
    """
    bins = (torch.sigmoid(logits.float()).nan_to_num() * (BINS - 1) + 0.5).long()
    rows = 2 * torch.arange(logits.shape[1], device=bins.device).view(1, -1, 1, 1) + expected.truth.long()
    counts.view(-1).scatter_add_(0, (rows * BINS + bins).flatten(), expected.valid.flatten().long())


def best_dice(counts: NDArray[Any]) -> list[float]:
    """The Dice of each class at the threshold that is best for it; not a number where the class does not occur.

    Args:
        counts: classes x 2 x bins.
    """
    return [
        float(dice_curve([Histogram(positive=positive, negative=negative)], "pooled")[1:].max())
        if positive.any()
        else math.nan
        for negative, positive in counts
    ]


def iou_of(dice: float) -> float:
    """The intersection over union of two sets with a Dice coefficient."""
    return dice / (2 - dice)


def mean_where_known(values: Sequence[float]) -> float:
    """The mean of the values that are numbers; 0 where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / max(len(known), 1)
