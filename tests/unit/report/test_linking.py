"""The report leads to places of the viewer: by commands on disk, by links where the viewer shows it."""

import csv
import html
import re
import shlex
from urllib.parse import parse_qs

import pytest
from viewing import ENSEMBLE, make_report, make_results, viewer

from tilewright.cli import app


@pytest.fixture(scope="module")
def page(tmp_path_factory, new_project):
    return make_report(new_project(tmp_path_factory.mktemp("linking") / "project"))


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    with viewer(page.parents[1], log=tmp_path_factory.mktemp("log") / "view.log") as found:
        yield found


def places(text):
    """The places that commands of a page lead to."""
    commands = re.findall(r'<code class="at" data-at="([^"]*)">(.*?)</code>', text)
    for place, command in commands:
        program, verb, *arguments = shlex.split(html.unescape(command))
        assert (program, verb) == ("tilewright", "view")
        _, bound, _ = app.parse_args([verb, *arguments], exit_on_error=False, print_error=False)
        assert bound.arguments["at"] == html.unescape(place)
        yield parse_qs(html.unescape(place))


def test_each_slide_that_is_shown_and_each_mistake_has_the_command_that_leads_to_it(page):
    found = list(places(page.read_text()))
    assert [one for one in found if "box" not in one] == [{"slide": [name], "set": [ENSEMBLE]} for name in ("t1", "t2")]
    with (page.parents[1] / "metrics" / ENSEMBLE / "mistakes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    mistakes = {
        (row["slide"], row["class"], ",".join(row[side] for side in ("left", "top", "right", "bottom"))) for row in rows
    }
    named = {(one["slide"][0], one["class"][0], one["box"][0]) for one in found if "box" in one}
    assert mistakes
    assert named == mistakes, "the tiny project has so few that all of them are shown"


def test_in_the_viewer_they_are_links_and_the_page_runs_nothing(page, seen):
    assert seen.json("runs.json")["runs"][0]["report"] is True
    status, headers, content = seen.ask("report/0/")
    text = content.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" in page.read_text()
    assert "<script" not in text
    assert "RESULTS" in page.read_text()
    assert "RESULTS" not in text
    links = [html.unescape(link) for link in re.findall(r'<a class="at" href="../../#([^"]*)">', text)]
    expected = [place for place, _ in re.findall(r'data-at="([^"]*)"(>)', page.read_text())]
    assert links == [f"run=0&{html.unescape(place)}" for place in expected]


def test_all_pictures_of_the_report_and_nothing_else_are_served(page, seen):
    text = seen.ask("report/0/")[2].decode()
    pictures = set(re.findall(r'(?:src|href)="((?:figures|overlays)/[^"]*)"', text))
    assert len(pictures) > 5
    for name in pictures:
        status, headers, content = seen.ask(f"report/0/{name}")
        assert (status, content) == (200, (page.parent / name).read_bytes())
        assert headers["content-type"] in ("image/png", "image/jpeg")
    for name in ("index.html", "figures/none.png", "..%2f..%2fslides%2ft1.tif", "%2fetc%2fpasswd"):
        assert seen.refusal(f"report/0/{name}")[0] == 404
    assert seen.refusal("report/7/")[0] == 404


def test_results_without_a_report_have_no_link_to_one(tmp_path, project):
    results = make_results(project)
    with viewer(results, log=tmp_path / "log") as own:
        assert own.json("runs.json")["runs"][0]["report"] is False
        status, text = own.refusal("report/0/")
        assert (status, "there is no report" in text) == (404, True)
