"""A submission in the viewer as a person meets it: it is chosen beside the ensembles, seen, clicked, and told of."""

import pytest
from driving import IN_CHROMIUM, READY
from viewing import ENSEMBLE, make_results, viewer

from tilewright import encode_rle
from tilewright.pixels.rasters import open_raster
from tilewright.project.places import segment_file

pytestmark = IN_CHROMIUM
NAME = "mine.csv"


@pytest.fixture(scope="module")
def results(tmp_path_factory, new_project):
    return make_results(new_project(tmp_path_factory.mktemp("browser") / "project"))


@pytest.fixture(scope="module")
def seen(results, tmp_path_factory):
    """A viewer with a submission of glands that has a wrong row and an id that means nothing."""
    with open_raster(segment_file(results / "segments" / ENSEMBLE / "t", "t1")) as raster:
        glands = raster.read()[0] >> raster.classes.index("gland") & 1 > 0
    folder = tmp_path_factory.mktemp("submission")
    rows = ["id,rle", f"t1,{encode_rle(glands)}", "t1,5 10 7", "nobody,1 2"]
    (folder / NAME).write_text("\n".join(rows))
    given = ("--submission", folder / NAME, "--classes", "gland")
    with viewer(results, *given, log=folder / "view.log") as found:
        yield found


def choose(page, label, value):
    page.value(
        f"(() => {{ const s = document.querySelector('select[aria-label=\"{label}\"]'); s.value = '{value}';"
        " s.dispatchEvent(new Event('change')); })()"
    )


def told(page):
    return page.value("document.getElementById('told').hidden ? '' : document.getElementById('told').textContent")


def test_a_submission_is_chosen_seen_and_clicked(page, seen):
    page.open(seen.address)
    page.until(READY)
    assert "names 1 id(s) that are no slides of these results: nobody" in told(page)
    page.open(f"{seen.address}#run=0&slide=t1&set={ENSEMBLE}")
    page.until("document.querySelectorAll('.layer').length && document.getElementById('told').hidden")
    choose(page, "Predictions of", NAME)
    page.until("!document.getElementById('told').hidden")
    assert "row 3 (slide t1): an odd count of numbers" in told(page)
    page.until("document.querySelector('#objects h2').textContent.includes('objects, the largest first')")
    titles = page.value("[...document.querySelectorAll('.layer label')].map((one) => one.textContent)")
    assert any("Difference" in title for title in titles)
    assert not any("Probability" in title for title in titles)
    page.click("#objects li button")
    page.until("document.querySelector('#clicked table')")
    text = page.value("document.getElementById('clicked').textContent")
    assert "predictedgland" in text
    assert "confidencenot told" in text
    assert "IoU, gland" in text
    page.press("]", "d")
    page.rest()
    page.picture(seen.log.with_name("submission.png"))


def test_a_submission_stands_beside_an_ensemble_and_a_slide_that_it_does_not_name_says_so(page, seen):
    page.open(f"{seen.address}#run=0&slide=t1&set={ENSEMBLE}")
    page.until(READY)
    choose(page, "Side by side with", f"0/{NAME}")
    page.until("document.querySelectorAll('.map:not([hidden])').length === 2")
    page.until("!document.getElementById('told').hidden")
    assert "odd count" in told(page)
    page.open(f"{seen.address}#run=0&slide=t2&set={NAME}")
    page.until("document.getElementById('told').textContent.includes('does not name slide t2')")
    page.press("g")
    page.until("!document.getElementById('gallery').hidden")
    assert "nobody" in told(page)
