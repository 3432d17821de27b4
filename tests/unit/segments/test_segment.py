import gzip
import json
from pathlib import Path
from uuid import UUID

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import mapping, shape

from tilewright.annotations import read_outlines
from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.runs import Runs
from tilewright.pixels.thresholds import STRIP, scored_strips
from tilewright.pixels.tracing import trace
from tilewright.project.config import Annotations, Limits, Segmentation
from tilewright.project.orders import SegmentOrder, SegmentRow
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.segments.geojson import object_id
from tilewright.segments.segment import segment

COLORS = {"gland": "#ff8000", "vessel": "#0000ff"}


def blobs(height: int, width: int, bands: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((bands, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    return np.clip(128 + 128 * smooth / np.abs(smooth).max() * 1.5, 0, 255).astype(np.uint8)


def write_probabilities(path: Path, pixels: np.ndarray, frame: Frame) -> None:
    tags = frame.tags(list(COLORS)[: len(pixels)])
    with create_raster(path, frame.size, bands=len(pixels), tags=tags) as raster:
        for top in range(0, pixels.shape[1], 512):
            raster.write(pixels[:, top : top + 512], 0, top)


def plain_full_size(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """The whole slide at once: bilinear, half-pixel centres."""

    def taps(length, cells):
        place = np.clip((np.arange(length) + 0.5) / frame.factor - 0.5, 0, cells - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, cells - 1), (place - low).astype(np.float32)

    low, high, share = taps(frame.width, pixels.shape[1])
    across = pixels[:, low] + share * (pixels[:, high].astype(np.float32) - pixels[:, low])
    low, high, share = taps(frame.height, pixels.shape[0])
    return across[low] + share[:, None] * (across[high] - across[low])


def run_segment(folder: Path, pixels, frame, *, min_area=0, thresholds=None, anatomy="", **segmentation):
    classes = list(COLORS)[: len(pixels)]
    write_probabilities(folder / "p" / "s1.tif", pixels, frame)
    thresholds = thresholds or dict.fromkeys(classes, 0.6)
    calibration = {"thresholds": thresholds, "min_area": dict.fromkeys(classes, min_area)}
    write_document(folder / "calibration.json", calibration)
    order = SegmentOrder(
        rows=[SegmentRow(slide="s1", anatomy=folder / anatomy if anatomy else None)],
        colors={name: COLORS[name] for name in classes},
        segmentation=Segmentation(**segmentation),
    )
    out = folder / "out"
    segment(order, probabilities=folder / "p", calibration=folder / "calibration.json", out=out)
    with open_raster(out / "s1.mask.tif") as raster:
        mask, tags = raster.read()[0], raster.tags
    table = pd.read_parquet(out / "s1.objects.parquet")
    return mask, tags, table, json.loads(gzip.decompress((out / "s1.geojson.gz").read_bytes()))


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.7])
def test_bands_give_the_runs_of_the_whole_array(tmp_path, factor):
    frame = Frame(0, 0, 301, 557, Size(301, 557), factor)
    pixels = blobs(frame.size.height, frame.size.width, 1)
    write_probabilities(tmp_path / "p.tif", pixels, frame)
    full = plain_full_size(pixels[0], frame)
    with open_raster(tmp_path / "p.tif") as raster:
        for rows in (1, 7, 64, 1000):
            strips = [scored for (scored,) in scored_strips(raster, frame, [0.5], band_pixels=301 * rows)]
            runs = Runs.concatenate(((0, scored.strip.runs) for scored in strips), 557, 301)
            assert [(scored.strip.top, scored.strip.bottom) for scored in strips] == [
                (0, 128),
                (128, 256),
                (256, 384),
                (384, 512),
                (512, 557),
            ]
            assert runs == Runs.from_mask(full >= 127.5)
            values = np.concatenate([scored.values for scored in strips])
            spans = list(zip(runs.row, runs.start, runs.stop, strict=True))
            assert np.allclose(values["sum"], [full[row, a:b].sum(dtype=np.float64) for row, a, b in spans])
            assert (values["largest"] == [full[row, a:b].max() for row, a, b in spans]).all()
            assert (values["count"] == [b - a for _, a, b in spans]).all()


def test_objects_are_those_of_the_plain_version(tmp_path):
    frame = Frame(0, 0, 640, 1100, Size(640, 1100), 2.0)
    pixels = blobs(550, 320, 2)
    mask, tags, table, _ = run_segment(tmp_path, pixels, frame, min_area=50)
    assert json.loads(tags["classes"]) == ["gland", "vessel"]
    strip = np.minimum((table["top"] + table["height"]) // STRIP, 1099 // STRIP)
    assert table["object"].tolist() == list(range(1, len(table) + 1))
    assert (
        table.index.tolist()
        == table.assign(strip=strip).sort_values(["strip", "class", "top", "first_x"]).index.tolist()
    )
    for bit, name in enumerate(("gland", "vessel")):
        full = plain_full_size(pixels[bit], frame)
        labels, count = ndimage.label(full >= 153, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())
        keep = [k for k in range(1, count + 1) if areas[k] >= 50]
        assert ((mask >> bit & 1) == np.isin(labels, keep)).all()
        own = table[table["class"] == name].sort_values(["top", "first_x"])
        assert own["area"].tolist() == areas[keep].tolist()
        assert np.allclose(own["confidence"], ndimage.mean(full, labels, keep) / 255)
        assert np.allclose(own[["y", "x"]] - 0.5, ndimage.center_of_mass(labels > 0, labels, keep))
        rows, columns = zip(*(ndimage.find_objects(labels)[k - 1] for k in keep), strict=True)
        assert own["left"].tolist() == [part.start for part in columns]
        assert own["top"].tolist() == [part.start for part in rows]
        assert (own["left"] + own["width"]).tolist() == [part.stop for part in columns]
        assert (own["top"] + own["height"]).tolist() == [part.stop for part in rows]


def test_a_threshold_of_a_level_is_met_by_that_level(tmp_path):
    frame = Frame(0, 0, 256, 1, Size(256, 1))
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 256)
    write_probabilities(tmp_path / "p.tif", pixels, frame)
    with open_raster(tmp_path / "p.tif") as raster:
        for level in range(1, 256):
            ((scored,),) = scored_strips(raster, frame, [level / 255])
            assert scored.strip.runs.area() == 256 - level


def test_confidence_may_be_the_largest_probability(tmp_path):
    pixels = np.zeros((1, 10, 10), np.uint8)
    pixels[0, 2, 2:5] = [204, 255, 204]
    _, _, table, _ = run_segment(tmp_path, pixels, Frame(0, 0, 10, 10, Size(10, 10)), confidence="max")
    assert table["confidence"].tolist() == [1.0]


def test_filters_leave_out_what_they_name_from_mask_and_table(tmp_path):
    frame = Frame(0, 0, 300, 700, Size(300, 700))
    pixels = blobs(700, 300, 1, seed=3)
    mask, _, table, _ = run_segment(tmp_path, pixels, frame, min_area=20, min_confidence=0.68, max_area=900)
    labels, count = ndimage.label(pixels[0] >= 153, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    means = ndimage.mean(pixels[0], labels, range(count + 1)) / 255
    keep = [k for k in range(1, count + 1) if 20 <= areas[k] <= 900 and means[k] >= 0.68]
    assert 0 < len(keep) < count
    assert ((mask > 0) == np.isin(labels, keep)).all()
    assert sorted(table["area"]) == sorted(areas[keep])


def test_holes_are_filled_and_do_not_change_the_confidence(tmp_path):
    pixels = np.zeros((1, 400, 60), np.uint8)
    pixels[0, 2:12, 3:13] = 204
    pixels[0, 5:7, 6:8] = 0
    pixels[0, 100:300, 20:50] = 204
    pixels[0, 110:290, 30:40] = 0
    mask, _, table, collection = run_segment(tmp_path, pixels, Frame(0, 0, 60, 400, Size(60, 400)), fill_holes=4)
    assert mask[2:12, 3:13].all()
    assert not mask[110:290, 30:40].any()
    assert table["area"].tolist() == [100, 200 * 30 - 180 * 10]
    assert table["confidence"].tolist() == pytest.approx([0.8, 0.8])
    assert [len(each["geometry"]["coordinates"]) for each in collection["features"]] == [1, 2]


def test_touching_objects_are_cut_and_small_pieces_left_out(tmp_path):
    rows, columns = np.mgrid[:200, :120]
    near = ((rows - 60) ** 2 + (columns - 50) ** 2 <= 400) | ((rows - 140) ** 2 + (columns - 50) ** 2 <= 400)
    bridge = (np.abs(columns - 50) < 4) & (rows > 60) & (rows < 140)
    pixels = ((near | bridge) * 200).astype(np.uint8)[None]
    mask, _, table, _ = run_segment(tmp_path, pixels, Frame(0, 0, 120, 200, Size(120, 200)), split={}, min_area=600)
    assert len(table) == 2
    assert ndimage.label(mask, np.ones((3, 3)))[1] == 2
    assert mask.sum() == table["area"].sum()
    assert not (mask.astype(bool) & (pixels[0] == 0)).any()


def anatomy_file(folder, **structures):
    features = [
        {"type": "Feature", "geometry": mapping(shapely.box(*bounds)), "properties": {"classification": {"name": name}}}
        for name, bounds in structures.items()
    ]
    (folder / "anatomy.json").write_text(json.dumps(features))
    return "anatomy.json"


def test_objects_outside_of_the_structures_asked_for_are_left_out(tmp_path):
    """The frame lies at 100, 50 of the image, in which structures are outlined; the centre of an object decides."""
    frame = Frame(100, 50, 60, 500, Size(400, 700))
    pixels = np.zeros((1, 500, 60), np.uint8)
    for top in range(10, 490, 40):
        pixels[0, top : top + 10, 20:30] = 255
    anatomy = anatomy_file(tmp_path, Cortex=(100, 50, 400, 220), Medulla=(100, 220, 400, 700))
    mask, _, table, collection = run_segment(tmp_path, pixels, frame, anatomy=anatomy, inside=["Cortex"])
    assert table["top"].tolist() == [10, 50, 90, 130]
    assert np.flatnonzero(mask.any(axis=1)).max() == 139
    assert len(collection["features"]) == 4
    _, _, table, _ = run_segment(tmp_path, pixels, frame, anatomy=anatomy, inside=["Cortex", "Medulla"])
    assert len(table) == 12


def test_a_slide_without_anatomy_keeps_all_and_a_wrong_label_is_named(tmp_path):
    frame, pixels = Frame(0, 0, 30, 30, Size(30, 30)), np.full((1, 30, 30), 255, np.uint8)
    assert len(run_segment(tmp_path, pixels, frame, inside=["Cortex"])[2]) == 1
    anatomy = anatomy_file(tmp_path, Medulla=(0, 0, 30, 30))
    with pytest.raises(DataError, match=r"holds no outline with the label Cortex\.\n  Labels there: Medulla\."):
        run_segment(tmp_path, pixels, frame, anatomy=anatomy, inside=["Cortex"])


def test_geojson_lies_in_the_whole_image_and_keeps_holes(tmp_path):
    pixels = np.zeros((1, 20, 20), np.uint8)
    pixels[0, 2:12, 3:13] = 255
    pixels[0, 5:7, 6:8] = 0
    _, _, table, collection = run_segment(tmp_path, pixels, Frame(100, 50, 20, 20, Size(500, 400)))
    (feature,) = collection["features"]
    ring = shape(feature["geometry"])
    assert ring.bounds == (103, 52, 113, 62)
    assert ring.area == 100 - 4
    assert len(ring.interiors) == 1
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"] == {"name": "gland", "color": [255, 128, 0]}
    assert feature["properties"]["measurements"] == {"area_px": 96, "confidence": 1.0}
    assert table[["left", "top", "width", "height"]].to_numpy().tolist() == [[3, 2, 10, 10]]


def test_the_outlines_read_back_as_annotations_with_the_same_mask(tmp_path):
    """Through the reader of outlines and the rasterizer: holes, corners that touch, a frame inside its image."""
    frame = Frame(40, 30, 600, 500, Size(700, 600))
    mask, tags, table, _ = run_segment(tmp_path, blobs(500, 600, 2, seed=5), frame)
    found = read_outlines(tmp_path / "out" / "s1.geojson.gz", "s1", frame.image, Annotations(), Limits())
    assert len(found.annotations) == len(table) > 100
    assert not found.findings
    for bit, name in enumerate(json.loads(tags["classes"])):
        shapes = [each.geometry for each in found.annotations if each.label == name]
        drawn = rasterize(shapes, (600, 700))
        assert (drawn[30:530, 40:640] == (mask >> bit) & 1).all()
        assert drawn.sum() == ((mask >> bit) & 1).sum()


@pytest.mark.parametrize("kind", ["annotation", "detection"])
def test_objects_are_of_the_kind_asked_for_and_read_back_as_such(tmp_path, kind):
    frame = Frame(40, 30, 300, 250, Size(400, 300))
    _, _, table, collection = run_segment(tmp_path, blobs(250, 300, 2), frame, object_type=kind)
    assert {feature["properties"]["objectType"] for feature in collection["features"]} == {kind}
    file = tmp_path / "out" / "s1.geojson.gz"
    found = read_outlines(file, "s1", frame.image, Annotations(objects=[kind]), Limits())
    assert [each.label for each in found.annotations] == table["class"].tolist()
    for each, feature in zip(found.annotations, collection["features"], strict=True):
        assert shape(each.geometry).equals(shape(feature["geometry"]))


def test_area_is_in_square_micrometres_where_the_pixel_size_is_known(tmp_path):
    """Of the slide's pixels, at whatever scale it was predicted."""
    pixels = np.zeros((1, 10, 10), np.uint8)
    pixels[0, 2:6, 2:6] = 255
    for factor, mpp, area in ((1.0, 0.5, 16), (2.0, 0.2528, None)):
        edge = round(10 * factor)
        frame = Frame(0, 0, edge, edge, Size(edge, edge), factor, mpp)
        (feature,) = run_segment(tmp_path, pixels, frame)[3]["features"]
        measured = feature["properties"]["measurements"]
        assert area in (None, measured["area_px"])
        assert measured["area_um2"] == pytest.approx(shape(feature["geometry"]).area * mpp**2, rel=1e-5)


def test_an_object_keeps_its_id_whatever_lies_beside_it(tmp_path):
    frame, pixels = Frame(40, 30, 300, 250, Size(400, 300)), blobs(250, 300, 2)
    before = run_segment(tmp_path, pixels, frame)[3]["features"]
    written = (tmp_path / "out" / "s1.geojson.gz").read_bytes()
    again = run_segment(tmp_path, pixels, frame, object_type="detection", min_area=40)[3]["features"]
    run_segment(tmp_path, pixels, frame)
    assert (tmp_path / "out" / "s1.geojson.gz").read_bytes() == written
    shapes = {feature["id"]: feature["geometry"] for feature in before}
    assert len(shapes) == len(before) > len(again) > 10
    assert all(shapes[feature["id"]] == feature["geometry"] for feature in again)
    assert all(str(UUID(each)) == each for each in shapes)


def test_ids_differ_by_slide_class_and_place():
    ids = {object_id(*each) for each in (("a", "b", 1, 2), ("ab", "", 1, 2), ("a", "c", 1, 2), ("a", "b", 2, 1))}
    assert len(ids) == 4
    assert object_id("s1", "gland", 103, 52) == "1900f7e1-225a-5221-a14e-2ed756b25d9e"


def test_many_objects_are_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.segments.writing.ROWS_TOGETHER", 50)
    _, _, table, _ = run_segment(tmp_path, blobs(700, 500, 2), Frame(0, 0, 500, 700, Size(500, 700)))
    assert table["object"].tolist() == list(range(1, len(table) + 1))
    file = pq.ParquetFile(tmp_path / "out" / "s1.objects.parquet")
    assert 1 < file.num_row_groups <= len(table) // 50 + 1


def test_a_slide_without_objects_gets_empty_files(tmp_path):
    mask, _, table, collection = run_segment(
        tmp_path, np.zeros((2, 10, 10), np.uint8), Frame(0, 0, 20, 20, Size(20, 20), 2.0)
    )
    assert not mask.any()
    assert mask.shape == (20, 20)
    assert len(table) == 0
    assert collection == {"type": "FeatureCollection", "features": []}


def test_outlines_are_valid_and_cover_the_pixels_of_their_object():
    rng = np.random.default_rng(1)
    for _ in range(200):
        mask = rng.random(rng.integers(1, 12, 2)) < rng.random()
        runs = Runs.from_mask(mask)
        labels = components_of(runs)
        for number, geometry in enumerate(map(shape, trace(runs, labels))):
            own = runs.take(labels == number)
            assert geometry.is_valid
            assert geometry.area == own.area()
            assert (rasterize([geometry], mask.shape) == own.to_mask()).all()


def test_a_class_without_a_threshold_is_named(tmp_path):
    frame = Frame(0, 0, 10, 10, Size(10, 10))
    with pytest.raises(DataError, match=r"calibration.json: has no entry for gland"):
        run_segment(tmp_path, np.zeros((1, 10, 10), np.uint8), frame, thresholds={"other": 0.5})
    assert not (tmp_path / "out").exists()


def test_probabilities_of_another_size_are_refused(tmp_path):
    with create_raster(tmp_path / "p" / "s1.tif", Size(5, 5), tags=Frame(0, 0, 9, 9, Size(9, 9)).tags(["gland"])):
        pass
    write_document(tmp_path / "c.json", {"thresholds": {"gland": 0.5}, "min_area": {"gland": 0}})
    order = SegmentOrder(rows=[SegmentRow(slide="s1")], colors={"gland": "#ff8000"}, segmentation=Segmentation())
    with pytest.raises(DataError, match="holds 5 x 5 pixels; expected 9 x 9"):
        segment(order, probabilities=tmp_path / "p", calibration=tmp_path / "c.json", out=tmp_path / "out")


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.5, 0.98])
@pytest.mark.parametrize("factor", [2, 3])
def test_bicubic_enlarging_before_the_threshold_is_that_of_opencv(tmp_path, factor, threshold):
    """In strips, with values that overshoot, and thresholds that only overshooting values reach."""
    small = np.random.default_rng(1).integers(0, 245, (90, 70)).astype(np.uint8)
    frame = Frame(0, 0, 70 * factor, 90 * factor, Size(70 * factor, 90 * factor), factor)
    with create_raster(tmp_path / "p.tif", frame.size) as raster:
        raster.write(small[None], 0, 0)
    expected = cv2.resize(small.astype(np.float32), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    wanted, found = expected >= 255 * threshold, np.zeros(expected.shape, bool)
    with open_raster(tmp_path / "p.tif") as raster:
        for (scored,) in scored_strips(raster, frame, [threshold], band_pixels=40 * 70 * factor, enlarge="bicubic"):
            for row, start, stop in zip(
                scored.strip.runs.row, scored.strip.runs.start, scored.strip.runs.stop, strict=True
            ):
                found[row, start:stop] = True
            assert scored.values["largest"].max(initial=0) <= 255
    near = np.abs(expected - 255 * threshold) < 1e-2
    assert (found == wanted)[~near].all()
    assert wanted.any()
    bilinear = cv2.resize(small.astype(np.float32), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    assert ((bilinear >= 255 * threshold) != wanted).mean() > 0.001
