"""State of a training: written after every epoch, read when an interrupted training goes on.

The folder holds ``last.ckpt`` (network, optimiser, schedule, averages, history; tensors and plain values only),
``best-{epoch}-{kind}.safetensors`` (the best weights so far) and ``fingerprint`` (what the state belongs to). It is no output of a rule,
so Snakemake leaves it alone when a job fails.
"""

import math
import os
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from tilewright.config.training import Network
from tilewright.runtime.atomic import atomic_path, write_text
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note
from tilewright.training.curves import draw_curves
from tilewright.training.schedules import lulls
from tilewright.training.task import RAW, SegmentationTask

Row = dict[str, float]


class TrainingState(lightning.Callback):
    """Keeps the history, the best weights and the checkpoint of a training, and ends it when it no longer improves.

    Attributes:
        history: one row an epoch; what was not validated is missing from it.
        best: epoch, kind of weights (raw, ema, swa) and score of the best weights; a score is higher where better.
    """

    def __init__(self, folder: Path, network: Network, curves: Path) -> None:
        self.folder, self._network, self._curves = folder, network, curves
        self.history, self.best = list[Row](), (-1, RAW, -math.inf)
        self.last = folder / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The file of the best weights; each has a name of its own, so that the checkpoint always finds the one it means."""
        epoch, kind, _ = self.best
        return self.folder / f"best-{epoch}-{kind}.safetensors"

    @property
    def monitor(self) -> str:
        """What the best epoch is chosen by."""
        return self._network.monitor

    def prepare(self, fingerprint: str) -> None:
        """Remove a state that belongs to other settings, tiles or code than those of the fingerprint."""
        mark = self.folder / "fingerprint"
        if not (mark.is_file() and mark.read_text() == fingerprint):
            self.clear()
            write_text(mark, fingerprint)

    def checkpoint(self) -> Path | None:
        """The checkpoint to go on from."""
        return self.last if self.last.is_file() else None

    def clear(self) -> None:
        """Remove the state."""
        for path in (self.folder / "fingerprint", self.last, *self.folder.glob("best-*.safetensors")):
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps of this callback."""
        return {"history": self.history, "best": list(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what a checkpoint kept."""
        epoch, kind, score = state_dict["best"]
        self.history, self.best = state_dict["history"], (epoch, kind, score)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stand where the history ends."""
        self._judge(trainer, pl_module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        """Validate after the last epoch whatever ``validate_every`` says."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record the epoch, keep the weights if they are the best so far, and write checkpoint and curves."""
        assert isinstance(pl_module, SegmentationTask)
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not _was_validated(trainer):
            values = {"train_loss": values["train_loss"]}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append({"epoch": trainer.current_epoch, "learning_rate": rate, **values})
        _check_convergence(trainer, pl_module, values)
        self._keep_best(trainer, pl_module, values)
        self._judge(trainer, pl_module)
        self._save(trainer)
        if trainer.is_global_zero:
            for path in set(self.folder.glob("best-*.safetensors")) - {self.weights}:
                path.unlink()
            self._tell(trainer, values)
            draw_curves(self.table(), self.best[0], self._curves)

    def table(self) -> pd.DataFrame:
        """The history with all its columns."""
        return pd.DataFrame(self.history).astype({"epoch": int})

    def _scores(self, values: Row) -> dict[str, float]:
        """What is monitored, by kind of weights, higher being better."""
        monitored = self._network.monitor
        sign = -1 if monitored == "val_loss" else 1
        names = {RAW: monitored, "ema": f"ema_{monitored}", "swa": f"swa_{monitored}"}
        return {kind: sign * values[name] for kind, name in names.items() if math.isfinite(values.get(name, math.nan))}

    def _keep_best(self, trainer: lightning.Trainer, task: SegmentationTask, values: Row) -> None:
        scores = self._scores(values)
        kind = max(scores, key=scores.__getitem__, default=RAW)
        if scores and scores[kind] > self.best[2]:
            self.best = (trainer.current_epoch, kind, scores[kind])
            if trainer.is_global_zero:
                with atomic_path(self.weights) as private:
                    save_file(_plain(task.weights(kind)), private)

    def _judge(self, trainer: lightning.Trainer, task: lightning.LightningModule) -> None:
        """Lower the learning rate or end the training, as the history asks for."""
        assert isinstance(task, SegmentationTask)
        scores = [max(found.values()) for row in self.history if (found := self._scores(row))]
        plateau, stopping = self._network.plateau, self._network.stopping
        if self._network.schedule == "plateau":
            task.reduction = plateau.factor ** lulls(scores, plateau.patience, plateau.min_delta)
        if stopping and lulls(scores, stopping.patience, stopping.min_delta):
            trainer.should_stop = True

    def _save(self, trainer: lightning.Trainer) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.last)  # gathers what the first process writes
            return
        with atomic_path(self.last) as private:
            trainer.save_checkpoint(private)
            os.chmod(private, 0o644)  # noqa: PTH101

    def _tell(self, trainer: lightning.Trainer, values: Row) -> None:
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: loss {values['train_loss']:.4f}"
        if "dice" in values:
            text += f", validation loss {values['val_loss']:.4f}, Dice {values['dice']:.4f}"
        text += "".join(f", {name} {values[f'{name}_dice']:.4f}" for name in ("ema", "swa") if f"{name}_dice" in values)
        note(text)


def _check_convergence(trainer: lightning.Trainer, task: SegmentationTask, values: Row) -> None:
    """Stop where the weights, or what they give, are no numbers any more.

    Raises:
        DataError: the training diverged.
    """
    finite = all(bool(torch.isfinite(each).all()) for each in task.segmenter.parameters())
    if not finite or not math.isfinite(values.get("val_loss", 0.0)):
        what = f"the training diverged in epoch {trainer.current_epoch + 1}: its weights or its loss are no numbers."
        raise DataError(Problem("config, models", what, "Lower learning_rate, set clip, or use precision 32 or bf16."))


def _was_validated(trainer: lightning.Trainer) -> bool:
    return (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}
