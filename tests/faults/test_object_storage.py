"""Slides and outlines on object storage, here an S3 server on this machine.

The same results, each file fetched once.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import new_graph
from storing import move, server

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]


def test_slides_elsewhere_give_the_same_results_and_are_fetched_once(new_project, finished, tmp_path):
    log = tmp_path / "requests"
    graph = new_graph(tmp_path, new_project(tmp_path / "project"))
    targets = ("results/tiles/fine/a.h5", "results/tiles/fine/b.h5", "results/scaled/half/t")
    with server(log) as address:
        keys = move(graph.project, address)
        graph.run(*targets, **keys)
        graph.run("results/tiles/coarse/b.h5", **keys)
        assert graph.run(*targets, "-n", **keys).count("Nothing to be done") == 1

    places = ("masks/a", "masks/b", "masks/t", "scaled/full/a", "scaled/half/t", "tiles/fine/a.h5", "tiles/coarse/b.h5")
    assert relative(graph, *places) == relative(finished, *places)
    fetched = re.findall(r"GET /(\S+/a-folder/[^\s?]+) ", log.read_text())
    wanted = {
        row[name].removeprefix("s3://")
        for row in graph.project.rows()
        for name in ("image", "annotations")
        if row[name] and row["shard"] != "x1"  # no target asks for it
    }
    assert sorted(fetched) == sorted(wanted)
    said = "".join(path.read_text(errors="replace") for path in graph.folder.rglob("*.log"))
    assert keys["AWS_SECRET_ACCESS_KEY"] not in said


def relative(graph, *places):
    return {path.removeprefix(str(graph.results)): value for path, value in graph.hashes(*places).items()}


def test_urls_of_the_sheet_are_checked(project):
    rows = project.rows()
    rows[0]["image"] = "s3://bucket"
    rows[1]["image"] = "s3://bucket/../secret"
    project.write_sheet(rows)
    program = Path(sys.executable).parent / "tilewright"
    done = subprocess.run(
        [program, "check", "--config", project.config_file], cwd=project.folder, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout.count("is no URL of a file") + done.stderr.count("is no URL of a file") == 2
