"""The training of a network as a LightningModule: loss, validation Dice, averages of the weights, optimiser."""

import math
from collections.abc import Mapping
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor
from torch.func import functional_call

from tilewright.project.config.training import Network
from tilewright.training.averaging import Average
from tilewright.training.data import Sample, Targets, targets
from tilewright.training.devices import is_shared, summed
from tilewright.training.losses import TargetLoss, bce
from tilewright.training.mixing import mix
from tilewright.training.optimizers import optimizer, rate_groups
from tilewright.training.schedules import rate_curve
from tilewright.training.scores import add_counts, best_dice, iou_of, mean_where_known, no_counts
from tilewright.training.segmenter import Outputs, Segmenter, up_to_multiples

RAW = "raw"


class SegmentationTask(lightning.LightningModule):
    """Trains a ``Segmenter``; logs ``train_loss``, ``val_loss``, ``dice``, ``iou``, and both by class, once an epoch.

    The Dice of a class is pooled over all valid pixels of the validation tiles, at the threshold that is best for the
    class, because thresholds are fitted after the training: at one half, a network that finds a rare class well but
    with little confidence would lose to one that guesses. ``dice`` is the mean over the classes that occur there. IoU
    is that at the same threshold: both are pooled, so IoU = Dice / (2 - Dice). Averages of the weights are validated
    too, as ``ema_dice``, ``ema_val_loss``, ``swa_dice``, ``swa_val_loss``.

    ``train_dice`` and ``train_iou`` are the same of the batches that were trained on: augmented, with dropout, each by
    the weights that it met. Batches of MixUp, which have two truths, do not count there.

    With several targets the loss of each is logged too, by its name (``train_touching``, ``val_touching``); Dice and
    IoU are those of the masks.

    Attributes:
        averages: averages of the weights, by name.
        learnt: counts of the pixels that were trained on in this epoch.
        reduction: share of the learning rate that the schedule plateau has left.
    """

    counts: Tensor
    learnt: Tensor
    losses: Tensor
    taught: Tensor

    def __init__(self, segmenter: Segmenter, network: Network, classes: list[str], steps: int) -> None:
        """Prepare the training.

        Args:
            segmenter: the network with its weights.
            network: how it is trained.
            classes: names of the classes.
            steps: steps of the optimiser in the whole training.
        """
        super().__init__()
        self.segmenter, self.spec, self.classes, self.steps = segmenter, network, classes, steps
        weights = torch.tensor([network.class_weights.get(name, 1.0) for name in classes])
        self.loss = TargetLoss(network.losses, weights, network.batch_size // network.devices)
        frozen = segmenter.frozen_names()
        self.averages = {"ema": Average(network.ema, network.ema_warmup, frozen)} if network.ema else {}
        if network.swa:
            self.averages["swa"] = Average(None, without=frozen)
        self.reduction, self._seen = 1.0, 0
        sets = 1 + len(self.averages)
        self.register_buffer("counts", no_counts(sets, len(classes)), persistent=False)
        self.register_buffer("learnt", no_counts(1, len(classes)), persistent=False)
        self.register_buffer("losses", torch.zeros(sets, len(network.targets) + 1), persistent=False)
        self.register_buffer("taught", torch.zeros(len(network.targets) + 1), persistent=False)

    def on_train_start(self) -> None:
        """Bring averages that a checkpoint kept to the device, which the network reaches after it is loaded."""
        for average in self.averages.values():
            average.to(self.device)

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """Loss of a batch, logged."""
        loss = self.batch_loss(batch, index)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.image), sync_dist=True)
        return loss

    def batch_loss(self, batch: Sample, index: int) -> Tensor:
        """Loss of a batch.

        Dropout is seeded by seed, epoch, step and device, mixing by all but the device, so that an interrupted training
        draws what an uninterrupted one does. Once an epoch would not do: loaders draw from the same generator, at
        another moment in the first epoch of a process.
        """
        place = [self.spec.seed, self.current_epoch, index]
        torch.manual_seed(int(np.random.SeedSequence([*place, self.global_rank]).generate_state(1)[0]))
        draws = np.random.default_rng([*place, 0])  # the same on all devices: losses wait for each other
        images = batch.recoloring(batch.image)
        images, parts = mix(images, targets(batch.bits, batch.labelled, batch.bands), self.spec.mixing, draws)
        outputs = self.segmenter.outputs(images)
        if len(parts) == 1:
            self._count(self.learnt[0], outputs.logits, parts[0].targets)
        losses = [share * self._loss_of_all_heads(outputs, each) for share, each in parts]
        return torch.stack(losses).sum()

    def on_train_batch_end(self, _outputs: STEP_OUTPUT, _batch: Sample, index: int) -> None:
        """Update the averages: EMA after each step of the optimiser, SWA after each of the last epochs."""
        if "ema" in self.averages and self.global_step > self._seen:
            self.averages["ema"].update(self.segmenter)
        self._seen = self.global_step
        last = index + 1 == self.trainer.num_training_batches
        if last:
            self._log_learnt()
        if last and self.spec.swa and self.current_epoch >= first_averaged(self.spec.swa, self.spec.epochs):
            self.averages["swa"].update(self.segmenter)

    def _log_learnt(self) -> None:
        """Log Dice and IoU of what was trained on in the epoch, if any of it was not blended."""
        dice = best_dice(summed(self.learnt)[0].cpu().numpy())
        self._log_targets("train", summed(self.taught))
        self.learnt.zero_()
        self.taught.zero_()
        for name, values in (("train_dice", dice), ("train_iou", [iou_of(each) for each in dice])):
            if not all(map(math.isnan, values)):
                self.log(name, mean_where_known(values), on_step=False, on_epoch=True, batch_size=1)

    def _log_targets(self, use: str, losses: Tensor) -> None:
        """Log the mean loss of each of several targets: their sums, and by what they are divided."""
        if len(self.spec.targets) > 1:
            for target, total in zip(self.spec.targets, losses, strict=False):
                self.log(f"{use}_{target}", total / losses[-1], on_step=False, on_epoch=True, batch_size=1)

    def on_validation_epoch_start(self) -> None:
        """Let all processes validate the averages that are kept: their batch norms have seen different tiles."""
        if is_shared():
            for average in self.averages.values():
                for value in average.weights.values():
                    torch.distributed.broadcast(value, 0)

    def validation_step(self, batch: Sample, _index: int) -> None:
        """Count the probabilities of a batch by class and truth, for the weights and each of their averages."""
        expected = targets(batch.bits, batch.labelled, batch.bands)
        size = expected.valid.amax(dim=1).mean(dim=(1, 2)).sum()  # in tiles, of the pixels that count
        for place, name in enumerate(self.validated()):
            logits = self.logits(name, batch.image)
            self.losses[place] += torch.cat([self.loss.parts(logits, *expected) * size, size[None]])
            self._count(self.counts[place], logits, expected)

    def _count(self, counts: Tensor, logits: Tensor, expected: Targets) -> None:
        """Add the pixels of masks to counts."""
        classes = len(self.classes)
        add_counts(counts, logits[:, :classes], expected.masks(classes))

    def validated(self) -> list[str]:
        """The kinds of weights that there are: raw, and the averages that have begun."""
        return [RAW, *(name for name, average in self.averages.items() if average.count)]

    def logits(self, name: str, images: Tensor) -> Tensor:
        """Logits of images with the weights of a name."""
        if name == RAW:
            own: Tensor = self.segmenter(images)
            return own
        averaged: Tensor = functional_call(self.segmenter, self.averages[name].weights, (images,))
        return averaged

    def weights(self, name: str) -> dict[str, Tensor]:
        """The state of the network: as it is, or an average with what is frozen."""
        own = dict(self.segmenter.state_dict())
        return own if name == RAW else own | self.averages[name].weights

    def on_validation_epoch_end(self) -> None:
        """Log the Dice of each class, not a number where it does not occur, and their mean."""
        totals, losses = summed(self.counts).cpu().numpy(), summed(self.losses)
        for name, (*parts, size) in zip(self.validated(), losses, strict=False):
            self.log("val_loss" if name == RAW else f"{name}_val_loss", torch.stack(parts).sum() / size)
        self._log_targets("val", losses[0])
        for name, counts in zip(self.validated(), totals, strict=False):
            best = best_dice(counts)
            if name == RAW:
                overlap = [iou_of(dice) for dice in best]
                self.log("iou", mean_where_known(overlap))
                for metric, values in (("dice", best), ("iou", overlap)):
                    self.log_dict({f"{metric}_{each}": value for each, value in zip(self.classes, values, strict=True)})
            self.log("dice" if name == RAW else f"{name}_dice", mean_where_known(best))
        self.counts.zero_()
        self.losses.zero_()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser, and a schedule that changes the learning rate at every step."""
        made = optimizer(self.spec, rate_groups(self.spec, self.segmenter))
        curve = rate_curve(self.spec, self.steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(made, lambda step: curve(step) * self.reduction)
        return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the averages."""
        checkpoint["averages"] = {name: (each.count, each.weights) for name, each in self.averages.items()}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the averages back."""
        for name, (count, weights) in checkpoint["averages"].items():
            self.averages[name].count, self.averages[name].weights = count, dict(weights)
        self._seen = checkpoint["global_step"]

    def _loss_of_all_heads(self, outputs: Outputs, expected: Targets) -> Tensor:
        """The loss at full size and, with half the weight each time, at coarser levels; and of the image-level head."""
        parts = self.loss.parts(outputs.logits, *expected)
        self.taught += torch.cat([parts.detach(), torch.ones_like(parts[:1])])
        total: Tensor = parts.sum()
        weight, whole = 1.0, self._as_seen(expected)
        for level, logits in enumerate(outputs.coarser, start=1):
            step = whole.truth.shape[-1] // logits.shape[-1]
            total = total + 0.5**level * self.loss(logits, *whole.coarser(step))
            weight += 0.5**level
        total = total / weight
        if outputs.occurrence is not None:
            shown = expected.masks(len(self.classes)).occurrence()
            occurrence = bce(outputs.occurrence[..., None, None], *shown)
            total = total + self.spec.image_loss * occurrence.mean()
        return total

    def _as_seen(self, expected: Targets) -> Targets:
        """What is expected where the network sees the images."""
        if self.segmenter.resize:
            columns, rows = self.segmenter.resize
            return expected.resized(rows, columns)
        return expected.padded(*up_to_multiples(*expected.truth.shape[-2:]))


def first_averaged(share: float, epochs: int) -> int:
    """The first epoch that SWA takes in: the last ``share`` of the epochs, and at least the last one."""
    return min(math.ceil((1 - share) * epochs - 1e-9), epochs - 1)
