"""What is fitted for objects, against plain loops over everything that could be chosen."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import rasterize
from scenes import HEIGHT, NOTHING, WIDTH, order_of_objects, scene, write_slide

from tilewright.evaluation.evaluate import score_slide
from tilewright.inference import objectfit
from tilewright.inference.candidates import Candidates, Level, slide_candidates
from tilewright.inference.judging import KnownSlide, nested
from tilewright.inference.objectfit import CONFIDENCES, NEAR, SIZES, THRESHOLDS, Grid, ObjectFitter
from tilewright.pixels.instances import OVERLAPS
from tilewright.project.config import DEFAULT_LIMITS, Segmentation
from tilewright.project.orders import EvaluateOrder, EvaluateRow, SegmentOrder, SegmentRow
from tilewright.project.project import Bounds
from tilewright.segments.segment import segment


def slides(folder, count=4, **options):
    return [write_slide(folder, f"s{seed}", *scene(seed), **options) for seed in range(count)]


def evaluated(folder, names, bounds, segmentation):
    """True, predicted and found objects, and pixels, as the steps ``segment`` and ``evaluate`` have them."""
    order = SegmentOrder(
        rows=[SegmentRow(slide=name) for name in names], colors={"cell": "#ff0000"}, segmentation=segmentation,
        bounds={"cell": bounds},
    )  # fmt: skip
    out = folder.parent / "segments"
    segment(order, probabilities=folder / "p", calibration=folder / "none", out=out)
    judged = EvaluateOrder(rows=[], classes=["cell"], iou=0.5, boundary=1)
    rows = [EvaluateRow(slide=name, shard="s", role="train", labelled=["cell"]) for name in names]
    return [next(score_slide(row, folder, out, judged)) for row in rows]


@pytest.mark.parametrize("touching", [False, True])
@pytest.mark.parametrize(
    "segmentation",
    [
        Segmentation(),
        Segmentation(split={"distance": 4}, fill_holes=20, confidence="max"),
        Segmentation(max_area=300, min_confidence=0.7, enlarge="bicubic"),
    ],
)
def test_what_is_told_of_bounds_is_what_segment_and_evaluate_make_of_them(tmp_path, segmentation, touching):
    folder = tmp_path / "s"
    known = slides(folder, 2, factor=2 if segmentation.max_area else 1, touching=touching)
    for bounds in (Bounds(0.4, 0), Bounds(0.55, 12, 0.8, 0.3), Bounds(0.7, 60, 0.3, 0.65)):
        fitter = ObjectFitter(order_of_objects("s0", "s1", segmentation=segmentation), "cell", DEFAULT_LIMITS)
        scores = evaluated(folder, ["s0", "s1"], bounds, segmentation)
        found = sum((one.matches.found for one in scores[1:]), scores[0].matches.found)
        judged = fitter.judge(dict.fromkeys(known, bounds))
        assert judged.f1 == pytest.approx(found.f1, abs=1e-12)
        both, area = (sum(getattr(one.overlap, name) for one in scores) for name in ("both", "truth"))
        assert judged.dice == pytest.approx(2 * both / (area + sum(one.overlap.predicted for one in scores)), abs=1e-12)
        assert 0.1 < judged.f1 < 1


@pytest.mark.parametrize("overlap", [0.5, 0.7, "mean"])
def test_the_best_of_all_is_found(tmp_path, overlap):
    known, order = slides(tmp_path / "s", 3), order_of_objects("s0", "s1", "s2", overlap=overlap, rule="best")
    fitter = ObjectFitter(order, "cell", DEFAULT_LIMITS)
    found = fitter.fit(known)
    judged = fitter.judge(dict.fromkeys(known, found)).f1
    asked = OVERLAPS if overlap == "mean" else [overlap]
    best = 0.0
    for threshold in np.arange(0.1, 0.95, 0.1).round(2).tolist():
        level = Level(threshold, 0.5)
        objects = [slide_candidates(slide, "cell", [level], order, DEFAULT_LIMITS)[level] for slide in known]
        true = sum(one.true_objects for one in objects)
        for size, confidence in product(SIZES[:22], CONFIDENCES[::4]):
            kept = [one.counts & one.kept(Bounds(threshold, size, confidence)) for one in objects]
            right = [
                sum(int((one.overlap[own] >= least).sum()) for one, own in zip(objects, kept, strict=True))
                for least in asked
            ]
            best = max(best, 2 * np.mean(right) / (true + sum(int(own.sum()) for own in kept)))
    assert judged >= best - NEAR
    assert judged > fitter.judge(dict.fromkeys(known, Bounds(0.5, 0))).f1 + 0.05


def test_small_objects_stay_where_the_unsure_ones_can_go_instead(tmp_path):
    """True ones are small and sure, false ones as small and unsure; without a confidence only sizes could tell."""
    true = [shapely.box(x, y, x + 4, y + 4) for x in range(5, 80, 10) for y in (5, 25)]
    large = [shapely.box(x, 40, x + 9, 50) for x in range(5, 80, 14)]
    false = [shapely.box(x, y, x + 4, y + 4) for x in range(5, 80, 5) for y in range(54, 66, 6)]
    value = rasterize([*((one, 230) for one in [*true, *large]), *((one, 180) for one in false)], (HEIGHT, WIDTH))
    known = [write_slide(tmp_path / "s", name, value.astype(np.uint8), [*true, *large]) for name in ("a", "b")]
    order = order_of_objects("a", "b", threshold=0.5)
    found = ObjectFitter(order, "cell", DEFAULT_LIMITS).fit(known)
    assert found.min_area == 0
    assert 180 / 255 < found.min_confidence <= 230 / 255
    sized = ObjectFitter(order_of_objects("a", "b", threshold=0.5, fit_confidence=False), "cell", DEFAULT_LIMITS)
    assert (sized.fit(known).min_area > 16, sized.fit(known).min_confidence) == (False, 0.0)


def test_a_least_size_is_taken_where_confidence_cannot_tell(tmp_path):
    true = [shapely.box(x, 10, x + 9, 20) for x in range(5, 80, 14)]
    false = [shapely.box(x, y, x + 2, y + 2) for x in range(5, 80, 5) for y in range(54, 66, 6)]
    value = rasterize([*true, *false], (HEIGHT, WIDTH)).astype(np.uint8) * 230
    known = [write_slide(tmp_path / "s", name, value, true) for name in ("a", "b")]
    found = ObjectFitter(order_of_objects("a", "b"), "cell", DEFAULT_LIMITS).fit(known)
    assert found.min_area == min(size for size in SIZES if size > 4)
    assert found.min_confidence == 0


def test_what_is_given_stays(tmp_path):
    known = slides(tmp_path / "s", 2)
    order = order_of_objects("s0", "s1", threshold=0.35, min_area=17, fit_confidence=False)
    fitter = ObjectFitter(order, "cell", DEFAULT_LIMITS)
    assert fitter.fit(known) == Bounds(0.35, 17, 0.0, 0.5)
    assert fitter.interval(known) is None


@pytest.mark.parametrize("value", [60, 240])
def test_a_grid_whose_end_is_the_best_grows(tmp_path, value):
    """Objects whose pixels reach ``value`` touch in pixels that are a little lower, and lie on ground that is lower."""
    true = [shapely.box(x, 10, x + 9, 20) for x in range(5, 75, 10)]
    image = np.full((HEIGHT, WIDTH), value - 35)
    image[9:21, 4:76] = value - 20
    image[rasterize(true, (HEIGHT, WIDTH)) > 0] = value
    known = [write_slide(tmp_path / "s", "a", image.astype(np.uint8), true)]
    order = order_of_objects("a", rule="best")
    found = ObjectFitter(order, "cell", DEFAULT_LIMITS).fit(known)
    assert value - 20 < 255 * found.threshold <= value
    assert not THRESHOLDS[0] <= found.threshold <= THRESHOLDS[-1]


def test_a_grid_grows_at_its_ends_alone_and_ends_within_its_limits():
    grid = Grid((0.3, 0.5), (0.5,))
    assert grid.widened([Level(0.5, 0.5)]).thresholds == (0.3, 0.5, 0.6)
    assert grid.widened([Level(0.3, 0.5)]) == Grid((0.2, 0.3, 0.5), (0.5,))
    assert grid.widened([Level(0.5, 0.5), Level(0.3, 0.5)]).thresholds == (0.2, 0.3, 0.5, 0.6)
    assert Grid((0.1, 0.5, 0.9), (0.5,)).widened([Level(0.5, 0.5)]).thresholds == (0.1, 0.5, 0.9)
    assert Grid((0.1, 0.9), (0.4, 0.6)).widened([Level(0.1, 0.6)]) == Grid((0.1, 0.9), (0.4, 0.6, 0.7))
    assert Grid((0.4,), (0.5,)).widened([Level(0.4, 0.5)]) == Grid((0.4,), (0.5,))


def test_few_groups_are_not_believed(tmp_path):
    """One half has the votes of two groups, whatever one group says."""
    known = slides(tmp_path / "s", 1)
    best, shrunk = (
        ObjectFitter(order_of_objects("s0", rule=rule), "cell", DEFAULT_LIMITS).fit(known)
        for rule in ("best", "shrunk")
    )
    assert abs(best.threshold - 0.5) > 0.15
    assert abs(shrunk.threshold - 0.5) <= abs(best.threshold - 0.5) / 2 + objectfit.FINER


def test_each_slide_is_judged_by_what_other_folds_say():
    folds = [KnownSlide(f"s{fold}", fold, "g", "all", NOTHING, *[None] * 3) for fold in (0, 1, 1, 2)]

    class Counting:
        def fit(self, some):
            return {each.name for each in some}

    found = nested(Counting(), folds)
    assert {each.name: own for each, own in found.items()} == {
        "s0": {"s1", "s2"}, "s1": {"s0", "s2"}, "s2": {"s0", "s1"}
    }  # fmt: skip
    assert nested(Counting(), folds[1:3]) == {}


objects = st.lists(
    st.tuples(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.61, 0.9, 1.0]), st.booleans()),
    max_size=30,
)


@given(objects, st.integers(0, 20), st.sampled_from([0.5, 0.6, "mean"]))
def test_the_table_has_the_score_of_every_size_and_confidence(found, true, overlap):
    area, confidence, iou, counts = (np.array(column) for column in zip(*[*found, (1, 0.0, 0.0, False)], strict=True))
    one = Candidates(area, confidence, iou, counts, area, area, true, 0)
    fitter = ObjectFitter(order_of_objects(overlap=overlap), "cell", DEFAULT_LIMITS)
    table, asked = fitter._table([one]), OVERLAPS if overlap == "mean" else [overlap]
    for row, column in product(range(0, 25, 3), range(0, 100, 9)):
        kept = counts & (area >= SIZES[row]) & (confidence >= CONFIDENCES[column])
        total = int(kept.sum()) + true
        right = np.mean([(iou[kept] >= least).sum() for least in asked])
        assert table[row, column] == pytest.approx(2 * right / total if total else 1.0)


def told(area, confidence, overlap, true):
    """Objects of a slide, none of which is ignored."""
    columns = np.array(area), np.array(confidence, float), np.array(overlap, float)
    return Candidates(*columns, np.ones(len(area), bool), np.array(area), np.array(area), true, sum(area))


def fitter_of(monkeypatch, found, *, seeds=False, **calibration):
    """A fitter and slides, one for each group, whose objects are what ``found`` gives for group and level."""
    known = [KnownSlide(str(place), 0, str(place), "all", NOTHING, *[None] * 3) for place in range(3)]
    monkeypatch.setattr(
        objectfit, "slide_candidates",
        lambda slide, _name, levels, *_order: {level: found(int(slide.name), level) for level in levels},
    )  # fmt: skip
    monkeypatch.setattr(objectfit, "tells_seeds", lambda *_: seeds)
    return ObjectFitter(order_of_objects(**{"rule": "best", **calibration}), "cell", DEFAULT_LIMITS), known


@pytest.mark.parametrize(("specks", "size"), [(2, 0), (20, 6)])
def test_a_least_size_that_brings_next_to_nothing_is_not_taken(monkeypatch, specks, size):
    """Of 300 objects one group has a few specks, as sure as the others."""

    def found(group, level):
        few = specks if group == 0 else 0
        return told([50] * 100 + [5] * few, [0.9] * (100 + few), [0.8] * (90 - group) + [0] * (10 + group + few), 100)

    fitter, known = fitter_of(monkeypatch, found, threshold=0.5)
    assert fitter.fit(known).min_area == size
    best = fitter.judge(dict.fromkeys(known, Bounds(0.5, 6))).f1
    assert best > fitter.judge(dict.fromkeys(known, Bounds(0.5, 0))).f1


def test_groups_that_are_unlike_are_no_leave_to_keep_what_is_wrong(monkeypatch):
    """Between 10 and 95 of 100 objects are found, so that the best F1 has a large error; specks cost a twentieth."""

    def found(group, level):
        right, specks = (95, 10, 50)[group], 15
        return told(
            [50] * 100 + [5] * specks, [0.9] * (100 + specks), [0.8] * right + [0] * (100 - right + specks), 100
        )

    fitter, known = fitter_of(monkeypatch, found, threshold=0.5)
    assert fitter.fit(known).min_area == 6


def test_of_groups_that_are_all_alike_no_worse_size_is_taken(monkeypatch):
    fitter, known = fitter_of(
        monkeypatch, lambda *_: told([50] * 200 + [5], [0.9] * 201, [0.8] * 200 + [0], 200), threshold=0.5
    )
    assert fitter.fit(known).min_area == 6


def test_what_is_better_beside_the_threshold_of_the_grid_is_taken(monkeypatch):
    right = {0.4: 60, 0.45: 70, 0.5: 65}

    def found(group, level):
        count = right.get(level.threshold, 30)
        return told([50] * 100, [0.9] * 100, [0.8] * count + [0] * (100 - count), 100)

    fitter, known = fitter_of(monkeypatch, found)
    assert fitter.fit(known).threshold == 0.45


def test_what_is_mostly_ignored_counts_for_nobody(monkeypatch):
    def found(group, level):
        one = told([50] * 4, [0.9] * 4, [0.8, 0.8, 0, 0], 2)
        return replace(one, counts=np.array([True, True, False, False]))

    fitter, known = fitter_of(monkeypatch, found)
    assert fitter.judge(dict.fromkeys(known, Bounds(0.5, 0))).f1 == 1


def test_the_interval_is_that_of_the_thresholds_of_draws_of_groups(monkeypatch):
    """Each group has its best at a threshold of its own, and nothing elsewhere."""
    own = (0.3, 0.5, 0.7)
    fitter, known = fitter_of(
        monkeypatch, lambda group, level: told([50], [0.9], [float(level.threshold == own[group])], 1)
    )
    assert fitter.interval(known) == (0.3, 0.7)
    assert fitter.interval(known[1:2]) is None


def test_seeds_are_fitted_with_all_else_where_bands_tell_them(monkeypatch):
    """Right at a seed beyond the end of the grid alone; without bands there is one seed."""

    def found(_group, level):
        count = 90 if level == (0.4, 0.3) else 40
        return told([50] * 100, [0.9] * 100, [0.8] * count + [0] * (100 - count), 100)

    fitter, known = fitter_of(monkeypatch, found, seeds=True)
    assert fitter.fit(known)[::3] == (0.4, 0.3)
    fitter, known = fitter_of(monkeypatch, found)
    assert fitter.fit(known).seed == 0.5


def test_the_grid_has_seeds_where_the_raster_has_a_band_of_them(tmp_path):
    for touching in (False, True):
        known = slides(tmp_path / str(touching), 1, touching=touching)
        fitter = ObjectFitter(order_of_objects("s0"), "cell", DEFAULT_LIMITS)
        fitter.fit(known)
        seeds = {level.seed for level in fitter._found[known[0]]}
        assert seeds >= {0.4, 0.5, 0.6} if touching else seeds == {0.5}
