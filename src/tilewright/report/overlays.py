"""Pictures of slides with the outlines of truth and prediction.

In: a slide, its true mask and its predicted one. Out: pictures whose longest edge is bounded. Rasters are read at the
resolution of the picture, so memory depends on the picture, not on the slide. Arrays are rows x columns, lines x
before y.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
import pyvips
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from rasterio.enums import Resampling

from tilewright.pixels.grid import Size, Window
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import ReportRow
from tilewright.slides import open_slide

DPI = 100
LARGEST_ZOOM = 2
LEGEND_LINE = 26
LEGEND_COLUMN = 145
GREY = "#707070"
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Style:
    """How areas are drawn.

    Attributes:
        width: of the line, in pixels of the picture.
        line: colour of the line; None: that of the class.
        casing: colour beside the line, which keeps it visible on any stain.
        fill: opacity of the class's colour inside, 0 to 1.
    """

    width: float
    line: str | None
    casing: str
    fill: float


TRUTH = Style(1.1, "#ffffff", "#404040", 0.42)
PREDICTION = Style(1.9, None, "#101010", 0.0)


@dataclass(frozen=True)
class SlideView:
    """What a picture shows.

    Attributes:
        image: rows x columns x 3, as large as the picture.
        truth: mask of each class that is annotated, at the resolution that was read.
        predicted: mask of each class, at the same resolution.
    """

    image: Pixels
    truth: dict[str, Mask]
    predicted: dict[str, Mask]


def picture_size(slide: Size, max_edge: int) -> Size:
    """Size of the picture of a slide.

    Reduced to ``max_edge``, or enlarged a whole number of times where it is small.
    """
    longest = max(slide)
    if longest <= max_edge:
        zoom = min(max_edge // longest, LARGEST_ZOOM)
        return Size(slide.width * zoom, slide.height * zoom)
    return Size(*(max(1, round(edge * max_edge / longest)) for edge in slide))


def read_view(
    row: ReportRow,
    truth: Path | None,
    predicted: Path,
    scaled: Path,
    classes: Sequence[str],
    max_edge: int,
    *,
    crop_to_bounds: bool = True,
) -> SlideView:
    """Read a slide at the resolution of its picture.

    Args:
        row: the slide.
        truth: its full-size bit mask; None: not annotated.
        predicted: its full-size predicted bit mask.
        scaled: its scaled image, used where the slide is much larger than the picture.
        classes: names in the order of the bits.
        max_edge: longest edge of the picture.
        crop_to_bounds: see ``open_slide``.
    """
    with open_raster(predicted) as raster:
        slide = raster.size
    picture = picture_size(slide, max_edge)
    small = max(slide) <= 2 * max_edge
    if small:
        image = _whole_slide(row, picture, crop_to_bounds=crop_to_bounds)
    else:
        image = _resized(_reduced(scaled, picture, Resampling.average), picture)
    masks = Size(*map(min, picture, slide))
    return SlideView(
        image=image,
        truth=_bits(truth, masks, [name for name in classes if name in row.labelled], classes) if truth else {},
        predicted=_bits(predicted, masks, classes, classes),
    )


def _whole_slide(row: ReportRow, picture: Size, *, crop_to_bounds: bool) -> Pixels:
    with open_slide(row.image, region=row.region, mpp=row.mpp, white=row.white, crop_to_bounds=crop_to_bounds) as slide:
        return _resized(slide.read(Window(0, 0, *slide.size)), picture)


def _bits(path: Path, size: Size, names: Sequence[str], classes: Sequence[str]) -> dict[str, Mask]:
    pixels = _reduced(path, size, Resampling.nearest, classes)[..., 0]
    return {name: ((pixels >> classes.index(name)) & 1).astype(bool) for name in names}


def _reduced(path: Path, size: Size, resampling: Resampling, classes: Sequence[str] | None = None) -> NDArray[Any]:
    """A TIFF at most as large as ``size``, rows x columns x bands."""
    with open_raster(path, classes) as raster:
        return raster.reduced(size, resampling)


def _resized(pixels: Pixels, size: Size) -> Pixels:
    """An image (rows x columns x 3) at exactly ``size``."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size.width / width, vscale=size.height / height).numpy(), np.uint8)


def outline_layer(masks: Mapping[str, Mask], colors: Mapping[str, str], style: Style, size: Size) -> Pixels:
    """Areas of the classes on a transparent ground, rows x columns x 4 (alpha not multiplied in).

    Args:
        masks: mask of each class.
        colors: colour of each class.
        style: how areas are drawn.
        size: of the layer.
    """
    canvas, axes = _canvas(size, "none")
    for name, mask in masks.items():
        if style.fill and mask.any():
            color = np.array(to_rgba(colors[name], style.fill))
            extent = (0.0, float(size.width), float(size.height), 0.0)
            axes.imshow(mask[..., np.newaxis] * color, extent=extent, interpolation="nearest", zorder=1)
        axes.add_collection(_lines(_contours(mask, size), colors[name], style), autolim=False)
    return _drawn(canvas)


def _canvas(size: Size, ground: str) -> tuple[FigureCanvasAgg, Axes]:
    """A canvas whose coordinates are its pixels, y downwards."""
    figure = Figure(figsize=(size.width / DPI, size.height / DPI), dpi=DPI, facecolor=ground)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size.width), ylim=(size.height, 0), autoscale_on=False)
    axes.set_axis_off()
    return FigureCanvasAgg(figure), axes


def _drawn(canvas: Any) -> Pixels:
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _lines(paths: Sequence[NDArray[np.float64]], color: str, style: Style) -> LineCollection:
    points = 72 / DPI
    lines = LineCollection(list(paths), colors=style.line or color, linewidths=style.width * points, zorder=2)
    lines.set_path_effects([withStroke(linewidth=(style.width + 1.3) * points, foreground=style.casing, alpha=0.6)])
    return lines


def _contours(mask: Mask, size: Size) -> list[NDArray[np.float64]]:
    """Closed lines around a mask, in pixels of a layer of ``size``."""
    height, width = mask.shape
    padded = np.pad(mask, 1).astype(np.float64)
    scale = np.array([size.width / width, size.height / height])
    lines = contourpy.contour_generator(z=padded, line_type=contourpy.LineType.Separate).lines(0.5)
    # the centre of the first pixel is 1 in the padded mask and half a pixel from the picture's corner
    return [(np.asarray(line) - 0.5) * scale for line in lines]


def composite(image: Pixels, layers: Sequence[Pixels]) -> Pixels:
    """Layers (rows x columns x 4) laid on an image (rows x columns x 3)."""
    result = image.astype(np.float32)
    for layer in layers:
        alpha = layer[..., 3:].astype(np.float32) / 255
        result += (layer[..., :3] - result) * alpha
    return (result + 0.5).astype(np.uint8)


def legend(colors: Mapping[str, str], width: int, *, truth: bool) -> Pixels:
    """A strip that explains a picture, rows x columns x 3.

    Args:
        colors: colour of each class.
        width: of the picture, in pixels.
        truth: whether the picture shows the truth.
    """
    prediction = Style(2.6, None, PREDICTION.casing, 0.0)
    classes = Style(0.8, None, "#ffffff", 1.0)
    entries = [(name, color, classes) for name, color in colors.items()]
    entries += [("truth (filled)", GREY, TRUTH)] if truth else []
    entries += [("prediction (line)", GREY, prediction)]
    columns = max(1, min(len(entries), width // LEGEND_COLUMN))
    size = Size(width, LEGEND_LINE * -(-len(entries) // columns) + 12)
    canvas, axes = _canvas(size, "white")
    for index, (name, color, style) in enumerate(entries):
        x = 10 + index % columns * (width - 10) / columns
        y = 6 + LEGEND_LINE * (index // columns + 0.5)
        box = np.array([[x, y - 6], [x + 20, y - 6], [x + 20, y + 6], [x, y + 6], [x, y - 6]])
        axes.fill(*box.T, color=color, alpha=style.fill, linewidth=0)
        axes.add_collection(_lines([box], color, style), autolim=False)
        axes.text(x + 27, y, name, va="center", fontsize=10, color="#222222")
    return _drawn(canvas)[..., :3]


def write_png(pixels: Pixels, path: Path, *, palette: bool = False) -> None:
    """Write a picture; with ``palette`` in at most 256 colours, which takes a third of the space."""
    # libvips takes four bands for anything but colour with opacity unless it is told
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation="srgb")
    image.pngsave(str(path), compression=6, palette=palette)


def write_jpeg(pixels: Pixels, path: Path) -> None:
    """Write a photograph: a tenth of the size of a PNG."""
    pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).jpegsave(str(path), Q=90, optimize_coding=True)
