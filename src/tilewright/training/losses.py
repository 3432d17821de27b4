"""Losses on logits, by name. Pixels that do not count have a weight of 0 and reach no term.

All tensors are batch x classes x rows x columns, float32: ``logits``, ``truth`` (0 or 1; for losses that are not in
``HARD`` any number between) and ``valid`` (1 where the pixel counts for the class, else 0). A loss gives one value a
class, over the whole batch, which several devices may share; it is 0 where nothing of the class is valid, and finite
where nothing is positive. Defaults of the parameters stand in ``LOSS_PARAMETERS``.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tilewright.project.config.training import LOSS_PARAMETERS, LossName
from tilewright.project.targets import Target
from tilewright.training.devices import gathered, is_shared, summed

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
    entropy, present, absent = _entropy(logits, truth), valid * truth, valid * (1 - truth)
    above, positives, below, negatives = _sums((entropy, present), (1, present), (entropy, absent), (1, absent))
    return positive * (above / positives.clamp(min=1)) + negative * (below / negatives.clamp(min=1))


def dice(logits: Tensor, truth: Tensor, valid: Tensor, *, power: float, smooth: float) -> Tensor:
    """Soft Dice, 1 - (2 sum(yp) + s) / (sum(y^k) + sum(p^k) + s) for the power k and the smoothing s."""
    probability = torch.sigmoid(logits.float())
    overlap, predicted, present, counted = _sums(
        (probability * truth, valid), (probability**power, valid), (truth**power, valid), (1, valid)
    )
    return (1 - (2 * overlap + smooth) / (predicted + present + smooth)) * (counted > 0)


def tversky(logits: Tensor, truth: Tensor, valid: Tensor, *, alpha: float, beta: float, smooth: float) -> Tensor:
    """Tversky (Salehi et al. 2017), 1 - (TP + s) / (TP + alpha FP + beta FN + s) for the smoothing s."""
    probability = torch.sigmoid(logits.float())
    overlap, predicted, present, counted = _sums(
        (probability * truth, valid), (probability, valid), (truth, valid), (1, valid)
    )
    wrong = alpha * (predicted - overlap) + beta * (present - overlap)
    return (1 - (overlap + smooth) / (overlap + wrong + smooth)) * (counted > 0)


def focal(logits: Tensor, truth: Tensor, valid: Tensor, *, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017), mean over the pixels."""
    entropy = _entropy(logits, truth)
    wrong = (1 - torch.exp(-entropy)).clamp(min=1e-6)  # a root has no gradient at 0
    return _mean(wrong**gamma * entropy, valid)


def lovasz(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Lovasz hinge (Berman et al. 2018)."""
    errors, positive, negative = _by_error(logits, truth, valid)
    return _hinge(functional.relu(errors), positive, negative)


def symmetric_lovasz(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean of the Lovasz hinge of the class and that of its background, with ELU + 1 in place of ReLU."""
    errors, positive, negative = _by_error(logits, truth, valid)
    costs = functional.elu(errors) + 1  # the errors of class and background are the same
    return 0.5 * (_hinge(costs, positive, negative) + _hinge(costs, negative, positive))


def edge(logits: Tensor, truth: Tensor, valid: Tensor, *, size: float) -> Tensor:
    """Mean absolute difference between the edges of probability and truth, which a difference of Gaussians finds.

    The kernel has ``size`` (odd) rows and columns; its sigmas are size / 10 and 1.6 times that, the ratio at which it
    comes closest to the Laplacian of a Gaussian (Marr and Hildreth 1980).
    """
    difference = (torch.sigmoid(logits.float()) - truth) * valid
    kernel = _difference_of_gaussians(int(size), difference.device).expand(difference.shape[1], 1, -1, -1)
    with torch.autocast(difference.device.type, enabled=False):
        response = functional.conv2d(difference, kernel, padding=int(size) // 2, groups=difference.shape[1])
    return _mean(response.abs(), valid)


def l1(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of probability and truth, which may be any number from 0 to 1."""
    return _mean((torch.sigmoid(logits.float()) - truth).abs(), valid)


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
    "l1": l1,
}


class WeightedLoss(nn.Module):
    """The sum of losses by name, each with its weight; each is the weighted mean over the classes that count."""

    class_weights: Tensor

    def __init__(
        self, terms: Mapping[LossName, float | Mapping[str, float]], class_weights: Tensor, tiles: int = 1
    ) -> None:
        """Prepare the losses.

        Args:
            terms: weight of each loss, or its weight and its parameters.
            class_weights: weight of each class.
            tiles: the most tiles that a device has of a batch; of use where devices share it.
        """
        super().__init__()
        self._parts = [(LOSSES[name], *_arguments(name, term)) for name, term in terms.items()]
        self._tiles = tiles
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """The loss of a batch, one value."""
        if is_shared() and (missing := self._tiles - len(logits)) > 0:  # rows of all devices are equally long
            logits, truth, valid = (functional.pad(each, (0,) * 7 + (missing,)) for each in (logits, truth, valid))
        (counted,) = _sums((1, valid))
        share = (counted > 0) * self.class_weights
        share = share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
        values = [
            weight * (loss(logits, truth, valid, **options) * share).sum() for loss, weight, options in self._parts
        ]
        return torch.stack(values).sum()


class TargetLoss(nn.Module):
    """The sum of the losses of all targets, each on its own bands."""

    def __init__(
        self,
        targets: Mapping[Target, Mapping[LossName, float | Mapping[str, float]]],
        class_weights: Tensor,
        tiles: int = 1,
    ) -> None:
        """Prepare the losses.

        Args:
            targets: the terms of each target, in the order of the bands.
            class_weights: weight of each class.
            tiles: as of ``WeightedLoss``.
        """
        super().__init__()
        self._losses = nn.ModuleList(WeightedLoss(terms, class_weights, tiles) for terms in targets.values())

    def forward(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """The loss of a batch, one value."""
        return self.parts(logits, truth, valid).sum()

    def parts(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """The loss of each target."""
        bands = zip(*(each.chunk(len(self._losses), dim=1) for each in (logits, truth, valid)), strict=True)
        return torch.stack([loss(*part) for loss, part in zip(self._losses, bands, strict=True)])


def _arguments(name: LossName, term: float | Mapping[str, float]) -> tuple[float, dict[str, float]]:
    given = {"weight": term} if isinstance(term, int | float) else dict(term)
    weight = given.pop("weight", 1.0)
    return weight, {**LOSS_PARAMETERS[name], **given}


def _entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    total, count = _sums((values, valid), (1, valid))
    return total / count.clamp(min=1)


def _sums(*products: tuple[Tensor | int, Tensor]) -> tuple[Tensor, ...]:
    """Sum of each product by class, over the pixels of all devices."""
    return summed(torch.stack([(values * weights).sum(dim=(0, 2, 3)) for values, weights in products])).unbind()


def _by_error(logits: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Errors of the pixels of all devices from large to small, and whether each is positive, and negative.

    All are classes x pixels. Pixels that do not count come last; they are neither.
    """
    errors = torch.where(valid > 0, 1 - logits.float() * (2 * truth - 1), -torch.inf)
    rows = gathered(torch.stack([_rows(errors), _rows(truth)]))
    errors, order = torch.sort(rows[0], descending=True)
    ordered, counts = rows[1].detach().gather(1, order), errors > -torch.inf
    return errors, ordered * counts, (1 - ordered) * counts


def _rows(values: Tensor) -> Tensor:
    """Classes x pixels of a batch."""
    return values.transpose(0, 1).flatten(1)


def _hinge(costs: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss: classes x pixels in the order of their errors."""
    found, wrong = (each.cumsum(1, dtype=torch.int32) for each in (positive, negative))
    total = found[:, -1:]
    jaccard = 1 - (total - found) / (total + wrong).clamp(min=1)
    gradient = torch.cat([jaccard[:, :1], jaccard.diff(dim=1)], dim=1)
    return (costs * gradient).sum(1)


def _difference_of_gaussians(size: int, device: torch.device) -> Tensor:
    distance = torch.arange(size, device=device) - (size - 1) / 2
    narrow, wide = (torch.exp(-0.5 * (distance / sigma) ** 2) for sigma in (size / 10, 1.6 * size / 10))
    narrow, wide = narrow / narrow.sum(), wide / wide.sum()
    return torch.outer(narrow, narrow) - torch.outer(wide, wide)
