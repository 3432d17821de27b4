"""The viewer shows what the last run was told, whatever else was written or changed since."""

import contextlib
import os
from pathlib import Path

import pytest
from viewing import make_results

from tilewright import make_order, read_project
from tilewright.project.claim import claim
from tilewright.project.orders import write_order
from tilewright.project.places import Places
from tilewright.report.viewer.runs import find_run

OTHER = "#123456"


@pytest.fixture
def results(project):
    return make_results(project)


@contextlib.contextmanager
def changed(project):
    """The project with another colour of glands in its config."""
    before = project.config()
    after = project.config()
    after["classes"]["gland"]["color"] = OTHER
    project.write_config(after)
    with contextlib.chdir(project.folder):
        yield read_project("config.yaml")
    project.write_config(before)


def glands(results):
    return find_run(results).order.colors["gland"]


def test_a_config_that_was_changed_and_changed_back_is_that_of_the_last_run(project, results):
    places, own = Places(), glands(results)
    with changed(project) as read:
        claim(places, ["config.yaml"], read)
        assert glands(results) == OTHER
    with contextlib.chdir(project.folder):
        claim(places, ["config.yaml"], read_project("config.yaml"))
    assert own != OTHER
    assert glands(results) == own


def test_a_dry_run_of_another_config_changes_nothing(project, results):
    own = glands(results)
    with changed(project) as read:
        path = write_order(make_order(read, "report"), lambda digest: Places().order("report", digest))
        os.utime(path, (2**32, 2**32))
    assert glands(results) == own


def test_results_that_do_not_say_it_are_shown_as_the_newest_order_does(project, results):
    with changed(project) as read:
        path = write_order(make_order(read, "report"), lambda digest: Places().order("report", digest))
        os.utime(path, (2**32, 2**32))
    Path(results, ".run.json").write_text("{")
    assert glands(results) == OTHER
