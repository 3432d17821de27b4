"""Objects that share edges, from bands to files and back: each keeps the pixels that it has."""

import base64
import csv
import gzip
import json
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from pycocotools import mask as coco
from rasterio.features import rasterize
from shapely.geometry import shape

from tilewright.annotations import read_outlines
from tilewright.pixels import thresholds
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.rle import decode_row_major
from tilewright.project.config import Annotations, Segmentation, Submission
from tilewright.project.orders import EncodeOrder, EncodeRow, MeasureOrder, MeasureRow, SegmentOrder, SegmentRow
from tilewright.project.targets import band_names
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.segments.encode import encode
from tilewright.segments.overlaps import united
from tilewright.segments.predictions import open_prediction
from tilewright.segments.segment import segment
from tilewright.tiles.archive import Labelled
from tilewright.training.objects import CERTAIN, ObjectBands

CLASSES = ["cell", "gland"]
IMAGE, CORNER = Size(700, 640), (37, 21)
HEIGHT, WIDTH = 600, 640


def discs(seed=0, count=260, height=HEIGHT, width=WIDTH):
    """Label images of two classes: discs that often share edges, later ones cut off by earlier ones; gaps between."""
    labels, draws = np.zeros((2, height, width), np.uint16), np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    for number in range(1, count + 1):
        row, column, radius = draws.integers(0, height), draws.integers(0, width), draws.integers(6, 22)
        top, left = max(0, row - radius), max(0, column - radius)
        place = (slice(top, row + radius + 1), slice(left, column + radius + 1))
        own = labels[number % 2][place]
        own[(own == 0) & ((y[place] - row) ** 2 + (x[place] - column) ** 2 <= radius**2)] = number
    for image in labels:
        sizes = np.bincount(image.ravel())
        image[(sizes < 150)[image]] = 0
    return labels


def write_bands(path, labels, targets, frame):
    mask = 255 * (labels > 0).astype(np.uint8)
    values = mask
    if targets:
        bands = ObjectBands(["mask", *targets])(Labelled(labels, np.zeros(labels.shape[1:], np.uint8)))
        values = np.concatenate([mask, np.where(bands == CERTAIN, 255, bands)])
    names = band_names(CLASSES, ["mask", *targets])
    with create_raster(path, frame.size, bands=len(values), tags=frame.tags(names)) as raster:
        for top in range(0, values.shape[1], 512):
            raster.write(values[:, top : top + 512], 0, top)


def run(folder, labels, targets, *, bounds=(0.5, 0), factor=1.0, **segmentation):
    """The folder of the segments of a slide ``s``, whose image has a border on the left and above."""
    height, width = (round(factor * edge) for edge in labels.shape[1:])
    frame = Frame(*CORNER, width, height, Size(width + 60, height + 40), factor, mpp=0.5)
    write_bands(folder / "p" / "s.tif", labels, targets, frame)
    limits = {"thresholds": dict.fromkeys(CLASSES, bounds[0]), "min_area": dict.fromkeys(CLASSES, bounds[1])}
    write_document(folder / "c.json", limits)
    colors = dict.fromkeys(CLASSES, "#ff0000")
    order = SegmentOrder(
        rows=[SegmentRow(slide="s")], colors=colors, segmentation=Segmentation.model_validate(segmentation)
    )
    segment(order, probabilities=folder / "p", calibration=folder / "c.json", out=folder / "segments")
    return folder / "segments"


def painted(layer):
    """The object of each pixel from 1 on."""
    runs = layer.runs
    found = np.zeros((runs.height, runs.width), int)
    for row, start, stop, owner in zip(runs.row, runs.start, runs.stop, layer.owner, strict=True):
        assert (found[row, start:stop] == 0).all(), "no pixel is of two"
        found[row, start:stop] = owner + 1
    return found


def agreement(labels, found):
    """Intersection over union of each true object with its best one."""
    best = []
    for number in np.unique(labels[labels > 0]):
        own = labels == number
        overlap = Counter(found[own].tolist())
        overlap.pop(0, None)
        scores = [common / ((found == other) | own).sum() for other, common in overlap.items()]
        best.append(max(scores, default=0))
    return np.array(best)


@pytest.mark.parametrize("targets", [["touching"], ["border"], ["touching", "border"], ["distance"]])
def test_true_bands_give_the_true_objects(tmp_path, targets):
    labels = discs()
    layers = open_prediction(run(tmp_path, labels, targets), "s", CLASSES).layers()
    for own, layer in zip(labels, layers, strict=True):
        found = painted(layer)
        assert ((found > 0) == (own > 0)).all(), "the mask stays"
        scores = agreement(own, found)
        assert (scores > 0.5).mean() >= 0.98
        assert scores.mean() > (0.94 if targets == ["distance"] else 0.97)
        assert len(layer.number) == pytest.approx(len(scores), rel=0.06)


def test_without_them_or_without_seeds_touching_objects_are_one(tmp_path):
    labels = discs()
    alone = open_prediction(run(tmp_path / "a", labels, []), "s", CLASSES)
    unasked = open_prediction(run(tmp_path / "b", labels, ["touching"], seeds=None), "s", CLASSES)
    for own, one, other in zip(labels, alone.layers(), unasked.layers(), strict=True):
        assert len(one.number) == len(other.number) < 0.85 * (len(np.unique(own)) - 1)
    assert not alone.shares_edges
    files = [(tmp_path / name / "segments" / "s.objects.parquet").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_rows_of_the_table_have_the_pixels_of_their_objects(tmp_path):
    folder = run(tmp_path, discs(), ["touching"])
    table = pq.read_table(folder / "s.objects.parquet").to_pandas()
    assert table["object"].tolist() == list(range(1, len(table) + 1))
    prediction = open_prediction(folder, "s", CLASSES)
    assert prediction.shares_edges
    for name, layer in zip(CLASSES, prediction.layers(), strict=True):
        own, found = table[table["class"] == name].set_index("object"), painted(layer)
        assert sorted(own.index) == sorted(layer.number.tolist())
        for place, number in enumerate(layer.number.tolist(), start=1):
            rows, columns = np.nonzero(found == place)
            row = own.loc[number]
            assert (row["area"], row["top"], row["left"]) == (len(rows), rows.min(), columns.min())
            assert (row["height"], row["width"]) == (np.ptp(rows) + 1, np.ptp(columns) + 1)
            assert (row["x"], row["y"]) == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5))
            assert row["confidence"] == 1


def test_batches_hold_the_same_objects_as_the_whole(tmp_path):
    prediction = open_prediction(run(tmp_path, discs(), ["touching"]), "s", CLASSES)
    whole = [painted(layer) for layer in prediction.layers()]
    parts, seen = [np.zeros_like(each) for each in whole], [[], []]
    for layers in prediction.batches():
        for place, layer in enumerate(layers):
            own = painted(layer)
            parts[place][own > 0] = layer.number[own[own > 0] - 1]
            seen[place] += layer.number.tolist()
    for place, layer in enumerate(prediction.layers()):
        assert sorted(seen[place]) == sorted(layer.number.tolist())
        assert (parts[place] == np.append(0, layer.number)[whole[place]]).all()


@pytest.mark.parametrize("strip", [32, 57, 1000])
def test_strips_change_nothing(tmp_path, monkeypatch, strip):
    labels = discs(3)
    expected = open_prediction(run(tmp_path / "a", labels, ["touching"], fill_holes=30), "s", CLASSES).layers()
    monkeypatch.setattr(thresholds, "STRIP", strip)
    found = open_prediction(run(tmp_path / "b", labels, ["touching"], fill_holes=30), "s", CLASSES).layers()
    for one, other in zip(expected, found, strict=True):
        assert (painted(one) == painted(other)).all()


def test_outlines_share_edges_and_do_not_overlap(tmp_path):
    folder = run(tmp_path, discs(), ["touching"])
    features = json.loads(gzip.decompress((folder / "s.geojson.gz").read_bytes()))["features"]
    assert len({each["id"] for each in features}) == len(features)
    for name, layer in zip(CLASSES, open_prediction(folder, "s", CLASSES).layers(), strict=True):
        found = painted(layer)
        own = [each for each in features if each["properties"]["classification"]["name"] == name]
        shapes = np.array([shape(each["geometry"]) for each in own])
        assert shapely.is_valid(shapes).all()
        assert shapely.area(shapely.union_all(shapes)) == shapely.area(shapes).sum() == (found > 0).sum()
        drawn = rasterize(
            ((each, number) for number, each in enumerate(shapes, start=1)),
            (HEIGHT, WIDTH), transform=(1, 0, CORNER[0], 0, 1, CORNER[1]),
        )  # fmt: skip
        pairs = set(zip(drawn.ravel().tolist(), found.ravel().tolist(), strict=True))
        assert len(pairs) == len(own) + 1, "one outline an object, with its pixels"
    read = read_outlines(folder / "s.geojson.gz", "s", (WIDTH + 60, HEIGHT + 40), Annotations(objects=["annotation"]))
    assert len(read.annotations) == len(features)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.parametrize("least", [0, 400])
def test_a_submission_has_a_row_for_each_object(tmp_path, least):
    folder = run(tmp_path, discs(), ["touching"], bounds=(0.5, least))
    (tmp_path / "segments").rename(tmp_path / "shard")
    (tmp_path / "all").mkdir()
    (tmp_path / "shard").rename(tmp_path / "all" / "s")
    layer = open_prediction(tmp_path / "all" / "s", "s", ["cell"]).layers()[0]
    found, image = painted(layer), (640, 700)
    assert np.bincount(found.ravel())[1:].min() >= least
    expected = {tuple(np.flatnonzero(found == place)) for place in range(1, found.max() + 1)}
    assert folder
    for dialect in ("row_major", "coco"):
        order = EncodeOrder(
            rows=[EncodeRow(slide="s", shard="s")], classes=["cell"],
            submission=Submission(dialect=dialect, rows="object" if dialect == "row_major" else "slide"),
        )  # fmt: skip
        encode(order, segments=tmp_path / "all", out=tmp_path / "s.csv")
        with (tmp_path / "s.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if dialect == "coco":
            words = rows[0]["prediction_string"].split()[2::3]
            masks = [
                coco.decode({"size": list(image), "counts": zlib.decompress(base64.b64decode(word))}) for word in words
            ]
        else:
            masks = [decode_row_major(row["predicted"], *image).to_mask() for row in rows]
        inside = [mask[CORNER[1] :, CORNER[0] :][:HEIGHT, :WIDTH] for mask in masks]
        assert {tuple(np.flatnonzero(mask)) for mask in inside} == expected


def test_what_is_left_out_takes_its_pixels_along_and_nothing_else(tmp_path):
    labels = discs()
    every = open_prediction(run(tmp_path / "a", labels, ["touching"]), "s", CLASSES).layers()[0]
    large = open_prediction(run(tmp_path / "b", labels, ["touching"], bounds=(0.5, 500)), "s", CLASSES)
    found = painted(every)
    kept = np.append(False, np.bincount(found.ravel())[1:] >= 500)
    assert 0 < kept.sum() < found.max()
    assert ((painted(large.layers()[0]) > 0) == kept[found]).all()
    with open_raster(large.mask) as raster:
        assert ((raster.read()[0] & 1 > 0) == kept[found]).all()


def test_at_a_coarser_scale_seeds_reach_as_far_as_there(tmp_path):
    labels = discs(count=120)
    layers = open_prediction(run(tmp_path, labels, ["touching"], factor=3.0), "s", CLASSES).layers()
    for own, layer in zip(labels, layers, strict=True):
        found = painted(layer)
        assert found.shape == (3 * HEIGHT, 3 * WIDTH)
        assert (agreement(own, found[1::3, 1::3]) > 0.5).mean() >= 0.97


def test_how_much_there_is_counts_objects_and_not_components(tmp_path):
    from tilewright.segments.measure import measure

    labels = discs()
    run(tmp_path, labels, ["touching"])
    target = tmp_path / "segments-all" / "segments" / "e" / "a"
    target.parent.mkdir(parents=True)
    (tmp_path / "segments").rename(target)
    frame = Frame(*CORNER, WIDTH, HEIGHT, IMAGE, mpp=0.5)
    tissue = tmp_path / "segments-all" / "scaled" / "full" / "a" / "s.tissue.tif"
    with create_raster(tissue, frame.size, tags=frame.tags()) as raster:
        raster.write(np.ones((HEIGHT, WIDTH), np.uint8), 0, 0)
    order = MeasureOrder(classes=CLASSES, rows={"e": [MeasureRow(slide="s", shard="a")]}, scales={"e": "full"})
    measure(order, results=tmp_path / "segments-all", out=tmp_path / "slides.csv")
    with (tmp_path / "slides.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    prediction = open_prediction(target, "s", CLASSES)
    assert [int(row["objects"]) for row in rows] == [len(layer.number) for layer in prediction.layers()]
    assert [int(row["area_px"]) for row in rows] == [int((own > 0).sum()) for own in labels]


def test_a_table_of_another_mask_is_told(tmp_path):
    folder = run(tmp_path / "a", discs(), ["touching"])
    other = run(tmp_path / "b", discs(1), ["touching"])
    (folder / "s.objects.parquet").write_bytes((other / "s.objects.parquet").read_bytes())
    with pytest.raises(DataError, match="does not hold the pixels of the table beside it"):
        open_prediction(folder, "s", CLASSES).layers()


def test_lengths_of_seeds_are_those_of_the_probabilities(tmp_path):
    # a bar of which the first columns are surely of one object; on its right a seed of six pixels, which is none
    values = np.zeros((4, 40, 90), np.uint8)
    values[0, 10:20, 5:75], values[2, 10:20, 15:75] = 255, 255
    values[2, 14:16, 60:63] = 0
    frame = Frame(0, 0, 270, 120, Size(270, 120), 3.0)
    with create_raster(
        tmp_path / "p" / "s.tif", frame.size, bands=4, tags=frame.tags(band_names(CLASSES, ["mask", "touching"]))
    ) as raster:
        raster.write(values, 0, 0)
    write_document(
        tmp_path / "c.json", {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    )
    order = SegmentOrder(
        rows=[SegmentRow(slide="s")], colors=dict.fromkeys(CLASSES, "#ff0000"), segmentation=Segmentation()
    )
    segment(order, probabilities=tmp_path / "p", calibration=tmp_path / "c.json", out=tmp_path / "segments")
    layer = open_prediction(tmp_path / "segments", "s", CLASSES).layers()[0]
    found = painted(layer)
    assert len(layer.number) == 2
    assert np.flatnonzero(found[45] == 1).max() == pytest.approx(3 * (15 + 8), abs=3)


def test_all_classes_together_keep_whose_pixels_are_whose(tmp_path):
    layers = open_prediction(run(tmp_path, discs(), ["touching"]), "s", CLASSES).layers()
    unsure = [layers[0], replace(layers[1], confidence=np.linspace(0.1, 2, len(layers[1].number)))]
    whole = united(unsure)
    maps = [np.append(0, layer.number)[painted(layer)] for layer in unsure]
    confidence = dict(zip(np.concatenate([each.number for each in unsure]).tolist(),
                          np.concatenate([each.confidence for each in unsure]).tolist(), strict=True))  # fmt: skip
    found = np.append(0, whole.number)[painted(whole)]
    assert [confidence[number] for number in whole.number.tolist()] == whole.confidence.tolist()
    score = np.vectorize(lambda number: confidence.get(number, -1))
    assert (score(found) == np.maximum(*map(score, maps))).all()
    assert ((found == maps[0]) | (found == maps[1])).all()


def test_necks_are_cut_only_where_nothing_tells_objects_apart(tmp_path):
    labels = discs()
    alone = run(tmp_path / "a", labels, ["touching"])
    both = run(tmp_path / "b", labels, ["touching"], split={"distance": 6})
    for name in ("s.objects.parquet", "s.mask.tif", "s.geojson.gz"):
        assert (alone / name).read_bytes() == (both / name).read_bytes()


def of_bands(folder, mask, touching, **segmentation):
    """The folder of the segments of one class, whose bands are given."""
    frame = Frame(0, 0, mask.shape[1], mask.shape[0], Size(mask.shape[1], mask.shape[0]))
    none = np.zeros_like(mask)
    names = band_names(CLASSES, ["mask", "touching"])
    with create_raster(folder / "p" / "s.tif", frame.size, bands=4, tags=frame.tags(names)) as raster:
        for top in range(0, len(mask), 512):
            raster.write(np.stack([mask, none, touching, none])[:, top : top + 512], 0, top)
    limits = {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
    write_document(folder / "c.json", limits)
    colors = dict.fromkeys(CLASSES, "#ff0000")
    order = SegmentOrder(
        rows=[SegmentRow(slide="s")], colors=colors, segmentation=Segmentation.model_validate(segmentation)
    )
    segment(order, probabilities=folder / "p", calibration=folder / "c.json", out=folder / "all" / "s")
    return folder / "all"


@pytest.mark.parametrize(("confidence", "expected"), [("mean", [1, 0.6]), ("max", [1, 0.6])])
def test_each_object_has_the_confidence_of_its_own_pixels(tmp_path, confidence, expected):
    mask, touching = np.zeros((2, 40, 60), np.uint8)
    mask[10:30, 10:30], mask[10:30, 30:50], touching[:, 29:31] = 255, 153, 255
    folder = of_bands(tmp_path, mask, touching, confidence=confidence)
    table = pq.read_table(folder / "s" / "s.objects.parquet").to_pandas()
    assert table["confidence"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("edge", [128, 512, 640])
def test_what_is_left_out_does_not_leave_an_object_in_two_parts(tmp_path, edge):
    mask = np.zeros((1536, 200), np.uint8)
    mask[edge - 18 : edge - 1, 50:100] = mask[edge + 2 : edge + 72, 50:150] = mask[edge - 68 : edge + 72, 140:150] = 255
    mask[edge - 68 : edge - 58, 50:150] = mask[edge - 68 : edge - 1, 50:60] = 255
    touching = np.full_like(mask, 255)
    touching[edge - 16 : edge - 1, 70:95] = 0
    folder = of_bands(tmp_path, mask, touching, max_area=2000)
    layer = open_prediction(folder / "s", "s", CLASSES).layers()[0]
    assert len(layer.number) >= 1
    for dialect, rows in (("row_major", "object"), ("coco", "slide")):
        order = EncodeOrder(
            rows=[EncodeRow(slide="s", shard="s")], classes=["cell"],
            submission=Submission(dialect=dialect, rows=rows),
        )  # fmt: skip
        encode(order, segments=folder, out=tmp_path / "s.csv")
        text = (tmp_path / "s.csv").read_text()
        assert (len(text.splitlines()) - 1 if rows == "object" else len(text.split()) // 3) >= len(layer.number)
