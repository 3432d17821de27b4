"""Outlines are corrected as a person does it, in headless Chromium: by keyboard alone, or by hand."""

import shutil
from contextlib import chdir

import pytest
import shapely
import shapely.affinity
from driving import IN_CHROMIUM, READY
from viewing import ENSEMBLE, make_audit, viewer

from tilewright.annotations.decisions import IGNORED, Corrections, read_decisions, write_decisions

pytestmark = IN_CHROMIUM
SLIDE = f"#run=0&slide=t1&set={ENSEMBLE}&zoom=2&x=72&y=56"
IDLE = "document.getElementById('editing').dataset.busy !== 'true'"


@pytest.fixture(scope="module")
def made(tmp_path_factory, new_project):
    return make_audit(new_project(tmp_path_factory.mktemp("editing") / "project")).parent


@pytest.fixture
def project(made, tmp_path):
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def seen(project, tmp_path):
    with chdir(project), viewer("results", "--edit", "--author", "Ada", log=tmp_path / "view.log") as found:
        yield found


@pytest.fixture
def file(project):
    return project / "slides" / "corrections" / "t1.geojson"


def go(page, seen, link=SLIDE):
    page.open(seen.address + link)
    page.until(READY)
    rest(page)


def rest(page):
    page.rest()
    page.until(IDLE)
    page.rest(0.2)


def press(page, *keys):
    """Press keys, and wait until what follows from the last one is there."""
    page.press(*keys)
    rest(page)


def told(page, name="chosen"):
    return page.value(f"document.getElementById('{name}')?.textContent ?? ''")


def spot(page, x, y):
    """Where a pixel of the slide is seen."""
    return page.value(
        f"(() => {{ const b = document.getElementById('map0').getBoundingClientRect();"
        f" const q = new URLSearchParams(location.hash.slice(1)); const f = 2 ** Number(q.get('zoom'));"
        f" return [b.left + b.width / 2 + ({x} - q.get('x')) * f, b.top + b.height / 2 + ({y} - q.get('y')) * f]; }})()"
    )


def chosen_at(seen, x, y):
    """The outline at a point, as the page would choose it."""
    return seen.json(f"0/t1/chosen.json?x={x}&y={y}&set={ENSEMBLE}")["objects"][0]


GLAND = (26, 69)
"""The middle of a gland of the slide t1, a circle."""
VESSEL = (26, 26)
"""The middle of a vessel there, with few corners."""


def choose(page, x, y):
    page.click_at(*spot(page, x, y))
    page.until("document.getElementById('chosen').textContent.startsWith('Chosen')")
    rest(page)


def test_the_queue_goes_by_keyboard_alone_over_all_slides(page, seen, project):
    go(page, seen, "")
    press(page, "q")
    page.until("document.getElementById('chosen')?.textContent.startsWith('Suspect 1, 11 left: not outlined')")
    rest(page)
    assert "slide=a1" in page.value("location.hash")
    press(page, "o")  # what was predicted is taken over
    page.until("document.getElementById('chosen')?.textContent.startsWith('Suspect 2, 10 left')")
    rest(page)
    assert "slide=t1" in page.value("location.hash"), "the next suspect is on another slide"
    press(page, "a")  # nothing is missing there
    assert told(page).startswith("Suspect 3, 9 left: shifted, vessel")
    assert told(page, "said") == "Right as it is."
    press(page, "x")
    assert told(page).startswith("Suspect 4")
    press(page, "n")
    press(page, "N")
    assert told(page).startswith("Suspect 4, 8 left"), "who only looks decides nothing"
    page.press("e", "Tab", "ArrowLeft", "ArrowLeft", "Insert", "ArrowUp", "Enter")
    rest(page)
    assert told(page).startswith("Suspect 5")
    page.press("c")
    press(page, "v")
    assert told(page).startswith("Suspect 6")
    press(page, "k")
    assert told(page).startswith("Suspect 7, 5 left")
    press(page, "u")
    assert told(page).startswith("Suspect 6, 6 left"), "what was undone is shown again"
    one, other = (read_decisions(project / "slides" / "corrections" / f"{slide}.geojson") for slide in ("a1", "t1"))
    assert [each.kind for each in one] == ["draw", "reject"]
    assert [each.kind for each in other] == ["accept", "redraw", "rename"]
    assert {each.author for each in [*one, *other]} == {"Ada"}
    assert other[2].label == "vessel"
    press(page, "Escape")
    assert told(page).startswith("Choose an object")
    press(page, "q")
    assert told(page).startswith("Suspect 6"), "the queue begins at the first that is left"


def test_a_corner_is_dragged_and_the_outline_saved(page, seen, file):
    go(page, seen)
    before = chosen_at(seen, *GLAND)
    choose(page, *GLAND)
    assert told(page).startswith("Chosen: gland, outlined")
    press(page, "e")
    page.until("document.querySelectorAll('.corner').length > 3")
    corner = before["geometry"]["coordinates"][0][0]
    start = spot(page, *corner)
    page.drag(start, (start[0] + 64, start[1] + 32))
    press(page, "Enter")
    (one,) = read_decisions(file)
    assert (one.kind, one.replaces_hash) == ("redraw", before["hash"])
    old, new = shapely.geometry.shape(before["geometry"]), one.geometry
    assert not new.equals(old)
    kept = {tuple(point) for point in shapely.get_coordinates(old).tolist()}
    others = [point for point in shapely.get_coordinates(new).tolist() if tuple(point) not in kept]
    assert len({tuple(point) for point in others}) == 1, "one corner alone is elsewhere"
    page.until("document.querySelectorAll('#decisions li').length === 1")
    assert "other shape: gland; Ada" in told(page, "decisions")


def test_a_whole_outline_is_moved_by_its_middle_and_by_arrows(page, seen, file):
    go(page, seen)
    before = shapely.geometry.shape(chosen_at(seen, *VESSEL)["geometry"])
    choose(page, *VESSEL)
    press(page, "e")
    zoom = page.value("Number(new URLSearchParams(location.hash.slice(1)).get('zoom'))")
    x, y = page.place(".whole")
    page.drag((x, y), (x + 8 * 2**zoom, y))
    page.press("m", "ArrowDown", "ArrowDown")
    press(page, "Enter")
    (one,) = read_decisions(file)
    right, down = 8, 2 * 2 / 2**zoom
    moved = shapely.affinity.translate(before, right, down)
    assert one.geometry.symmetric_difference(moved).area < 0.06 * before.area
    assert one.geometry.area == pytest.approx(before.area, rel=1e-3)


def test_the_predicted_shape_takes_the_place_of_an_outline(page, seen, file):
    go(page, seen)
    choose(page, *GLAND)
    found = {one["kind"]: one for one in seen.json(f"0/t1/chosen.json?x=26&y=69&set={ENSEMBLE}")["objects"]}
    press(page, "r")
    (one,) = read_decisions(file)
    assert (one.kind, one.replaces_hash) == ("redraw", found["true"]["hash"])
    assert one.geometry.equals(shapely.geometry.shape(found["predicted"]["geometry"]))


def test_three_clicks_lead_from_the_gallery_to_a_corrected_outline(page, seen, project):
    go(page, seen, "")
    page.click("#queue-button")
    page.until("document.querySelector('[data-deed=o]:not(:disabled)')")
    rest(page)
    page.click("[data-deed=o]")
    page.until("document.getElementById('chosen')?.textContent.startsWith('Suspect 2')")
    assert [one.kind for one in read_decisions(project / "slides" / "corrections" / "a1.geojson")] == ["draw"]


def test_an_edge_gives_a_corner_and_a_double_click_takes_one(page, seen, file):
    go(page, seen)
    before = chosen_at(seen, *VESSEL)
    ring = before["geometry"]["coordinates"][0]
    choose(page, *VESSEL)
    press(page, "e")
    count = page.value("document.querySelectorAll('.corner').length")
    assert count == len(ring) - 1
    x, y = page.place(".middle")
    page.drag((x, y), (x - 20, y - 20))
    assert page.value("document.querySelectorAll('.corner').length") == count + 1
    x, y = page.place(".corner:not(.chosen)")
    page.click_at(x, y)
    page.click_at(x, y, count=2)
    page.until(f"document.querySelectorAll('.corner').length === {count}")
    page.press("Delete")
    assert page.value("document.querySelectorAll('.corner').length") == count - 1
    zoom = page.value("location.hash")
    page.click("[data-deed=Esc]")
    rest(page)
    assert page.value("location.hash") == zoom, "a double click on a corner is no zoom"
    assert not file.exists(), "who leaves has written nothing"


def test_a_new_outline_is_drawn_by_clicks_and_its_class_asked(page, seen, file):
    go(page, seen)
    page.press("o")
    corners = [(60, 80), (80, 80), (80, 100)]
    for corner in corners:
        page.click_at(*spot(page, *corner))
    page.click_at(*spot(page, *corners[0]))
    page.until("document.getElementById('classes')")
    press(page, "2")
    (one,) = read_decisions(file)
    assert (one.kind, one.label, one.replaces_hash) == ("draw", "vessel", "")
    assert one.geometry.symmetric_difference(shapely.Polygon(corners)).area < 12
    assert page.value("document.getElementById('said').textContent") == "Saved as a new outline."


def test_one_is_drawn_by_keyboard_as_well(page, seen, file):
    go(page, seen)
    page.press("o", " ", *["ArrowRight"] * 5, " ", *["ArrowDown"] * 5, " ", "Enter")
    press(page, "1")
    (one,) = read_decisions(file)
    assert one.kind == "draw"
    assert one.geometry.contains(shapely.Point(75, 58))


def test_a_class_is_changed_and_all_of_it_undone(page, seen, file):
    go(page, seen)
    choose(page, *GLAND)
    page.click("[data-deed=c]")
    page.until("document.getElementById('classes')")
    page.click("#classes button:nth-of-type(2)")
    page.until("document.querySelectorAll('#decisions li').length === 1")
    rest(page)
    (one,) = read_decisions(file)
    assert (one.kind, one.label) == ("rename", "vessel")
    choose(page, *GLAND)
    assert "vessel, outlined; decided before (rename)" in told(page)
    page.value("document.getElementById('reason').focus()")
    page.press(*"dots")
    page.click("[data-deed=k]")
    page.until("document.querySelectorAll('#decisions li').length === 2")
    rest(page)
    last = read_decisions(file)[-1]
    assert (last.reason, last.label, last.replaces_id) == ("dots", IGNORED, one.id)
    for left in (1, 0):
        page.click("[data-deed=u]")
        page.until(f"document.querySelectorAll('#decisions li').length === {left}")
        rest(page)
    assert read_decisions(file) == []
    assert page.value("document.querySelector('[data-deed=u]').disabled")


def test_what_was_taken_out_is_brought_back(page, seen, file):
    go(page, seen)
    choose(page, *GLAND)
    press(page, "x")
    choose(page, *GLAND)
    assert "decided before (reject)" in told(page)
    assert "Bring it back" in page.value("document.querySelector('[data-deed=a]').textContent")
    press(page, "a")
    assert Corrections.of(read_decisions(file)).changes == {}


def test_what_was_decided_is_there_after_a_restart_and_told_to_be_no_original(page, seen, file, project, tmp_path):
    go(page, seen)
    choose(page, *GLAND)
    press(page, "x")
    page.open("about:blank")
    seen.process.kill()
    seen.process.wait(30)
    with chdir(project), viewer("results", "--edit", log=tmp_path / "again.log") as again:
        page.open(again.address + SLIDE)
        page.until(READY)
        page.until("document.querySelectorAll('#decisions li').length === 1")
        text = told(page, "editing")
        assert "The outlines themselves stay as they are" in text
        assert f"written to {file.relative_to(project)}. " in text
        assert "snakemake --cores all" in text
        page.open("about:blank")
        page.rest()
    page.asked.clear()


def test_a_file_that_another_program_changed_is_told_on_the_page(page, seen, file):
    go(page, seen)
    choose(page, *GLAND)
    press(page, "x")
    choose(page, *VESSEL)
    write_decisions(file, [])
    page.press("x")
    page.until("!document.getElementById('message').hidden")
    assert "changed by another program" in told(page, "message")
    rest(page)
    assert page.value("document.querySelectorAll('#decisions li').length") == 0, "the page shows what is in it"
    assert read_decisions(file) == []
    choose(page, *GLAND)
    press(page, "x")
    assert page.value("document.getElementById('message').hidden")
    assert len(read_decisions(file)) == 1
    assert [each for each in page.said if "409" not in each] == []
    page.said.clear()


def test_who_only_looks_sees_no_word_of_it(page, seen, project, tmp_path):
    with chdir(project), viewer("results", log=tmp_path / "look.log") as look:
        page.open(look.address + SLIDE)
        page.until(READY)
        page.rest()
        assert page.value("document.getElementById('editing').hidden")
        before = page.value("location.hash")
        page.press("x", "e", "q", "u")
        page.rest()
        assert page.value("location.hash") == before
        page.open("about:blank")
        page.rest()
    page.asked.clear()


def test_an_outline_of_very_many_corners_has_some_handles(page, seen, file):
    go(page, seen)
    circle = shapely.Point(72, 56).buffer(40, quad_segs=2000)
    wish = {"kind": "draw", "class": "gland", "geometry": shapely.geometry.mapping(circle)}
    assert seen.tell("0/t1/decide.json", wish)[0] == 200
    go(page, seen, f"{SLIDE}&t=0.5")
    assert chosen_at(seen, 50, 56)["area"] > 4000
    choose(page, 50, 56)
    press(page, "e")
    count = page.value("document.querySelectorAll('.corner').length")
    assert 100 < count <= 301
    page.press("s")
    assert page.value("document.querySelectorAll('.corner').length") < 100, "s leaves fewer"
    press(page, "Escape")
