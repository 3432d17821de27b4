"""Results as the viewer finds them: whose slides they are, which files of each there are, and what is known of them.

What the run was told stands in its order of the report among the results; config and sheet are not asked.
"""

import csv
import math
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import open_raster, read_tags
from tilewright.project.claim import claimed
from tilewright.project.config import ANY
from tilewright.project.orders import ReportOrder, ReportRow, read_order
from tilewright.project.places import (
    MISTAKES,
    SLIDE_SCORES,
    SPREADS,
    Places,
    image_file,
    mask_file,
    outlines_file,
    probability_file,
    scaled_mask_file,
    segment_file,
    spread_file,
    tissue_file,
)
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean, listed
from tilewright.slides import open_slide

ORDERS = "*.json"
MISTAKE_COLUMNS = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Shown:
    """A set of predictions of a slide: of an ensemble, or of a model.

    Attributes:
        name: of the set.
        probabilities: the map; None: there is none.
        segments: folder with mask and objects of the slide; None: there is none.
        thresholds: the probability from which on a pixel is of a class, by class; empty: unknown.
        spread: the map of how far those that predict the slide are apart; None: there is none.
    """

    name: str
    probabilities: Path | None
    segments: Path | None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    spread: Path | None = None


@dataclass(frozen=True)
class Run:
    """The results of a run.

    Attributes:
        folder: the folder of all results.
        root: the folder that paths of the sheet count from.
        order: slides, classes with their colours, models, ensembles.
    """

    folder: Path
    root: Path
    order: ReportOrder

    @cached_property
    def places(self) -> Places:
        """Where everything lies."""
        return Places(str(self.folder))

    @cached_property
    def rows(self) -> dict[str, ReportRow]:
        """The slides by name, their images as they are found from here."""
        return {row.slide: row.model_copy(update={"image": self.root / row.image}) for row in self.order.rows}

    @cached_property
    def folds(self) -> dict[str, int | None]:
        """The fold of each shard that is trained on; None: external."""
        return {one.shard: one.fold for one in self.order.folds}

    @cached_property
    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Dice by ensemble, slide and class, as far as ``evaluate`` has written it."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name in self.order.ensembles:
            for row in _records(Path(self.places.metrics(name)) / SLIDE_SCORES):
                with suppress(KeyError, TypeError, ValueError):
                    found.setdefault(name, {}).setdefault(row["slide"], {})[row["class"]] = float(row["dice"])
        return found

    @cached_property
    def spreads(self) -> dict[str, dict[str, float]]:
        """How far those that predict a test slide are apart, by ensemble and slide, where it is told."""
        found: dict[str, dict[str, float]] = {}
        for row in _records(Path(self.places.report()) / SPREADS):
            with suppress(KeyError, TypeError, ValueError):
                if math.isfinite(spread := float(row["spread"])):
                    found.setdefault(row["ensemble"], {})[row["slide"]] = spread
        return found

    @cached_property
    def mistakes(self) -> dict[str, dict[str, "Mistakes"]]:
        """What is wrong with objects by ensemble and slide."""
        return {name: Mistakes.read(Path(self.places.metrics(name)) / MISTAKES) for name in self.order.ensembles}

    def row(self, slide: str) -> ReportRow:
        """A slide.

        Raises:
            UserError: there is none of that name.
        """
        if slide not in self.rows:
            raise UserError(Problem("view", f'there is no slide "{slide}".', did_you_mean(slide, self.rows)))
        return self.rows[slide]

    def overall(self, ensemble: str, slide: str) -> float | None:
        """Dice of all classes together, or their mean where not all are annotated; None: unknown."""
        dice = self.scores.get(ensemble, {}).get(slide, {})
        return dice.get(ANY, sum(dice.values()) / len(dice)) if dice else None

    def truth(self, row: ReportRow) -> Path | None:
        """The mask of the outlines of a slide, at full size, where they are annotated and drawn."""
        path = mask_file(Path(self.places.masks(row.shard)), row.slide)
        return path if row.annotated and path.is_file() else None

    def outlines(self, row: ReportRow) -> Path | None:
        """The table of the outlines of a slide."""
        path = outlines_file(Path(self.places.masks(row.shard)), row.slide)
        return path if row.annotated and path.is_file() else None

    def scaled(self, row: ReportRow) -> dict[str, Path]:
        """The folders of a slide's scaled rasters, by scale, the finest first."""
        scales = sorted(path.name for path in Path(self.places.scaled("", "")).glob("*/"))
        folders = {scale: Path(self.places.scaled(scale, row.shard)) for scale in scales}
        found = {scale: path for scale, path in folders.items() if image_file(path, row.slide).is_file()}
        return dict(sorted(found.items(), key=lambda item: frame_of(image_file(item[1], row.slide)).factor))

    def tissue(self, row: ReportRow) -> Path | None:
        """Where the tissue of a slide is, at its finest scale."""
        found = (tissue_file(folder, row.slide) for folder in self.scaled(row).values())
        return next(filter(Path.is_file, found), None)

    def scaled_mask(self, row: ReportRow, ensemble: str) -> Path | None:
        """The truth of a slide at the scale of an ensemble."""
        path = scaled_mask_file(Path(self.places.scaled(self.order.ensembles[ensemble].scale, row.shard)), row.slide)
        return path if row.annotated and path.is_file() else None

    def sets(self, row: ReportRow) -> dict[str, Shown]:
        """The sets of predictions of a slide that are there: of ensembles, then of models."""
        found = [self._of_ensemble(name, row) for name in self.order.ensembles]
        for folder in sorted(Path(self.places.all_probabilities()).glob("*/")):
            own = Path(self.places.probabilities(folder.name, row.shard))
            path, spread = probability_file(own, row.slide), spread_file(own, row.slide)
            found.append(Shown(f"model {folder.name}", _if_file(path, path), None, spread=_if_file(spread, spread)))
        return {one.name: one for one in found if one.probabilities or one.segments}

    def _of_ensemble(self, name: str, row: ReportRow) -> Shown:
        own = Path(self.places.ensembles(name, row.shard))
        map_, spread = probability_file(own, row.slide), spread_file(own, row.slide)
        segments = Path(self.places.segments(name, row.shard))
        thresholds = self._thresholds.get(name, {})
        masks = _if_file(segments, segment_file(segments, row.slide))
        return Shown(name, _if_file(map_, map_), masks, thresholds, _if_file(spread, spread))

    @cached_property
    def _thresholds(self) -> dict[str, dict[str, float]]:
        found = {}
        for name, ensemble in self.order.ensembles.items():
            path = Path(self.places.calibration(name))
            if ensemble.bounds is not None:
                found[name] = {each: bounds.threshold for each, bounds in ensemble.bounds.items()}
            elif path.is_file():
                found[name] = read_document(path)["thresholds"]
        return found

    def frame(self, row: ReportRow) -> Frame:
        """Where the slide lies in its image, by the first of its rasters, else by the file itself."""
        known = [self.truth(row), *(image_file(folder, row.slide) for folder in self.scaled(row).values())]
        for one in self.sets(row).values():
            known += [one.probabilities, segment_file(one.segments, row.slide) if one.segments else None]
        for path in known:
            if path is not None and path.is_file():
                return frame_of(path).scaled(1.0)
        with open_slide(row.image, region=row.region, mpp=row.mpp, white=row.white) as slide:
            return slide.frame


@dataclass(frozen=True)
class Mistakes:
    """What is wrong with objects of a slide, the largest first: there may be as many as objects.

    Attributes:
        kinds: class and kind, of which each is one.
        kind: place in ``kinds``, int64[n].
        box: left, top, right and bottom in pixels of the slide, int32[n, 4].
    """

    kinds: list[tuple[str, str]]
    kind: NDArray[np.int64]
    box: NDArray[np.int32]

    @classmethod
    def read(cls, path: Path) -> dict[str, "Mistakes"]:
        """Those that ``evaluate`` has listed, by slide."""
        kinds: dict[tuple[str, str], int] = {}
        found: dict[str, array[int]] = {}
        for row in _records(path):
            kind = kinds.setdefault((row["class"], row["kind"]), len(kinds))
            own = found.setdefault(row["slide"], array("i"))
            own.extend((kind, *(int(row[side]) for side in MISTAKE_COLUMNS)))
        return {slide: cls._sorted(list(kinds), np.array(own, np.int32).reshape(-1, 5)) for slide, own in found.items()}

    @classmethod
    def _sorted(cls, kinds: list[tuple[str, str]], rows: NDArray[np.int32]) -> "Mistakes":
        area = (rows[:, 3] - rows[:, 1]).astype(np.int64) * (rows[:, 4] - rows[:, 2])
        rows = rows[np.argsort(-area, kind="stable")]
        return cls(kinds, rows[:, 0].astype(np.int64), rows[:, 1:])

    def listed(self, class_name: str | None, start: int, most: int) -> tuple[list[dict[str, Any]], int]:
        """Some of them, of a class or all, from a place on; and how many they are."""
        wanted = [place for place, (name, _) in enumerate(self.kinds) if class_name in (None, name)]
        own = np.flatnonzero(np.isin(self.kind, wanted))
        some = [(*self.kinds[self.kind[place]], self.box[place].tolist()) for place in own[start : start + most]]
        return [{"class": name, "kind": kind, "box": box} for name, kind, box in some], len(own)


def frame_of(raster: Path) -> Frame:
    """The place and factor of a raster, by its tags alone.

    Raises:
        DataError: it is no raster of this project.
    """
    tags = read_tags(raster)
    if "frame" not in tags:
        raise DataError(Problem(str(raster), "does not say where it lies.", "Delete it and run again."))
    return Frame.of(_Tagged(tags))


@dataclass(frozen=True)
class _Tagged:
    tags: Mapping[str, str]


def classes_of(raster: Path) -> list[str]:
    """What the bits or bands of a raster stand for."""
    with open_raster(raster) as opened:
        return opened.classes


def find_run(path: Path) -> Run:
    """The run whose results lie in a folder, in its folder ``results``, or in its one folder that holds some.

    Raises:
        UserError: there are none, or several.
    """
    found = [folder for folder in (path, path / "results") if _orders(folder)]
    found = found or [folder for folder in sorted(path.glob("*/")) if _orders(folder)]
    if not found:
        remedy = "Name the folder of results (results/NAME), or what `tilewright apply` wrote; or run snakemake first."
        raise UserError(Problem(str(path), "holds no results of a run with a report.", remedy))
    if len(found) > 1 and found[0] not in (path, path / "results"):
        remedy = f"Name one of them: {listed([str(folder) for folder in found])}."
        raise UserError(Problem(str(path), f"holds the results of {len(found)} runs.", remedy))
    folder = found[0]
    order = read_order(ReportOrder, _last(folder))
    return Run(folder, _root(folder, order), order)


def _orders(folder: Path) -> list[Path]:
    return list(Path(Places(str(folder)).order("report", "x")).parent.glob(ORDERS))


def _last(folder: Path) -> Path:
    """The order of the report of the last run; of one that has not written it down the newest of its slides."""
    last = claimed(Places(str(folder)))
    orders = sorted(_orders(folder), key=lambda path: path.stat().st_mtime, reverse=True)
    said = (path for path in orders if path.name == last.get("report"))
    slides = set(last.get("slides", ()))
    own = (path for path in orders if {row.slide for row in read_order(ReportOrder, path).rows} == slides)
    return next(said, None) or next(own, orders[0])


def _root(folder: Path, order: ReportOrder) -> Path:
    """The folder that images are found from: this one, or one above the results."""
    places = [Path.cwd(), *folder.absolute().parents]
    return next((place for place in places if any((place / row.image).exists() for row in order.rows)), places[0])


def _records(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            yield from csv.DictReader(stream)


def _if_file(path: Path, file: Path) -> Path | None:
    return path if file.is_file() else None
