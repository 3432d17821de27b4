import json

import numpy as np
import pytest
import rasterio
from ordering import order_of
from shapely import MultiPolygon, Point, Polygon, box

from tilewright.annotations import Annotation
from tilewright.masks.outlines import outline_writer, recorded_outlines
from tilewright.masks.rasterize import draw, rasterize
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import open_raster
from tilewright.project.config import Annotations
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.runtime.errors import AnnotationError, DataError

FRAME = Frame(0, 0, 100, 80, Size(100, 80))


def drawn(tmp_path, *shapes, frame=FRAME, classes=None, **options):
    """The mask (rows x columns) of areas, or of pairs of an area and its label, and its summary."""
    annotations = [
        Annotation("a", shape, f"feature {number}") if not isinstance(shape, tuple) else Annotation(shape[1], shape[0])
        for number, shape in enumerate(shapes, start=1)
    ]
    summary = draw(annotations, frame, tmp_path / "m.tif", classes=classes or {"a": ["a"]}, **options)
    with open_raster(tmp_path / "m.tif") as raster:
        assert Frame.of(raster) == frame
        return raster.read()[0], summary


def test_an_outline_along_pixel_edges_covers_just_those_pixels(tmp_path):
    mask, summary = drawn(tmp_path, box(10, 20, 30, 25))
    expected = np.zeros((80, 100), np.uint8)
    expected[20:25, 10:30] = 1
    np.testing.assert_array_equal(mask, expected)
    assert summary.pixels == {"a": 100, "ignore": 0}
    assert summary.outside == 0


def test_a_hole_stays_empty(tmp_path):
    ring = Polygon(box(0, 0, 10, 10).exterior, [box(4, 4, 6, 6).exterior])
    mask, _ = drawn(tmp_path, ring)
    assert mask.sum() == 100 - 4
    assert not mask[4:6, 4:6].any()


def test_two_far_squares_of_one_outline_are_not_joined(tmp_path):
    mask, _ = drawn(tmp_path, MultiPolygon([box(0, 0, 5, 5), box(90, 70, 95, 75)]))
    assert mask.sum() == 50
    assert not mask[10:60].any()


def test_outlines_of_one_class_that_overlap_are_united(tmp_path):
    mask, summary = drawn(tmp_path, box(0, 0, 10, 10), box(5, 0, 15, 10))
    assert mask.sum() == summary.pixels["a"] == 150


def test_classes_that_overlap_keep_their_bits(tmp_path):
    classes = {"a": ["a"], "b": ["b", "either"], "c": ["either"]}
    shapes = (
        (box(0, 0, 10, 10), "a"),
        (box(5, 0, 15, 10), "b"),
        (box(20, 0, 21, 1), "either"),
        (box(9, 0, 10, 1), "blur"),
    )
    mask, summary = drawn(tmp_path, *shapes, classes=classes, ignore=["blur"])
    assert (mask[0, 0], mask[0, 7], mask[0, 12], mask[0, 20], mask[0, 9]) == (1, 3, 2, 6, 11)
    assert summary.pixels == {"a": 100, "b": 101, "c": 1, "ignore": 1}


def test_many_classes_need_wider_pixels(tmp_path):
    classes = {f"c{number}": [f"c{number}"] for number in range(12)}
    mask, _ = drawn(tmp_path, (box(0, 0, 1, 1), "c11"), classes=classes)
    assert mask.dtype == np.uint16
    assert mask[0, 0] == 1 << 11


def test_all_touched_covers_more_than_the_pixels_whose_centre_lies_inside(tmp_path):
    shape = box(10.6, 10.6, 20.4, 20.4)
    center, _ = drawn(tmp_path, shape)
    touched, _ = drawn(tmp_path, shape, pixel_rule="all_touched")
    assert (center.sum(), touched.sum()) == (9 * 9, 11 * 11)


def test_the_mask_of_a_region_counts_from_its_corner(tmp_path):
    frame = Frame(50, 40, 30, 20, Size(100, 80))
    mask, summary = drawn(tmp_path, box(45, 45, 55, 50), box(52, 42, 53, 43), box(0, 0, 5, 5), frame=frame)
    assert mask.shape == (20, 30)
    assert mask.sum() == mask[5:10, 0:5].sum() + mask[2, 2] == 26
    assert (summary.outside, summary.first_outside) == (2, ("feature 1", "feature 3"))


def test_blocks_without_outlines_take_no_space(tmp_path):
    frame = Frame(0, 0, 20_000, 20_000, Size(20_000, 20_000))
    annotations = [Annotation("a", box(9_000, 9_000, 9_010, 9_010))]
    draw(annotations, frame, tmp_path / "m.tif", classes={"a": ["a"]})
    assert (tmp_path / "m.tif").stat().st_size < 60_000


def test_a_slide_without_outlines_has_an_empty_mask(tmp_path):
    mask, summary = drawn(tmp_path)
    assert not mask.any()
    assert summary.pixels == {"a": 0, "ignore": 0}


def test_labels_of_no_class_are_all_named_with_their_counts_and_the_nearest(tmp_path):
    shapes = [(box(0, 0, 1, 1), label) for label in ("vesel", "vesel", "nerve", "noise")]
    with pytest.raises(AnnotationError) as caught:
        drawn(tmp_path, *shapes, classes={"vessel": ["vessel"]}, discard=["noise"])
    first, second = caught.value.problems
    assert '2 outlines have the label "vesel"' in first.what
    assert 'Did you mean "vessel"?' in first.remedy
    assert '1 outline has the label "nerve"' in second.what
    assert not (tmp_path / "m.tif").exists()


def test_discarded_labels_are_not_drawn(tmp_path):
    mask, _ = drawn(tmp_path, (box(0, 0, 5, 5), "noise"), discard=["noise"])
    assert not mask.any()


REGION = {"region": ["Region*"]}


def test_nothing_outside_of_an_annotated_region_counts(tmp_path):
    region = Polygon([(10, 10), (50, 10), (50, 50), (10, 50)], [[(20, 20), (30, 20), (30, 30), (20, 30)]])
    mask, summary = drawn(tmp_path, (region, "Region*"), box(40, 40, 60, 45), box(22, 22, 26, 26), **REGION)
    expected = np.full((80, 100), 2, np.uint8)
    expected[10:50, 10:50] = 0
    expected[20:30, 20:30] = 2
    expected[40:45, 40:60] |= 1
    expected[22:26, 22:26] |= 1
    np.testing.assert_array_equal(mask, expected)
    assert summary.pixels == {"a": 116, "ignore": 8000 - 1500}


def test_regions_are_united_and_blocks_that_nothing_touches_do_not_count(tmp_path):
    regions = [(box(0, 0, 10, 10), "Region*"), (box(5, 0, 20, 10), "Region*"), (box(3, 3, 5, 5), "blur")]
    mask, summary = drawn(tmp_path, *regions, block=16, ignore=["blur"], **REGION)
    assert (mask[0:10, 0:20] == 0).sum() == 200 - 4
    assert (mask == 2).sum() == summary.pixels["ignore"] == 8000 - 196


def test_without_a_region_everything_counts_and_a_class_may_take_the_label(tmp_path):
    mask, _ = drawn(tmp_path, box(0, 0, 5, 5), **REGION)
    assert mask.sum() == 25
    mask, summary = drawn(tmp_path, (box(0, 0, 5, 5), "Region*"), classes={"a": ["Region*"]}, **REGION)
    assert summary.pixels == {"a": 25, "ignore": 0}


@pytest.mark.parametrize("count", [7, 8, 15, 16, 30, 31])
def test_any_number_of_classes_has_room_for_what_is_ignored_and_for_regions(tmp_path, count):
    classes = {f"c{number:02}": [f"c{number:02}"] for number in range(count)}
    last = f"c{count - 1:02}"
    shapes = [(box(0, 0, 9, 9), "Region*"), (box(0, 0, 3, 3), last), (box(3, 0, 5, 1), "blur")]
    mask, summary = drawn(tmp_path, *shapes, classes=classes, ignore=["blur"], **REGION)
    assert (summary.pixels[last], summary.pixels["ignore"]) == (9, 8000 - 81 + 2)
    assert mask[0, 0] == 1 << (count - 1)
    assert mask[79, 99] == 1 << count


# The step


SETTINGS = {"classes": {"a": ["a"], "b": ["b"]}, "annotations": Annotations(ignore=["blur"])}


def feature(shape, label):
    return {"type": "Feature", "geometry": shape.__geo_interface__, "properties": {"classification": {"name": label}}}


def project(tmp_path, features, rows=("s1,s1.tif,s1.geojson,train,",)):
    """A folder with two slides of 100 x 80 pixels, the outlines of the first, and a sheet."""
    for name in ("s1", "s2"):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=100, height=80, count=1, dtype="uint8",
            transform=rasterio.Affine.translation(1, 1),
        ) as file:  # fmt: skip
            file.write(np.full((1, 80, 100), 200, np.uint8))
    (tmp_path / "s1.geojson").write_text(json.dumps(features))
    header = "slide,image,annotations,role,region,shard,group"
    (tmp_path / "slides.csv").write_text("\n".join([header, *(f"{row},all,all" for row in rows)]) + "\n")


def run(tmp_path, **changes):
    rasterize(order_of(RasterizeOrder, tmp_path / "slides.csv", **{**SETTINGS, **changes}), out=tmp_path / "out")
    return tmp_path / "out"


def test_the_step_writes_a_mask_and_a_table_for_each_slide(tmp_path):
    rows = "s1,s1.tif,s1.geojson,train,", "s2,s2.tif,s1.geojson,train,"
    project(tmp_path, [feature(box(10, 20, 30, 25), "b"), feature(box(0, 0, 2, 2), "blur")], rows)
    out = run(tmp_path)
    assert sorted(path.name for path in out.iterdir()) == [
        ".tilewright", "s1.outlines.parquet", "s1.tif", "s2.outlines.parquet", "s2.tif",
    ]  # fmt: skip
    with open_raster(out / "s1.tif") as raster:
        mask = raster.read()[0]
        assert (mask == 2).sum() == 100
        assert (mask == 4).sum() == 4
    first, second = recorded_outlines(out / "s1.outlines.parquet").to_dict("records")
    assert first.pop("geometry").equals(box(10, 20, 30, 25))
    assert first == {
        "class": "b", "label": "b", "x": 20, "y": 22.5, "left": 10, "top": 20, "width": 20, "height": 5, "area": 100,
    }  # fmt: skip
    assert second["class"] == "ignore"


def test_a_slide_without_outlines_gets_an_empty_mask_and_table(tmp_path):
    project(tmp_path, [], ["s2,s2.tif,,test,"])
    out = run(tmp_path)
    assert recorded_outlines(out / "s2.outlines.parquet").empty
    with open_raster(out / "s2.tif") as raster:
        assert not raster.read().any()


def test_the_table_of_a_region_holds_what_lies_in_it_from_its_corner(tmp_path):
    shapes = box(40, 30, 60, 50), box(0, 0, 5, 5), box(70, 60, 71, 61)
    project(tmp_path, [feature(shape, "a") for shape in shapes], ['s1,s1.tif,s1.geojson,train,"50,40,30,30"'])
    table = recorded_outlines(run(tmp_path) / "s1.outlines.parquet")
    assert table[["x", "y", "left", "top"]].to_numpy().tolist() == [[0, 0, -10, -10], [20.5, 20.5, 20, 20]]


def test_the_step_writes_the_same_bytes_again(tmp_path):
    project(tmp_path, [feature(box(10, 20, 30, 25), "b"), feature(box(0, 0, 2, 2), "a")])
    first = {path.name: path.read_bytes() for path in run(tmp_path).iterdir()}
    assert {path.name: path.read_bytes() for path in run(tmp_path).iterdir()} == first


def test_repairs_and_outlines_beyond_the_image_are_noted_in_the_log(tmp_path, capsys):
    bow_tie = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    project(tmp_path, [feature(bow_tie, "a"), feature(box(90, 70, 110, 90), "a")])
    run(tmp_path)
    log = capsys.readouterr().err
    assert f"{tmp_path}/s1.geojson, feature 1: repaired: Self-intersection at x 5, y 5" in log
    assert "s1.geojson: outlines that reach beyond the image of slide s1: feature 2 (1 in all)" in log


def test_problems_of_all_slides_are_raised_together_and_nothing_is_written(tmp_path):
    (tmp_path / "s2.geojson").write_text("[")
    rows = "s1,s1.tif,s1.geojson,train,", "s2,s2.tif,s2.geojson,train,"
    project(tmp_path, [feature(box(0, 0, 9, 9), "c")], rows)
    with pytest.raises(AnnotationError) as caught:
        run(tmp_path)
    assert [problem.where for problem in caught.value.problems] == [
        f'{tmp_path}/s1.geojson (slide s1), label "c"',
        f"{tmp_path}/s2.geojson, line 1",
    ]
    assert not (tmp_path / "out").exists()


def test_jobs_of_one_slide_each_share_an_index_and_draw_what_is_theirs(tmp_path, monkeypatch):
    """Case 01: a tool's own number of an image is that of another slide."""
    monkeypatch.setattr("tilewright.annotations.shared.LEAST", 0)
    squares = {"1.tif": (2, [0, 0, 4, 0, 4, 4, 0, 4]), "2.tif": (1, [0, 0, 9, 0, 9, 9, 0, 9])}
    (tmp_path / "c.json").write_text(json.dumps({
        "images": [{"id": number, "file_name": name} for name, (number, _) in squares.items()],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": number, "category_id": 1, "segmentation": [points]}
                        for number, points in squares.values()],
    }))  # fmt: skip
    project(tmp_path, [], ["1,s1.tif,c.json,train,", "2,s2.tif,c.json,train,"])
    for slide, area in (("1", 16), ("2", 81)):
        row = RasterizeRow(slide=slide, image=tmp_path / f"{slide}.tif", annotations=tmp_path / "c.json")
        row.image.write_bytes((tmp_path / f"s{slide}.tif").read_bytes())
        order = RasterizeOrder(rows=[row], classes={"a": ["a"]}, annotations=Annotations())
        rasterize(order, out=tmp_path / "out" / slide, index=tmp_path / "left")
        with open_raster(tmp_path / "out" / slide / f"{slide}.tif") as raster:
            assert raster.read().sum() == area
        assert len(list((tmp_path / "left").iterdir())) == 1


def test_the_point_of_a_crescent_lies_inside_it(tmp_path):
    crescent = box(0, 0, 20, 20).difference(box(1, 1, 20, 19))
    with outline_writer(tmp_path / "t.parquet", FRAME, {"a": ["a"]}) as writer:
        writer.write([Annotation("a", crescent)])
    row = recorded_outlines(tmp_path / "t.parquet").iloc[0]
    point = Point(row.x, row.y)
    assert crescent.intersects(point)


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"t.parquet: cannot be read"):
        recorded_outlines(tmp_path / "t.parquet")


def test_more_outlines_than_a_batch_are_all_drawn(tmp_path):
    """Of any order, over many blocks, with an outline that reaches into all of them."""
    size = Size(300, 260)
    corners = [(x, y) for x in range(0, 300, 4) for y in range(0, 260, 4)]
    np.random.default_rng(0).shuffle(corners)
    annotations = [Annotation("a", box(x, y, x + 2, y + 3)) for x, y in corners]
    annotations.append(Annotation("b", box(0, 0, 300, 260)))
    summary = draw(
        iter(annotations), Frame(0, 0, *size, size), tmp_path / "m.tif", classes={"a": ["a"], "b": ["b"]}, block=64
    )
    expected = np.full((260, 300), 2, np.uint8)
    for x, y in corners:
        expected[y : y + 3, x : x + 2] = 3
    with open_raster(tmp_path / "m.tif") as raster:
        np.testing.assert_array_equal(raster.read()[0], expected)
    assert len(annotations) > 4096
    assert summary.pixels == {"a": 6 * len(corners), "b": 300 * 260, "ignore": 0}
    assert list(tmp_path.iterdir()) == [tmp_path / "m.tif"]


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (
            [{"type": "Feature", "geometry": None, "properties": {}}],
            "of its 1 outline(s) none can be drawn; the first, ",
        ),
        (
            [feature(box(5, 5, 9, 9), "")],
            "of its 1 outline(s) none can be drawn; the first, feature 1: has no class",
        ),
        ([feature(box(300, 5, 310, 9), "a")], "of its 1 outline(s) none covers a pixel of the 100 x 80."),
        ([feature(box(5.1, 5.1, 5.2, 5.2), "a")], "of its 1 outline(s) none covers a pixel of the 100 x 80."),
    ],
)
def test_a_slide_of_whose_outlines_none_can_be_used_is_no_background(tmp_path, features, told):
    project(tmp_path, features)
    with pytest.raises(AnnotationError) as caught:
        run(tmp_path)
    assert f"{tmp_path}/s1.geojson (slide s1): {told}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_objects_of_kinds_that_are_not_asked_for_are_told_if_they_are_all_there_is(tmp_path):
    cell = feature(box(5, 5, 9, 9), "a")
    cell["properties"]["objectType"] = "detection"
    project(tmp_path, [cell])
    with pytest.raises(AnnotationError) as caught:
        run(tmp_path)
    assert (
        "(slide s1): holds nothing but objects that annotations.objects does not name: 1 of the kind detection"
        in str(caught.value)
    )
    run(tmp_path, annotations=Annotations(objects=["detection"]))


def test_one_outline_that_can_be_used_and_an_empty_file_are_enough(tmp_path):
    project(tmp_path, [feature(box(5, 5, 9, 9), ""), feature(box(20, 20, 24, 24), "a")])
    run(tmp_path)
    project(tmp_path, [])
    assert recorded_outlines(run(tmp_path) / "s1.outlines.parquet").empty


def test_outlines_that_lie_beside_the_region_of_a_slide_are_no_mistake(tmp_path):
    project(tmp_path, [feature(box(5, 5, 9, 9), "a")], ['s1,s1.tif,s1.geojson,train,"50,40,30,30"'])
    run(tmp_path)


def test_qupaths_own_labels_for_regions_and_for_what_does_not_count_need_no_key(tmp_path):
    shapes = [(box(0, 0, 50, 80), "Region*"), (box(0, 0, 10, 10), "Ignore*"), (box(20, 20, 30, 30), "a")]
    project(tmp_path, [feature(shape, label) for shape, label in shapes])
    out = run(tmp_path, annotations=Annotations())
    with open_raster(out / "s1.tif") as raster:
        mask = raster.read()[0]
    assert ((mask == 4).sum(), (mask == 1).sum()) == (4000 + 100, 100)
    assert recorded_outlines(out / "s1.outlines.parquet")["class"].tolist() == ["ignore", "a"]


def test_a_region_may_be_known_by_its_name(tmp_path):
    named = feature(box(0, 0, 50, 80), "")
    named["properties"]["name"] = "Region*"
    project(tmp_path, [named, feature(box(20, 20, 30, 30), "a")])
    with open_raster(run(tmp_path) / "s1.tif") as raster:
        assert (raster.read()[0] == 4).sum() == 4000


def test_a_region_that_is_lost_is_refused_as_other_pixels_would_count(tmp_path):
    project(tmp_path, [feature(box(200, 0, 250, 80), "Region*"), feature(box(20, 20, 30, 30), "a")])
    with pytest.raises(AnnotationError, match=r"its annotated region, feature 1, lies outside of the image"):
        run(tmp_path)
    project(tmp_path, [feature(box(200, 0, 250, 80), "Region*")], ['s1,s1.tif,s1.geojson,train,"50,40,30,30"'])
    run(tmp_path)
