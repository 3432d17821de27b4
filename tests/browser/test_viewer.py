"""The viewer as a person meets it, in headless Chromium: what is clicked, pressed and seen."""

import itertools
import re
import shutil
import time
from contextlib import chdir
from pathlib import Path

import cv2
import numpy as np
import pytest
from driving import IN_CHROMIUM, READY
from viewing import ENSEMBLE, make_results, viewer

pytestmark = IN_CHROMIUM
SLIDE = f"#run=0&slide=t1&set={ENSEMBLE}"


@pytest.fixture(scope="module")
def results(tmp_path_factory, new_project):
    return make_results(new_project(tmp_path_factory.mktemp("browser") / "project"))


@pytest.fixture(scope="module")
def seen(results, tmp_path_factory):
    with viewer(results, log=tmp_path_factory.mktemp("log") / "view.log") as found:
        yield found


def go(page, seen, link=SLIDE):
    page.open(seen.address + link)
    page.until(READY)
    page.rest()


def shown(page, folder):
    """What is seen of the map, rows x columns x 3."""
    page.picture(folder / "seen.png")
    pixels = cv2.imread(str(folder / "seen.png"))[..., ::-1].astype(int)
    left, top, right, bottom = page.value(
        "(() => { const b = document.getElementById('map0').getBoundingClientRect();"
        " return [b.left, b.top, b.right, b.bottom].map(Math.round); })()"
    )
    return pixels[top + 5 : bottom - 45, left + 60 : right - 5]


def test_two_clicks_lead_from_the_gallery_to_the_worst_object(page, seen):
    go(page, seen, "")
    names = page.value("[...document.querySelectorAll('#cards strong')].map((one) => one.textContent)")
    assert names[0] == "t1", "the only slide with a score is the worst"
    assert names[1] == "t2", "of the others that one comes first whose predictions are farthest apart"
    said = page.value("[...document.querySelectorAll('#cards .score')].map((one) => one.textContent)")
    assert re.fullmatch(r"Dice 0\.\d{3}, spread 0\.\d{3}", said[0])
    assert re.fullmatch(r"spread 0\.\d{3}", said[1])
    assert said[2] == "no score"
    page.click("#cards a")
    page.until("document.querySelector('#objects li button')")
    assert page.value("document.querySelectorAll('.layer input:checked').length") == 2, "truth and prediction"
    page.click("#objects li button")
    page.until("document.querySelector('#clicked table, #clicked p')")
    assert "Here" in page.value("document.getElementById('clicked').textContent")
    zoom = re.search(r"zoom=(\d+)", page.value("location.hash"))
    assert int(zoom[1]) >= 1, "at zoom 0 the whole slide is seen"


def test_filters_leave_the_slides_that_match(page, seen):
    go(page, seen, "")
    every = page.value("document.querySelectorAll('#cards li').length")
    page.value(
        "(() => { const s = document.querySelector('select[aria-label=Role]'); s.value = 'test';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    names = page.value("[...document.querySelectorAll('#cards strong')].map((one) => one.textContent)")
    assert sorted(names) == ["t1", "t2"]
    assert every == 7
    assert page.value("document.getElementById('count').textContent").startswith("2 of 7")


@pytest.mark.parametrize("key", ["t", "p", "h", "d", "v", "i", "f", "w"])
def test_a_key_switches_a_layer_on_and_off(page, seen, tmp_path, key):
    go(page, seen, f"{SLIDE}&layers=&t=0.5")
    before = shown(page, tmp_path)
    offered = page.value("[...document.querySelectorAll('.layer kbd')].map((one) => one.textContent)")
    page.press(key)
    page.rest()
    with_layer = shown(page, tmp_path)
    page.press(key)
    page.rest()
    assert np.abs(shown(page, tmp_path) - before).mean() < 0.2
    if key in offered:
        assert np.abs(with_layer - before).mean() > 0.3
    else:
        assert key in "fw", "the tiny project names no regions, and saved probabilities have no windows"


def test_the_slider_redraws_at_once_and_tells_the_dice(page, seen, tmp_path):
    go(page, seen, f"{SLIDE}&layers=probability:1&class=gland")
    page.until("document.querySelectorAll('#dice td').length")
    before, asked = shown(page, tmp_path), len(page.asked)
    told = page.value("document.getElementById('dice').textContent")
    page.press(*"]" * 30)
    page.rest()
    assert page.value("document.getElementById('t').textContent") == "0.80"
    assert np.abs(shown(page, tmp_path) - before).mean() > 0.1
    assert page.value("document.getElementById('dice').textContent") != told
    assert len(page.asked) == asked, "nothing is asked of the server"
    curve = seen.json(f"0/t1/dice.json?set={ENSEMBLE}")["dice"]["gland"]
    cells = page.value("[...document.querySelectorAll('#dice td')].map((one) => one.textContent)")
    assert cells == ["gland", f"{curve[204]:.3f}", f"{curve[128]:.3f} at 0.50"]


def test_a_click_on_an_object_tells_what_it_is(page, seen):
    go(page, seen)
    found = seen.json(f"0/t1/outlines.json?box=0,0,144,112&kind=predicted&set={ENSEMBLE}")["objects"]
    largest = max(found, key=lambda one: one["area"])
    left, top, right, bottom = largest["box"]
    x, y = page.value(
        f"(() => {{ const b = document.getElementById('map0').getBoundingClientRect();"
        f" const q = new URLSearchParams(location.hash.slice(1)); const f = 2 ** Number(q.get('zoom'));"
        f" return [b.left + b.width / 2 + ({(left + right) / 2} - q.get('x')) * f,"
        f" b.top + b.height / 2 + ({(top + bottom) / 2} - q.get('y')) * f]; }})()"
    )
    page.click_at(x, y)
    page.until("document.querySelector('#clicked table')")
    text = page.value("document.getElementById('clicked').textContent")
    assert largest["class"] in text
    assert f"{largest['confidence']:.3f}" in text
    assert f"{largest['area']:.0f} pixels" in text
    assert "IoU" in text


def test_the_keyboard_alone_suffices(page, seen):
    go(page, seen, "")
    for _ in range(20):
        page.press("Tab")
        if page.value("document.activeElement.closest('#cards a') !== null"):
            break
    page.press("Enter")
    page.until("document.querySelector('#objects li button')")
    page.press("n")
    page.until("document.querySelector('#objects li button[aria-current=true]')")
    page.until("document.querySelector('#clicked table, #clicked p')")
    page.rest()
    before = page.value("location.hash")
    assert page.value("document.activeElement.id") == "map0"
    page.press("ArrowRight")
    page.rest()
    assert page.value("location.hash") != before
    zoom = page.value("Number(new URLSearchParams(location.hash.slice(1)).get('zoom'))")
    page.press("-")
    page.rest()
    assert page.value("Number(new URLSearchParams(location.hash.slice(1)).get('zoom'))") == zoom - 1
    page.press("?")
    assert page.value("document.getElementById('help').open")
    page.press("Escape")
    page.press("g")
    page.until("!document.getElementById('gallery').hidden")


def test_a_permalink_leads_to_the_same_place(page, seen, tmp_path):
    link = f"{SLIDE}&x=60&y=50&zoom=2&layers=truth:0.7,difference:0.9&class=gland&t=0.31"
    go(page, seen, link)
    first, address = shown(page, tmp_path), page.value("location.hash")
    assert {"x=60", "y=50", "zoom=2", "t=0.31", "class=gland"} <= set(re.split("[#&]", address))
    page.open("about:blank")
    go(page, seen, address)
    assert page.value("location.hash") == address
    assert np.abs(shown(page, tmp_path) - first).mean() < 0.5


def test_two_sets_side_by_side_have_one_zoom(page, seen):
    go(page, seen, f"{SLIDE}&beside=0/model {ENSEMBLE}&zoom=2&x=70&y=60")
    assert page.value("document.querySelectorAll('.map:not([hidden])').length") == 2
    x, y = page.place("#map1")
    page.drag((x, y), (x - 80, y - 40))
    page.rest()
    query = "Object.fromEntries(new URLSearchParams(location.hash.slice(1)))"
    place = page.value(query)
    assert (int(place["x"]), int(place["y"])) == (90, 70), "the first map went where the second was dragged"


def test_what_is_wrong_and_what_is_missed_differ_for_those_who_confuse_red_and_green(page, seen):
    go(page, seen)
    colors = page.value("import('./static/layers.js').then((layers) => Object.values(layers.DIFFERENCE))")
    for matrix in DEFICIENCIES.values():
        seen_colors = [np.array(matrix) @ (np.array(color) / 255) ** 2.2 for color in colors]
        for one, other in itertools.combinations(seen_colors, 2):
            assert np.linalg.norm(np.clip(one, 0, 1) ** (1 / 2.2) - np.clip(other, 0, 1) ** (1 / 2.2)) > 0.35


# Machado et al. 2009, severity 1
DEFICIENCIES = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def test_a_slide_that_is_gone_is_told_on_the_page(chromium, results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "copy")
    (tmp_path / "copy" / "slides" / "t1.tif").unlink()
    with chdir(tmp_path / "copy"), viewer("results", log=tmp_path / "log") as own:
        chromium.open(own.address + SLIDE)
        chromium.until("!document.getElementById('message').hidden")
        assert "t1.tif" in chromium.value("document.getElementById('message').textContent")
        assert chromium.value("document.querySelectorAll('.layer').length") > 3, "the layers are there all the same"
    assert "Traceback" not in Path(tmp_path / "log").read_text()
    chromium.said.clear()


def test_the_first_view_comes_soon(page, seen):
    began = time.monotonic()
    page.open(seen.address + SLIDE)
    page.until(READY)
    page.until("document.querySelectorAll('.leaflet-tile-loaded').length >= 2")
    assert time.monotonic() - began < 8, "two seconds where nothing else runs (docs/view.md)"
