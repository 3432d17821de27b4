"""Losses on logits, by name. Pixels that do not count have a weight of 0 and reach no term.

All tensors are batch x classes x rows x columns, float32: ``logits``, ``truth`` (0 or 1) and ``valid`` (1 where the pixel
counts for the class, else 0). Every loss is finite where nothing is valid or nothing is positive.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from tilewright.config import LossName

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
SMOOTH = 1.0


def bce(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the pixels that count."""
    return _mean(functional.binary_cross_entropy_with_logits(logits, truth, reduction="none"), valid)


def dice(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Soft Dice, 1 - (2 sum(yp) + 1) / (sum(y) + sum(p) + 1) over the batch, mean over the classes that count."""
    overlap, predicted, present = _sums(logits, truth, valid)
    return _class_mean(1 - (2 * overlap + SMOOTH) / (predicted + present + SMOOTH), valid)


def tversky(logits: Tensor, truth: Tensor, valid: Tensor, alpha: float = 0.5, beta: float = 0.5) -> Tensor:
    """Tversky, 1 - (TP + 1) / (TP + alpha FP + beta FN + 1) over the batch, mean over the classes that count."""
    overlap, predicted, present = _sums(logits, truth, valid)
    wrong = alpha * (predicted - overlap) + beta * (present - overlap)
    return _class_mean(1 - (overlap + SMOOTH) / (overlap + wrong + SMOOTH), valid)


def focal(logits: Tensor, truth: Tensor, valid: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017), mean over the pixels that count."""
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return _mean((1 - torch.exp(-entropy)) ** gamma * entropy, valid)


def lovasz(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Lovasz hinge (Berman et al. 2018) over the batch, mean over the classes that count."""
    terms = [
        _lovasz_flat(logits[:, index][counts], truth[:, index][counts])
        for index in range(logits.shape[1])
        if (counts := valid[:, index] > 0).any()
    ]
    return torch.stack(terms).mean() if terms else logits.sum() * 0


LOSSES: Mapping[LossName, Loss] = {"bce": bce, "dice": dice, "focal": focal, "tversky": tversky, "lovasz": lovasz}


def weighted_loss(weights: Mapping[LossName, float]) -> Loss:
    """The sum of losses by name, each with its weight."""

    def total(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        terms = [weight * LOSSES[name](logits, truth, valid) for name, weight in weights.items()]
        return torch.stack(terms).sum()

    return total


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return (values * valid).sum() / valid.sum().clamp(min=1)


def _class_mean(values: Tensor, valid: Tensor) -> Tensor:
    counts = (valid.sum(dim=(0, 2, 3)) > 0).to(values.dtype)
    return (values * counts).sum() / counts.sum().clamp(min=1)


def _sums(logits: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per class: sum of truth x probability, of probability, and of truth."""
    probability = torch.sigmoid(logits.float()) * valid
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    return overlap, probability.sum(dim=(0, 2, 3)), (truth * valid).sum(dim=(0, 2, 3))


def _lovasz_flat(logits: Tensor, truth: Tensor) -> Tensor:
    errors, order = torch.sort(1 - logits.float() * (2 * truth - 1), descending=True)
    ordered = truth[order]
    total = ordered.sum()
    jaccard = 1 - (total - ordered.cumsum(0)) / (total + (1 - ordered).cumsum(0))
    gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return torch.dot(functional.relu(errors), gradient)
