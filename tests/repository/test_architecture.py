"""What ``docs/architecture.md`` says of results and functions is what rules and code do."""

import re
import subprocess
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

from tilewright.project.places import Places

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)+)(?:`|\()", PAGE)) - {"graph.py", "folds.csv", "slides.csv"})
)
def test_a_function_that_the_page_names_is_there(name):
    module, _, function = name.rpartition(".")
    assert hasattr(import_module(f"tilewright.{module}"), function)


@pytest.mark.slow
def test_results_are_written_and_read_by_the_steps_that_the_page_names(tmp_path, new_project):
    project = new_project(tmp_path / "project")
    config = project.config()
    config["models"]["again"] = {**config["models"]["near"], "pseudo": {"from": "both"}}
    config["ensembles"]["second"] = {"models": {"again": 1}, "calibration": {"min_area": "fit"}}
    config["ensembles"]["fitted"] = {"models": {"near": 1, "far": 1}, "weights": "fit"}
    config["models"]["far"]["final"] = config["models"]["again"]["final"] = True
    project.write_config(config)
    readers = defaultdict(set)
    for writer, reader in edges(project):
        readers[writer].add(reader)
    rows = re.findall(r"^\| `(\w+)[/.].*?` \|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
    said = {by.strip(" `"): set(re.findall(r"`(\w+)`", to)) for _, by, to in rows}
    assert said == {**readers, "encode": set(), "measure": set(), "pack": set(), "report": set()}
    for folder, by, _ in rows:
        assert f"`{by.strip()}`" in getattr(Places, VERBS_OF.get(folder, folder)).__doc__


@pytest.mark.slow
def test_the_picture_of_the_rules_shows_those_of_the_demo():
    command = [sys.executable, "-m", "snakemake", "--forceall", "--rulegraph", "--nolock", "-d", REPOSITORY]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    planned = set(re.findall(r"\[label = \"(\w+)", done.stdout)) - {"default", "all"}
    picture = (REPOSITORY / "docs" / "graph.svg").read_text(encoding="utf-8")
    assert set(re.findall(r">(\w+)</text>", picture)) == planned


VERBS_OF = {"models": "model", "bundles": "bundle"}
"""Folders whose method of ``Places`` has another name."""


def edges(project):
    """Pairs of rules of which the second takes what the first writes."""
    graph = ["-s", REPOSITORY / "Snakefile", "-d", project.folder, "--configfile", project.config_file]
    command = [sys.executable, "-m", "snakemake", *graph, "--cores", "2", "--rulegraph"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = dict(re.findall(r"(\d+)\[label = \"(\w+)", done.stdout))
    found = {(names[one], names[other]) for one, other in re.findall(r"(\d+) -> (\d+)", done.stdout)}
    return {pair for pair in found if not {"default", "all"} & set(pair)}
