"""A folder of results belongs to the slides of its last run."""

import json
import os
from pathlib import Path

import pytest

from tilewright.graph import Graph
from tilewright.project.claim import claim, left_before, made_since
from tilewright.project.places import Places
from tilewright.runtime.errors import UserError


@pytest.fixture
def load(project, monkeypatch):
    """Loads the tiny project as a config file of a name would; what it gives claims the results."""
    monkeypatch.chdir(project.folder)

    def graph(name, **changes):
        found = Graph.load({**project.config(), **changes}, [Path(name)])
        return lambda: claim(found.places, [name], found.project)

    return graph


def renamed(project, old, new):
    path = project.sheet.with_name(f"{new}.csv")
    header, *rows = project.sheet.read_text().splitlines()
    assert header.startswith("slide,")
    path.write_text("\n".join([header, *(f"{new}{row}" if row.startswith(old) else row for row in rows)]) + "\n")
    return {"sheet": str(path)}


def test_results_of_other_slides_are_refused_with_both_configs_and_the_key(load, project):
    load("mine.yaml")()
    with pytest.raises(UserError) as caught:
        load("demo.yaml", **renamed(project, "", "other"))
    told = str(caught.value)
    assert told.startswith("results/: holds results of mine.yaml (")
    assert "which has no slide in common with demo.yaml." in told
    assert "Was --configfile forgotten?" in told
    assert "pathvars: {results: results/NAME}" in told
    load("demo.yaml", **renamed(project, "", "other"), pathvars={"results": "results/demo"})()
    load("mine.yaml")()


def test_one_slide_in_common_and_a_folder_of_nobody_are_enough(load, project):
    load("mine.yaml")()
    load("mine.yaml", **renamed(project, "a", "other"))()
    claimed = Path("results/.run.json")
    assert json.loads(claimed.read_text())["configs"] == ["mine.yaml"]
    assert any(slide.startswith("othera") for slide in json.loads(claimed.read_text())["slides"])
    claimed.write_text("{")
    load("demo.yaml", **renamed(project, "", "third"))


@pytest.mark.parametrize(
    "content", ['{"slides": 5}', '{"slides": [["a1"], 2], "configs": 5}', '{"slides": {}}', "[]", "{"], ids=str
)
def test_a_claim_that_nobody_can_read_refuses_nothing(load, project, content):
    places = Places()
    Path(places.claim()).parent.mkdir(exist_ok=True)
    Path(places.claim()).write_text(content)
    load("mine.yaml")


def test_what_was_made_since_the_claim_is_to_be_opened(load, project, monkeypatch):
    monkeypatch.setenv("PWD", str(project.folder))
    load("mine.yaml")()
    places = Graph.load(project.config(), [Path("mine.yaml")]).places
    assert made_since(places, ["both"]) == ""
    report, submission = Path(places.report(), "index.html"), Path(places.submission("both"))
    for path in (report, submission):
        path.parent.mkdir(parents=True)
        path.touch()
    assert made_since(places, ["both"]) == f"Open:\n  report      {report}\n  submission  {submission}"
    os.utime(report, (1, 1))
    assert left_before(places, ["both"]) == f"Of an earlier run, not of this one:\n  report      {report}"
    assert made_since(places, ["both", "other"]) == f"Open:\n  submission  {submission}"
    monkeypatch.setenv("PWD", "/")
    assert made_since(places, ["both"]) == f"Open:\n  submission  {submission.absolute()}"
