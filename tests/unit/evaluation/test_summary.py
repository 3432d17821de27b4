"""Scores of slides together, against sums and draws written out."""

import numpy as np
import pytest

from tilewright.evaluation.metrics import Jaccard, Overlap, Panoptic, SizedTruth
from tilewright.evaluation.precision import Detections, Ranked, area_under_curve, coco_map
from tilewright.evaluation.summary import RESAMPLES, Score, pooled, summarize
from tilewright.pixels.instances import Agreement, Matches
from tilewright.project.orders import EvaluateRow


def score(seed, source="one", role="train", name="gland"):
    """A slide with 12 predicted objects, of which some are right."""
    draw = np.random.default_rng(seed)
    truth, predicted = draw.integers(500, 900, 2)
    partner = np.where(draw.random(12) < 0.6, np.arange(12), -1)
    matches = Matches(partner, draw.random(12), np.ones(15, bool), np.ones(12, bool))
    correct = np.sort(draw.random((12, 10)) < 0.5, axis=1)[:, ::-1]
    sides = Agreement(20, int(draw.integers(21)), 18, int(draw.integers(19)))
    row = EvaluateRow(slide=f"s{seed}", shard="s", role=role, source=source, labelled=[name])
    overlap = Overlap(int(truth), int(predicted), int(draw.integers(100, 500)))
    panoptic, jaccard = Panoptic(15, 12, 9, float(draw.uniform(5, 9))), Jaccard(int(draw.integers(50, 90)), 100)
    sized = SizedTruth(draw.integers(5, 50, 15), draw.random(15) < 0.5)
    detections = Detections(draw.random(12), correct, 15)
    return Score(row, name, overlap, matches, sides, sides, panoptic, jaccard, sized, detections, None, None)


SCORES = [score(seed) for seed in range(8)]


def dice(scores):
    return 2 * sum(s.overlap.both for s in scores) / sum(s.overlap.truth + s.overlap.predicted for s in scores)


def test_scores_are_those_of_all_slides_together():
    found = pooled(SCORES)
    matched = sum(s.matches.found.predicted_found for s in SCORES)
    assert found["pooled_dice"] == pytest.approx(dice(SCORES), abs=1e-6)
    assert found["mean_slide_dice"] == pytest.approx(np.mean([s.overlap.dice for s in SCORES]), abs=1e-6)
    assert found["precision"] == pytest.approx(matched / (12 * 8), abs=1e-6)
    assert found["recall"] == pytest.approx(matched / (15 * 8), abs=1e-6)
    assert found["f1"] == pytest.approx(2 * matched / (27 * 8), abs=1e-6)
    ranked = Ranked.of([s.detections for s in SCORES])
    assert found["ap60"] == pytest.approx(area_under_curve(ranked, 0.6), abs=1e-6)
    assert found["map"] == pytest.approx(coco_map(ranked), abs=1e-6)
    iou = sum(s.panoptic.iou for s in SCORES)
    assert found["pq"] == pytest.approx(iou / (9 * 8 + (3 + 6) / 2 * 8), abs=1e-6)
    assert (found["sq"], found["rq"]) == pytest.approx((iou / (9 * 8), 2 * 9 / 27), abs=1e-6)
    assert found["aji"] == pytest.approx(np.mean([s.jaccard.common / 100 for s in SCORES]), abs=1e-6)


@pytest.mark.parametrize("key", ["pooled_dice", "mean_slide_iou", "map"])
def test_intervals_are_those_of_slides_drawn_one_by_one(key):
    """Slides drawn with replacement and scored as a list.

    Another generator, so the ends differ by what chance allows.
    """
    draw = np.random.default_rng(9)
    values = [pooled_of([SCORES[place] for place in draw.integers(0, 8, 8)], key) for _ in range(RESAMPLES)]
    low, high = pooled(SCORES)["intervals"][key]
    assert low < pooled(SCORES)[key] < high
    assert (low, high) == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))), abs=0.15 * (high - low))


def pooled_of(scores, key):
    if key == "pooled_dice":
        return dice(scores)
    if key == "mean_slide_iou":
        return np.mean([s.overlap.iou for s in scores])
    return coco_map(Ranked.of([s.detections for s in scores]))


def test_intervals_of_equal_slides_are_points_and_two_slides_have_none():
    low, high = pooled([SCORES[0]] * 5)["intervals"]["pooled_dice"]
    assert low == high == pytest.approx(SCORES[0].overlap.dice, abs=1e-6)
    assert "intervals" not in pooled(SCORES[:2])


def test_sets_classes_and_sources_stay_apart():
    scores = [*SCORES, score(20, "two"), score(21, "two", "test"), score(22, name="vessel")]
    found = summarize(scores)
    assert found["out_of_fold"]["gland"]["slides"] == 9
    assert found["out_of_fold"]["gland"]["sources"]["two"]["pooled_dice"] == pytest.approx(dice([score(20)]), abs=1e-6)
    sized = found["out_of_fold"]["gland"]["recall_by_size"]
    assert [len(sized), sum(each["objects"] for each in sized)] == [4, 15 * 9]
    assert found["out_of_fold"]["vessel"]["slides"] == found["test"]["gland"]["slides"] == 1
