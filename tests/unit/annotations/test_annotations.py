import errno
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reading import SIZE, findings, outline_refusal, read_outlines
from shapely import MultiPolygon, box

from tilewright.pixels.rle import encode_coco_counts
from tilewright.pixels.runs import Runs
from tilewright.project.config import Limits

SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]
HOLE = [[12, 12], [14, 12], [14, 14], [12, 14], [12, 12]]
FAR = [[60, 60], [70, 60], [70, 70], [60, 70], [60, 60]]
BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]


def feature(coordinates, label="a", kind="Polygon"):
    properties = {"classification": {"name": label}} if label else {}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def write(path, content):
    content = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_features(tmp_path, *features, **options):
    return read_outlines(write(tmp_path / "s.geojson", {"type": "FeatureCollection", "features": features}), **options)


# GeoJSON


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [feature([SQUARE])]},
        [feature([SQUARE])],
        feature([SQUARE]),
        feature([SQUARE], {"unexpected": 1}) | {"properties": {"classification": "a"}},
        feature([SQUARE]) | {"properties": {"classification": {"names": ["a"]}}},
        feature([[[*point, 0.0] for point in SQUARE]]),
        feature([SQUARE[:-1]]),
    ],
    ids=["collection", "list", "feature", "class as text", "class as names", "third coordinate", "open ring"],
)
def test_every_form_of_geojson_gives_the_same_outline(tmp_path, document):
    outlines = read_outlines(write(tmp_path / "s.json", document))
    (annotation,) = outlines.annotations
    assert (annotation.label, annotation.origin) == ("a", "feature 1")
    assert annotation.geometry.equals(box(10, 10, 20, 20))
    assert not outlines.findings


def test_other_numbers_of_an_outline_may_be_of_any_kind(tmp_path):
    outlines = read_features(tmp_path, feature([SQUARE]) | {"id": 2**64, "area": float("nan"), "score": float("-inf")})
    assert len(outlines.annotations) == 1
    assert not outlines.findings


def test_geojson_may_be_gzipped(tmp_path):
    path = tmp_path / "s.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps([feature([SQUARE])]).encode()))
    assert len(read_outlines(path).annotations) == 1


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


@pytest.mark.parametrize("name", ["s.zip", "s.geojson.ZIP"])
def test_geojson_may_be_zipped_as_qupath_does(tmp_path, name):
    content = json.dumps([feature([SQUARE])])
    path = zipped(tmp_path / name, any__geojson=content, **{"in/___any__geojson": "x", "readme__txt": "x"})
    assert len(read_outlines(path).annotations) == 1


def test_coco_and_lines_may_be_zipped(tmp_path):
    assert len(read_outlines(zipped(tmp_path / "c.zip", c__json=json.dumps(coco({"segmentation": []})))).findings) == 1
    assert read_outlines(zipped(tmp_path / "l.zip", l__jsonl='{"id": "s", "annotations": []}')).annotations == ()


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"a__geojson": "[]", "b__json": "[]"}, "is a zip with 2 files of outlines (a.geojson, b.json)."),
        ({"a__txt": ""}, "is a zip without a file of outlines (.geojson,"),
    ],
)
def test_a_zip_with_no_or_several_files_of_outlines_is_refused(tmp_path, members, told):
    said = outline_refusal(zipped(tmp_path / "s.zip", **members))
    assert told in said
    assert "Unpack it" in said


def test_a_zip_that_is_damaged_or_unpacks_without_end_is_refused(tmp_path):
    assert "is no zip that can be read; it may be cut off" in outline_refusal(write(tmp_path / "s.zip", "PK"))
    path = zipped(tmp_path / "t.zip", a__geojson=" " * 3_000_000)
    assert "more than limits.max_vertices" in outline_refusal(path, limits=Limits(max_vertices=1))
    path = zipped(tmp_path / "u.zip", a__geojson=json.dumps([feature([SQUARE])]))
    path.write_bytes(path.read_bytes().replace(b'"Polygon"', b'"Polygno"'))
    assert "cannot be read (Bad CRC-32" in outline_refusal(path)
    assert "Copy the file again." in outline_refusal(path)


def test_a_drive_that_fails_is_no_damage_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "s.geojson"
    path.write_text("[]")

    def fails(*_arguments, **_options):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "open", fails)
    told = outline_refusal(path)
    assert "cannot be read ([Errno 116] Stale file handle)" in told
    assert "have the drive mounted anew" in told


def test_a_hole_is_no_part_of_the_area(tmp_path):
    (annotation,) = read_features(tmp_path, feature([SQUARE, HOLE])).annotations
    assert annotation.geometry.area == 100 - 4


def test_parts_of_a_multipolygon_stay_apart(tmp_path):
    (annotation,) = read_features(tmp_path, feature([[SQUARE], [FAR]], kind="MultiPolygon")).annotations
    assert isinstance(annotation.geometry, MultiPolygon)
    assert annotation.geometry.area == 200


def test_overlapping_parts_of_a_multipolygon_are_united(tmp_path):
    shifted = [[x + 5, y] for x, y in SQUARE]
    outlines = read_features(tmp_path, feature([[SQUARE], [shifted]], kind="MultiPolygon"))
    assert outlines.annotations[0].geometry.area == 150
    assert len(findings(outlines, "repaired")) == 1


def test_a_sliver_of_a_multipolygon_is_reported_and_the_rest_is_kept(tmp_path):
    sliver = [[30, 30], [40, 30], [35, 30], [30, 30]]
    outlines = read_features(tmp_path, feature([[SQUARE], [sliver]], kind="MultiPolygon"))
    assert outlines.annotations[0].geometry.area == 100
    assert findings(outlines, "repaired") == ["left out one of 2 parts, which encloses no area."]


def test_a_geometry_collection_gives_its_polygons(tmp_path):
    line = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
    geometry = {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [SQUARE]}, line]}
    outlines = read_features(tmp_path, feature([]) | {"geometry": geometry})
    assert outlines.annotations[0].geometry.area == 100
    assert findings(outlines, "repaired") == ["left out a member that is a LineString, which encloses no area."]


def test_a_bow_tie_is_repaired_and_reported_with_its_place_and_area(tmp_path):
    outlines = read_features(tmp_path, feature([BOW_TIE]))
    assert outlines.annotations[0].geometry.is_valid
    assert outlines.annotations[0].geometry.area == 50
    assert findings(outlines, "repaired") == ["Self-intersection at x 5, y 5; area 0.0 px, +50.0 px by the repair."]


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "is a LineString, which encloses no area"),
        ({"type": "Point", "coordinates": [0, 0]}, "is a Point, which encloses no area"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}, "has fewer than 3 points"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 1], [2, 0]]]}, "a coordinate that is not finite"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1e300, 1], [2, 0]]]}, "a coordinate beyond any image (1e+300)"),
        ({"type": "Polygon", "coordinates": [[["0", "0"], ["1", "1"], ["2", "0"]]]}, "not pairs of numbers"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1], [2, 0]]]}, "not pairs of numbers"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [10**400, 0], [2, 0]]]}, "not pairs of numbers"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [5, 0], [9, 0]]]}, "encloses no area"),
        ({"type": "Polygon", "coordinates": []}, "has no points"),
        ({"type": "Polygon"}, "has no points"),
        ({"type": "MultiPolygon", "coordinates": []}, "has no area"),
        (None, "has no geometry"),
        ("POLYGON EMPTY", "has no geometry"),
    ],
)
def test_what_cannot_be_drawn_is_reported_with_its_reason(tmp_path, geometry, why):
    outlines = read_features(tmp_path, feature([SQUARE]), feature([]) | {"geometry": geometry})
    (finding,) = outlines.findings
    assert len(outlines.annotations) == 1
    assert finding.kind == "unusable"
    assert finding.where == f"{tmp_path}/s.geojson, feature 2"
    assert why in finding.what


def test_a_collection_nested_without_end_is_reported(tmp_path):
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    for _ in range(50):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    outlines = read_features(tmp_path, feature([]) | {"geometry": geometry})
    assert findings(outlines, "unusable") == ["has no area."]


def test_an_outline_without_a_class_is_reported_or_gets_the_default(tmp_path):
    assert "has no class" in findings(read_features(tmp_path, feature([SQUARE], "")), "unusable")[0]
    (annotation,) = read_features(tmp_path, feature([SQUARE], ""), unlabelled="G").annotations
    assert annotation.label == "G"


def test_duplicates_are_reported_and_kept_once_wherever_their_ring_starts(tmp_path):
    turned = [*SQUARE[2:-1], *SQUARE[:3]]
    outlines = read_features(tmp_path, feature([SQUARE]), feature([turned]), feature([SQUARE], "b"))
    assert [annotation.label for annotation in outlines.annotations] == ["a", "b"]
    assert outlines.findings[0].where.endswith("feature 2")
    assert findings(outlines, "repaired") == ["the same as outline 1 of the file, with the same class; kept once."]


def test_broken_json_names_the_line(tmp_path):
    path = write(tmp_path / "s.geojson", '{"type": "FeatureCollection",\n "features": [')
    assert f"{path}, line 2: is not valid JSON" in outline_refusal(path)


def test_more_vertices_than_allowed_are_refused(tmp_path):
    path = write(tmp_path / "s.geojson", [feature([SQUARE]), feature([FAR])])
    assert "more than 9 vertices (limits.max_vertices)" in outline_refusal(path, limits=Limits(max_vertices=9))


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    path = tmp_path / "s.geojson.gz"
    path.write_bytes(gzip.compress(b" " * 3_000_000))
    assert "more than limits.max_vertices" in outline_refusal(path, limits=Limits(max_vertices=1))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("s.json", '{"a": 1}', "is JSON, but neither GeoJSON, nor COCO"),
        ("s.json", '[{"a": 1}]', "is JSON, but neither GeoJSON, nor COCO"),
        ("s.json", '{"type": "FeatureCollection"}', "without a list of features"),
        ("s.json", "[" * 100_000, "is nested too deeply"),
        ("s.json", '{"features": [' + "[" * 100_000, "is nested too deeply"),
        ("s.json", '{"features": [{"id": 1' + "0" * 5000, "holds a number of thousands of digits"),
        ("s.json", '{"id": 1' + "0" * 5000 + "}", "holds a number of thousands of digits"),
        ("s.geojson.gz", "not gzipped", "cannot be read"),
        ("s.json", b'{"a": "\xff"}', "is not text in UTF-8"),
        ("s.xml", "<a/>", 'is of no known format (".xml")'),
        ("s.png", "no image", "cannot be read as an image"),
        ("s.csv", "", "has no column of run lengths. Columns found: none."),
        ("s.csv", b"PK\x03\x04", "is a workbook of Excel or LibreOffice"),
        ("s.csv", ",rle\ns,1 2\n", "has no column of ids. Columns found: rle."),
    ],
)
def test_a_file_with_the_wrong_content_is_refused(tmp_path, name, content, what):
    assert what in outline_refusal(write(tmp_path / name, content))


# JSON lines


def write_lines(path, **images):
    records = ({"id": name, "annotations": [{"type": label, "coordinates": rings} for label, rings in objects]}
               for name, objects in images.items())  # fmt: skip
    return write(path, "\n".join(map(json.dumps, records)) + "\n")


@pytest.mark.parametrize("name", ["polygons.jsonl", "polygons.json"])
def test_jsonl_gives_the_outlines_of_the_slide_only(tmp_path, name):
    path = write_lines(tmp_path / name, other=[("a", [FAR])], s=[("a", [FAR]), ("b", [SQUARE, HOLE])])
    first, second = read_outlines(path).annotations
    assert (first.label, second.label, second.geometry.area) == ("a", "b", 96)
    assert second.origin == "line 2, annotation 2"


def test_jsonl_without_the_slide_names_the_nearest_id(tmp_path):
    path = write_lines(tmp_path / "polygons.jsonl", tile_12=[("a", [FAR])])
    assert (
        outline_refusal(path, "tile_13")
        == f'{path}: holds no outlines of slide tile_13.\n  Nearest id there: "tile_12".'
    )


def test_a_broken_line_is_named(tmp_path):
    path = write(tmp_path / "polygons.jsonl", '{"id": "t", "annotations": []}\n{"id": "s", "annot')
    assert f"{path}, line 2: is not valid JSON" in outline_refusal(path)


def test_a_line_of_another_form_is_named(tmp_path):
    path = write(tmp_path / "polygons.jsonl", '{"id": "s", "objects": []}')
    assert f"{path}, line 1: is not an image with an id and annotations." in outline_refusal(path)


# COCO


def coco(*annotations, **image):
    return {
        "images": [{"id": 5, "file_name": "images/s.png", "width": 100, "height": 80} | image],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": 5, "category_id": 1} | annotation for annotation in annotations],
    }


def test_coco_polygons_and_both_forms_of_counts_give_the_same_outline(tmp_path):
    square = np.zeros((SIZE.height, SIZE.width), bool)
    square[10:20, 10:20] = True
    runs = Runs.from_mask(square)
    flat = [value for point in SQUARE[:-1] for value in point]
    counts = [810, *[10, 70] * 9, 10]
    counts.append(8000 - sum(counts))
    forms = [flat], {"counts": counts, "size": [80, 100]}, {"counts": encode_coco_counts(runs), "size": [80, 100]}
    for form in forms:
        outlines = read_outlines(write(tmp_path / "coco.json", coco({"segmentation": form})))
        assert not outlines.findings
        (annotation,) = outlines.annotations
        assert annotation.label == "a"
        assert annotation.geometry.equals(box(10, 10, 20, 20))


def test_coco_parts_are_one_object_and_a_crowd_is_read_too(tmp_path):
    parts = [[0, 0, 4, 0, 4, 4, 0, 4], [50, 50, 54, 50, 54, 54]]
    path = write(tmp_path / "coco.json", coco({"segmentation": parts, "iscrowd": 1}, {"image_id": 6}))
    (annotation,) = read_outlines(path).annotations
    assert annotation.geometry.area == 16 + 8


def test_coco_outlines_that_cannot_be_used_are_reported(tmp_path):
    broken = [{"segmentation": []}, {"segmentation": [[1, 2, 3]]}, {"segmentation": {"counts": [1], "size": [80, 100]}}]
    other = {"segmentation": {"counts": [1], "size": [1, 1]}}
    outlines = read_outlines(write(tmp_path / "coco.json", coco(*broken, other)))
    empty, odd, short, size = findings(outlines, "unusable")
    assert "has no outline" in empty
    assert "not pairs of numbers" in odd
    assert "cannot be decoded: the counts add up to 1" in short
    assert "another size" in size


def test_coco_of_another_slide_or_size_is_refused(tmp_path):
    path = write(tmp_path / "coco.json", coco(width=50))
    assert "is 50 x 80 here, but 100 x 80 pixels" in outline_refusal(path)
    assert "holds no outlines of slide zz." in outline_refusal(path, "zz")


# Many outlines


def test_a_duplicate_of_an_outline_of_an_earlier_batch_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.annotations.collect.TOGETHER", 3)
    boxes = [feature([[[x, 0], [x + 1, 0], [x + 1, 1], [x, 0]]], label) for x in range(10) for label in "ab"]
    outlines = read_features(tmp_path, *boxes, boxes[4], *boxes[:2])
    assert len(outlines.annotations) == 20
    repeated = [f"the same as outline {number} of the file, with the same class; kept once." for number in (5, 1, 2)]
    assert findings(outlines, "repaired") == repeated


def test_a_collection_cut_off_after_many_features_is_refused_with_its_line(tmp_path):
    features = ",\n".join(json.dumps(feature([SQUARE])) for _ in range(20_000))
    path = write(tmp_path / "s.geojson", '{"features": [\n' + features)
    assert "line 20001" in outline_refusal(path)


def test_members_after_the_features_do_not_matter(tmp_path):
    path = write(tmp_path / "s.geojson", {"features": [feature([SQUARE])], "type": "FeatureCollection", "crs": {}})
    assert len(read_outlines(path).annotations) == 1
