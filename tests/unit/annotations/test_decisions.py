"""Decisions about outlines: what they lead to, and what of them a file keeps."""

import json
from dataclasses import replace

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from tilewright.annotations.decisions import (
    IGNORED,
    KINDS,
    Corrections,
    Decision,
    outline_hash,
    read_decisions,
    write_decisions,
)
from tilewright.annotations.model import Annotation, Outlines
from tilewright.runtime.errors import AnnotationError

SQUARE, MOVED = shapely.box(2, 3, 10, 11), shapely.box(4, 3, 12, 11)
HOLED = Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(2, 2), (4, 2), (4, 4)]])


def about(kind, label="gland", geometry=SQUARE, *, on=("gland", SQUARE), name="d1", **others):
    return Decision(name, kind, label, geometry, replaces_hash=outline_hash(*on) if on else "", **others)


def after(*decisions, outlines=(("gland", SQUARE), ("vessel", HOLED))):
    """What decisions make of outlines, and those that met none."""
    corrections = Corrections.of(decisions)
    batches = [Outlines((Annotation(label, shape),), ()) for label, shape in outlines]
    found = [(one.label, one.geometry) for batch in corrections.applied(batches) for one in batch.annotations]
    return found, [one.id for one in corrections.unmatched]


@pytest.mark.parametrize(
    ("decision", "left"),
    [
        (about("accept"), [("gland", SQUARE), ("vessel", HOLED)]),
        (about("reject"), [("vessel", HOLED)]),
        (about("redraw", geometry=MOVED), [("gland", MOVED), ("vessel", HOLED)]),
        (about("rename", "vessel"), [("vessel", SQUARE), ("vessel", HOLED)]),
        (about("ignore", IGNORED), [(IGNORED, SQUARE), ("vessel", HOLED)]),
        (about("draw", geometry=MOVED, on=None), [("gland", SQUARE), ("vessel", HOLED), ("gland", MOVED)]),
        (about("ignore", IGNORED, MOVED, on=None), [("gland", SQUARE), ("vessel", HOLED), (IGNORED, MOVED)]),
    ],
)
def test_what_a_decision_leads_to(decision, left):
    assert after(decision) == (left, [])


def test_of_several_decisions_about_one_outline_the_last_counts():
    first, back = about("reject", name="d1"), about("accept", name="d2")
    assert after(first, back)[0] == [("gland", SQUARE), ("vessel", HOLED)]
    assert after(back, first)[0] == [("vessel", HOLED)]
    moved = about("redraw", geometry=MOVED)
    renamed = about("rename", "vessel", MOVED, on=("gland", MOVED), name="d2")
    assert after(moved, renamed)[0] == [("vessel", MOVED), ("vessel", HOLED)]
    assert after(moved, about("accept", geometry=MOVED, on=("gland", MOVED)))[0][0] == ("gland", MOVED)
    gone = about("reject", "vessel", MOVED, on=("vessel", MOVED), name="d3")
    assert after(moved, renamed, gone) == ([("vessel", HOLED)], [])


def test_what_was_drawn_can_be_changed_and_taken_out_again():
    drawn = about("draw", geometry=MOVED, on=None)
    changed = about("redraw", geometry=HOLED, on=("gland", MOVED), name="d2")
    gone = about("reject", geometry=HOLED, on=("gland", HOLED), name="d3")
    assert after(drawn, changed, outlines=()) == ([("gland", HOLED)], [])
    assert after(drawn, changed, gone, outlines=()) == ([], [])


def test_an_outline_that_has_changed_since_is_left_alone_and_told():
    decision = about("reject")
    for other in (("gland", MOVED), ("vessel", SQUARE), ("gland", MultiPolygon([SQUARE, shapely.box(20, 20, 22, 22)]))):
        assert after(decision, outlines=[other]) == ([other], ["d1"])


def test_decisions_are_counted_as_far_as_they_were_applied():
    decisions = [about("reject"), about("rename", "x", on=("gone", MOVED)), about("draw", geometry=MOVED, on=None)]
    corrections = Corrections.of(decisions)
    list(corrections.applied([Outlines((Annotation("gland", SQUARE),), ())]))
    assert corrections.counts == {"reject": 1, "draw": 1}


def test_the_hash_is_of_label_rings_and_corners():
    known = outline_hash("gland", HOLED)
    near = shapely.transform(HOLED, lambda points: points + 1e-7)
    assert outline_hash("gland", near) == known, "what adding and taking off the corner of a frame may change"
    others = [
        ("vessel", HOLED), ("gland", Polygon(HOLED.exterior)), ("gland", shapely.transform(HOLED, lambda p: p + 0.01)),
        ("gland", MultiPolygon([HOLED, SQUARE])),
    ]  # fmt: skip
    assert len({known, *(outline_hash(*each) for each in others)}) == 5


NUMBERS = st.floats(0, 100_000, allow_nan=False).map(lambda value: round(value, 4))


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(0.5, 500)), min_size=1, max_size=3),
    st.sampled_from([kind for kind in KINDS if kind != "ignore"]), st.text(min_size=1), st.text(), st.text(),
)  # fmt: skip
def test_a_file_gives_back_what_was_written(tmp_path_factory, boxes, kind, label, author, reason):
    path = tmp_path_factory.mktemp("corrections") / "a.geojson"
    decisions = [
        Decision(f"d{place}", kind, label, shapely.box(x, y, x + size, y + size), author, "2026", reason, "i", "h")
        for place, (x, y, size) in enumerate(boxes)
    ]
    write_decisions(path, decisions)
    found = read_decisions(path)
    assert [one.result for one in found] == [one.result for one in decisions]
    plain = [replace(one, geometry=SQUARE) for one in found]
    assert plain == [replace(one, geometry=SQUARE) for one in decisions]


def test_a_slide_without_a_file_has_no_decisions(tmp_path):
    assert read_decisions(tmp_path / "none.geojson") == []


def written(folder, **changed):
    path = folder / "a.geojson"
    write_decisions(path, [about("redraw", geometry=MOVED), about("reject")])
    document = json.loads(path.read_text())
    document["features"][1] |= changed
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"properties": {}}, "feature 2: is no decision"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}, "feature 2: its outline "),
        ({"properties": {"classification": {"name": "\ud800"}, "metadata": {}}}, "feature 2: is no decision"),
        (
            {"properties": {"classification": {"name": "a"}, "metadata": {"decision": "rejekt"}}},
            r'feature 2: "rejekt" is no decision.\n  Did you mean "reject"',
        ),
        (
            {"properties": {"classification": {"name": "a"}, "metadata": {"decision": "reject"}}},
            "feature 2: says reject, but not about which outline",
        ),
    ],
)
def test_what_is_no_decision_is_told_with_its_place(tmp_path, changed, says):
    with pytest.raises(AnnotationError, match=says):
        read_decisions(written(tmp_path, **changed))


def test_an_ignored_area_has_its_own_label_whatever_the_file_calls_it(tmp_path):
    """QuPath may have given it a class."""
    metadata = {"decision": "ignore"}
    (_, found) = read_decisions(
        written(tmp_path, properties={"classification": {"name": "gland"}, "metadata": metadata})
    )
    assert found.label == IGNORED


@pytest.mark.parametrize("text", ['{"type":"Polygon"}', "[]", "7"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(AnnotationError, match="is no file of corrections"):
        read_decisions(path)
