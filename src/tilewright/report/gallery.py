"""A gallery of what is wrong with objects, or with outlines: of each kind some, beside what is predicted.

In: the mistakes that ``evaluate`` has listed, slides, outlines, predicted masks. Out: a picture for each class, a row
for each kind. At most ``EDGE`` pixels square of a slide are read at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from tilewright.evaluation.mistakes import KINDS
from tilewright.evaluation.suspects import KINDS as SUSPECT_KINDS
from tilewright.pixels.grid import Size, Window
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import ReportOrder, ReportRow
from tilewright.project.places import Places, outlines_file
from tilewright.report.comparison import BOTH, FOUND, TRUE
from tilewright.report.linking import place_of
from tilewright.report.overlays import Pixels, write_jpeg
from tilewright.report.samples import Shapes, draw_shapes
from tilewright.runtime.progress import track
from tilewright.segments.predictions import Layer, open_prediction, read_columns
from tilewright.slides import open_slide

EDGE, LEAST_EDGE = 1024, 48
"""Largest and smallest edge of a part of a slide, in its pixels."""
AROUND = 1.6
"""Edge of a part, in those of the mistake."""
INCHES, DPI = 1.75, 110
LINE = [withStroke(linewidth=2.2, foreground="#ffffff", alpha=0.5)]


def draw_mistakes(
    ensemble: str, order: ReportOrder, mistakes: pd.DataFrame, places: Places, folder: Path
) -> Iterator[dict[str, Any]]:
    """Draw the mistakes of an ensemble, and yield what the page says about them, by class.

    Args:
        ensemble: its name.
        order: slides, classes with their colours, and how many mistakes are shown.
        mistakes: columns slide, class, kind, left, top, right, bottom.
        places: where outlines and segments are.
        folder: where the pictures are written.
    """
    yield from _drawn("mistakes", KINDS, choose, ensemble, order, mistakes, places, folder)


def draw_suspects(
    ensemble: str, order: ReportOrder, suspects: pd.DataFrame, places: Places, folder: Path
) -> Iterator[dict[str, Any]]:
    """Draw the most contradicted outlines of each kind, and yield what the page says about them, by class.

    Args:
        ensemble: the name of the ensemble that contradicts them.
        order: slides, classes with their colours, and how many are shown.
        suspects: columns slide, class, kind, left, top, right, bottom, the most contradicted first.
        places: where outlines and segments are.
        folder: where the pictures are written.
    """
    yield from _drawn("suspects", SUSPECT_KINDS, pd.DataFrame.head, ensemble, order, suspects, places, folder)


def _drawn(
    what: str,
    kinds: Sequence[str],
    choose_some: Callable[[pd.DataFrame, int], pd.DataFrame],
    ensemble: str,
    order: ReportOrder,
    table: pd.DataFrame,
    places: Places,
    folder: Path,
) -> Iterator[dict[str, Any]]:
    """Draw a row for each kind of which there is something, a picture a class, and yield what there is."""
    for number, name in enumerate(track(list(order.colors), f"{what} of {ensemble}")):
        own = table[table["class"] == name]
        if own.empty:
            continue
        chosen = {kind: choose_some(own[own["kind"] == kind], order.report.mistakes) for kind in kinds}
        shown = {kind: some for kind, some in chosen.items() if len(some)}
        if shown:
            write_jpeg(
                _picture(ensemble, order, name, shown, places), folder / (file := f"{what}-{ensemble}-{number}.jpg")
            )
            counts = {kind: int((own["kind"] == kind).sum()) for kind in kinds}
            places_there = [place for kind, some in shown.items() for place in _places(ensemble, name, kind, some)]
            yield {"name": name, "picture": f"figures/{file}", "counts": counts, "places": places_there}


def _places(ensemble: str, name: str, kind: str, some: pd.DataFrame) -> Iterator[dict[str, str]]:
    """What is said of objects of a class and kind: where each is, its size, and its place in the viewer."""
    for row in some.to_dict("records"):
        box = [int(row[side]) for side in ("left", "top", "right", "bottom")]
        size = f"{box[2] - box[0]} × {box[3] - box[1]}"  # noqa: RUF001
        yield {"kind": kind, "slide": row["slide"], "size": size, "at": place_of(row["slide"], ensemble, name, box)}


def choose(mistakes: pd.DataFrame, most: int) -> pd.DataFrame:
    """Mistakes that are neither small nor large for their slide, of as many slides as possible.

    The slides with most of them come first.

    Args:
        mistakes: those of a class and kind.
        most: how many.
    """
    area = (mistakes["right"] - mistakes["left"]) * (mistakes["bottom"] - mistakes["top"])
    slides = area.groupby(mistakes["slide"])
    unlike = (area - slides.transform("median")).abs()
    place = unlike.groupby(mistakes["slide"]).rank(method="first")
    keys = pd.DataFrame({"place": place, "less": -slides.transform("size"), "slide": mistakes["slide"]})
    return mistakes.loc[keys.sort_values(["place", "less", "slide"], kind="stable").index[:most]]


@dataclass(frozen=True)
class _Known:
    """What is known of a slide and class.

    Attributes:
        row: the slide.
        outlines: of the true objects, in pixels of the slide.
        mask: the predicted mask.
        bit: that of the class in it.
        layer: the predicted objects, where they may share edges; None: they are the components of the mask.
    """

    row: ReportRow
    outlines: Shapes
    mask: Path
    bit: int
    layer: Layer | None

    @classmethod
    def read(cls, row: ReportRow, name: str, segments: Path, masks: Path) -> "_Known":
        """Read a slide and class.

        Args:
            row: the slide.
            name: the class.
            segments: the folder of its shard.
            masks: the folder of its shard.
        """
        table = read_columns(outlines_file(masks, row.slide), ["class", "geometry"])
        shapes = shapely.from_wkb(np.asarray(table["geometry"])[np.asarray(table["class"]) == name])
        prediction = open_prediction(segments, row.slide, [name])
        layer = prediction.layers()[0] if prediction.shares_edges else None
        return cls(row, shapes, prediction.mask, prediction.bits[0], layer)

    def seen(self, window: Window) -> Shapes:
        """The true objects in a part of the slide."""
        box = shapely.box(window.x, window.y, window.x + window.width, window.y + window.height)
        shapes: Shapes = self.outlines[np.sort(shapely.STRtree(self.outlines).query(box))]
        return shapes

    def labels(self, window: Window) -> NDArray[np.int64]:
        """The predicted objects in a part of the slide, from 1, 0 being none; those that share no edge are all 1."""
        if self.layer is None:
            with open_raster(self.mask) as raster:
                return np.asarray((raster.read(window)[0] >> self.bit) & 1, np.int64)
        runs, labels = self.layer.runs, np.zeros((window.height, window.width), np.int64)
        rows = slice(*np.searchsorted(runs.row, (window.y, window.y + window.height)).tolist())
        starts, stops = (np.clip(side[rows] - window.x, 0, window.width) for side in (runs.start, runs.stop))
        for row, start, stop, owner in zip(
            runs.row[rows] - window.y, starts, stops, self.layer.owner[rows], strict=True
        ):
            labels[row, start:stop] = owner + 1
        return labels


def _picture(ensemble: str, order: ReportOrder, name: str, chosen: dict[str, pd.DataFrame], places: Places) -> Pixels:
    """A row for each kind."""
    columns = max(map(len, chosen.values()))
    figure = Figure(figsize=(INCHES * columns + 0.3, (INCHES + 0.15) * len(chosen)), dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    panels = figure.subplots(len(chosen), columns, squeeze=False)
    rows = {row.slide: row for row in order.rows}

    @lru_cache(maxsize=8)
    def known(slide: str) -> _Known:
        row = rows[slide]
        return _Known.read(row, name, Path(places.segments(ensemble, row.shard)), Path(places.masks(row.shard)))

    for line, (kind, some) in zip(panels, chosen.items(), strict=True):
        for axes in line[len(some) :]:
            axes.set_axis_off()
        for axes, (_, one) in zip(line, some.iterrows(), strict=False):
            box = [int(one[side]) for side in ("left", "top", "right", "bottom")]
            _draw(axes, known(one["slide"]), box, crop_to_bounds=order.crop_to_bounds)
        line[0].set_ylabel(kind, fontsize=9)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _draw(axes: Axes, known: _Known, box: Sequence[int], *, crop_to_bounds: bool) -> None:
    """Draw a mistake: the image around it with both outlines."""
    row = known.row
    with open_slide(row.image, region=row.region, mpp=row.mpp, white=row.white, crop_to_bounds=crop_to_bounds) as slide:
        window = around(box, slide.size)
        image = slide.read(window)
    axes.imshow(image, extent=(window.x, window.x + window.width, window.y + window.height, window.y))
    axes.set(xticks=[], yticks=[], autoscale_on=False)
    axes.set_title(row.slide, fontsize=6, pad=2)
    left, top, right, bottom = box
    frame = Rectangle((left - 1, top - 1), right - left + 2, bottom - top + 2)
    frame.set(facecolor="none", edgecolor=_color(BOTH), linestyle=":", linewidth=0.9)
    axes.add_patch(frame)
    draw_shapes(axes, known.seen(window), "none", _color(TRUE))
    labels = known.labels(window)
    x, y = window.x + np.arange(-1, window.width + 1) + 0.5, window.y + np.arange(-1, window.height + 1) + 0.5
    for number in np.unique(labels[labels > 0]).tolist():
        own = np.pad(labels == number, 1)
        axes.contour(x, y, own, levels=[0.5], colors=[_color(FOUND)], linewidths=1).set(path_effects=LINE)


def around(box: Sequence[int], size: Size) -> Window:
    """A square around the middle of a box (left, top, right, bottom), moved into a slide of some size."""
    left, top, right, bottom = box
    edge = round(min(EDGE, max(LEAST_EDGE, AROUND * max(right - left, bottom - top))))
    corner = ((low + high - edge) // 2 for low, high in ((left, right), (top, bottom)))
    x, y = (min(max(0, start), max(0, length - edge)) for start, length in zip(corner, size, strict=True))
    return Window(x, y, edge, edge).clipped(size)


def _color(color: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = color
    return red / 255, green / 255, blue / 255
