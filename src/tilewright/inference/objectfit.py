"""What becomes an object of a class, fitted for the F1 of objects: threshold, seed, least size and least confidence.

The objects of a slide are found once at each level (threshold and seed) of a grid. What every least size and every
least confidence would leave of them follows from a table of sums, so that all four are chosen together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.inference.candidates import Candidates, Level, slide_candidates, tells_seeds
from tilewright.inference.judging import Judged, KnownSlide, by_group, dice_of
from tilewright.inference.rules import RULES, Evidence, Interval, draws_of_groups
from tilewright.pixels.instances import OVERLAPS
from tilewright.project.config import Limits
from tilewright.project.orders import CalibrateOrder
from tilewright.project.project import Bounds

STEP, LOWEST, HIGHEST = 0.1, 0.1, 0.9
"""Of the values of a grid."""
FINER = 0.05
"""How far around the threshold that the grid leads to a better one is looked for."""
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
SEEDS = (0.4, 0.5, 0.6)
"""What seeds exceed, where bands tell which pixels are between objects; elsewhere there is one value, for nothing."""
SIZES = (0, *sorted({round(4 * 1.25**power) for power in range(70)}))
CONFIDENCES = tuple(round(0.01 * place, 2) for place in range(100))
NEAR = 0.005
"""F1 that a smaller least size may cost at most."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """The levels that are tried; an axis with one value stays as it is.

    Attributes:
        thresholds: increasing.
        seeds: increasing.
    """

    thresholds: tuple[float, ...]
    seeds: tuple[float, ...]

    @property
    def levels(self) -> list[Level]:
        """All of them, those nearest to one half first."""
        found = [Level(threshold, seed) for threshold in self.thresholds for seed in self.seeds]
        return sorted(found, key=lambda level: (abs(level.threshold - 0.5), abs(level.seed - 0.5)))

    def widened(self, best: Collection[Level]) -> "Grid":
        """The grid with a further value beyond each end that is among the best."""
        thresholds, seeds = ({getattr(level, name) for level in best} for name in Level._fields)
        return Grid(_widened(self.thresholds, thresholds), _widened(self.seeds, seeds))


def _widened(values: tuple[float, ...], best: Collection[float]) -> tuple[float, ...]:
    ends = [(values[0], -STEP), (values[-1], STEP)] if len(values) > 1 else []
    further = {round(end + step, 2) for end, step in ends if end in best}
    return tuple(sorted({*values, *(value for value in further if LOWEST <= value <= HIGHEST)}))


class Tally(NamedTuple):
    """Objects, counted: how much of them is found (by the mean over overlaps), and how many are predicted and true.

    Each is a number, or an array of them for several bounds.
    """

    found: Floats
    predicted: Floats
    true: Floats

    def f1(self) -> Floats:
        """F1; nothing to find and nothing predicted is 1."""
        total = np.asarray(self.predicted + self.true, np.float64)
        return np.divide(2 * self.found, total, out=np.ones(np.shape(total)), where=total > 0)


class ObjectFitter:
    """Fits what becomes an object of a class.

    Threshold and seed lie on a grid that grows where its end is the best. Which of its thresholds is taken follows from
    the config's rule, as for other aims; the best around it, with a seed, is taken together with a least size and a
    least confidence, of which all are tried.

    Confidence comes before size. A least size deletes what is small and right together with what is small and wrong,
    and says the more of the slides that it was fitted on the fewer small objects they have; a least confidence deletes
    what the network doubts. Hence the smallest least size is taken whose F1, with all else as is best for it, is not
    worse than the best by more than the standard error of that (bootstrap over groups), and by no more than ``NEAR``:
    where groups are few and unlike the error is large, which is no leave to lose so much.

    Args:
        order: what is fixed, the classes, and how objects are made.
        name: the class.
        limits: the most vertices of larger structures that are read.
    """

    def __init__(self, order: CalibrateOrder, name: str, limits: Limits) -> None:
        spec, fixed = order.calibration, order.calibration.fixed(name)
        self._spec, self._order, self._name, self._limits = spec, order, name, limits
        self._thresholds = THRESHOLDS if fixed is None else (fixed,)
        self._sizes = np.array(SIZES if spec.min_area == "fit" else (spec.min_area,))
        fitted = order.objects is not None and order.objects.fit_confidence
        self._confidences = np.array(CONFIDENCES if fitted else (0.0,))
        self._overlaps = np.array(OVERLAPS if spec.overlap == "mean" else (spec.overlap,))
        self._found: dict[KnownSlide, dict[Level, Candidates]] = {}

    def fit(self, slides: Sequence[KnownSlide]) -> Bounds:
        """What is best on some slides."""
        grid, tables = self._searched(slides)
        thresholds = grid.thresholds
        if len(thresholds) > 1:
            known, evidence = self._evidence(slides, grid, tables)
            middle = known[RULES[self._spec.rule](evidence)]
            thresholds = tuple(round(middle + step, 2) for step in (-FINER, 0, FINER))
        levels = Grid(thresholds, grid.seeds).levels
        tables |= self._tables(slides, [level for level in levels if level not in tables])
        return self._least_size(slides, levels, np.stack([tables[level] for level in levels]))

    def interval(self, slides: Sequence[KnownSlide]) -> Interval | None:
        """Where the best threshold for other groups would lie; None where it is given, or there is one group only."""
        grid, tables = self._searched(slides)
        if len(grid.thresholds) == 1 or len(by_group(slides)) == 1:
            return None
        thresholds, evidence = self._evidence(slides, grid, tables)
        return Interval(*(thresholds[place] for place in evidence.interval()))

    def judge(self, bounds: Mapping[KnownSlide, Bounds]) -> Judged:
        """Dice of the pixels of the objects, and their F1, on slides with the bounds of each."""
        found = [(self._candidates(slide, _level(own)), own) for slide, own in bounds.items()]
        dice = dice_of([candidates.pixel_counts(own) for candidates, own in found], self._spec.aim)
        tallies = np.array([self._tally(candidates, own) for candidates, own in found])
        return Judged(dice, float(Tally(*tallies.sum(axis=0)).f1()))

    def _candidates(self, slide: KnownSlide, level: Level) -> Candidates:
        return self._at(slide, [level])[level]

    def _at(self, slide: KnownSlide, levels: Sequence[Level]) -> dict[Level, Candidates]:
        """The objects of a slide at some levels; what was looked for before is not looked for again."""
        known = self._found.setdefault(slide, {})
        if missing := [level for level in levels if level not in known]:
            known |= slide_candidates(slide, self._name, missing, self._order, self._limits)
        return known

    def _searched(self, slides: Sequence[KnownSlide]) -> tuple[Grid, dict[Level, Floats]]:
        """A grid whose best level lies at no end that could be wider, and F1 at each level by size and confidence."""
        seeds = SEEDS if tells_seeds(slides[0], self._name, self._order) else (Bounds(0.0, 0).seed,)
        grid, tables = Grid(self._thresholds, seeds), dict[Level, Floats]()
        while True:
            tables |= self._tables(slides, [level for level in grid.levels if level not in tables])
            most = max(table.max() for table in tables.values())
            wider = grid.widened([level for level, table in tables.items() if table.max() == most])
            if wider == grid:
                return grid, tables
            grid = wider

    def _tables(self, slides: Sequence[KnownSlide], levels: Sequence[Level]) -> dict[Level, Floats]:
        found = [self._at(slide, levels) for slide in slides]
        return {level: self._table([own[level] for own in found]) for level in levels}

    def _table(self, found: Sequence[Candidates]) -> Floats:
        """F1 of some slides at a level, float64[sizes, confidences]."""
        counts = np.concatenate([each.counts for each in found])
        area, confidence, overlap = (
            np.concatenate([getattr(each, name) for each in found])[counts]
            for name in ("area", "confidence", "overlap")
        )
        size = np.searchsorted(self._sizes, area, side="right") - 1
        place = np.searchsorted(self._confidences, confidence, side="right") - 1
        large = size >= 0
        cell = size[large] * len(self._confidences) + place[large]
        shape = len(self._sizes), len(self._confidences)
        sums = (np.bincount(cell, weights, shape[0] * shape[1]) for weights in (self._share(overlap)[large], None))
        # an object is kept by every least size and confidence up to its own
        kept = (each.reshape(shape)[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1] for each in sums)
        hits, predicted = kept
        return Tally(hits, predicted, np.array(float(sum(each.true_objects for each in found)))).f1()

    def _share(self, overlap: Floats) -> Floats:
        """Of the overlaps that are asked for those that each object reaches."""
        reached = np.searchsorted(self._overlaps, overlap, side="right")
        return np.asarray(reached / len(self._overlaps), np.float64)

    def _tally(self, candidates: Candidates, bounds: Bounds) -> tuple[float, int, int]:
        kept = candidates.kept(bounds) & candidates.counts
        found = float(self._share(candidates.overlap[kept]).sum())
        return found, int(np.count_nonzero(kept)), candidates.true_objects

    def _drawn(self, slides: Sequence[KnownSlide], tried: Sequence[Bounds]) -> Floats:
        """F1 with some bounds on draws of groups, float64[draws, bounds]."""
        groups = [
            np.sum(
                [[self._tally(self._candidates(slide, _level(own)), own) for own in tried] for slide in group], axis=0
            )
            for group in by_group(slides)
        ]
        drawn = np.einsum("dg,gbc->cdb", draws_of_groups(len(groups)), np.stack(groups))
        return Tally(*drawn).f1()

    def _evidence(
        self, slides: Sequence[KnownSlide], grid: Grid, tables: Mapping[Level, Floats]
    ) -> tuple[list[float], Evidence]:
        """What the slides say of each threshold of a grid, 0 before them, with what is best for each."""
        best = [
            max((level for level in grid.levels if level.threshold == each), key=lambda level: tables[level].max())
            for each in grid.thresholds
        ]
        tried = [self._bounds(level, int(tables[level].argmax())) for level in best]

        def drawn() -> Floats:
            return np.pad(self._drawn(slides, tried), ((0, 0), (1, 0)))

        curve = np.array([0.0, *(tables[level].max() for level in best)])
        thresholds = [0.0, *grid.thresholds]
        half = int(np.argmin(np.abs(np.array(thresholds) - 0.5)))
        return thresholds, Evidence(curve, drawn, len(by_group(slides)), half)

    def _bounds(self, level: Level, cell: int) -> Bounds:
        """The bounds of a cell of the table of a level."""
        size, confidence = divmod(cell, len(self._confidences))
        return Bounds(level.threshold, int(self._sizes[size]), float(self._confidences[confidence]), level.seed)

    def _least_size(self, slides: Sequence[KnownSlide], levels: Sequence[Level], scores: Floats) -> Bounds:
        """The smallest least size that is near the best, with what is best for it.

        Args:
            slides: the slides.
            levels: those that are left.
            scores: F1 of each, float64[levels, sizes, confidences].
        """
        curve, count = scores.max(axis=(0, 2)), len(self._confidences)

        def bounds(size: int) -> Bounds:
            level, confidence = divmod(int(scores[:, size].argmax()), count)
            return self._bounds(levels[level], size * count + confidence)

        best = int(curve.argmax())
        error = float(self._drawn(slides, [bounds(best)]).std())
        return bounds(int(np.argmax(curve >= curve[best] - min(error, NEAR) - 1e-9)))


def _level(bounds: Bounds) -> Level:
    return Level(bounds.threshold, bounds.seed)
