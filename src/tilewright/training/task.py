"""The training of a network as a LightningModule: loss, validation Dice, optimiser and schedule."""

import math
from collections.abc import Callable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from tilewright.config import Network
from tilewright.training.architectures import Segmenter
from tilewright.training.data import Sample, targets
from tilewright.training.losses import weighted_loss


class SegmentationTask(lightning.LightningModule):
    """Trains a ``Segmenter``; logs ``train_loss``, ``val_loss``, ``dice`` and ``dice_{class}`` once an epoch.

    The Dice of a class is pooled over all valid pixels of the validation tiles at a probability of one half; ``dice`` is
    the mean over the classes that occur there.
    """

    def __init__(self, segmenter: Segmenter, network: Network, classes: list[str], steps: int) -> None:
        super().__init__()
        self.segmenter, self.spec, self.classes, self.steps = segmenter, network, classes, steps
        self.loss = weighted_loss(network.loss)
        self._counts = torch.zeros(3, len(classes), dtype=torch.float64)

    def training_step(self, batch: Sample, _index: int) -> Tensor:
        """Loss of a batch."""
        loss = self.loss(self.segmenter(batch.image), *targets(batch.bits, batch.labelled))
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.image))
        return loss

    def validation_step(self, batch: Sample, _index: int) -> None:
        """Count overlap, prediction and truth of a batch."""
        logits = self.segmenter(batch.image)
        truth, valid = targets(batch.bits, batch.labelled)
        self.log("val_loss", self.loss(logits, truth, valid), on_epoch=True, batch_size=len(batch.image))
        predicted = (logits > 0).float() * valid
        sums = [(predicted * truth), predicted, truth * valid]
        self._counts += torch.stack([each.double().sum(dim=(0, 2, 3)).cpu() for each in sums])

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of each class and their mean."""
        overlap, predicted, present = self._counts
        dice = 2 * overlap / (predicted + present).clamp(min=1)
        occurs = present > 0
        mean = dice[occurs].mean() if occurs.any() else torch.tensor(0.0)
        self.log("dice", mean.float())
        self.log_dict({f"dice_{name}": value for name, value in zip(self.classes, dice.float(), strict=True)})
        self._counts.zero_()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser, and a schedule that changes the learning rate at every step."""
        kind = torch.optim.AdamW if self.spec.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(self.segmenter.parameters(), lr=self.spec.learning_rate, weight_decay=self.spec.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_curve(self.spec, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate_curve(network: Network, steps: int) -> Callable[[int], float]:
    """Share of the peak learning rate at each of ``steps`` steps: a linear rise, then the schedule down to 0."""
    rise = max(1, round(network.warmup * steps))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, steps - rise)
        falls = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return falls[network.schedule]

    return share
