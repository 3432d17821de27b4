"""Samples of what is annotated: parts of slides as they are, with outlines, filled, and with a colour an object.

In: slides and the outlines that ``rasterize`` recorded. Out: a picture for each class, a row for each sample. At most
``EDGE`` pixels square of a slide are read at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from tilewright.pixels.grid import Size, Window
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import ReportOrder, ReportRow
from tilewright.project.places import Places, mask_file, outlines_file
from tilewright.report.overlays import Pixels, write_jpeg
from tilewright.runtime.progress import track
from tilewright.segments.predictions import read_columns
from tilewright.slides import open_slide

EDGE = 1024
"""Largest edge of a sample, in pixels of the slide."""
WHOLE = 768
"""Longest edge of a slide that is shown whole, in pixels."""
SPAN = 8
"""Edge of a sample, in edges of a square as large as the object in its middle."""
MOST = 12
"""Most rows of a picture."""
INCHES, DPI = 2.1, 110
TITLES = ("image", "outlines", "class", "objects")
PALETTE = [colormaps["tab20"](place / 20) for place in range(20)]
Shapes = NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """A part of a slide.

    Attributes:
        row: the slide.
        window: the part, in pixels of the slide.
        shapes: outlines of the class that it shows, in pixels of the slide.
    """

    row: ReportRow
    window: Window
    shapes: Shapes


def draw_samples(order: ReportOrder, places: Places, folder: Path) -> Iterator[tuple[str, str]]:
    """Draw the samples of each class, and yield the classes with the names of the files.

    Args:
        order: slides, classes with their colours, and how many samples are shown of each source.
        places: where masks and outlines are.
        folder: where the pictures are written.
    """
    for number, name in enumerate(track(list(order.colors), "samples")):
        samples = list(choose_samples(order, places, name))[:MOST]
        if samples:
            write_jpeg(_picture(samples, order, name), folder / (file := f"samples-{number}.jpg"))
            yield name, file


def choose_samples(order: ReportOrder, places: Places, name: str) -> Iterator[Sample]:
    """Parts of slides of each source around objects of a class that are neither small nor large for their slide."""
    annotated = [row for row in order.rows if row.annotated and name in row.labelled]
    for source in sorted({row.source for row in annotated}):
        found = (_sample(row, places, name) for row in annotated if row.source == source)
        yield from _first(found, order.report.samples)


def _first(found: Iterator[Sample | None], count: int) -> Iterator[Sample]:
    for sample in found if count else ():
        if sample is not None:
            yield sample
            count -= 1
            if not count:
                return


def _sample(row: ReportRow, places: Places, name: str) -> Sample | None:
    masks = Path(places.masks(row.shard))
    if not mask_file(masks, row.slide).is_file():
        return None
    with open_raster(mask_file(masks, row.slide)) as raster:
        size = raster.size
    outlines = read_columns(outlines_file(masks, row.slide), ["class", "geometry"])
    shapes = shapely.from_wkb(np.asarray(outlines["geometry"])[np.asarray(outlines["class"]) == name])
    if not len(shapes):
        return None
    window = around(shapes, size)
    left, top = window.x, window.y
    inside = shapely.STRtree(shapes).query(shapely.box(left, top, left + window.width, top + window.height))
    return Sample(row, window, shapes[np.sort(inside)])


def around(shapes: Shapes, size: Size) -> Window:
    """A window around the object whose area is the median one; of a small slide, all of it.

    Args:
        shapes: outlines, in pixels of the slide.
        size: of the slide.
    """
    if max(size) <= WHOLE:
        return Window(0, 0, *size)
    areas = shapely.area(shapes)
    middle = np.argsort(areas, kind="stable")[len(areas) // 2]
    edge = round(min(EDGE, max(EDGE / 4, SPAN * float(areas[middle]) ** 0.5)))
    center = shapely.centroid(shapes[middle])
    corner = (round(place - edge / 2) for place in (center.x, center.y))
    left, top = (min(max(0, start), max(0, length - edge)) for start, length in zip(corner, size, strict=True))
    return Window(left, top, edge, edge).clipped(size)


def _picture(samples: Sequence[Sample], order: ReportOrder, name: str) -> Pixels:
    """A row for each sample: image, outlines, filled, and each object in a colour of its own."""
    rows, columns = len(samples), len(TITLES)
    figure = Figure(figsize=(INCHES * columns + 0.3, INCHES * rows + 0.3), dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    color = order.colors[name]
    for line, sample in zip(panels, samples, strict=True):
        window, row = sample.window, sample.row
        with open_slide(
            row.image, region=row.region, mpp=row.mpp, white=row.white, crop_to_bounds=order.crop_to_bounds
        ) as slide:
            image = slide.read(window)
        for axes in line:
            axes.imshow(image, extent=(window.x, window.x + window.width, window.y + window.height, window.y))
            axes.set(xticks=[], yticks=[], autoscale_on=False)
        draw_shapes(line[1], sample.shapes, "none", color)
        draw_shapes(line[2], sample.shapes, color, "none")
        draw_shapes(line[3], sample.shapes, [PALETTE[place % 20] for place in range(len(sample.shapes))], "none")
        line[0].set_ylabel(f"{sample.row.source}\n{sample.row.slide}", fontsize=7)
    for axes, title in zip(panels[0], TITLES, strict=True):
        axes.set_title(title, fontsize=9)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def draw_shapes(axes: Axes, shapes: Shapes, fill: Any, line: Any) -> None:
    """Draw outlines, filled or as lines; both are colours of matplotlib."""
    paths = [_path(shape) for shape in shapes]
    axes.add_collection(PathCollection(paths, facecolors=fill, edgecolors=line, linewidths=1, alpha=0.8))


def _path(shape: shapely.Geometry) -> Outline:
    """An outline with its holes as one path."""
    parts = shapely.get_parts(shape)
    rings = [ring for part in parts for ring in shapely.get_rings(part)]
    return Outline.make_compound_path(*(Outline(shapely.get_coordinates(ring), closed=True) for ring in rings))
