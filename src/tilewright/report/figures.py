"""Figures of the report: learning curves and the Dice of slides. Deterministic PNG files on a white ground."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tilewright.project.config import ANY
from tilewright.project.rows import OUT_OF_FOLD, TEST
from tilewright.training.curves import draw_line

DPI = 150
ALL_COLOR = "#222222"
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.solid_capstyle": "round",
}
SET_NAMES = {TEST: "test", OUT_OF_FOLD: "out of fold"}
MARKERS = {TEST: "o", OUT_OF_FOLD: "D"}


class Kept(NamedTuple):
    """The weights of a fold that are kept.

    Attributes:
        epoch: after which they were, counted from 1.
        weights: raw, ema or swa.
        dice: theirs on the validation tiles.
    """

    epoch: int
    weights: str
    dice: float

    @classmethod
    def of(cls, card: Mapping[str, Any], history: pd.DataFrame) -> Self:
        """What ``model.json`` says, with the Dice of the history."""
        epoch, weights = card["best_epoch"], card["best_weights"]
        column = "dice" if weights == "raw" else f"{weights}_dice"
        return cls(epoch + 1, weights, float(history.loc[history["epoch"] == epoch, column].iloc[0]))


def draw_model(
    histories: Mapping[int, pd.DataFrame], kept: Mapping[int, Kept], colors: Mapping[str, str], out: Path
) -> None:
    """Draw the learning curves of a model: one column for each fold, Dice above loss, on common axes.

    Args:
        histories: of each trained fold; columns epoch, train_loss, train_dice, val_loss, dice and dice_{class}.
        kept: what of each is kept.
        colors: colour of each class.
        out: the PNG to write.
    """
    with mpl.rc_context(STYLE):
        columns = max(len(histories), 1)
        figure = Figure(figsize=(max(2.6 * columns + 1.4, 6.5), 4.4), layout="constrained")
        panels = figure.subplots(2, columns, sharex=True, sharey="row", squeeze=False)
        for column, (fold, history) in enumerate(sorted(histories.items())):
            _dice_panel(panels[0, column], history, kept[fold], colors)
            _loss_panel(panels[1, column], history)
            panels[0, column].set_title(f"Fold {fold}")
        panels[0, 0].set_ylabel("Dice (validation tiles)")
        panels[1, 0].set_ylabel("loss")
        for row in (0, 1):
            handles, labels = panels[row, 0].get_legend_handles_labels()
            panels[row, -1].legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1.02))
        figure.savefig(out, dpi=DPI, metadata={"Software": None})


def _dice_panel(axes: Axes, history: pd.DataFrame, kept: Kept, colors: Mapping[str, str]) -> None:
    epochs = history["epoch"] + 1
    marker = "." if len(epochs) < 15 else ""
    for name, color in colors.items():
        draw_line(axes, history, f"dice_{name}", color=color, linewidth=1.3, marker=marker, label=name)
    draw_line(axes, history, "train_dice", color="#7a7a7a", linewidth=1.5, label="training tiles")
    draw_line(axes, history, "dice", color=ALL_COLOR, linewidth=2, marker=marker, label="mean of classes")
    axes.axvline(kept.epoch, color="#999999", linewidth=1, linestyle=":")
    # towards the middle, so that the number stays inside the panel
    left = kept.epoch > epochs.mean()
    place: dict[str, Any] = {
        "xytext": (-4 if left else 4, 0),
        "textcoords": "offset points",
        "ha": "right" if left else "left",
    }
    value = f"{kept.dice:.3f}" if math.isfinite(kept.dice) else ""
    axes.annotate(value, (kept.epoch, 0.97), va="top", fontsize=8.5, color="#555555", **place)
    axes.set_ylim(0, 1)


def _loss_panel(axes: Axes, history: pd.DataFrame) -> None:
    draw_line(axes, history, "train_loss", color="#7a7a7a", linewidth=1.5, label="training")
    draw_line(axes, history, "val_loss", color=ALL_COLOR, linewidth=1.5, linestyle="--", label="validation")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)


def draw_dice(
    slides: pd.DataFrame, pooled: Mapping[str, Mapping[str, float]], colors: Mapping[str, str], out: Path
) -> None:
    """Draw the Dice of every slide, a line for each class and set, with the pooled Dice as a bar.

    Args:
        slides: columns set, class, dice.
        pooled: Dice of all slides of a set as one, by set and class.
        colors: colour of each class, in the order of the lines.
        out: the PNG to write.
    """
    lines = [(name, part) for name in colors for part in SET_NAMES if name in pooled.get(part, {})]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.75 + 0.36 * max(len(lines), 1)), layout="constrained")
        axes = figure.subplots()
        for place, (name, part) in enumerate(lines):
            values = slides.loc[(slides["class"] == name) & (slides["set"] == part), "dice"].to_numpy(float)
            spread_dots(axes, place, values, {"color": colors[name], "marker": MARKERS[part]})
            axes.plot([pooled[part][name]] * 2, [place - 0.36, place + 0.36], color=ALL_COLOR, linewidth=2.2)
        axes.set(
            xlim=(-0.01, 1.01), ylim=(len(lines) - 0.4, -0.6), xlabel="Dice (dots: slides; bars: all slides as one)"
        )
        axes.set_yticks(range(len(lines)), [f"{_title(name)}, {SET_NAMES[part]}" for name, part in lines])
        axes.grid(axis="y", visible=False)
        figure.savefig(out, dpi=DPI, metadata={"Software": None})


def spread_dots(axes: Axes, place: int, values: np.ndarray[Any, Any], look: dict[str, Any]) -> None:
    """Draw values as dots along a horizontal line at ``place``."""
    # spread by rank, so that equal values stay visible and the picture is the same every time
    offsets = ((np.argsort(np.argsort(values, kind="stable"), kind="stable") * 7) % 11 / 10 - 0.5) * 0.4
    alpha = 0.85 if len(values) < 40 else 0.4
    axes.scatter(values, place + offsets, s=26, alpha=alpha, linewidths=0.4, edgecolors="white", zorder=3, **look)


def _title(name: str) -> str:
    return "all classes" if name == ANY else name


def class_lines(colors: Mapping[str, str], present: Sequence[str]) -> dict[str, str]:
    """Colours of the lines of ``draw_dice``: all classes together first, then each class."""
    return {ANY: ALL_COLOR, **colors} if ANY in present else dict(colors)
