"""Outlines are corrected in a viewer: what is decided is written at once, or an answer says why not and nothing is."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from viewing import ENSEMBLE, PROGRAM, SQUARE, make_audit, viewer

from tilewright import make_order, read_project, run_step
from tilewright.annotations.decisions import IGNORED, Corrections, outline_hash, read_decisions, write_decisions
from tilewright.masks.outlines import recorded_outlines
from tilewright.pixels.grid import Frame, Size
from tilewright.project.places import outlines_file
from tilewright.report.viewer.handles import Wish, area_of, decided
from tilewright.runtime.errors import DataError


@pytest.fixture(scope="module")
def made(tmp_path_factory, new_project):
    return make_audit(new_project(tmp_path_factory.mktemp("edits") / "project")).parent


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of the project, in which the test works."""
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def seen(project, tmp_path):
    with viewer("results", "--edit", "--author", "Ada", log=tmp_path / "view.log") as found:
        yield found


@pytest.fixture(scope="module")
def steady(made, tmp_path_factory):
    """A viewer of another copy, to which nothing is told that it takes."""
    folder = tmp_path_factory.mktemp("steady")
    shutil.copytree(made, folder / "project")
    with viewer(folder / "project" / "results", "--edit", log=folder / "view.log") as found:
        yield found
    assert [one.name for one in (folder / "project" / "slides" / "corrections").iterdir()] == [".edited"]


@pytest.fixture
def file(project):
    return project / "slides" / "corrections" / "t1.geojson"


def suspect(seen, number):
    return seen.json(f"suspect.json?ensemble={ENSEMBLE}&number={number}")


def queued(seen):
    return [one["number"] for one in seen.json(f"queue.json?ensemble={ENSEMBLE}")["suspects"]]


def first(seen, slide, missing):
    """The number of the most contradicted suspect of a slide that is an outline, or is none."""
    suspects = seen.json(f"queue.json?ensemble={ENSEMBLE}")["suspects"]
    return next(
        one["number"] for one in suspects if one["slide"] == slide and (one["kind"] == "not outlined") == missing
    )


def pointed(seen, number):
    """How the page points at a suspect."""
    found = suspect(seen, number)["object"]
    return {"kind": found["kind"], "hash": found["hash"], "at": found["at"], "set": ENSEMBLE, "suspect": number}


def outlines(project, slide="t1"):
    """Hashes of the outlines as they were drawn."""
    table = recorded_outlines(outlines_file(project / "results" / "masks" / slide[0], slide))
    return {outline_hash(label, shape): shape for label, shape in zip(table["label"], table["geometry"], strict=True)}


def originals(project):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(project.rglob("*"))
        if path.is_file() and "corrections" not in path.parts
    }


def test_a_suspect_that_is_decided_about_leaves_the_queue_for_good(project, seen, file, tmp_path):
    before, number = originals(project), first(seen, "t1", missing=False)
    queue = queued(seen)
    assert queue == sorted(queue)
    status, told = seen.tell("0/t1/decide.json", {"kind": "accept", "object": pointed(seen, number), "reason": "fine"})
    assert status == 200
    (one,) = read_decisions(file)
    assert (one.kind, one.author, one.reason, one.id) == ("accept", "Ada", "fine", told["decision"])
    assert one.replaces_hash in outlines(project)
    assert one.date.endswith("Z")
    assert len(one.date) == len("2026-01-01T00:00:00Z")
    assert queued(seen) == [each for each in queue if each != number]
    assert suspect(seen, number)["object"]["decision"] == "accept"
    seen.process.send_signal(signal.SIGKILL)
    seen.process.wait(30)
    with viewer("results", "--edit", log=tmp_path / "again.log") as again:
        assert queued(again) == [each for each in queue if each != number]
    assert originals(project) == before, "the originals are what they were"


def test_each_decision_says_what_becomes_of_the_outline(project, seen, file):
    known = outlines(project)
    numbers = [
        one["number"] for one in seen.json(f"queue.json?ensemble={ENSEMBLE}")["suspects"] if one["slide"] == "t1"
    ]
    missing, taken, moved, named, ignored, *_ = [first(seen, "t1", missing=True), *numbers[1:]]
    wishes = [
        ({"kind": "draw"}, missing), ({"kind": "reject"}, taken), ({"kind": "redraw", "geometry": SQUARE}, moved),
        ({"kind": "rename", "class": "vessel"}, named), ({"kind": "ignore"}, ignored),
    ]  # fmt: skip
    for wish, number in wishes:
        status, told = seen.tell("0/t1/decide.json", {**wish, "object": pointed(seen, number)})
        assert status == 200, told
    drawn, out, again, renamed, nothing = read_decisions(file)
    assert (drawn.replaces_hash, drawn.label) == ("", "gland")
    assert drawn.replaces_id
    assert all(one.replaces_hash in known for one in (out, again, renamed, nothing))
    assert again.geometry.equals(shapely.box(5, 5, 25, 25))
    assert (renamed.label, nothing.label) == ("vessel", IGNORED)
    assert renamed.geometry.equals(known[renamed.replaces_hash])
    assert {missing, taken, moved, named, ignored} & set(queued(seen)) == set()
    corrections = Corrections.of(read_decisions(file))
    assert len(corrections.changes) == 4
    assert len(corrections.added) == 1


def test_a_decision_about_a_decision_is_told_by_its_id(seen, file):
    number = first(seen, "t1", missing=False)
    seen.tell("0/t1/decide.json", {"kind": "redraw", "geometry": SQUARE, "object": pointed(seen, number)})
    (here,) = [one for one in seen.json(f"0/t1/chosen.json?x=6&y=6&set={ENSEMBLE}")["objects"] if one["kind"] == "true"]
    pointer = {"kind": "true", "hash": here["hash"], "at": here["at"]}
    assert seen.tell("0/t1/decide.json", {"kind": "reject", "object": pointer})[0] == 200
    one, two = read_decisions(file)
    assert (two.replaces_id, two.replaces_hash) == (one.id, one.result)
    assert suspect(seen, number)["object"]["decision"] == "reject"
    assert seen.tell("0/t1/decide.json", {"kind": "accept", "object": pointed(seen, number)})[0] == 200
    (last,) = Corrections.of(read_decisions(file)).changes.values()
    assert last.result == one.result, "what was taken out is back as it was"


def test_what_was_decided_is_drawn_by_the_next_run_and_can_be_decided_about_again(project, seen, file, tmp_path):
    number, missing = first(seen, "t1", missing=False), first(seen, "t1", missing=True)
    for wish, which in (({"kind": "redraw", "geometry": SQUARE}, number), ({"kind": "draw"}, missing)):
        assert seen.tell("0/t1/decide.json", {**wish, "object": pointed(seen, which)})[0] == 200
    before = outlines(project)
    seen.process.send_signal(signal.SIGINT)
    seen.process.wait(30)
    run_step("rasterize", make_order(read_project("config.yaml"), "rasterize", shard="t"), out="results/masks/t")
    one, two = read_decisions(file)
    after = outlines(project)
    assert after.keys() - before.keys() == {one.result, two.result}
    assert before.keys() - after.keys() == {one.replaces_hash}
    with viewer("results", "--edit", log=tmp_path / "again.log") as again:
        found = again.json("0/t1/chosen.json?x=6&y=6")["objects"]
        assert [(each["id"], each["decision"]) for each in found] == [(one.id, "redraw")]
        pointer = {name: found[0][name] for name in ("kind", "hash", "at")}
        assert again.tell("0/t1/decide.json", {"kind": "reject", "object": pointer})[0] == 200
    last = read_decisions(file)[-1]
    assert (last.replaces_id, last.replaces_hash) == (one.id, one.result)
    run_step("rasterize", make_order(read_project("config.yaml"), "rasterize", shard="t"), out="results/masks/t")
    assert outlines(project).keys() == after.keys() - {one.result}


def test_what_is_drawn_anew_is_there_and_small_repairs_are_told(seen, file):
    bow = {"type": "Polygon", "coordinates": [[[5, 5], [25, 25], [25, 5], [5, 25], [5, 5]]]}
    status, told = seen.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": bow})
    assert status == 200
    assert "Self-intersection" in told["notes"][0]
    (drawn,) = told["decisions"]
    assert (drawn["kind"], drawn["class"], drawn["lasts"], drawn["mine"]) == ("draw", "gland", True, True)
    assert told["file"] == "slides/corrections/t1.geojson"
    status, told = seen.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": bow})
    assert (status, "drawn already" in told["what"]) == (404, True)
    assert len(read_decisions(file)) == 1


def test_undo_takes_out_the_last_decision_of_this_viewer_alone(seen, file, tmp_path):
    number = first(seen, "t1", missing=False)
    seen.tell("0/t1/decide.json", {"kind": "accept", "object": pointed(seen, number)})
    other = first(seen, "a1", missing=False)
    seen.tell("0/a1/decide.json", {"kind": "reject", "object": pointed(seen, other)})
    status, told = seen.tell("undo.json", {})
    assert (status, told["undone"], told["slide"], told["decisions"]) == (200, "reject", "a1", [])
    assert read_decisions(file.with_name("a1.geojson")) == []
    assert other in queued(seen)
    assert len(read_decisions(file)) == 1
    assert seen.tell("undo.json", {})[1]["undone"] == "accept"
    assert read_decisions(file) == []
    status, told = seen.tell("undo.json", {})
    assert (status, "nothing was decided" in told["what"]) == (404, True)


@pytest.mark.parametrize(
    ("path", "value", "status", "words"),
    [
        ("0/t1/decide.json", b"{", 422, "no JSON"),
        ("0/t1/decide.json", b"[" * 100_000, 422, "no JSON"),
        ("0/t1/decide.json", {"kind": "burn"}, 422, "accept"),
        ("0/t1/decide.json", {"kind": "draw", "class": "gland", "to": "/etc"}, 422, "Extra inputs"),
        ("0/t1/decide.json", {"kind": "draw", "class": "gland"}, 404, "needs an object"),
        ("0/t1/decide.json", {"kind": "draw", "class": "bone", "geometry": SQUARE}, 404, 'no class "bone"'),
        ("0/t1/decide.json", {"kind": "reject", "geometry": SQUARE}, 404, "nobody has outlined"),
        (
            "0/t1/decide.json",
            {"kind": "accept", "object": {"kind": "true", "hash": "x", "at": [9, 9]}},
            409,
            "any more",
        ),
        ("0/t2/decide.json", {"kind": "draw", "class": "gland", "geometry": SQUARE}, 404, "no outlines"),
        ("0/nobody/decide.json", {"kind": "draw"}, 404, 'no slide "nobody"'),
        ("0/../decide.json", {"kind": "draw"}, 404, ""),
        ("0/..%2f..%2fsecret/decide.json", {"kind": "draw"}, 404, "nothing at"),
        ("1/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": SQUARE}, 404, ""),
        ("0/t1/about.json", {}, 405, "nothing at"),
    ],
)
def test_what_makes_no_sense_is_told_and_nothing_written(steady, path, value, status, words):
    found, told = steady.tell(path, value)
    assert (found, words in " ".join(told.values())) == (status, True), told


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("queue.json?ensemble=none", 'no ensemble "none"'),
        (f"queue.json?ensemble={ENSEMBLE}&start=inf", "no number"),
        (f"suspect.json?ensemble={ENSEMBLE}&number=11", "no suspect 11"),
        (f"suspect.json?ensemble={ENSEMBLE}&number=-1", "no suspect -1"),
        ("0/t1/chosen.json?x=nan&y=1", "no number"),
        ("0/t2/decided.json", "no outlines"),
        ("0/..%2f..%2fsecret/decided.json", "nothing at"),
    ],
)
def test_a_question_about_nothing_is_told(steady, path, words):
    status, text = steady.refusal(path)
    assert (status, words in text) == (404, True), text


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "fewer than 3 points"),
        ({"type": "Point", "coordinates": [1, 1]}, "encloses no area"),
        ({"type": "Polygon", "coordinates": "all"}, "no points"),
        (
            {"type": "Polygon", "coordinates": [[[900, 900], [910, 900], [910, 910]]]},
            "than a pixel of the slide (144 x 112",
        ),
        ({"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 1], [5, 5]]]}, "not finite"),
    ],
)
def test_an_outline_that_is_none_is_told_and_nothing_written(steady, geometry, words):
    status, told = steady.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": geometry})
    assert (status, words in told["what"], bool(told["remedy"])) == (422, True, True), told


def test_a_second_viewer_is_told_who_edits_and_may_look_only(project, seen, tmp_path):
    done = subprocess.run([PROGRAM, "view", "results", "--edit"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"in use by process {seen.process.pid} on" in done.stderr
    assert "(Ada)" in done.stderr
    assert "without --edit" in done.stderr
    with viewer("results", log=tmp_path / "look.log") as look:
        assert look.json("runs.json")["editing"] is None
    seen.process.send_signal(signal.SIGKILL)
    seen.process.wait(30)
    with viewer("results", "--edit", log=tmp_path / "next.log") as after:
        assert after.json("runs.json")["editing"]["run"] == 0, "a killed viewer holds nothing"


def test_a_file_that_another_program_changed_is_told_and_not_overwritten(seen, file):
    wish = {"kind": "draw", "class": "gland", "geometry": SQUARE}
    assert seen.tell("0/t1/decide.json", wish)[0] == 200
    (one,) = read_decisions(file)
    write_decisions(file, [])
    content = file.read_bytes()
    status, told = seen.tell("0/t1/decide.json", wish)
    assert (status, "changed by another program" in told["what"]) == (409, True)
    assert seen.tell("undo.json", {})[0] == 409
    assert file.read_bytes() == content
    assert seen.json("0/t1/decided.json")["decisions"] == []
    assert seen.tell("0/t1/decide.json", wish)[0] == 200, "once the page has seen what is in it"
    assert [each.result for each in read_decisions(file)] == [one.result]


@pytest.mark.parametrize("content", [b"{", b'{"features": 1}', b'{"features": [{"id": 1}]}', b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_told_and_not_overwritten(seen, file, content):
    file.write_bytes(content)
    status, text = seen.refusal("0/t1/decided.json")
    assert (status, "t1.geojson" in text) == (422, True), text
    status, told = seen.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": SQUARE})
    assert (status, "t1.geojson" in told["where"]) == (422, True), told
    assert file.read_bytes() == content


def test_a_kill_in_the_middle_of_saving_leaves_the_former_file_whole(seen, file):
    seen.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": SQUARE})
    before = file.read_bytes()
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from tilewright.report.viewer.decisionfile import DecisionFile
        os.fsync = lambda _handle: os.kill(os.getpid(), signal.SIGKILL)
        file = DecisionFile(Path({str(file)!r}))
        file.write([*file.read().decisions] * 2)
    """)
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    other = {"type": "Polygon", "coordinates": [[[50, 5], [70, 5], [70, 25]]]}
    assert seen.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": other})[0] == 200
    assert sorted(one.name for one in file.parent.iterdir()) == [".edited", "t1.geojson"], "what was left is removed"
    assert len(read_decisions(file)) == 2


def test_a_folder_of_corrections_that_is_none_is_told(project):
    (project / "slides" / "corrections").write_text("mine")
    done = subprocess.run([PROGRAM, "view", "results", "--edit"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "corrections: cannot be written" in done.stderr
    assert (project / "slides" / "corrections").read_text() == "mine"


def test_outlines_that_are_the_same_to_the_last_digit_are_told_of(project, tmp_path):
    table = outlines_file(project / "results" / "masks" / "t", "t1")
    rows = pq.read_table(table)
    pq.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), table, write_page_checksum=True)
    first = recorded_outlines(table).iloc[0]
    with viewer("results", "--edit", log=tmp_path / "log") as seen:
        (found, *_) = seen.json(f"0/t1/chosen.json?x={first['x']}&y={first['y']}")["objects"]
        assert found["copies"] == 2


def test_a_folder_that_cannot_be_written_is_told(seen, file):
    if os.geteuid() == 0:
        file.mkdir()
    else:
        file.parent.chmod(0o500)
    status, told = seen.tell("0/t1/decide.json", {"kind": "draw", "class": "gland", "geometry": SQUARE})
    assert status == 422, told
    assert "Nothing was changed" in told["what"] or "cannot be written" in told["what"]
    if os.geteuid():
        file.parent.chmod(0o700)


def test_a_slide_that_wants_no_corrections_gets_none(project, file, tmp_path):
    sheet = project / "slides" / "slides.csv"
    head, *rows = sheet.read_text().splitlines()
    sheet.write_text("\n".join([f"{head},corrections", *(f"{row},{'none' if 't1' in row else ''}" for row in rows)]))
    with viewer("results", "--edit", log=tmp_path / "log") as own:
        assert "t1" not in own.json("runs.json")["editing"]["slides"]
        wish = {"kind": "draw", "class": "gland", "geometry": SQUARE}
        status, told = own.tell("0/t1/decide.json", wish)
        assert (status, "no outlines that could be corrected" in told["what"]) == (404, True)
        assert own.tell("0/a1/decide.json", wish)[0] == 200
    assert not file.exists()


@pytest.mark.parametrize("gone", ["config.yaml", "results/.run.json"])
def test_without_the_config_of_the_run_nothing_can_be_corrected(project, gone):
    Path(gone).unlink()
    done = subprocess.run([PROGRAM, "view", "results", "--edit"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the config of the run is not there any more" in done.stderr
    assert not (project / "slides" / "corrections").exists()


def test_where_labels_are_shared_a_class_is_given_by_one_of_its_own():
    labels = {"gland": ["tissue", "gland"], "vessel": ["vessel", "tissue"], "stroma": ["tissue"]}
    wish = Wish(kind="draw", **{"class": "gland"})
    area = shapely.box(0, 0, 5, 5)
    assert decided(wish, None, area, labels, "Ada").label == "gland"
    assert decided(wish.model_copy(update={"class_name": "stroma"}), None, area, labels, "Ada").label == "tissue"


@pytest.mark.parametrize("box", [(100, 0, 140, 40), (140, 10, 150, 20), (5, 5, 5.01, 5.01)])
def test_what_covers_less_than_a_pixel_of_the_slide_is_refused(box):
    frame = Frame(300, 200, 100, 80, Size(900, 900))
    with pytest.raises(DataError, match=r"covers less than a pixel of the slide \(100 x 80 pixels\)"):
        area_of(json.loads(shapely.to_geojson(shapely.box(*box))), frame)
    area, _ = area_of(json.loads(shapely.to_geojson(shapely.box(99, 0, 140, 40))), frame)
    assert area.bounds == (399, 200, 440, 240)
