"""Regions and what is ignored count whatever kind of object they are, and are not lost without a word."""

import json

import pytest
from reading import findings, read_outlines
from shapely import box
from shapely.geometry import mapping

from tilewright.annotations.tally import Tally
from tilewright.pixels.grid import Frame, Size
from tilewright.project.config import Annotations

FRAME = Frame(0, 0, 100, 80, Size(100, 80))
RING = [[10, 10], [40, 10], [40, 40], [10, 40], [10, 10]]


def feature(geometry, label="a", **properties):
    geometry = geometry if isinstance(geometry, dict) else mapping(geometry)
    named = {"classification": {"name": label}} if label else {}
    return {"type": "Feature", "geometry": geometry, "properties": {**named, **properties}}


def written(tmp_path, *features):
    path = tmp_path / "s.geojson"
    path.write_text(json.dumps(features))
    return path


def problems(path, frame=FRAME, **options):
    tally = Tally("s", Annotations(**options), frame)
    tally.add(read_outlines(path, **options))
    return [str(problem) for problem in tally.problems(str(path))]


@pytest.mark.parametrize("kind", ["annotation", "detection", "cell", "tile"])
@pytest.mark.parametrize("objects", [["annotation"], ["cell"], ["nucleus"], ["detection"]])
def test_regions_and_ignored_areas_count_whatever_objects_are_asked_for(tmp_path, objects, kind):
    path = written(
        tmp_path,
        feature(box(0, 0, 50, 50), "Region*", objectType=kind),
        feature(box(0, 60, 50, 70), "", name="Region*", objectType=kind),
        feature(box(60, 0, 70, 10), "Ignore*", objectType=kind),
        feature(box(80, 0, 90, 10), "a", objectType="tile"),
    )
    outlines = read_outlines(path, objects=objects)
    assert [one.label for one in outlines.annotations] == ["Region*", "Region*", "Ignore*"]
    assert findings(outlines, "left out") == ["objects that annotations.objects does not name: 1 of the kind tile."]
    labels = read_outlines(path, objects=objects, region=[], ignore=[]).annotations
    assert len(labels) == (2 if [kind] == objects else 0)


def test_a_region_with_nothing_but_objects_of_other_kinds_is_no_background(tmp_path):
    path = written(tmp_path, feature(box(0, 0, 50, 50), "Region*"), feature(box(5, 5, 9, 9), objectType="cell"))
    (told,) = problems(path)
    assert "(slide s): holds nothing but regions or ignored areas, and objects that annotations.objects does" in told
    assert problems(path, objects=["cell"]) == []
    assert problems(written(tmp_path, feature(box(0, 0, 50, 50), "Region*"))) == []


@pytest.mark.parametrize(
    "geometry",
    [{"type": "LineString", "coordinates": RING}, {"type": "MultiLineString", "coordinates": [RING]}],
)
def test_a_closed_line_is_the_area_inside(tmp_path, geometry):
    (one,) = (outlines := read_outlines(written(tmp_path, feature(geometry, "Region*")))).annotations
    assert one.geometry.equals(box(10, 10, 40, 40))
    assert findings(outlines, "repaired") == ["a closed line, taken as the area inside."]


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "LineString", "coordinates": RING[:-1]},
        {"type": "LineString", "coordinates": [[1, 1], [9, 9], [1, 1]]},
        {"type": "MultiLineString", "coordinates": [RING, RING[:3]]},
        {"type": "Point", "coordinates": [1, 1]},
        {"type": "Polygon", "coordinates": [[[1, 1], [9, 9], [1, 1]]]},
    ],
)
def test_a_region_that_cannot_be_drawn_is_an_error_that_names_it(tmp_path, geometry):
    path = written(tmp_path, feature(box(5, 5, 9, 9)), feature(geometry, "Region*"))
    (told,) = problems(path)
    assert f"{path} (slide s): its annotated region, feature 2, " in told
    assert problems(written(tmp_path, feature(box(5, 5, 9, 9)), feature(geometry, "b"))) == []


def test_a_region_that_lies_outside_of_the_image_is_an_error_that_names_it(tmp_path):
    path = written(tmp_path, feature(box(5, 5, 9, 9)), feature(box(100, 5, 150, 20), "Region*"))
    (told,) = problems(path)
    assert f"{path} (slide s): its annotated region, feature 2, lies outside of the image." in told
    assert problems(path, None) == []
    assert problems(path, Frame(0, 0, 101, 80, Size(101, 80))) == []
