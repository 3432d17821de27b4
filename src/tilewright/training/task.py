"""The training of a network as a LightningModule: loss, validation Dice, optimiser and schedule."""

import math
from collections.abc import Callable

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from tilewright.config import Network
from tilewright.histograms import BINS, Histogram, dice_curve
from tilewright.training.architectures import Segmenter
from tilewright.training.data import Sample, targets
from tilewright.training.losses import weighted_loss


class SegmentationTask(lightning.LightningModule):
    """Trains a ``Segmenter``; logs ``train_loss``, ``val_loss``, ``dice`` and ``dice_{class}`` once an epoch.

    The Dice of a class is pooled over all valid pixels of the validation tiles, at the threshold that is best for the
    class, because thresholds are fitted after the training: at one half, a network that finds a rare class well but with
    little confidence would lose to one that guesses. ``dice`` is the mean over the classes that occur there.
    """

    def __init__(self, segmenter: Segmenter, network: Network, classes: list[str], steps: int) -> None:
        super().__init__()
        self.segmenter, self.spec, self.classes, self.steps = segmenter, network, classes, steps
        self.loss = weighted_loss(network.loss)
        self._counts = torch.zeros(len(classes) * 2 * BINS, dtype=torch.int64)

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """Loss of a batch.

        Dropout is seeded by seed, epoch and step, so that an interrupted training draws what an uninterrupted one does.
        Once an epoch would not do: loaders draw from the same generator, at another moment in the first epoch of a process.
        """
        state = np.random.SeedSequence([self.spec.seed, self.current_epoch, index]).generate_state(1)
        torch.manual_seed(int(state[0]))
        loss = self.loss(self.segmenter(batch.image), *targets(batch.bits, batch.labelled))
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.image))
        return loss

    def validation_step(self, batch: Sample, _index: int) -> None:
        """Count the probabilities of a batch by class and truth."""
        logits = self.segmenter(batch.image)
        truth, valid = targets(batch.bits, batch.labelled)
        self.log("val_loss", self.loss(logits, truth, valid), on_epoch=True, batch_size=len(batch.image))
        bins = (torch.sigmoid(logits.float()) * (BINS - 1) + 0.5).long()
        rows = 2 * torch.arange(len(self.classes), device=bins.device).view(1, -1, 1, 1) + truth.long()
        places = (rows * BINS + bins)[valid > 0]
        self._counts += torch.bincount(places, minlength=len(self._counts)).cpu()

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of each class, not a number where it does not occur, and their mean."""
        counts = self._counts.view(len(self.classes), 2, BINS).numpy()
        curves = [dice_curve([Histogram(positive=count[1], negative=count[0])], "pooled") for count in counts]
        best = [
            float(curve[1:].max()) if count[1].any() else math.nan for curve, count in zip(curves, counts, strict=True)
        ]
        occurring = [dice for dice in best if not math.isnan(dice)]
        self.log("dice", sum(occurring) / max(len(occurring), 1))
        self.log_dict({f"dice_{name}": dice for name, dice in zip(self.classes, best, strict=True)})
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
