"""State of a training: written after every epoch, read when an interrupted training goes on.

The folder holds ``last.ckpt`` (network, optimiser, schedule, history; tensors and plain values only), ``best.safetensors``
(the best weights so far) and ``fingerprint`` (what the state belongs to). It is no output of a rule, so Snakemake leaves
it alone when a job fails.
"""

import os
from pathlib import Path
from typing import Any

import lightning
import torch
from safetensors.torch import save_file

from tilewright.runtime.atomic import atomic_path, write_text
from tilewright.runtime.progress import note
from tilewright.training.task import SegmentationTask

Row = dict[str, float]


class TrainingState(lightning.Callback):
    """Keeps the history, the best weights and the checkpoint of a training."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.history, self.best = folder, list[Row](), -1.0
        self.last, self.weights = folder / "last.ckpt", folder / "best.safetensors"
        self._fingerprint = fingerprint

    def checkpoint(self) -> Path | None:
        """The checkpoint to go on from; a state that belongs to other settings, tiles or code is removed."""
        mark = self.folder / "fingerprint"
        if mark.is_file() and mark.read_text() == self._fingerprint and self.last.is_file() and self.weights.is_file():
            return self.last
        self.clear()
        write_text(mark, self._fingerprint)
        return None

    def clear(self) -> None:
        """Remove the state."""
        for path in (self.folder / "fingerprint", self.last, self.weights):
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps of this callback."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what a checkpoint kept."""
        self.history, self.best = state_dict["history"], state_dict["best"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record the epoch, keep the weights if they are the best so far, and write the checkpoint."""
        assert isinstance(pl_module, SegmentationTask)
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append({"epoch": trainer.current_epoch, "learning_rate": rate, **values})
        note(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: loss {values['train_loss']:.4f}, "
            f"validation loss {values['val_loss']:.4f}, Dice {values['dice']:.4f}"
        )
        if values["dice"] > self.best:
            self.best = values["dice"]
            with atomic_path(self.weights) as private:
                save_file(_contiguous(pl_module.segmenter), private)
        with atomic_path(self.last) as private:
            trainer.save_checkpoint(private)
            os.chmod(private, 0o644)  # noqa: PTH101


def _contiguous(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
