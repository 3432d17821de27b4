"""What is outlined on the training slides, and what those look like: the facts that ``plan`` reasons from.

Outlines are read once, a batch at a time; of each a few numbers are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tilewright.check.pixelorder import BARE, Alike, Order, batches_of, likely_order
from tilewright.pixels.grid import Size, Window
from tilewright.project.config import Annotations, Limits, ObjectKind, Tissue
from tilewright.project.naming import namesakes
from tilewright.project.rows import Row
from tilewright.runtime.errors import Problem, TilewrightError, UserError, raise_all
from tilewright.runtime.progress import track
from tilewright.slides import Slide, open_slide

Floats = NDArray[np.float64]
NO_LABEL = "object"
"""The label that outlines without one are given."""
NEIGHBOURS = 5
"""Outlines around one that are looked at for those that touch it."""
TOUCHING = 2.0
"""Pixels between outlines that would be one object in a mask."""
OTHER_KINDS: tuple[ObjectKind, ...] = ("detection", "cell")
"""Kinds of objects that may be outlines where annotations are none."""
LOOKED_AT, SQUARE = 24, 256
"""Squares of a slide that are looked at, and their edge in pixels."""


@dataclass(frozen=True)
class LabelFacts:
    """The outlines of a label on the training slides.

    Attributes:
        diameters: of circles of their areas, in pixels of level 0, float64[n].
        slides: slides that have some.
    """

    diameters: Floats
    slides: int


@dataclass(frozen=True)
class Facts:
    """The training slides and their outlines.

    Attributes:
        labels: by label, the most frequent first; without those that ``is_marked`` as no object.
        marked: labels that are marked so.
        objects: QuPath's kinds of objects that are outlines, where annotations are none; None: annotations are.
        unlabelled: whether outlines without a label are among them, as ``NO_LABEL``.
        rle_order: the order of run lengths in which objects hang together best; None: there are none.
        covered: share of all pixels that is outlined, overlaps counted twice.
        touching: share of outlines that lie within two pixels of another one of their label, as circles of their areas.
        sizes: width and height of each slide, in pixels of level 0.
        mpp: smallest and largest pixel in micrometres; None where a slide does not tell.
        tissue: of each slide the share of what was looked at that counts as tissue by the default thresholds.
        groups: of the training slides.
        tests: test slides.
    """

    labels: Mapping[str, LabelFacts]
    marked: Sequence[str]
    objects: Sequence[ObjectKind] | None
    unlabelled: bool
    rle_order: Order | None
    covered: float
    touching: float
    sizes: Sequence[Size]
    mpp: tuple[float, float] | None
    tissue: Sequence[float]
    groups: int
    tests: int


class _Outlined(NamedTuple):
    """Outlines whose centre lies in a slide: label, centre and diameter of each; and whether some have no label."""

    labels: list[str]
    x: Floats
    y: Floats
    diameters: Floats
    bare: bool

    def without_marked(self) -> "_Outlined":
        """Those that are objects."""
        kept = np.array([not is_marked(label) for label in self.labels], np.bool_)
        labels = [label for label in self.labels if not is_marked(label)]
        return _Outlined(labels, self.x[kept], self.y[kept], self.diameters[kept], self.bare)


def is_marked(label: str) -> bool:
    """Whether QuPath counts no objects of a class: its name ends with a star."""
    return label.endswith("*")


def survey(rows: Sequence[Row], limits: Limits) -> Facts:
    """Look at the training slides and read their outlines.

    Args:
        rows: all slides of the sheet.
        limits: bounds on images and outlines.

    Raises:
        UserError: no training slide has outlines, or images or outlines cannot be read; all that is wrong.
    """
    training = [row for row in rows if row.role != "test"]
    if not any(row.role == "train" for row in training):
        what = "no slide of the sheet has the role train."
        raise UserError(Problem("plan", what, "Give slides with outlines the role train."))
    alike = namesakes(rows, "annotations")
    order, kinds = likely_order(training, alike, limits), _kinds(training, alike, limits)
    options = Annotations(unlabelled=BARE, rle_order=order or "column_major", objects=list(kinds or ("annotation",)))
    outlined: list[_Outlined] = []
    looks: list[float] = []
    sizes: list[Size] = []
    mpp: list[float | None] = []
    problems: list[Problem] = []
    for row in track(training, "plan"):
        try:
            with open_slide(
                row.image, region=row.region, mpp=row.mpp, white=row.white, max_pixels=limits.max_pixels
            ) as slide:
                sizes.append(slide.size)
                mpp.append(slide.frame.mpp)
                looks.append(_tissue_share(slide))
                if row.annotations:
                    outlined.append(_outlines(row, alike, slide, options, limits))
        except TilewrightError as error:
            problems += error.problems
    raise_all(UserError, problems)
    objects = [each.without_marked() for each in outlined]
    if not any(len(each.labels) for each in objects):
        marked = sorted({label for each in outlined for label in each.labels})
        what = "no training slide has outlines of objects whose centre lies in it"
        told = f" (only {', '.join(marked)}, which are none, as in QuPath)" if marked else ""
        remedy = "Correct the column annotations, the files of outlines, or the column region."
        raise UserError(Problem("plan", f"{what}{told}.", remedy))
    known = [each for each in mpp if each is not None]
    return Facts(
        labels=_by_label(objects),
        marked=sorted({label for each in outlined for label in each.labels if is_marked(label)}),
        unlabelled=any(each.bare for each in outlined),
        objects=kinds,
        rle_order=order,
        covered=_covered(objects, sizes),
        touching=_touching(objects),
        sizes=sizes,
        mpp=(min(known), max(known)) if len(known) == len(mpp) else None,
        tissue=looks,
        groups=len({row.group for row in training if row.role == "train"}),
        tests=sum(row.role == "test" for row in rows),
    )


def _kinds(rows: Sequence[Row], alike: Alike, limits: Limits) -> Sequence[ObjectKind] | None:
    """The kinds of objects that have classes in the first file that holds others than annotations alone."""
    options = Annotations(unlabelled=BARE)
    for row in rows:
        if row.annotations is None:
            continue
        with suppress(TilewrightError), open_slide(row.image, max_pixels=limits.max_pixels) as slide:
            others: dict[str, int] = {}
            labels: set[str] = set()
            for batch in batches_of(row, alike, slide, options, limits):
                labels |= {each.label for each in batch.annotations if not is_marked(each.label)}
                others |= batch.left_out
                if labels - {BARE}:
                    return None
            found: list[ObjectKind] = [kind for kind in OTHER_KINDS if kind in others]
            if labels or found:
                return found or None
    return None


def _outlines(row: Row, alike: Alike, slide: Slide, options: Annotations, limits: Limits) -> _Outlined:
    labels: list[str] = []
    parts: list[Floats] = []
    for batch in batches_of(row, alike, slide, options, limits):
        labels += [each.label for each in batch.annotations]
        shapes = np.array([each.geometry for each in batch.annotations], object)
        centres = shapely.centroid(shapes)
        parts.append(np.stack([shapely.get_x(centres), shapely.get_y(centres), shapely.area(shapes)]))
    x, y, area = np.concatenate(parts, axis=1) if parts else np.empty((3, 0))
    frame = slide.frame
    inside = (x >= frame.x) & (x < frame.x + frame.width) & (y >= frame.y) & (y < frame.y + frame.height)
    kept = [label for label, here in zip(labels, inside, strict=True) if here]
    named = [NO_LABEL if label == BARE else label for label in kept]
    return _Outlined(named, x[inside], y[inside], 2 * np.sqrt(area[inside] / np.pi), BARE in kept)


def _by_label(outlined: Iterable[_Outlined]) -> dict[str, LabelFacts]:
    diameters: dict[str, list[Floats]] = {}
    for each in outlined:
        names = np.array(each.labels, dtype=object)
        for name in dict.fromkeys(each.labels):
            diameters.setdefault(name, []).append(each.diameters[names == name])
    found = {name: LabelFacts(np.concatenate(parts), len(parts)) for name, parts in diameters.items()}
    return dict(sorted(found.items(), key=lambda item: -len(item[1].diameters)))


def _covered(outlined: Iterable[_Outlined], sizes: Iterable[Size]) -> float:
    area = sum(float((np.pi / 4 * each.diameters**2).sum()) for each in outlined)
    return area / sum(size.width * size.height for size in sizes)


def _touching(outlined: Iterable[_Outlined]) -> float:
    touching, count = 0, 0
    for each in outlined:
        names = np.array(each.labels, dtype=object)
        for name in dict.fromkeys(each.labels):
            own = names == name
            touching += int(touches(each.x[own], each.y[own], each.diameters[own]).sum())
        count += len(each.diameters)
    return touching / count


def touches(x: Floats, y: Floats, diameters: Floats) -> NDArray[np.bool_]:
    """Whether each circle lies within two pixels of one of its nearest neighbours and does not hold it.

    Args:
        x: of the centres.
        y: of the centres.
        diameters: of the circles.
    """
    places = np.stack([x, y], axis=1)
    if len(places) < 2:
        return np.zeros(len(places), np.bool_)
    distance, other = cKDTree(places).query(places, k=min(NEIGHBOURS + 1, len(places)))
    radius = diameters / 2
    own, others = radius[:, None], radius[other[:, 1:]]
    apart = distance[:, 1:]
    return np.asarray(((apart <= own + others + TOUCHING) & (apart > np.abs(own - others))).any(axis=1), np.bool_)


def _tissue_share(slide: Slide) -> float:
    """Share of some squares of a slide, evenly spread, that counts as tissue by the default thresholds."""
    looked = [_tissue_in(slide.read(window).astype(np.float64) / 255) for window in _squares(slide.size)]
    return float(np.mean(looked))


def _squares(size: Size) -> Iterator[Window]:
    across = max(1, round(np.sqrt(LOOKED_AT * size.width / size.height)))
    down = max(1, LOOKED_AT // across)
    for row in range(down):
        for column in range(across):
            x, y = (round((place + 0.5) * edge / count) - SQUARE // 2 for place, edge, count in (
                (column, size.width, across), (row, size.height, down)
            ))  # fmt: skip
            yield Window(max(0, x), max(0, y), SQUARE, SQUARE).clipped(size)


def _tissue_in(pixels: Floats) -> float:
    brightest, darkest, spec = pixels.max(axis=2), pixels.min(axis=2), Tissue()
    stained = (brightest - darkest >= spec.min_chroma) | (brightest <= spec.max_brightness)
    return float((stained & (brightest >= spec.min_brightness)).mean())
