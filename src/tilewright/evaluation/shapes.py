"""The geometry of suspects as GeoJSON, in pixels of the image: outlines as they were drawn, objects as predicted."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry import mapping

from tilewright.evaluation.inspection import shelved_shapes
from tilewright.evaluation.shelf import Shelf, runs_of_pieces, shelf
from tilewright.masks.outlines import in_image
from tilewright.pixels.grid import Frame
from tilewright.pixels.runs import Ints
from tilewright.pixels.tracing import trace

Geometries = dict[int, dict[str, Any]]


class Shapes:
    """The shapes of a slide; made by ``shapes_of``."""

    def __init__(self, outlines: Path, drawn: Shelf, runs: Shelf, frame: Frame) -> None:
        self._outlines, self._drawn, self._runs, self._frame = outlines, drawn, runs, frame

    @cached_property
    def _places(self) -> tuple[Ints, Ints]:
        return shelved_shapes(self._outlines, self._drawn)

    def drawn(self, rows: pd.DataFrame) -> Geometries:
        """Some outlines, by the column outline: their places in the file."""
        chosen = rows["outline"].to_numpy(np.int64)
        begin, length = (each[chosen] for each in self._places)
        shapes = in_image(shapely.from_wkb(np.array(self._drawn.get(begin, length), object)), self._frame)
        return {place: mapping(shape) for place, shape in zip(chosen.tolist(), shapes, strict=True)}

    def traced(self, rows: pd.DataFrame) -> Geometries:
        """Some predicted objects, by the column object, where begin and length tell where their runs are."""
        begin, length = (rows[name].to_numpy(np.int64) for name in ("begin", "length"))
        runs, owner = runs_of_pieces(self._runs.get(begin, length), self._frame.height, self._frame.width)
        return dict(zip(rows["object"].tolist(), trace(runs, owner, self._frame.x, self._frame.y), strict=True))


@contextmanager
def shapes_of(outlines: Path, runs: Path, frame: Frame) -> Iterator[Shapes]:
    """The shapes of a slide.

    Args:
        outlines: the table of its outlines.
        runs: the shelf of runs of predicted objects; beside it, shapes wait on another one meanwhile.
        frame: of the slide.
    """
    with (
        tempfile.TemporaryDirectory(dir=runs.parent) as private,
        shelf(Path(private, "shapes")) as drawn,
        shelf(runs) as kept,
    ):
        yield Shapes(outlines, drawn, kept, frame)
