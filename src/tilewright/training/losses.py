"""Losses on logits, by name. Pixels that do not count have a weight of 0 and reach no term.

All tensors are batch x classes x rows x columns, float32: ``logits``, ``truth`` (0 or 1) and ``valid`` (1 where the
pixel counts for the class, else 0). A loss gives one value a class, over the whole batch; it is 0 where nothing of
the class is valid, and finite where nothing is positive. Defaults of the parameters stand in ``LOSS_PARAMETERS``.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from tilewright.project.config.training import LOSS_PARAMETERS, LossName

Loss = Callable[..., Tensor]


def bce(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the pixels."""
    return _mean(_entropy(logits, truth), valid)


def soft_bce(logits: Tensor, truth: Tensor, valid: Tensor, *, smoothing: float) -> Tensor:
    """Binary cross-entropy against ``smoothing`` instead of 0 and ``1 - smoothing`` instead of 1.

    Mean over the pixels.
    """
    return _mean(_entropy(logits, truth * (1 - 2 * smoothing) + smoothing), valid)


def balanced_bce(logits: Tensor, truth: Tensor, valid: Tensor, *, positive: float, negative: float) -> Tensor:
    """``positive`` x mean cross-entropy of the positive pixels + ``negative`` x that of the negative ones."""
    entropy = _entropy(logits, truth)
    return positive * _mean(entropy, valid * truth) + negative * _mean(entropy, valid * (1 - truth))


def dice(logits: Tensor, truth: Tensor, valid: Tensor, *, power: float, smooth: float) -> Tensor:
    """Soft Dice, 1 - (2 sum(yp) + s) / (sum(y^k) + sum(p^k) + s) for the power k and the smoothing s."""
    probability = torch.sigmoid(logits.float())
    overlap, predicted, present = _sums(valid, probability * truth, probability**power, truth**power)
    return (1 - (2 * overlap + smooth) / (predicted + present + smooth)) * _counts(valid)


def tversky(logits: Tensor, truth: Tensor, valid: Tensor, *, alpha: float, beta: float, smooth: float) -> Tensor:
    """Tversky (Salehi et al. 2017), 1 - (TP + s) / (TP + alpha FP + beta FN + s) for the smoothing s."""
    probability = torch.sigmoid(logits.float())
    overlap, predicted, present = _sums(valid, probability * truth, probability, truth)
    wrong = alpha * (predicted - overlap) + beta * (present - overlap)
    return (1 - (overlap + smooth) / (overlap + wrong + smooth)) * _counts(valid)


def focal(logits: Tensor, truth: Tensor, valid: Tensor, *, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017), mean over the pixels."""
    entropy = _entropy(logits, truth)
    wrong = (1 - torch.exp(-entropy)).clamp(min=1e-6)  # a root has no gradient at 0
    return _mean(wrong**gamma * entropy, valid)


def lovasz(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Lovasz hinge (Berman et al. 2018)."""
    return _each_class(logits, truth, valid, lambda values, labels: _hinge(values, labels, functional.relu))


def symmetric_lovasz(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean of the Lovasz hinge of the class and that of its background, with ELU + 1 in place of ReLU."""

    def smooth(errors: Tensor) -> Tensor:
        return functional.elu(errors) + 1

    def both(values: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * (_hinge(values, labels, smooth) + _hinge(-values, 1 - labels, smooth))

    return _each_class(logits, truth, valid, both)


def edge(logits: Tensor, truth: Tensor, valid: Tensor, *, size: float) -> Tensor:
    """Mean absolute difference between the edges of probability and truth, which a difference of Gaussians finds.

    The kernel has ``size`` (odd) rows and columns; its sigmas are size / 10 and 1.6 times that, the ratio at which it
    comes closest to the Laplacian of a Gaussian (Marr and Hildreth 1980).
    """
    difference = (torch.sigmoid(logits.float()) - truth) * valid
    kernel = _difference_of_gaussians(int(size)).to(difference).expand(difference.shape[1], 1, -1, -1)
    with torch.autocast(difference.device.type, enabled=False):
        response = functional.conv2d(difference, kernel, padding=int(size) // 2, groups=difference.shape[1])
    return _mean(response.abs(), valid)


LOSSES: Mapping[LossName, Loss] = {
    "bce": bce,
    "soft_bce": soft_bce,
    "balanced_bce": balanced_bce,
    "dice": dice,
    "tversky": tversky,
    "focal": focal,
    "lovasz": lovasz,
    "symmetric_lovasz": symmetric_lovasz,
    "edge": edge,
}


def weighted_loss(terms: Mapping[LossName, float | Mapping[str, float]], class_weights: Tensor) -> Loss:
    """The sum of losses by name, each with its weight; each is the weighted mean over the classes that count.

    Args:
        terms: weight of each loss, or its weight and its parameters.
        class_weights: weight of each class.
    """
    parts = [(LOSSES[name], *_arguments(name, term)) for name, term in terms.items()]

    def total(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        share = _counts(valid) * class_weights.to(logits.device)
        share = share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
        values = [weight * (loss(logits, truth, valid, **options) * share).sum() for loss, weight, options in parts]
        return torch.stack(values).sum()

    return total


def _arguments(name: LossName, term: float | Mapping[str, float]) -> tuple[float, dict[str, float]]:
    given = {"weight": term} if isinstance(term, int | float) else dict(term)
    weight = given.pop("weight", 1.0)
    return weight, {**LOSS_PARAMETERS[name], **given}


def _entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    total, count = _sums(valid, values, torch.ones_like(values))
    return total / count.clamp(min=1)


def _counts(valid: Tensor) -> Tensor:
    """1 for each class that has valid pixels, else 0."""
    return (valid.amax(dim=(0, 2, 3)) > 0).float()


def _sums(valid: Tensor, *values: Tensor) -> list[Tensor]:
    """Sum of each over the valid pixels, by class."""
    return [(each * valid).sum(dim=(0, 2, 3)) for each in values]


def _each_class(logits: Tensor, truth: Tensor, valid: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A loss of the valid pixels of each class as one row."""
    counts = valid > 0
    parts = [loss(logits[:, k][counts[:, k]].float(), truth[:, k][counts[:, k]]) for k in range(logits.shape[1])]
    return torch.stack(parts)


def _hinge(logits: Tensor, truth: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    errors, order = torch.sort(1 - logits * (2 * truth - 1), descending=True)
    ordered = truth[order]
    total = ordered.sum()
    jaccard = 1 - (total - ordered.cumsum(0)) / (total + (1 - ordered).cumsum(0))
    gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return torch.dot(activation(errors), gradient)


@cache
def _difference_of_gaussians(size: int) -> Tensor:
    distance = torch.arange(size) - (size - 1) / 2
    narrow, wide = (torch.exp(-0.5 * (distance / sigma) ** 2) for sigma in (size / 10, 1.6 * size / 10))
    narrow, wide = narrow / narrow.sum(), wide / wide.sum()
    return torch.outer(narrow, narrow) - torch.outer(wide, wide)
