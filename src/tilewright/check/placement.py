"""Whether outlines lie where their slides show something: inside, on pixels, or rather on another slide."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations import Annotation
from tilewright.annotations.tally import OTHER_IMAGE
from tilewright.check.findings import Findings
from tilewright.pixels.grid import Frame, Size
from tilewright.project.config import PixelRule
from tilewright.project.rows import Row
from tilewright.runtime.errors import Problem, listed


@dataclass(frozen=True)
class _Place:
    """Where the outlines of a slide lie that do not all lie in it.

    Attributes:
        where: file and slide.
        what: what is wrong, without its end.
        reach: the right and the lower end of the farthest, in pixels of the whole image; None: they do not tell.
        harmful: whether no outline lies on a pixel.
    """

    where: str
    slide: str
    what: str
    reach: Size | None
    harmful: bool


class OutlinePlaces:
    """Compares the outlines of each slide with it, and what does not fit with the other slides."""

    def __init__(self, findings: Findings, rule: PixelRule) -> None:
        self._findings, self._rule = findings, rule
        self._images: dict[str, Size] = {}
        self._places: list[_Place] = []

    def add(self, row: Row, path: Path, annotations: Sequence[Annotation], frame: Frame) -> None:
        """Take in a slide and its outlines, at least one.

        Args:
            row: the slide.
            path: its file of outlines.
            annotations: the outlines, in pixels of the whole image.
            frame: where the slide lies.
        """
        self._images[row.slide] = frame.image
        bounds: NDArray[np.float64] = shapely.bounds([annotation.geometry for annotation in annotations])
        where, count = f"{path} (slide {row.slide})", len(bounds)
        outside = _shares_outside(bounds, frame)
        if row.region is not None:
            if (outside >= 1).all():
                self._places.append(_Place(where, row.slide, "no outline lies in its region", None, False))
            return
        size, reach = f"{frame.width} x {frame.height}", Size(*np.ceil(bounds[:, 2:].max(axis=0)).astype(int).tolist())
        hidden = _without_pixels(bounds, self._rule)
        if (outside >= 1).all() or hidden.all():
            what = f"of its {count} outline(s) none covers a pixel of the {size}"
            self._places.append(_Place(where, row.slide, what, reach if not hidden.all() else None, True))
        elif (outside >= 0.5).any():
            what = f"of its {count} outlines {int((outside >= 0.5).sum())} lie by half or more outside of the {size}"
            self._places.append(_Place(where, row.slide, what, reach, False))
        if hidden.any() and not hidden.all():
            what = f"of its {count} outlines {int(hidden.sum())} cover no centre of a pixel, and are not drawn"
            self._places.append(_Place(where, row.slide, what, None, False))

    def judge(self) -> None:
        """Tell what does not fit, with the slides that it fits."""
        for place in self._places:
            fitting = self._fitting(place) if place.reach else []
            remedy = f"They fit {listed(fitting, 3)}; are files mixed up in the sheet? " if fitting else ""
            remedy += OTHER_IMAGE
            problems = self._findings.errors if place.harmful else self._findings.warnings
            problems["outlines"].append(Problem(place.where, f"{place.what}.", remedy))

    def _fitting(self, place: _Place) -> list[str]:
        """The other slides that the outlines lie in, the smallest first."""
        assert place.reach
        width, height = place.reach
        fitting = sorted(
            (size.width * size.height, f"slide {name} ({size.width} x {size.height})")
            for name, size in self._images.items()
            if name != place.slide and size.width >= width and size.height >= height
        )
        return [name for _, name in fitting]


def _shares_outside(bounds: NDArray[np.float64], frame: Frame) -> NDArray[np.float64]:
    """The share of the box of each outline that lies outside of a frame, float64[n]; 1: none of it lies inside."""
    low, high = bounds[:, :2], bounds[:, 2:]
    corner, end = np.array([frame.x, frame.y]), np.array([frame.x + frame.width, frame.y + frame.height])
    inside = np.clip(np.minimum(high, end) - np.maximum(low, corner), 0, None).prod(axis=1)
    share: NDArray[np.float64] = 1 - inside / np.maximum((high - low).prod(axis=1), 1e-12)
    return share


def _without_pixels(bounds: NDArray[np.float64], rule: PixelRule) -> NDArray[np.bool_]:
    """Whether the box of each outline holds no pixel that it could cover, bool[n]."""
    if rule == "all_touched":
        return np.zeros(len(bounds), np.bool_)
    hidden: NDArray[np.bool_] = np.any(np.ceil(bounds[:, :2] - 0.5) > bounds[:, 2:] - 0.5, axis=1)
    return hidden
