"""What the page offers to decide about is what ``rasterize`` will draw, whatever was decided before, rerun or not."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.annotations import Annotation, Outlines
from tilewright.annotations.decisions import Corrections, outline_hash
from tilewright.pixels.grid import Frame, Size
from tilewright.report.viewer.decisionfile import Changed, DecisionFile, State
from tilewright.report.viewer.handles import Handle, Wish, area_of, decided
from tilewright.runtime.errors import TilewrightError

LABELS = {"gland": ["Gland"], "vessel": ["Vessel", "Artery"]}
ORIGINALS = [
    Annotation(label, shapely.box(9 * place, 0, 9 * place + 5, 5))
    for place, label in enumerate(["Gland", "Artery", "Vessel"])
]
STEPS = st.tuples(
    st.sampled_from(["accept", "reject", "redraw", "rename", "ignore", "draw", "rerun"]),
    st.integers(0, 9),
    st.integers(0, 3),
    st.sampled_from(sorted(LABELS)),
)


def drawn(decisions):
    """What ``rasterize`` draws."""
    batches = Corrections.of(decisions).applied([Outlines(tuple(ORIGINALS), ())])
    return [one for batch in batches for one in batch.annotations]


def handles(state, table):
    """What the page offers: what is in the table and holds, and what decisions have made or taken out."""
    hashes = {outline_hash(one.label, one.geometry): one for one in table}
    found = [
        Handle("true", "gland", one.label, one.geometry, "", state.about(known))
        for known, one in hashes.items()
        if known not in state.hidden
    ]
    for one in state.outlines.values():
        is_made = (one.result or one.replaces_hash) in state.made
        found.append(Handle("true", "gland", one.label, one.geometry, one.id, one, is_made))
    return found


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=12))
def test_what_is_offered_is_what_is_drawn(steps):
    decisions, table = [], ORIGINALS
    for kind, which, height, name in steps:
        if kind == "rerun":
            table = drawn(decisions)
            continue
        offered = handles(State(tuple(decisions)), table)
        handle = offered[which] if which < len(offered) and kind != "draw" else None
        known = {one.hash for one in offered} | {outline_hash(one.label, one.geometry) for one in ORIGINALS}
        area = shapely.box(9 * which, 20, 9 * which + 5, 22 + height)
        try:
            new = decided(Wish.model_validate({"kind": kind, "class": name}), handle, area, LABELS, "Ada")
        except TilewrightError:
            continue
        if kind in ("redraw", "rename", "draw", "ignore") and new.result in known:
            continue  # one outline is told from another by its hash alone
        decisions.append(new)
        now = {one.hash for one in handles(State(tuple(decisions)), table) if not one.is_out}
        assert now == {outline_hash(one.label, one.geometry) for one in drawn(decisions)}


def test_a_file_is_believed_as_long_as_nobody_else_writes_it(tmp_path):
    file, other = DecisionFile(tmp_path / "a.geojson"), DecisionFile(tmp_path / "a.geojson")
    one = decided(Wish(kind="draw", class_name="gland"), None, shapely.box(0, 0, 5, 5), LABELS, "Ada")
    assert file.seen().decisions == ()
    other.write([one])
    assert file.peek().decisions[0].id == one.id
    for refused in (file.seen, lambda: file.write([])):
        with pytest.raises(Changed, match="changed by another program"):
            refused()
    assert file.read().decisions[0].id == one.id
    assert file.write([]).decisions == ()
    (tmp_path / "a.geojson").unlink()
    with pytest.raises(Changed):
        file.seen()


def test_the_page_counts_from_the_corner_of_the_slide_and_decisions_from_that_of_the_image():
    frame = Frame(900, 30, 100, 100, image=Size(2000, 2000))
    shape = shapely.Point(940.123456, 60.654321).buffer(7.3)
    handle = Handle("true", "gland", "Gland", shape, "")
    told = json.loads(json.dumps(handle.told(frame)))
    assert np.allclose(told["box"], np.subtract(shape.bounds, (900, 30, 900, 30)))
    back, notes = area_of(told["geometry"], frame)
    assert (outline_hash("Gland", back), notes) == (handle.hash, ())
    assert shapely.Point(np.add(told["at"], (900, 30))).within(shape)
