"""Figures of how things are spread: objects and their sizes by slide, the IoU of slides.

Deterministic PNG files on a white ground.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tilewright.report.analysis import PNG, Labels
from tilewright.report.figures import ALL_COLOR, STYLE

BANDWIDTH = 0.05
"""Standard deviation of the Gaussians that a density of scores is made of."""
SPOTS = [colormaps["tab10"](place) for place in range(10)]
MOST_LINES = 10
"""Most sources with a line of their own."""


def draw_objects(labels: Sequence[Labels], colors: Mapping[str, str], out: Path) -> None:
    """Draw, a panel for each class, the mean area of a slide's objects against their number, a colour for each source.

    Args:
        labels: one for each slide and class that is labelled in it.
        colors: the classes.
        out: the PNG to write.
    """
    names = [name for name in colors if any(len(each.areas) for each in labels if each.name == name)]
    sources = sorted({each.source for each in labels})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(names) + 1.6, 3.4), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            for place, source in enumerate(sources):
                own = [each for each in labels if (each.name, each.source) == (name, source) and len(each.areas)]
                counts, means = [len(each.areas) for each in own], [each.areas.mean() for each in own]
                axes.plot(counts, means, "o", ms=4, alpha=0.75, color=SPOTS[place % len(SPOTS)], label=source)
            axes.set(title=name, xlabel="objects of a slide")
            axes.set_xlim(left=0)
            axes.set_ylim(0, 1.12 * axes.dataLim.y1)
        panels[0].set_ylabel("mean area of an object, pixels")
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.02))
        figure.savefig(out, **PNG)


def draw_iou(slides: pd.DataFrame, name: str, out: Path) -> None:
    """Draw the density of the IoU of slides, of all and of each source, with 0.5 marked.

    Args:
        slides: columns source, class, iou.
        name: the class to draw.
        out: the PNG to write.
    """
    own = slides[slides["class"] == name]
    groups = {"all": own, **{str(source): rows for source, rows in own.groupby("source")}}
    place = np.linspace(0, 1, 201)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        for number, (label, rows) in enumerate(list(groups.items())[: MOST_LINES + 1]):
            values = rows["iou"].dropna().to_numpy(float)
            if label == "all" or (len(groups) > 2 and len(values) > 1):
                look: Any = {"color": ALL_COLOR, "lw": 2} if label == "all" else {"color": SPOTS[number - 1], "lw": 1}
                axes.plot(place, density(values, place), label=f"{label} ({len(values)})", **look)
        axes.axvline(0.5, color="#999999", linewidth=1, linestyle=":")
        axes.set(xlim=(0, 1), xlabel="IoU of a slide", ylabel="density")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02))
        figure.savefig(out, **PNG)


def density(values: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of values from 0 to 1 at some places: Gaussians, mirrored at both ends so that nothing lies beyond them.

    Args:
        values: float64[n].
        place: float64[m].

    Returns:
        float64[m], whose integral from 0 to 1 is 1.
    """
    mirrored = np.concatenate([values, -values, 2 - values])
    bells = np.exp(-0.5 * ((place[:, None] - mirrored) / BANDWIDTH) ** 2)
    return np.asarray(bells.sum(axis=1) / (len(values) * BANDWIDTH * np.sqrt(2 * np.pi)), np.float64)
