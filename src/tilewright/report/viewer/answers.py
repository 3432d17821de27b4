"""The answers to what the page asks, as plain values. All coordinates are pixels of the slide, x before y."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tilewright.inference.calibrate import slide_histograms
from tilewright.pixels.grid import BLOCK, Frame, Size
from tilewright.pixels.histograms import dice_curve
from tilewright.pixels.rasters import masks_of
from tilewright.project.config import Config
from tilewright.project.places import PAGE, segment_file
from tilewright.report.viewer.borders import config_of, folds_of, inside, tile_sets, tiles_of, windowed, windows_of
from tilewright.report.viewer.desks import Desks
from tilewright.report.viewer.layers import Asked, Layers
from tilewright.report.viewer.objects import LISTED, WIDEST, Objects
from tilewright.report.viewer.pyramids import Extracts, deepest
from tilewright.report.viewer.runs import Run, Shown, classes_of
from tilewright.report.viewer.submission import Submission
from tilewright.report.viewer.submissions import Submitted
from tilewright.runtime.errors import Problem, UserError, did_you_mean

Parts = Mapping[str, Any]
"""Of the path of a request: run, slide, and so on."""
Query = Mapping[str, str]


@dataclass(frozen=True)
class Known:
    """What is known of a slide before anything of it is drawn."""

    frame: Frame
    classes: list[str]


class Answers:
    """Answers questions about some runs.

    Attributes:
        objects: finds objects of slides.

    Args:
        runs: the runs, the one to begin with first.
        folder: a folder for indexes, outside of all results.
        submissions: files of predictions that are shown over the slides of each run.
    """

    def __init__(self, runs: Sequence[Run], folder: Path, submissions: Sequence[Submission] = ()) -> None:
        self._runs = runs
        self._desks, self._extracts = Desks(), Extracts(folder)
        self._layers = Layers(self._desks, self._extracts)
        self.objects = Objects(self._desks, self._extracts, folder)
        self._configs: list[Config | None] = [config_of(run) for run in runs]
        self._submitted = [Submitted(submissions, run, self._extracts, folder) for run in runs]
        self._known = lru_cache(maxsize=4096)(self._look)

    def close(self) -> None:
        """Close all files."""
        self._extracts.clear()
        self._desks.clear()

    def runs(self) -> dict[str, Any]:
        """All runs with their slides."""
        return {"runs": [self._run(*each) for each in zip(self._runs, self._submitted, strict=True)]}

    def _run(self, run: Run, submitted: Submitted) -> dict[str, Any]:
        ensembles = list(run.order.ensembles)
        return {
            "name": str(run.folder),
            "colors": run.order.colors,
            "ensembles": ensembles,
            "submissions": submitted.names,
            "report": Path(run.places.report(), PAGE).is_file(),
            "told": submitted.left_over(),
            "slides": [
                {
                    "slide": row.slide,
                    "role": row.role,
                    "source": row.source,
                    "group": row.group,
                    "fold": run.folds.get(row.shard),
                    "annotated": row.annotated,
                    "dice": {name: score for name in ensembles if (score := run.overall(name, row.slide)) is not None},
                    "spread": {name: own[row.slide] for name, own in run.spreads.items() if row.slide in own},
                }
                for row in run.rows.values()
            ],
        }

    def about(self, path: Parts) -> dict[str, Any]:
        """What there is of a slide."""
        run, config = self._runs[self._number(path)], self._configs[self._number(path)]
        row = run.row(path["slide"])
        known = self._known(self._number(path), row.slide)
        size, sets = known.frame.size, run.sets(row)
        return {
            "slide": row.slide, "role": row.role, "source": row.source, "group": row.group,
            "fold": run.folds.get(row.shard), "labelled": list(row.labelled), "classes": known.classes,
            "colors": run.order.colors, "width": size.width, "height": size.height, "mpp": known.frame.mpp,
            "zoom": deepest(size), "truth": run.truth(row) is not None, "tissue": run.tissue(row) is not None,
            "tiles": tile_sets(run, row, config), "windows": windowed(run, row, config), "folds": folds_of(run, row),
            "sets": [
                {
                    "name": one.name, "segments": one.segments is not None,
                    "probabilities": one.probabilities is not None, "thresholds": one.thresholds,
                    "spread": one.spread is not None,
                    "dice": run.scores.get(one.name, {}).get(row.slide, {}),
                }
                for one in sets.values()
            ] + self._submitted[self._number(path)].sets(row),
        }  # fmt: skip

    def report(self, path: Parts) -> tuple[Path, int]:
        """The folder of the report of a run, and the number of that."""
        number = self._number(path)
        return Path(self._runs[number].places.report()), number

    def told(self, path: Parts, query: Query) -> dict[str, Any]:
        """What is to be said of a submission on a slide."""
        number = self._number(path)
        row = self._runs[number].row(path["slide"])
        return {"told": self._submitted[number].told(query.get("set", ""), row, self.frame(path))}

    def thumbnail(self, path: Parts, _query: Query) -> bytes:
        """The slide as a small JPEG."""
        asked = self.asked(path, {})
        return self._layers.thumbnail(asked, self._size(path))

    def picture(self, path: Parts, _query: Query) -> bytes | None:
        """A tile of the slide itself as JPEG."""
        place = (path["zoom"], path["x"], path["y"])
        return self._layers.picture(self.asked(path, {}), *place, self._size(path))

    def values(self, path: Parts, query: Query) -> bytes | None:
        """A tile of a layer as grey PNG."""
        place = (path["zoom"], path["x"], path["y"])
        return self._layers.values(path["layer"], self.asked(path, query), *place, self._size(path))

    def outlines(self, path: Parts, query: Query) -> dict[str, Any]:
        """The outlines of true or predicted objects in a box, or how many there are, where they are too many."""
        asked, box = self.asked(path, query), _box(query)
        if max(box[2] - box[0], box[3] - box[1]) > WIDEST:
            return {"objects": [], "many": True}
        found = (self.objects.true if query.get("kind") == "true" else self.objects.predicted)(asked, box)
        many = isinstance(found, int)
        return {"objects": [] if isinstance(found, int) else [one.told() for one in found], "many": many}

    def at(self, path: Parts, query: Query) -> dict[str, Any]:
        """What is at a point."""
        return self.objects.at(self.asked(path, query), real(query, "x"), real(query, "y"))

    def listed(self, path: Parts, query: Query) -> dict[str, Any]:
        """Mistakes from the largest on, and objects from the least sure on, some at a time."""
        asked, start = self.asked(path, query), whole(query, "start")
        name = asked.shown.name if asked.shown else ""
        known = asked.run.mistakes.get(name, {}).get(asked.row.slide)
        found, mistakes = known.listed(asked.class_name, start, LISTED) if known else ([], 0)
        if query.get("order") != "unsure" and mistakes:
            return {"objects": found, "count": mistakes, "order": "mistakes", "mistakes": mistakes}
        found, count = self.objects.unsure(asked, start)
        return {"objects": found, "count": count, "order": "unsure", "mistakes": mistakes}

    def dice(self, path: Parts, query: Query) -> dict[str, Any]:
        """Dice of a slide at each of 256 thresholds, by class, as far as its truth is known."""
        asked = self.asked(path, query)
        shown = asked.shown
        if shown is None or shown.probabilities is None or shown.name not in asked.run.order.ensembles:
            return {"dice": {}}
        mask, map_ = asked.run.scaled_mask(asked.row, shown.name), shown.probabilities
        if mask is None:
            return {"dice": {}}
        labelled = asked.row.labelled

        def counted() -> dict[str, list[float]]:
            histograms = slide_histograms(labelled, map_, mask, masks_of(classes_of(map_)), BLOCK)
            return {
                name: [round(value, 4) for value in dice_curve([one], "pooled").tolist()]
                for name, one in histograms.items()
            }

        return {"dice": self._extracts.work(("dice", map_), counted)}

    def borders(self, path: Parts, query: Query) -> dict[str, Any]:
        """Borders of the tiles of a set, or of the windows of a model, in a box."""
        number = self._number(path)
        run, config = self._runs[number], self._configs[number]
        row, name = run.row(path["slide"]), query.get("name", "")
        kinds = {"tiles": (tile_sets, tiles_of), "windows": (windowed, windows_of)}
        listed, boxes = kinds.get(query.get("kind", ""), kinds["tiles"])
        if config is None or name not in (known := listed(run, row, config)):
            remedy = "" if config is None else did_you_mean(name, known)
            raise UserError(Problem("view", f'nothing is known of the borders of "{name}".', remedy))
        found = inside(boxes(run, row, config, name), _box(query))
        return {"boxes": [] if isinstance(found, int) else found, "many": isinstance(found, int)}

    def _number(self, path: Parts) -> int:
        number = int(path["run"])
        if not 0 <= number < len(self._runs):
            raise UserError(Problem("view", f"there is no run {number}.", f"There are {len(self._runs)}."))
        return number

    def asked(self, path: Parts, query: Query) -> Asked:
        """What is asked of: the slide of a path, and of a query the set of predictions and the class.

        Raises:
            UserError: there is no such run, slide or set.
            NotYet: a submission is being drawn.
        """
        number = self._number(path)
        run, submitted = self._runs[number], self._submitted[number]
        row = run.row(path["slide"])
        shown: Shown | None = None
        if (name := query.get("set")) in submitted.names:
            shown = submitted.shown(name, row, self.frame(path))
        elif name:
            sets = run.sets(row)
            if name not in sets:
                raise UserError(
                    Problem("view", f'{row.slide} has no predictions of "{name}".', did_you_mean(name, sets))
                )
            shown = sets[name]
        return Asked(run, row, shown, query.get("class") or None)

    def frame(self, path: Parts) -> Frame:
        """Where the slide of a path lies in its image."""
        return self._known(self._number(path), path["slide"]).frame

    def _size(self, path: Parts) -> Size:
        return self.frame(path).size

    def _look(self, number: int, slide: str) -> Known:
        run = self._runs[number]
        row = run.row(slide)
        rasters = [run.truth(row)]
        for one in run.sets(row).values():
            rasters += [segment_file(one.segments, slide) if one.segments else None, one.probabilities]
        known = next((path for path in rasters if path and path.is_file()), None)
        classes = masks_of(classes_of(known)) if known else list(run.order.colors)
        return Known(run.frame(row), classes)


def real(query: Query, name: str) -> float:
    """A number of a query.

    Raises:
        UserError: it is none.
    """
    try:
        if math.isfinite(found := float(query[name])):
            return found
    except (KeyError, ValueError):
        pass
    raise UserError(Problem(f"view, {name}", f'"{query.get(name, "")}" is no number.'))


def whole(query: Query, name: str) -> int:
    """A whole number of a query; left out: 0; errors as of ``real``."""
    return int(real(query, name)) if name in query else 0


def _box(query: Query) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in query.get("box", "").split(","))
    except ValueError:
        what = f'"{query.get("box", "")}" is no box.'
        raise UserError(Problem("view, box", what, "Give left,top,right,bottom.")) from None
    return left, top, right, bottom
