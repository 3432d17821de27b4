"""From the report to a place in the viewer: by a copied command, and by a link where the viewer shows the report."""

import shlex
from urllib.parse import parse_qs

import pytest
from driving import IN_CHROMIUM, READY
from viewing import ENSEMBLE, make_report, viewer

pytestmark = IN_CHROMIUM
HERE = "document.getElementById('clicked').textContent"


@pytest.fixture(scope="module")
def report(tmp_path_factory, new_project):
    """A report in a folder whose name a shell would take apart."""
    return make_report(new_project(tmp_path_factory.mktemp("browser") / "it's mine"))


@pytest.fixture(scope="module")
def seen(report, tmp_path_factory):
    with viewer(report.parents[1], log=tmp_path_factory.mktemp("log") / "view.log") as found:
        yield found


def is_there(page, place):
    """Whether the page shows an object: its slide, set and class, its box in view, and what is there."""
    page.until("document.querySelector('#clicked table, #clicked p')")
    page.rest()
    link = parse_qs(page.value("location.hash.slice(1)"))
    left, top, right, bottom = map(int, place["box"][0].split(","))
    assert {name: link[name] for name in ("slide", "set", "class")} == {
        "slide": place["slide"], "set": [ENSEMBLE], "class": place["class"],
    }  # fmt: skip
    assert "box" not in link, "the address names what is seen from then on"
    assert left <= int(link["x"][0]) <= right
    assert top <= int(link["y"][0]) <= bottom
    assert int(link["zoom"][0]) >= 1
    assert "Here" in page.value(HERE)


def test_a_button_copies_the_command_that_leads_to_a_mistake(chromium, report, tmp_path):
    chromium.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    chromium.open(report.as_uri())
    chromium.until("document.querySelectorAll('button.copy').length > 2")
    chromium.value("document.querySelector('details:has(code.at)').open = true")
    chromium.click("details code.at + button")
    chromium.until("document.querySelector('details code.at + button').textContent === 'copied'")
    program, verb, results, option, place = shlex.split(chromium.value("navigator.clipboard.readText()"))
    assert (program, verb, results, option) == ("tilewright", "view", str(report.parents[1]), "--at")
    chromium.picture(tmp_path / "report.png")
    with viewer(results, option, place, log=tmp_path / "log") as own:
        chromium.open(f"{own.address}#{own.place}")
        is_there(chromium, parse_qs(place))
    chromium.open("about:blank")
    chromium.said.clear()


def test_in_the_viewer_a_link_of_the_report_leads_to_a_mistake(page, seen):
    page.open(seen.address)
    page.until(READY)
    page.click("#report")
    page.until("document.querySelectorAll('a.at').length > 2")
    page.value("document.querySelector('details:has(a.at)').open = true")
    place = parse_qs(page.value("document.querySelector('details a.at').hash.slice(1)"))
    page.click("details a.at")
    page.until("document.getElementById('title').textContent === " + repr(place["slide"][0]))
    is_there(page, place)
