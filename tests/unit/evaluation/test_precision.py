"""Average precision against pycocotools, and by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shapely import box

from tilewright.evaluation.precision import Detections, Ranked, area_under_curve, chosen, coco_map, coco_precision
from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Window
from tilewright.pixels.instances import Instances, Pairs, instances_of_outlines, overlapping
from tilewright.pixels.runs import Runs

EDGE = 120
NOTHING = Runs.empty(EDGE, EDGE)


def scene(seed):
    """True boxes, which may overlap, and predicted ones with confidences: some near, some missing, some too many."""
    draw = np.random.default_rng(seed)
    mask, truth = np.zeros((EDGE, EDGE), np.bool_), []
    for x in range(4, EDGE - 20, 24):
        for y in range(4, EDGE - 20, 24):
            width, height = draw.integers(8, 18, 2)
            if draw.random() < 0.8:
                truth.append((x, y, x + width, y + height))
            if draw.random() < 0.8:
                dx, dy, dw, dh = draw.integers(-2, 3, 4)
                mask[y + dy : y + dy + max(3, height + dh), x + dx : x + dx + max(3, width + dw)] = True
    truth.append((5, 5, 20, 20))
    runs = Runs.from_mask(mask)
    labels = components_of(runs)
    confidence = np.round(draw.random(int(labels.max()) + 1), 2)
    return truth, runs, labels, confidence


def detections(truth, runs, labels, confidence):
    outlines = instances_of_outlines(np.array([box(*each) for each in truth], dtype=object), Window(0, 0, EDGE, EDGE))
    return Detections.of(overlapping(outlines, Instances.of(runs, labels), NOTHING), confidence)


def by_coco(scenes):
    """AP at each threshold by pycocotools, with as many objects an image as there are."""
    from pycocotools import mask as coder

    def coded(array):
        return coder.encode(np.asfortranarray(array.astype(np.uint8)))

    truths, found = [], []
    for image, (truth, runs, labels, confidence) in enumerate(scenes, start=1):
        for left, top, right, bottom in truth:
            array = np.zeros((EDGE, EDGE))
            array[top:bottom, left:right] = 1
            record = {"id": len(truths) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "area": array.sum()}
            truths.append({**record, "segmentation": coded(array), "bbox": [0, 0, 1, 1]})
        for number, score in enumerate(confidence):
            array = runs.take(labels == number).to_mask()
            found.append({"image_id": image, "category_id": 1, "segmentation": coded(array), "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        images = [{"id": place + 1, "width": EDGE, "height": EDGE} for place in range(len(scenes))]
        data.dataset = {"images": images, "annotations": truths, "categories": [{"id": 1}]}
        data.createIndex()
        judge = COCOeval(data, data.loadRes(found), "segm")
        judge.params.maxDets = [1, 10, 100_000]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, 0, 2]
    return precision.mean(axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_map_is_that_of_pycocotools(seed):
    scenes = [scene(10 * seed + place) for place in range(3)]
    ranked, expected = Ranked.of([detections(*each) for each in scenes]), by_coco(scenes)
    assert coco_precision(ranked, 0.5) == pytest.approx(expected[0], abs=1e-9)
    assert coco_precision(ranked, 0.75) == pytest.approx(expected[5], abs=1e-9)
    assert coco_map(ranked) == pytest.approx(expected.mean(), abs=1e-9)
    assert 0.05 < coco_map(ranked) < 0.9


def ranked_of(correct, truth):
    """Detections of one slide by falling confidence, right or wrong at every threshold."""
    column = np.array(correct, bool)[:, None].repeat(10, axis=1)
    return Ranked.of([Detections(np.linspace(0.9, 0.1, len(correct)), column, truth)])


@pytest.mark.parametrize(
    ("truth", "predicted", "iou", "confidence", "found"),
    [
        # both overlap the first true one; the surer one has it, the other one the second
        ([0, 0, 1], [0, 1, 1], [0.6, 0.7, 0.55], [0.9, 0.2], [True, True]),
        ([0, 0], [0, 1], [0.6, 0.7], [0.2, 0.9], [False, True]),
        # one overlaps two true ones and has the one that it overlaps most; what is left is for others
        ([0, 1, 1, 0], [0, 0, 1, 2], [0.6, 0.8, 0.7, 0.55], [0.9, 0.5, 0.4], [True, False, True]),
        ([0, 1], [0, 0], [0.49, 0.4], [0.9], [False]),
    ],
)
def test_the_surest_object_chooses_first_and_takes_what_it_overlaps_most(truth, predicted, iou, confidence, found):
    counts = np.ones(2, bool), np.ones(len(confidence), bool)
    areas = np.ones(len(iou), int), np.ones(2, int), np.ones(len(confidence), int)
    pairs = Pairs(np.array(truth), np.array(predicted), np.array(iou), *counts, *areas)
    assert chosen(pairs, np.array(confidence), 0.5).tolist() == found


def test_the_area_under_the_curve_by_hand():
    """Right, wrong, right, of three true ones: recall 1/3 at precision 1, 2/3 at 2/3."""
    assert area_under_curve(ranked_of([True, False, True], 3), 0.6) == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert area_under_curve(ranked_of([False, True], 1), 0.6) == pytest.approx(0.5)


def test_without_true_objects_there_is_no_average_precision():
    assert np.isnan(area_under_curve(ranked_of([False], 0), 0.6))
    assert np.isnan(coco_map(ranked_of([], 0)))
    assert coco_map(ranked_of([], 2)) == area_under_curve(ranked_of([], 2), 0.6) == 0


def test_a_slide_may_count_several_times_or_not_at_all():
    parts = [detections(*scene(seed)) for seed in range(3)]
    ranked = Ranked.of(parts)
    weights = np.array([2, 0, 1])
    expected = Ranked.of([parts[0], parts[0], parts[2]])
    for score in (coco_map, lambda *given: area_under_curve(given[0], 0.6, *given[1:])):
        assert score(ranked, weights) == pytest.approx(score(expected), abs=0.02)
    assert np.isnan(coco_map(ranked_of([], 2), np.array([0])))
    assert coco_map(ranked, np.array([0, 1, 0])) == pytest.approx(coco_map(Ranked.of([parts[1]])))


def test_the_share_that_is_correct_by_hand():
    """At half of the thresholds 2 of 3 are right, at the others 1; 4 are true."""
    correct = np.zeros((3, 10), bool)
    correct[0], correct[1, :5] = True, True
    found = Detections(np.ones(3), correct, 4)
    assert found.share_correct() == pytest.approx((2 / 5 + 1 / 6) / 2)
    assert Detections(np.empty(0), np.empty((0, 10), bool), 0).share_correct() == 1
