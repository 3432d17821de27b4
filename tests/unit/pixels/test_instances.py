import numpy as np
import pytest
from rasterio.features import rasterize
from shapely.geometry import MultiPolygon, Point, Polygon, box

from tilewright.pixels import instances
from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Window
from tilewright.pixels.instances import Agreement, Instances, Pairs, instances_of_outlines, match, overlapping
from tilewright.pixels.runs import Runs

HEIGHT, WIDTH = 40, 50
NOTHING = Runs.empty(HEIGHT, WIDTH)
RULES = ("center", "all_touched")


def runs(*boxes: tuple[int, int, int, int]) -> Runs:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return Runs.from_mask(mask)


def predicted(*boxes: tuple[int, int, int, int]) -> Instances:
    mask = runs(*boxes)
    return Instances.of(mask, components_of(mask))


def truth(*shapes) -> Instances:
    return instances_of_outlines(np.array(shapes, dtype=object), Window(0, 0, WIDTH, HEIGHT))


def test_shares_of_nothing_are_one_and_of_one_side_zero():
    nothing, missed = Agreement(0, 0, 0, 0), Agreement(3, 0, 0, 0)
    assert (nothing.precision, nothing.recall, nothing.f1) == (1, 1, 1)
    assert (missed.precision, missed.recall, missed.f1) == (0, 0, 0)


def test_outlines_cover_the_pixels_that_rasterio_fills():
    rng = np.random.default_rng(0)
    ring = Polygon(box(3, 3, 20, 20).exterior, [box(7, 7, 12, 12).exterior])
    shapes = [
        ring,
        MultiPolygon([box(1, 1, 4, 4), box(30, 30, 45, 38)]),
        box(-9, -9, 5, 5),
        box(45, 30, 99, 99),
        box(2.5, 3, 8.5, 9),
    ]
    shapes += [Point(*rng.uniform(0, 50, 2)).buffer(rng.uniform(0.2, 9)) for _ in range(100)]
    found = truth(*shapes)
    for number, outline in enumerate(shapes):
        mask = np.zeros((HEIGHT, WIDTH + 1), np.bool_)
        for start, stop in zip(found.starts[found.owner == number], found.stops[found.owner == number], strict=True):
            mask.ravel()[start:stop] = True
        assert (mask[:, :-1] == rasterize([outline], (HEIGHT, WIDTH))).all()


def test_objects_match_one_to_one_the_best_pair_first():
    matches = match(
        overlapping(truth(box(0, 0, 10, 10), box(0, 0, 10, 9)), predicted((0, 0, 10, 9), (30, 0, 35, 5)), NOTHING), 0.5
    )
    assert matches.partner.tolist() == [1, -1]
    assert matches.best_iou.tolist() == [1, 0]
    assert matches.found == Agreement(2, 1, 2, 1)


def test_an_overlap_below_the_threshold_is_no_match():
    matches = match(overlapping(truth(box(0, 0, 10, 10)), predicted((5, 0, 15, 10)), NOTHING), 0.5)
    assert matches.found == Agreement(1, 0, 1, 0)
    assert matches.best_iou[0] == pytest.approx(50 / 150)


def test_ignored_pixels_belong_to_neither_side():
    ignored = runs((6, 0, 20, 40))
    matches = match(overlapping(truth(box(0, 0, 10, 10)), predicted((0, 0, 6, 10), (12, 0, 18, 9)), ignored), 0.99)
    assert matches.found == Agreement(1, 1, 1, 1)
    assert matches.predicted_counts.tolist() == [True, False]


def test_an_object_counts_where_half_of_it_or_more_is_not_ignored():
    ignored = runs((4, 0, 50, 40))
    for right, counts in ((8, True), (9, False)):  # half of it, and less than half
        pairs = overlapping(truth(box(0, 0, right, 1)), predicted((0, 0, right, 1)), ignored)
        assert pairs.truth_counts.tolist() == pairs.predicted_counts.tolist() == [counts]
        assert match(pairs, 0.5).best_iou.tolist() == [float(counts)]


def test_no_pair_has_a_side_that_does_not_count():
    ignored = runs((4, 0, 50, 40))
    for one, other in (((0, 0, 4, 1), (2, 0, 20, 1)), ((2, 0, 20, 1), (0, 0, 4, 1))):
        pairs = overlapping(truth(box(*one)), predicted(other), ignored)
        assert sorted([*pairs.truth_counts, *pairs.predicted_counts]) == [False, True]
        assert len(pairs.iou) == 0


def test_a_partner_is_kept_and_no_object_is_one_twice():
    counts = np.ones(2, bool), np.ones(2, bool), np.ones(3, int), np.ones(2, int), np.ones(2, int)
    pairs = Pairs(np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([0.9, 0.8, 0.7]), *counts)
    assert match(pairs, 0.5).partner.tolist() == [0, -1]
    assert match(pairs, 0.5).best_iou.tolist() == [0.9, 0.7]


def test_outlines_are_drawn_by_their_rule_some_at_a_time(monkeypatch):
    shapes = [box(left + 0.6, 3.6, left + 2.4, 5.4) for left in range(0, 40, 4)]
    whole = {rule: instances_of_outlines(np.array(shapes), Window(0, 0, WIDTH, HEIGHT), rule) for rule in RULES}
    assert whole["center"].area().tolist() == [1] * 10
    assert whole["all_touched"].area().tolist() == [9] * 10
    monkeypatch.setattr(instances, "OUTLINES_AT_ONCE", 3)
    for rule, expected in whole.items():
        parts = instances_of_outlines(np.array(shapes), Window(0, 0, WIDTH, HEIGHT), rule)
        assert (parts.count, parts.owner.tolist()) == (10, expected.owner.tolist())
        assert (parts.starts.tolist(), parts.stops.tolist()) == (expected.starts.tolist(), expected.stops.tolist())


@pytest.mark.parametrize(
    ("boxes", "pixel"),
    [
        (((0, 0, 1, 1),), (0, 0)),
        (((3, 1, 5, 3),), (2, 4)),
        (((3, 1, 6, 4),), (2, 4)),
        (((0, 0, 9, 1), (0, 1, 1, 9)), (2, 2)),
        (((0, 39, 50, 40),), (39, 25)),
    ],
)
def test_the_centre_of_an_object_is_a_pixel(boxes, pixel):
    assert predicted(*boxes).centers(WIDTH).tolist() == [pixel[0] * (WIDTH + 1) + pixel[1]]


def test_an_object_without_a_pixel_has_no_centre_and_keeps_its_number():
    objects = predicted((0, 0, 2, 2), (9, 9, 11, 11))
    none = objects.only(np.array([False, True]))
    assert none.centers(WIDTH).tolist() == [-1, objects.centers(WIDTH)[1]]
    assert (none.count, none.area().tolist()) == (2, [0, 4])


def test_nothing_matches_nothing():
    assert match(overlapping(truth(), predicted(), NOTHING), 0.5).found == Agreement(0, 0, 0, 0)
    assert match(overlapping(truth(box(0, 0, 5, 5)), predicted(), NOTHING), 0.5).found == Agreement(1, 0, 0, 0)
    assert match(overlapping(truth(), predicted((0, 0, 5, 5)), NOTHING), 0.5).found == Agreement(0, 0, 1, 0)


def test_objects_that_are_taken_from_joined_ones_are_what_they_were():
    one, other = predicted((1, 1, 5, 5), (10, 2, 14, 8)), predicted((20, 3, 22, 9))
    joined = Instances.joined([one, other])
    assert joined.area().tolist() == [*one.area(), *other.area()]
    taken = joined.taken(np.array([False, True, True]))
    assert (taken.count, taken.area().tolist()) == (2, [24, 12])
    line = WIDTH + 1
    assert taken.between(3 * line, 5 * line).area().tolist() == [8, 4]
