"""State of a training: written after every epoch, read when an interrupted training goes on.

The folder holds ``epoch{n}-{hash}.ckpt`` (network, optimiser, schedule, averages, history; tensors and plain values
only) of the last two epochs, ``best-{hash}.safetensors`` (the best weights so far, as each of them knows them),
``fingerprint`` (what the state belongs to) and ``batch_size``, where the training chose it. A file that is not what its
hash says is not used: the training goes on from the epoch before, or begins anew. The folder is no output of a rule, so
Snakemake leaves it alone when a job fails.
"""

import math
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from tilewright.project.config.training import Network
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.hashed import is_intact, write_hashed
from tilewright.runtime.progress import note
from tilewright.training.course import Course
from tilewright.training.curves import draw_curves
from tilewright.training.schedules import lulls, smoothed
from tilewright.training.task import RAW, SegmentationTask

Row = dict[str, float]
EPOCH = re.compile(r"epoch(\d+)-")
"""How the names of checkpoints begin."""
CHECKPOINTS = 2
"""Checkpoints that are kept."""


class Best(NamedTuple):
    """The best weights so far.

    Attributes:
        epoch: after which they were.
        kind: raw, ema or swa.
        score: the moving average of what is monitored; higher where better.
        file: name of their file in the state's folder.
    """

    epoch: int
    kind: str
    score: float
    file: str


class TrainingState(lightning.Callback):
    """Keeps the history, the best weights and the checkpoints of a training, and ends it when it no longer improves.

    Attributes:
        folder: of the state.
        history: one row an epoch; what was not validated is missing from it.
        best: the best weights; where nothing is validated, those of the end.
        course: how it goes, where nothing is validated; else None.
    """

    def __init__(self, folder: Path, network: Network, curves: Path, course: Course | None = None) -> None:
        """Begin, or go on.

        Args:
            folder: of the state.
            network: how it is trained.
            curves: the picture of the history.
            course: how it goes, where nothing is validated.
        """
        self.folder, self._network, self._curves, self.course = folder, network, curves, course
        self.history, self.best = list[Row](), Best(-1, RAW, -math.inf, "")
        self._began = 0.0
        self._before = ""

    @property
    def weights(self) -> Path:
        """The file of the best weights."""
        return self.folder / self.best.file

    @property
    def _batch(self) -> Path:
        return self.folder / "batch_size"

    @property
    def monitored(self) -> dict[str, float]:
        """What the best epoch was chosen by, as it was there; nothing where nothing is validated."""
        if self.course:
            return {}
        (row,) = (row for row in self.history if row["epoch"] == self.best.epoch)
        return {self._network.monitor: abs(self._scores(row)[self.best.kind])}

    def prepare(self, fingerprint: str) -> None:
        """Remove a state that belongs to other settings, tiles or code than those of the fingerprint."""
        mark = self.folder / "fingerprint"
        if not (mark.is_file() and mark.read_text() == fingerprint):
            self.clear()
            write_text(mark, fingerprint)

    def batch_size(self, choose: Callable[[], int]) -> int:
        """What was chosen once, by the first process, for all of them and for when the training goes on."""
        if not self._batch.is_file():
            write_text(self._batch, str(choose()))
        return int(self._batch.read_text())

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that is intact, as are the weights that it calls the best."""
        for path in reversed(self._checkpoints()):
            if is_intact(path) and ((best := self._best_of(path)) == "" or is_intact(self.folder / best)):
                return path
            note(f"{path}: it, or the weights that belong to it, are damaged; it is not used")
        return None

    def clear(self) -> None:
        """Remove the state."""
        for path in (
            self.folder / "fingerprint",
            self._batch,
            *self._checkpoints(),
            *self.folder.glob("best-*.safetensors"),
        ):
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps of this callback."""
        return {"history": self.history, "best": list(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what a checkpoint kept."""
        self.history, self.best = state_dict["history"], Best(*state_dict["best"])
        self._before = self.best.file

    def _checkpoints(self) -> list[Path]:
        """Checkpoints by epoch."""
        found = ((EPOCH.match(path.name), path) for path in self.folder.glob("epoch*.ckpt"))
        return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]

    def _best_of(self, checkpoint: Path) -> str:
        """The file of the best weights that a checkpoint knows; empty before the first validation."""
        kept = torch.load(checkpoint, weights_only=True, map_location="cpu")["callbacks"][self.state_key]
        return Best(*kept["best"]).file

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stand where the history ends."""
        self._judge(trainer, pl_module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        """Validate after the last epoch whatever ``validate_every`` says."""
        self._began = time.monotonic()
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record the epoch, keep the weights if they are the best so far, and write checkpoint and curves."""
        assert isinstance(pl_module, SegmentationTask)
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not _was_validated(trainer):
            values = {name: value for name, value in values.items() if name.startswith("train_")}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append({"epoch": trainer.current_epoch, "learning_rate": rate, **values})
        _check_convergence(trainer, pl_module, values)
        self._keep_best(trainer, pl_module)
        self._judge(trainer, pl_module)
        self._save(trainer)
        if trainer.is_global_zero:
            self._remove_old()
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

    def _validations(self) -> list[dict[str, float]]:
        """The scores of each validation."""
        return [found for row in self.history if (found := self._scores(row))]

    def _keep_best(self, trainer: lightning.Trainer, task: SegmentationTask) -> None:
        if self.course:
            scores = self._of_the_end(trainer, task, self.course)
        else:
            scores = smoothed(self._validations(), self._network.smoothing) if self._scores(self.history[-1]) else {}
        kind = max(scores, key=scores.__getitem__, default=RAW)
        if scores and scores[kind] > self.best[2]:
            weights = _plain(task.weights(kind))
            file = ""
            if trainer.is_global_zero:
                file = write_hashed(self.folder, "best", ".safetensors", partial(save_file, weights)).name
            self.best = Best(trainer.current_epoch, kind, scores[kind], file)

    def _of_the_end(self, trainer: lightning.Trainer, task: SegmentationTask, course: Course) -> dict[str, float]:
        """After the last epoch the kind of weights that is kept, where nothing says how good they are."""
        ended = trainer.current_epoch + 1 == course.epochs
        assert not ended or course.weights in task.validated(), "the course lasts until they are there"
        return {course.weights: 0.0} if ended else {}

    def _judge(self, trainer: lightning.Trainer, task: lightning.LightningModule) -> None:
        """Lower the learning rate or end the training, as the history asks for."""
        assert isinstance(task, SegmentationTask)
        if self.course:
            task.reduction = self.course.reductions[min(len(self.history), self.course.epochs - 1)]
            return
        scores = [max(found.values()) for found in self._validations()]
        plateau, stopping = self._network.plateau, self._network.stopping
        if self._network.schedule == "plateau":
            task.reduction = plateau.factor ** lulls(scores, plateau.patience, plateau.min_delta)
        if stopping and lulls(scores, stopping.patience, stopping.min_delta):
            trainer.should_stop = True

    def _save(self, trainer: lightning.Trainer) -> None:
        stem = f"epoch{trainer.current_epoch}"
        if trainer.is_global_zero:
            write_hashed(self.folder, stem, ".ckpt", trainer.save_checkpoint).chmod(0o644)
        else:
            trainer.save_checkpoint(self.folder / stem)  # gathers what the first process writes

    def _remove_old(self) -> None:
        """Remove what neither of the last checkpoints needs."""
        for path in self._checkpoints()[:-CHECKPOINTS]:
            path.unlink()
        for path in self.folder.glob("best-*.safetensors"):
            if path.name not in (self.best.file, self._before):
                path.unlink()
        self._before = self.best.file

    def _tell(self, trainer: lightning.Trainer, values: Row) -> None:
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: loss {values['train_loss']:.4f}"
        if "dice" in values:
            text += f", validation loss {values['val_loss']:.4f}, Dice {values['dice']:.4f}"
        seconds = time.monotonic() - self._began
        if trainer.logger:
            trainer.logger.log_metrics({"seconds": seconds}, trainer.current_epoch)
        text += "".join(f", {name} {values[f'{name}_dice']:.4f}" for name in ("ema", "swa") if f"{name}_dice" in values)
        note(f"{text}, {seconds:.3g} s")


def epoch_after(checkpoint: Path) -> int:
    """The epoch that a training goes on with from a checkpoint."""
    match = EPOCH.match(checkpoint.name)
    assert match, "only called with what this state has named"
    return int(match[1]) + 1


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
