"""MixUp and CutMix: each tile of a batch mixed with another one."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tilewright.project.config.training import Mixing
from tilewright.training.data import Targets


class Share(NamedTuple):
    """Targets of a batch and the share of the loss that is towards them."""

    share: float
    targets: Targets


def mix(
    images: Tensor, targets: Targets, mixing: Mixing | None, generator: np.random.Generator
) -> tuple[Tensor, list[Share]]:
    """Mix a batch, or leave it as it is, as ``mixing.probability`` has it.

    MixUp (Zhang et al. 2018) blends images and keeps both targets, so that losses that need hard labels serve as well;
    CutMix (Yun et al. 2019) takes a rectangle of image and targets from the other tile.

    Args:
        images: batch x 3 x rows x columns.
        targets: of the images.
        mixing: how to mix; None: not at all.
        generator: draws whether, which tiles, and how much.

    Returns:
        The images, and the targets with the share of the loss that each has.
    """
    if mixing is None or generator.random() >= mixing.probability:
        return images, [Share(1.0, targets)]
    share = float(generator.beta(mixing.alpha, mixing.alpha))
    order = generator.permutation(len(images)).tolist()
    partners, *others = (torch.stack([each[place] for place in order]) for each in (images, *targets))
    other = Targets(*others)
    if mixing.kind == "mixup":
        blended = (1 - share) * images.float() + share * partners.float()
        return blended, [Share(1 - share, targets), Share(share, other)]
    place = (..., *_rectangle(images.shape[-2:], share, generator))
    images, truth, valid = images.clone(), targets.truth.clone(), targets.valid.clone()
    images[place], truth[place], valid[place] = partners[place], other.truth[place], other.valid[place]
    return images, [Share(1.0, Targets(truth, valid))]


def _rectangle(size: torch.Size, share: float, generator: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a rectangle that covers a share of a tile."""
    edges = [round(length * share**0.5) for length in size]
    starts = [int(generator.integers(0, length - edge + 1)) for length, edge in zip(size, edges, strict=True)]
    rows, columns = (slice(start, start + edge) for start, edge in zip(starts, edges, strict=True))
    return rows, columns
