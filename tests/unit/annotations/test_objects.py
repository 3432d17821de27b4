"""Which objects of QuPath's files are outlines, and what those without a class are."""

import json
import unicodedata

import pytest
from reading import findings, outline_refusal, read_outlines

from tilewright.project.config import Annotations, PixelClass


def square(x, y, size):
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]


def feature(ring, label="a", **members):
    properties = {"classification": {"name": label}} if label else {}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": {**properties, **members}}


def written(tmp_path, *features):
    path = tmp_path / "s.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def areas(path, **options):
    return [outline.geometry.area for outline in read_outlines(path, **options).annotations]


CELL = feature(square(10, 10, 20), objectType="cell") | {
    "nucleusGeometry": {"type": "Polygon", "coordinates": [square(15, 15, 4)]}
}
KINDS = [
    feature(square(0, 0, 1)),
    feature(square(0, 0, 2), objectType="annotation"),
    feature(square(0, 0, 3), objectType="detection"),
    CELL,
    feature(square(0, 0, 5), objectType="tile"),
    feature(square(0, 0, 6), objectType="tma_core"),
]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (["annotation"], [1, 4]),
        (["detection"], [9]),
        (["cell"], [400]),
        (["nucleus"], [16]),
        (["cell", "nucleus"], [400, 16]),
        (["annotation", "detection", "cell", "nucleus"], [1, 4, 9, 400, 16]),
    ],
)
def test_the_kinds_that_are_asked_for_are_outlines_and_no_others(tmp_path, objects, expected):
    outlines = read_outlines(written(tmp_path, *KINDS), objects=objects)
    assert [each.geometry.area for each in outlines.annotations] == expected
    (left,) = findings(outlines, "left out")
    assert ("1 of the kind detection" in left) == ("detection" not in objects)
    assert ("1 of the kind cell" in left) == ("cell" not in objects)
    assert ("1 of the kind nucleus" in left) == ("nucleus" not in objects)
    assert "1 of the kind tile" in left
    assert "1 of the kind tma_core" in left


@pytest.mark.parametrize(
    "written_as",
    [
        {"objectType": "detection"},
        {"object_type": "detection"},
        {"objectType": "Detection"},
        {"id": "PathDetectionObject"},
    ],
)
def test_every_version_of_qupath_says_the_kind_in_its_own_way(tmp_path, written_as):
    plain = feature(square(0, 0, 3), **{key: value for key, value in written_as.items() if key != "id"})
    path = written(tmp_path, plain | ({"id": written_as["id"]} if "id" in written_as else {}))
    assert areas(path) == []
    assert areas(path, objects=["detection"]) == [9]


def test_annotations_of_old_versions_and_ids_of_new_ones_are_annotations(tmp_path):
    old, new = feature(square(0, 0, 2)) | {"id": "PathAnnotationObject"}, feature(square(5, 5, 3)) | {"id": "a1-b2"}
    assert areas(written(tmp_path, old, new)) == [4, 9]


def test_an_array_core_of_old_versions_is_no_outline(tmp_path):
    assert areas(written(tmp_path, feature(square(0, 0, 2)) | {"id": "TMACoreObject"})) == []


def test_the_place_of_a_nucleus_and_of_what_comes_after_it_are_those_of_the_file(tmp_path):
    twice = [CELL, feature(square(40, 40, 5)), feature(square(40, 40, 5))]
    outlines = read_outlines(written(tmp_path, *twice), objects=["annotation", "nucleus"])
    assert [each.origin for each in outlines.annotations] == ["feature 1, nucleus", "feature 2"]
    assert findings(outlines, "repaired") == ["the same as outline 2 of the file, with the same class; kept once."]


@pytest.mark.parametrize(
    "classification",
    ['{"name": "a"}', {"names": ["a"]}, '{"names": ["a"]}', ["a"], '["a"]', "a", " a "],
)
def test_a_class_may_be_a_list_or_text_of_json(tmp_path, classification):
    path = written(tmp_path, feature(square(0, 0, 2), "") | {"properties": {"classification": classification}})
    assert [each.label for each in read_outlines(path).annotations] == ["a"]


def test_all_properties_and_the_nucleus_may_be_text_of_json(tmp_path):
    properties = json.dumps({"objectType": "cell", "classification": {"names": ["a", "b"]}})
    cell = CELL | {"properties": properties, "nucleusGeometry": json.dumps(CELL["nucleusGeometry"])}
    (nucleus,) = read_outlines(written(tmp_path, cell), objects=["nucleus"]).annotations
    assert (nucleus.label, nucleus.geometry.area) == ("a: b", 16)


def test_text_that_only_looks_like_json_is_a_class(tmp_path):
    path = written(tmp_path, feature(square(0, 0, 2), "") | {"properties": {"classification": "{odd"}})
    assert [each.label for each in read_outlines(path).annotations] == ["{odd"]


# Frames


FRAME = feature(square(0, 0, 70), "")
HELD = [feature(square(10, 10, 5)), feature(square(30, 30, 5))]


@pytest.mark.parametrize("order", [1, -1])
def test_a_frame_without_a_class_that_holds_others_is_no_object(tmp_path, order):
    path = written(tmp_path, *[FRAME, *HELD][::order])
    outlines = read_outlines(path, unlabelled="a")
    assert [each.geometry.area for each in outlines.annotations] == [25, 25]
    assert findings(outlines, "unusable") == ["has no class and holds 2 of the other outlines: a frame, no object."]


def test_an_outline_with_a_class_is_an_object_whatever_it_holds(tmp_path):
    assert areas(written(tmp_path, feature(square(0, 0, 70)), *HELD), unlabelled="a") == [4900, 25, 25]


@pytest.mark.parametrize(
    ("others", "frame"),
    [
        ([feature(square(10, 10, 5), "")], False),  # a cell without a class, and its nucleus
        ([feature(square(10, 10, 5))], True),
        ([feature(square(10, 10, 5), ""), feature(square(30, 30, 5), "")], True),
        ([feature(square(68, 10, 5)), feature(square(10, 75, 4))], False),  # across its edge, and beside it
    ],
)
def test_what_lies_wholly_inside_makes_a_frame_one_with_a_class_or_two_without(tmp_path, others, frame):
    assert (4900 in areas(written(tmp_path, FRAME, *others), unlabelled="b")) != frame


def test_a_ring_around_others_does_not_hold_them(tmp_path):
    ring = FRAME | {"geometry": {"type": "Polygon", "coordinates": [square(0, 0, 70), square(2, 2, 66)]}}
    assert 4900 - 66 * 66 in areas(written(tmp_path, ring, *HELD), unlabelled="a")


@pytest.mark.parametrize("first", [True, False])
def test_a_frame_is_found_among_more_outlines_than_are_built_at_once(tmp_path, first):
    cells = [feature(square(x, y, 0.5)) for x in range(1, 69) for y in range(1, 69)]
    outlines = read_outlines(written(tmp_path, *([FRAME, *cells] if first else [*cells, FRAME])), unlabelled="a")
    assert len(outlines.annotations) == len(cells) > 4096
    assert findings(outlines, "unusable") == ["has no class and holds 4624 of the other outlines: a frame, no object."]


def test_many_outlines_without_a_class_stay_objects(tmp_path):
    cells = [feature(square(4 * x, 4 * y, 1 + 2 * ((x + y) % 2)), "") for x in range(20) for y in range(20)]
    outlines = read_outlines(written(tmp_path, *cells), unlabelled="a")
    assert len(outlines.annotations) == 400
    assert not outlines.findings


@pytest.mark.parametrize("form", [lambda one: [one], lambda one: [one, one]])
def test_collections_may_lie_in_a_list(tmp_path, form):
    path = tmp_path / "s.geojson"
    collection = {"type": "FeatureCollection", "features": [feature(square(0, 0, 2))]}
    path.write_text(json.dumps([*form(collection), feature(square(9, 9, 3))]))
    assert areas(path) == [4, 9]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["s.geojson", "s.json", "s.jsonl"])
def test_json_may_be_in_utf_16(tmp_path, encoding, name):
    documents = {
        "s.geojson": {"type": "FeatureCollection", "features": [feature(square(0, 0, 2), "Drüse")]},
        "s.json": feature(square(0, 0, 2), "Drüse"),
        "s.jsonl": {"id": "s", "annotations": [{"type": "Drüse", "coordinates": [square(0, 0, 2)]}]},
    }
    (tmp_path / name).write_text(json.dumps(documents[name], ensure_ascii=False), encoding=encoding)
    assert [one.label for one in read_outlines(tmp_path / name).annotations] == ["Drüse"]


def test_json_in_windows_1252_is_called_so(tmp_path):
    path = tmp_path / "s.geojson"
    path.write_text(json.dumps([feature(square(0, 0, 2), "Drüse")], ensure_ascii=False), encoding="cp1252")
    assert "perhaps in Windows-1252 or Latin-1.\n  Save or export the file again, as UTF-8." in outline_refusal(path)


@pytest.mark.parametrize(("file", "config"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_letters_in_two_parts_are_the_same_letters(tmp_path, file, config):
    there, here = (unicodedata.normalize(form, "Gefäß") for form in (file, config))
    path = written(tmp_path, feature(square(0, 0, 2), there))
    (one,) = read_outlines(path).annotations
    assert one.label == PixelClass(labels=[here]).labels[0]
    options = Annotations(region=[here], ignore=[here], discard=[here], unlabelled=here, values={1: here})
    assert {*options.region, *options.ignore, *options.discard, options.unlabelled, *options.values.values()} == {
        one.label
    }
