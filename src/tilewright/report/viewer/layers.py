"""The layers of a slide as tiles: pictures as JPEG, everything else as grey PNG whose values the page colours.

Truth and prediction hold the number of the class from 1 (of several the last), ``IGNORED`` where pixels do not count;
the difference ``HIT``, ``MISSED`` or ``WRONG``; tissue 1; probabilities 0 to 255; spreads as well, 255 being 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tilewright.inference.spread import SPREAD_LEVELS
from tilewright.pixels.grid import Frame, Size, Window
from tilewright.pixels.rasters import Raster, masks_of, open_raster
from tilewright.project.orders import ReportRow
from tilewright.project.places import image_file, segment_file
from tilewright.report.viewer.desks import Desk, Desks
from tilewright.report.viewer.pyramids import Extracts, Planes, blended, cells_of, padded, sample
from tilewright.report.viewer.runs import Run, Shown
from tilewright.runtime.errors import Problem, UserError, did_you_mean
from tilewright.slides import open_slide

IGNORED, HIT, MISSED, WRONG = 255, 1, 2, 3
QUALITY = 87
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Asked:
    """What is asked of a slide: its run and row, a set of predictions, and one of its classes or all (None)."""

    run: Run
    row: ReportRow
    shown: Shown | None
    class_name: str | None

    @property
    def key(self) -> tuple[str, str]:
        """Of the desk at which the slide is read."""
        return (str(self.run.folder), self.row.slide)


class Layers:
    """Cuts tiles of slides."""

    def __init__(self, desks: Desks, extracts: Extracts) -> None:
        self._desks, self._extracts = desks, extracts

    def picture(self, asked: Asked, zoom: int, x: int, y: int, size: Size) -> bytes | None:
        """A tile of the slide itself as JPEG; None: it lies outside.

        Raises:
            SlideError: the file is gone or damaged.
        """
        place = cells_of(size, zoom, x, y)
        if place is None:
            return None
        pixels = self._desks.run((*asked.key, "slide"), lambda desk: _planes(desk, asked).cut(*place))
        return encode_jpeg(padded(pixels, 255))

    def thumbnail(self, asked: Asked, size: Size) -> bytes:
        """The slide as small as one tile, as JPEG."""
        place = cells_of(size, 0, 0, 0)
        assert place
        pixels = self._desks.run((*asked.key, "slide"), lambda desk: _planes(desk, asked).small(*place))
        return encode_jpeg(pixels)

    def values(self, layer: str, asked: Asked, zoom: int, x: int, y: int, size: Size) -> bytes | None:
        """A tile of another layer as grey PNG; None: it lies outside, or there is no such layer of the slide.

        Raises:
            NotYet: it is being made.
            DataError: a raster is damaged.
        """
        place = cells_of(size, zoom, x, y)
        drawn = DRAWN.get(layer)
        if drawn is None:
            raise UserError(Problem("view", f'there is no layer "{layer}".', did_you_mean(layer, DRAWN)))
        if place is None:
            return None
        found = self._desks.run((*asked.key, layer), lambda desk: drawn(_Cut(desk, self._extracts, *place), asked))
        return None if found is None else encode_png(padded(found))


def _planes(desk: Desk, asked: Asked) -> Planes:
    row, order = asked.row, asked.run.order
    slide = desk.open("slide", lambda: open_slide(
        row.image, region=row.region, mpp=row.mpp, white=row.white, crop_to_bounds=order.crop_to_bounds
    ))  # fmt: skip
    return desk.hold("planes", lambda: Planes(slide, lambda: _scaled(desk, asked)))


def _scaled(desk: Desk, asked: Asked) -> list[Raster]:
    images = [image_file(folder, asked.row.slide) for folder in asked.run.scaled(asked.row).values()]
    return [desk.open(path, partial(open_raster, path)) for path in images]


@dataclass(frozen=True)
class _Cut:
    """Cuts some cells out of rasters that are open at a desk."""

    desk: Desk
    extracts: Extracts
    cells: Window
    factor: float

    def raster(self, path: Path) -> Raster:
        return self.desk.open(path, lambda: open_raster(path))

    def values(self, path: Path) -> NDArray[Any]:
        return sample(self.raster(path), path, self.cells, self.factor, self.extracts)


def _truth(cut: _Cut, asked: Asked) -> Grey | None:
    path = asked.run.truth(asked.row)
    return None if path is None else _numbered(cut.values(path)[0], cut.raster(path).classes, asked.class_name)


def _prediction(cut: _Cut, asked: Asked) -> Grey | None:
    path = _predicted(asked)
    return None if path is None else _numbered(cut.values(path)[0], cut.raster(path).classes, asked.class_name)


def _difference(cut: _Cut, asked: Asked) -> Grey | None:
    true, found = asked.run.truth(asked.row), _predicted(asked)
    if true is None or found is None:
        return None
    classes = [name for name in cut.raster(true).classes if asked.class_name in (None, name)]
    labelled = [name for name in classes if name in asked.row.labelled]
    truth, prediction = cut.values(true)[0], cut.values(found)[0]
    result = np.zeros(truth.shape, np.uint8)
    for name in labelled:
        own, other = (
            _bit(values, cut.raster(path).classes, name) for values, path in ((truth, true), (prediction, found))
        )
        result[own & other & (result == 0)] = HIT
        result[own & ~other] = MISSED
        result[other & ~own] = WRONG
    result[_ignored(truth, cut.raster(true).classes)] = IGNORED
    return result


def _tissue(cut: _Cut, asked: Asked) -> Grey | None:
    path = asked.run.tissue(asked.row)
    return None if path is None else (cut.values(path)[0] != 0).astype(np.uint8)


def _probability(cut: _Cut, asked: Asked) -> Grey | None:
    path = asked.shown.probabilities if asked.shown else None
    return None if path is None else _levels(cut, path, asked.class_name)


def _spread(cut: _Cut, asked: Asked) -> Grey | None:
    path = asked.shown.spread if asked.shown else None
    return None if path is None else _levels(cut, path, None, SPREAD_LEVELS)


def _levels(cut: _Cut, path: Path, class_name: str | None, levels: int = 255) -> Grey:
    """A band, or the largest of those of the classes, 0 to 255; between pixels it is interpolated."""
    raster = cut.raster(path)
    names = masks_of(raster.classes)
    if class_name is not None and class_name not in names:
        raise UserError(Problem(str(path), f'holds no class "{class_name}".', did_you_mean(class_name, names)))
    band = None if class_name is None else names.index(class_name)
    if cut.factor < Frame.of(raster).factor:
        values = blended(raster, cut.cells, cut.factor, band)
    else:
        found = cut.values(path)
        values = found[: len(names)].max(axis=0) if band is None else found[band]
    return np.rint(values * (levels if raster.dtype.kind == "f" else 1)).astype(np.uint8)


DRAWN = {
    "truth": _truth,
    "prediction": _prediction,
    "difference": _difference,
    "tissue": _tissue,
    "probability": _probability,
    "spread": _spread,
}


def _predicted(asked: Asked) -> Path | None:
    return segment_file(asked.shown.segments, asked.row.slide) if asked.shown and asked.shown.segments else None


def _bit(values: NDArray[Any], classes: Sequence[str], name: str) -> NDArray[np.bool_]:
    if name not in classes:
        return np.zeros(values.shape, np.bool_)
    return _set(values, classes.index(name))


def _ignored(values: NDArray[Any], classes: Sequence[str]) -> NDArray[np.bool_]:
    return _set(values, len(classes))


def _set(values: NDArray[Any], bit: int) -> NDArray[np.bool_]:
    return np.asarray(values & values.dtype.type(1 << bit), np.bool_)


def _numbered(values: NDArray[Any], classes: Sequence[str], only: str | None) -> Grey:
    result = np.zeros(values.shape, np.uint8)
    for number, name in enumerate(classes, 1):
        if only in (None, name):
            result[_bit(values, classes, name)] = number
    result[_ignored(values, classes)] = IGNORED
    return result


def encode_jpeg(pixels: NDArray[Any]) -> bytes:
    """Rows x columns x 3 (RGB) as JPEG."""
    ok, found = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert ok
    return bytes(found)


def encode_png(pixels: Grey) -> bytes:
    """Rows x columns as grey PNG."""
    ok, found = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert ok
    return bytes(found)
