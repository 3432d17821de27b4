"""Each step, killed at many points of its work and on a full disk: its result is there whole or not at all."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from faults.killer import content

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

KILLER = Path(__file__).with_name("killer.py")
VERBS = (
    "rasterize", "downscale", "tile", "split", "predict", "seams", "ensemble", "calibrate", "pack", "segment", "encode",
    "measure", "evaluate", "audit", "report",
)  # fmt: skip
POINTS = 16


def commands(graph, *targets):
    """One command of each verb, as a dry run prints it."""
    printed = graph.run("-n", "-p", "--forceall", *targets)
    lines = re.findall(r"^\s*(?:Shell command: )?tilewright (.*)$", printed, re.MULTILINE)
    return {line.split()[0]: shlex.split(line.split(" 2> ")[0]) for line in lines}


def may_mount(folder):
    """Whether disks may be mounted: as root, outside of most containers."""
    if os.geteuid():
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True)
    return done.returncode == 0 and subprocess.run(["umount", folder]).returncode == 0


@pytest.fixture(scope="module")
def killed(finished, tmp_path_factory):
    """What each step left after each kill, and what the next run of it made; the results of the graph it ran in."""
    graph = finished.copied(tmp_path_factory.mktemp("killed") / "copy")
    found = commands(graph)
    folder = graph.project.folder
    (folder / "disk").mkdir()
    mount = "disk" if may_mount(folder / "disk") else ""
    orders = []
    for verb in VERBS:
        out = found[verb][found[verb].index("--out") + 1]
        orders.append({"argv": found[verb], "out": out, "folder": "results", "points": POINTS, "mount": mount})
    (folder / "orders.json").write_text(json.dumps(orders))
    environment = {**os.environ, "PYTHONPATH": str(graph.folder / "code")}
    done = subprocess.run(
        [sys.executable, KILLER, "orders.json"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {
        verb: {**answer, "out": folder / one["out"], "whole": content(finished.project.folder / one["out"])}
        for verb, answer, one in zip(VERBS, json.loads(done.stdout), orders, strict=True)
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_step_leaves_its_result_whole_or_not_at_all(killed, verb):
    answer = killed[verb]
    assert answer["whole"]
    assert len(answer["left"]) >= POINTS // 3
    assert set(answer["left"]) == {"", answer["whole"]}
    assert (answer["code"], answer["last"]) == (0, answer["whole"])


@pytest.mark.parametrize("verb", VERBS)
def test_the_next_run_removes_what_killed_ones_left(killed, verb):
    beside = {path.name for path in killed[verb]["out"].parent.iterdir()}
    assert not [name for name in beside if "partial" in name]


@pytest.mark.parametrize("verb", VERBS)
def test_on_a_full_disk_a_step_says_so_and_leaves_nothing(killed, verb):
    disks = killed[verb]["disks"]
    if not disks:
        pytest.skip("needs root and leave to mount")
    for disk in disks:
        assert "the disk is full" in disk["said"]
        assert "Traceback" not in disk["said"]
        assert (disk["code"], disk["names"]) == (3, [])
