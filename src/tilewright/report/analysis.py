"""Figures about data and errors: what is annotated, how reliable probabilities are, where the scores are low.

Deterministic PNG files on a white ground.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tilewright.report.figures import ALL_COLOR, DPI, STYLE, spread_dots

PNG: dict[str, Any] = {"dpi": DPI, "metadata": {"Software": None}}
LABEL_HEIGHT = 0.17
"""Height of a line of small letters, in inches."""


@dataclass(frozen=True)
class Labels:
    """What is annotated on a slide for a class.

    Attributes:
        source: where the slide comes from.
        name: the class.
        areas: area of each object, in pixels of the slide, float64[n].
        pixels: pixels of the slide.
    """

    source: str
    name: str
    areas: NDArray[np.float64]
    pixels: int


def draw_labels(labels: Sequence[Labels], colors: Mapping[str, str], out: Path) -> None:
    """Draw, by source and class: objects, the area of an object, and the share of a slide that is annotated.

    Args:
        labels: one for each slide and class that is labelled in it.
        colors: colour of each class.
        out: the PNG to write.
    """
    sources = sorted({each.source for each in labels})
    lines = [(source, name) for source in sources for name in colors if _of(labels, source, name)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.9 + 0.3 * max(len(lines), 1)), layout="constrained")
        counts, sizes, shares = figure.subplots(1, 3, sharey=True)
        for place, (source, name) in enumerate(lines):
            own, look = _of(labels, source, name), {"color": colors[name], "marker": "o"}
            counts.barh(place, sum(len(each.areas) for each in own), 0.6, color=colors[name])
            areas = np.concatenate([each.areas for each in own])
            if len(areas):
                low, middle, high = np.quantile(areas, (0.05, 0.5, 0.95))
                sizes.plot([low, high], [place, place], color=colors[name], linewidth=2)
                sizes.plot(middle, place, "o", color=colors[name], markersize=5)
            spread_dots(shares, place, np.array([100 * each.areas.sum() / each.pixels for each in own]), look)
        counts.set(xlabel="objects", ylim=(len(lines) - 0.4, -0.6), xscale="symlog")
        sizes.set(xlabel="area of an object, pixels (5 %, median, 95 %)", xscale="log")
        shares.set(xlabel="% of a slide that is outlined (dots: slides)")
        counts.set_yticks(range(len(lines)), [f"{source}, {name}" for source, name in lines])
        for axes in (counts, sizes, shares):
            axes.grid(axis="y", visible=False)
        figure.savefig(out, **PNG)


def draw_reliability(reliability: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str], out: Path) -> None:
    """Draw the share of pixels that are of a class against their predicted probability.

    Args:
        reliability: by class: error, predicted, observed and pixels of each bin.
        colors: colour of each class.
        out: the PNG to write.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
        for name, found in reliability.items():
            label = f"{name} (error {found['error']:.3f})"
            axes.plot(found["predicted"], found["observed"], marker=".", color=colors[name], label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share of the class, out of fold")
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02))
        figure.savefig(out, **PNG)


def draw_seams(seams: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw what windows cost against how much they differ where they end, a panel for each model.

    Args:
        seams: of each model, as the step ``seams`` writes them.
        out: the PNG to write.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(seams) + 1.2, 3.4), layout="constrained")
        panels = figure.subplots(1, len(seams), sharey=True, squeeze=False)[0]
        for axes, (model, entry) in zip(panels, seams.items(), strict=True):
            table = pd.DataFrame(entry["windows"])
            for blend, rows in table.groupby("blend"):
                line = rows.sort_values("cost")
                axes.plot(line["cost"], line["seam"], marker=".", label=blend)
            axes.set(title=model, xlabel="pixels computed for one of the slide")
            axes.set_xlim(left=0.8)
        panels[0].set_ylabel("difference at seams")
        panels[0].set_ylim(bottom=0)
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.02))
        figure.savefig(out, **PNG)


def draw_sources(slides: pd.DataFrame, trained: Mapping[str, int], name: str, out: Path) -> None:
    """Draw the Dice of slides by source, and that of sources against the number of slides that were trained on.

    Args:
        slides: columns set, source, class, dice, truth_area, predicted_area, intersection.
        trained: training slides of each source.
        name: the class to draw.
        out: the PNG to write.
    """
    own = slides[slides["class"] == name]
    sources = sorted(own["source"].unique())
    with mpl.rc_context(STYLE):
        height = max(2.6, 0.9 + 0.34 * len(sources))
        figure = Figure(figsize=(9, height), layout="constrained")
        spread, amount = figure.subplots(1, 2)
        for place, source in enumerate(sources):
            values = own.loc[own["source"] == source, "dice"].to_numpy(float)
            spread_dots(spread, place, values, {"color": ALL_COLOR, "marker": "o"})
        spread.axvline(0.5, color="#999999", linewidth=1, linestyle=":")
        spread.set(xlim=(-0.01, 1.01), ylim=(len(sources) - 0.4, -0.6), xlabel="Dice (dots: slides)")
        spread.set_yticks(range(len(sources)), sources)
        spread.grid(axis="y", visible=False)
        _amount_panel(amount, own, sources, trained, LABEL_HEIGHT / (height - 0.8))
        figure.savefig(out, **PNG)


def _amount_panel(
    axes: Axes, own: pd.DataFrame, sources: Sequence[str], trained: Mapping[str, int], gap: float
) -> None:
    sums = own.groupby("source")[["truth_area", "predicted_area", "intersection"]].sum()
    truth, predicted, both = sums.loc[list(sources)].to_numpy(float).T
    area = truth + predicted
    dice = np.divide(2 * both, area, out=np.ones_like(area), where=area > 0)
    amounts = [trained.get(source, 0) for source in sources]
    axes.plot(amounts, dice, "o", color=ALL_COLOR)
    for source, amount, own_dice, label in zip(sources, amounts, dice, apart(dice, gap), strict=True):
        axes.annotate(
            source, (amount, own_dice), (1.06, label), textcoords=axes.get_yaxis_transform(), fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.7, "relpos": (0, 0.5)},
            annotation_clip=False,
        )  # fmt: skip
    axes.set(ylim=(0, 1.02), xlabel="training slides of the source", ylabel="Dice, pooled")
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def apart(values: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Heights of labels near values that all lie at least a gap apart, from 0 to 1, in the order of the values.

    Args:
        values: heights of what is labelled, 0 to 1, float64[n].
        gap: least distance, at most 1 / n.
    """
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(values))
    # pushed up one by one, then the highest back below 1
    pushed: NDArray[np.float64] = np.maximum.accumulate(values[order] - steps) + steps
    placed = np.empty_like(pushed)
    placed[order] = np.minimum(pushed, 1 - steps[::-1])
    return placed


def _of(labels: Sequence[Labels], source: str, name: str) -> list[Labels]:
    return [each for each in labels if (each.source, each.name) == (source, name)]
