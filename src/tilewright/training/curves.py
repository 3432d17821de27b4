"""Learning curves as a picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tilewright.runtime.atomic import atomic_path

LOSSES = {"val_loss": "validation", "ema_val_loss": "validation, EMA", "swa_val_loss": "validation, SWA"}
MEANS = {
    "train_dice": ("training tiles", "grey"),
    "dice": ("mean", "black"),
    "ema_dice": ("mean, EMA", "tab:red"),
    "swa_dice": ("mean, SWA", "tab:purple"),
}


def draw_curves(history: pd.DataFrame, best: int, out: Path) -> None:
    """Draw loss and Dice over the epochs.

    Args:
        history: columns epoch, train_loss, train_dice, val_loss, dice, dice_{class}, ema_dice and swa_dice; some may
            be missing, and epochs that were not validated have no values.
        best: the epoch whose weights are kept.
        out: the PNG to write.
    """
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(10, 4), layout="constrained")
        loss, dice = figure.subplots(1, 2)
        draw_line(loss, history, "train_loss", label="training")
        for column, name in LOSSES.items():
            draw_line(loss, history, column, label=name)
        loss.set(xlabel="epoch", ylabel="loss", title="Loss")
        loss.legend()
        for column in history.columns:
            if column.startswith("dice_"):
                draw_line(dice, history, column, label=column.removeprefix("dice_"), lw=1, alpha=0.8)
        for column, (name, color) in MEANS.items():
            draw_line(dice, history, column, label=name, lw=2, color=color)
        if best in set(history["epoch"]):
            dice.axvline(best + 1, color="grey", ls=":", label="kept")
        dice.set(xlabel="epoch", ylabel="Dice", ylim=(0, 1), title="Dice of the validation tiles, best thresholds")
        if dice.get_legend_handles_labels()[0]:
            dice.legend()
        with atomic_path(out) as private:
            figure.savefig(private, dpi=100)


def draw_line(axes: Axes, history: pd.DataFrame, column: str, **style: Any) -> None:
    """Draw a column of a history over the epochs, counted from 1, that have a value.

    Nothing where there is no such column.
    """
    if column in history.columns:
        known = history[column].notna()
        axes.plot(history["epoch"][known] + 1, history[column][known], **style)
