"""Learning curves as a picture."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tilewright.runtime.atomic import atomic_path


def draw_curves(history: pd.DataFrame, out: Path) -> None:
    """Draw loss and Dice over the epochs.

    Args:
        history: columns epoch, train_loss, val_loss, dice and dice_{class}.
        out: the PNG to write.
    """
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(10, 4), layout="constrained")
        loss, dice = figure.subplots(1, 2)
        epoch = history["epoch"] + 1
        loss.plot(epoch, history["train_loss"], label="training")
        loss.plot(epoch, history["val_loss"], label="validation")
        loss.set(xlabel="epoch", ylabel="loss", title="Loss")
        loss.legend()
        for column in history.columns:
            if column.startswith("dice_"):
                dice.plot(epoch, history[column], lw=1, alpha=0.8, label=column.removeprefix("dice_"))
        dice.plot(epoch, history["dice"], lw=2, color="black", label="mean")
        best = int(np.argmax(history["dice"]))
        dice.axvline(epoch[best], color="grey", ls=":", label=f"best: {history['dice'][best]:.3f}")
        dice.set(xlabel="epoch", ylabel="Dice", ylim=(0, 1), title="Dice of the validation tiles, best threshold")
        dice.legend()
        with atomic_path(out) as private:
            figure.savefig(private, dpi=100)
