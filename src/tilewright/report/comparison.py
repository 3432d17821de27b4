"""Two ensembles on the same slides, and the learning curves of all models in one figure.

In: masks of the truth and of both predictions, histories of trainings. Out: a picture with a row for each slide, and a
figure with a line for each model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tilewright.project.config import ANY
from tilewright.project.orders import ReportOrder, ReportRow
from tilewright.project.places import Places, mask_file, segment_file
from tilewright.report.analysis import PNG
from tilewright.report.figures import STYLE
from tilewright.report.overlays import Mask, Pixels, read_view, write_jpeg
from tilewright.report.shown import finest
from tilewright.runtime.progress import track
from tilewright.training.curves import draw_line

SLIDES = 10
EDGE = 320
"""Longest edge of a picture, in pixels."""
INCHES, DPI = 1.9, 110
TRUE, FOUND, BOTH = (0, 158, 115), (213, 94, 0), (240, 228, 66)
"""Colours that those who see no red or green tell apart."""
CURVES = {
    "dice": "Dice, validation",
    "iou": "IoU, validation",
    "train_dice": "Dice, training tiles",
    "val_loss": "validation loss",
}


def compared(order: ReportOrder, scores: Mapping[str, pd.DataFrame]) -> tuple[str, str] | None:
    """The ensembles to compare: those of the config, else the first two with scores; None: there are no two."""
    names = [name for name, slides in scores.items() if len(slides)]
    chosen = order.report.compare or names[:2]
    return (chosen[0], chosen[1]) if len(chosen) == 2 and set(chosen) <= set(names) else None


def chosen_slides(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """The slides on which two ensembles differ most, all of them known to both.

    Args:
        first: columns slide, class, dice of one ensemble.
        second: of the other.
    """
    means = [_overall(slides) for slides in (first, second)]
    difference = (means[0] - means[1]).abs().dropna().sort_index()
    return [str(slide) for slide in difference.sort_values(ascending=False, kind="stable").index[:SLIDES]]


def _overall(slides: pd.DataFrame) -> pd.Series:
    """Dice of each slide: of all classes together, else their mean."""
    together = slides[slides["class"] == ANY]
    return (together if len(together) else slides).groupby("slide")["dice"].mean()


def draw_comparison(
    names: tuple[str, str], slides: Sequence[str], order: ReportOrder, places: Places, out: Path
) -> None:
    """Draw slides in six columns: image, truth, first, its overlap, second, its overlap.

    Args:
        names: the two ensembles.
        slides: names of the slides, one a row.
        order: all slides and the classes.
        places: where masks, segments and scaled images are.
        out: the JPEG to write.
    """
    rows = {row.slide: row for row in order.rows}
    figure = Figure(figsize=(INCHES * 6 + 0.3, INCHES * len(slides) + 0.3), dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    panels = figure.subplots(len(slides), 6, squeeze=False)
    for line, slide in zip(panels, track(slides, "comparison"), strict=True):
        for axes, picture in zip(line, _pictures(names, rows[slide], order, places), strict=True):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(slide, fontsize=7)
    for axes, title in zip(
        panels[0], ("image", "truth", names[0], "with the truth", names[1], "with the truth"), strict=True
    ):
        axes.set_title(title, fontsize=9)
    canvas.draw()
    write_jpeg(np.array(canvas.buffer_rgba())[..., :3], out)


def _pictures(names: tuple[str, str], row: ReportRow, order: ReportOrder, places: Places) -> list[Pixels]:
    """The six pictures of a slide."""
    truth = mask_file(Path(places.masks(row.shard)), row.slide)
    scaled = finest(places, {each.scale for each in order.ensembles.values()}, row)
    views = [
        read_view(
            row, truth, segment_file(Path(places.segments(name, row.shard)), row.slide), scaled, list(order.colors),
            EDGE, crop_to_bounds=order.crop_to_bounds,
        )
        for name in names
    ]  # fmt: skip
    true = _together(views[0].truth)
    labelled = list(views[0].truth)
    found = [_together({name: view.predicted[name] for name in labelled}) for view in views]
    none = np.zeros_like(true)
    pictures = [views[0].image, overlap_picture(true, none)]
    for mask in found:
        pictures += [overlap_picture(none, mask), overlap_picture(true, mask)]
    return pictures


def _together(masks: Mapping[str, Mask]) -> Mask:
    """Pixels of any class."""
    return np.asarray(np.any(list(masks.values()), axis=0), np.bool_)


def overlap_picture(truth: Mask, found: Mask) -> Pixels:
    """Truth, what was found, and both, each in its colour on black, rows x columns x 3."""
    picture = np.zeros((*truth.shape, 3), np.uint8)
    for color, mask in ((TRUE, truth & ~found), (FOUND, found & ~truth), (BOTH, truth & found)):
        picture[mask] = color
    return picture


def draw_models(histories: Mapping[str, Mapping[int, pd.DataFrame]], out: Path) -> None:
    """Draw the learning curves of several models, each the mean of its folds, in one panel a score.

    Args:
        histories: of each model those of its trained folds.
        out: the PNG to write.
    """
    means = {
        model: pd.concat(folds.values()).groupby("epoch", as_index=False).mean() for model, folds in histories.items()
    }
    shown = [
        column for column in CURVES if any(column in mean and mean[column].notna().any() for mean in means.values())
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(shown) + 1.4, 3), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, column in zip(panels, shown, strict=True):
            for model, mean in means.items():
                draw_line(axes, mean, column, label=model, marker="." if len(mean) < 15 else "")
            axes.set(title=CURVES[column], xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, None if column == "val_loss" else 1)
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.02))
        figure.savefig(out, **PNG)
