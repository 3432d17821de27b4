"""The document that ``calibrate`` writes: for each class the bounds of its objects, and how good they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilewright.project.bundle import Score
from tilewright.project.project import Bounds
from tilewright.runtime.documents import read_document, write_document
from tilewright.runtime.errors import DataError, Problem

if TYPE_CHECKING:
    from tilewright.inference.judging import Judged
    from tilewright.inference.rules import Interval
    from tilewright.pixels.histograms import Reliability

FORMAT = 4


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is found for a class.

    Attributes:
        bounds: what is found on all training slides.
        interval: where the best threshold for other groups would lie; None: it is given, or there is one group only.
        groups: groups of the slides.
        judged: Dice, and F1 of objects where they are the aim, of the slides that they are fitted on, hence optimistic.
        scores: the same of all slides and of those of each source, the slides of each fold being judged with what is
            fitted on those of the others.
        reliability: how often pixels of each probability are of the class.
    """

    bounds: Bounds
    interval: "Interval | None"
    groups: int
    judged: "Judged"
    scores: Sequence[Score]
    reliability: "Reliability"

    def told(self, score: Literal["dice", "f1"]) -> dict[str, float | None]:
        """A score as fitted, and nested: with what is fitted on other folds; None: there is one fold only."""
        return {"fitted": getattr(self.judged, score), "nested": getattr(self.scores[0], score)}


def write_calibration(fitted: Mapping[str, Fitted], slides: Sequence[str], out: Path) -> None:
    """Write what is found for each class on some slides."""
    content = {
        "format": FORMAT,
        "thresholds": {name: one.bounds.threshold for name, one in fitted.items()},
        "interval": {name: one.interval and list(one.interval) for name, one in fitted.items()},
        "groups": {name: one.groups for name, one in fitted.items()},
        "min_area": {name: one.bounds.min_area for name, one in fitted.items()},
        "dice": {name: one.told("dice") for name, one in fitted.items()},
        "scores": [score.model_dump() for one in fitted.values() for score in one.scores],
        "reliability": {name: _reliability(one.reliability) for name, one in fitted.items()},
        "slides": list(slides),
    }
    if any(one.judged.f1 is not None for one in fitted.values()):
        content |= {
            "min_confidence": {name: one.bounds.min_confidence for name, one in fitted.items()},
            "seed": {name: one.bounds.seed for name, one in fitted.items()},
            "objects": {name: one.told("f1") for name, one in fitted.items()},
        }
    write_document(out, content)


def read_bounds(path: Path, classes: Sequence[str]) -> dict[str, Bounds]:
    """The bounds of each class, in the order of ``classes``.

    Raises:
        DataError: the file is missing or damaged, or lacks a class.
    """
    content = read_document(path)
    thresholds, areas = content["thresholds"], content["min_area"]
    if missing := [name for name in classes if name not in thresholds]:
        remedy = f"Delete {path} and run the same command again."
        raise DataError(Problem(str(path), f"has no entry for {', '.join(missing)}.", remedy))
    others = {field: content.get(field, {}) for field in ("min_confidence", "seed")}
    return {
        name: Bounds(
            thresholds[name], areas[name], **{field: given[name] for field, given in others.items() if name in given}
        )
        for name in classes
    }


def read_scores(path: Path) -> list[Score]:
    """How good each class is found on slides that nothing was fitted on.

    Raises:
        DataError: the file is missing or damaged.
    """
    return [Score(**score) for score in read_document(path)["scores"]]


def _reliability(found: "Reliability") -> dict[str, Any]:
    return {
        "error": round(found.error, 6), "predicted": np.round(found.predicted, 6).tolist(),
        "observed": np.round(found.observed, 6).tolist(), "pixels": found.pixels.tolist(),
    }  # fmt: skip
