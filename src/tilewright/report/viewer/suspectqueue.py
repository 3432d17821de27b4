"""The suspects of the audit as a queue: what nobody has decided about yet, the most contradicted first."""

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations.decisions import Decision, outline_hash
from tilewright.annotations.geometry import build
from tilewright.annotations.model import Area
from tilewright.pixels.grid import Frame
from tilewright.project.places import SUSPECTS, features_file
from tilewright.report.viewer.decisionfile import State
from tilewright.runtime.errors import DataError, Problem, UserError

MISSING = "not outlined"
"""The kind of suspects that are no outlines."""
NEAR = 0.01
"""Pixels by which the box of a suspect may differ between the table and its outline."""


@dataclass(frozen=True)
class Suspect:
    """A row of the table.

    Attributes:
        number: its place, the most contradicted first.
        slide: its slide.
        class_name: of what class the outline is, or would be.
        kind: what is suspected.
        score: how much.
        instead: the class that networks see there; may be empty.
        box: left, top, right and bottom, in pixels of the slide.
        right, down: where they see it; None: not beside.
    """

    number: int
    slide: str
    class_name: str
    kind: str
    score: float
    instead: str
    box: tuple[float, float, float, float]
    right: float | None
    down: float | None

    @property
    def said(self) -> str:
        """What its outline is called in the file for QuPath."""
        return f"{self.kind}: {self.class_name}"

    def told(self) -> dict[str, Any]:
        """What the page is told of it."""
        told = asdict(self)
        return {"class": told.pop("class_name"), **told}


@dataclass(frozen=True)
class Drawn:
    """A suspect with its area, in pixels of the image."""

    id: str
    said: str
    shape: Area

    def last(self, state: State, labels: Sequence[str]) -> Decision | None:
        """The last decision about it; its outline has one of some labels."""
        found = (one for known in self.hashes(labels) if (one := state.about(known)))
        return next(found, state.drawn_for(self.id) if self.said.startswith(MISSING) else None)

    def hashes(self, labels: Sequence[str]) -> list[str]:
        """The hashes that its outline may have."""
        return [outline_hash(label, self.shape) for label in labels]


class Outlines(NamedTuple):
    """The suspects of a slide with their areas.

    Attributes:
        drawn: the suspects.
        boxes: left, top, right and bottom in pixels of the image, float64[n, 4].
        places: of what each is called, the places of those that are called so.
    """

    drawn: list[Drawn]
    boxes: NDArray[np.float64]
    places: dict[str, NDArray[np.int64]]


class SuspectQueue:
    """The suspects of an ensemble.

    Args:
        folder: what ``audit`` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table = lru_cache(maxsize=2)(self._read_table)
        self._outlines = lru_cache(maxsize=8)(self._read_outlines)

    @property
    def is_there(self) -> bool:
        """Whether there was an audit."""
        return (self._folder / SUSPECTS).is_file()

    def suspects(self) -> list[Suspect]:
        """All of them, the most contradicted first.

        Raises:
            UserError: there is no audit.
        """
        if not self.is_there:
            remedy = "It is made of training slides with out-of-fold predictions: run snakemake, see docs/audit.md."
            raise UserError(Problem(str(self._folder), "there is no audit.", remedy))
        return self._table((self._folder / SUSPECTS).stat().st_mtime_ns)

    def suspect(self, number: int) -> Suspect:
        """One of them; errors as of ``suspects``, and where there is none of that number."""
        known = self.suspects()
        if not 0 <= number < len(known):
            raise UserError(Problem("view", f"there is no suspect {number}.", f"There are {len(known)}."))
        return known[number]

    def drawn(self, suspect: Suspect, frame: Frame) -> Drawn:
        """A suspect with its area.

        Raises:
            DataError: the files of the audit do not fit to each other.
        """
        found, boxes, places = self._slide(suspect.slide)
        box = np.add(suspect.box, (frame.x, frame.y) * 2)
        own = places.get(suspect.said, np.empty(0, np.int64))
        apart = np.abs(boxes[own] - box).max(axis=1) if len(own) else np.ones(1)
        if apart.min() > NEAR:
            where = str(features_file(self._folder, suspect.slide))
            raise DataError(Problem(where, f"lacks suspect {suspect.number}.", "Run snakemake again."))
        return found[int(own[apart.argmin()])]

    def _slide(self, slide: str) -> Outlines:
        """The areas of all suspects of a slide."""
        path = features_file(self._folder, slide)
        if not path.is_file():
            raise DataError(Problem(str(path), "is not there.", "Run snakemake again."))
        return self._outlines(slide, path.stat().st_mtime_ns)

    def _read_table(self, _time: int) -> list[Suspect]:
        path = self._folder / SUSPECTS
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                return [_suspect(number, row) for number, row in enumerate(csv.DictReader(stream))]
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(Problem(str(path), f"is damaged ({error}).", "Delete its folder and run again.")) from None

    def _read_outlines(self, slide: str, _time: int) -> Outlines:
        path = features_file(self._folder, slide)
        try:
            with gzip.open(path, "rb") as stream:
                features = json.load(stream)["features"]
            areas = [one.area for one in build([feature["geometry"] for feature in features])]
            found = [
                Drawn(feature["id"], feature["properties"]["classification"]["name"], area)
                for feature, area in zip(features, areas, strict=True)
                if area is not None
            ]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise DataError(Problem(str(path), f"is damaged ({error}).", "Delete its folder and run again.")) from None
        said = np.array([one.said for one in found])
        places = {name: np.flatnonzero(said == name) for name in set(said.tolist())}
        return Outlines(found, shapely.bounds([one.shape for one in found]).reshape(-1, 4), places)


def _suspect(number: int, row: dict[str, str]) -> Suspect:
    left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
    beside = (float(row[name]) if row[name] else None for name in ("right", "down"))
    box = (left, top, left + width, top + height)
    return Suspect(
        number, row["slide"], row["class"], row["kind"], float(row["score"]), row["instead"] or "", box, *beside
    )
