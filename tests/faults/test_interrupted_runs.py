"""Snakemake and its steps are killed, stopped and started twice.

The plain command then gives what a whole run gives.
"""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from running import Shim, new_graph, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

MASKS = "results/masks/b"
SLOW = "rasterize:b slow 14"


@pytest.fixture
def fresh(new_project, tmp_path):
    """The tiny project before its first run, and its shim."""
    graph = new_graph(tmp_path, new_project(tmp_path / "project"))
    return graph, Shim(tmp_path)


def masks(graph):
    """Hashes of the masks of shard b, by their place in the results."""
    return {path.removeprefix(str(graph.results)): value for path, value in graph.hashes("masks/b").items()}


def test_after_snakemake_was_killed_its_step_lives_on_and_does_no_harm(fresh, finished):
    """The step of the dead snakemake ends while, or after, the new one runs the same step."""
    graph, shim = fresh
    process = graph.start(MASKS, **shim.environment(SLOW))
    wait_until(shim.is_waiting)
    process.kill()
    process.communicate()
    code, printed = graph.attempt(MASKS, **shim.environment())
    assert code != 0
    assert "--unlock" in printed

    graph.run("--unlock")
    graph.run(MASKS, **shim.environment())
    wait_until(lambda: len(shim.steps()) == 2)

    assert {step.code for step in shim.steps()} == {"0"}
    assert masks(graph) == masks(finished)
    assert graph.jobs(MASKS) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_stop_the_plain_command_goes_on(fresh, finished, number):
    """Ctrl-C reaches all processes of the terminal; SIGTERM is sent to snakemake, which lets its step end."""
    graph, shim = fresh
    with graph.start(MASKS, **shim.environment(SLOW)) as process:
        wait_until(shim.is_waiting)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        process.communicate(timeout=60)
    graph.run(MASKS, **shim.environment())
    assert masks(graph) == masks(finished)


def test_a_step_that_is_killed_is_tried_again(fresh, finished):
    """On one machine.

    What a batch system is asked for is told by unit/runtime/test_ending.py and the tests on SLURM.
    """
    graph, shim = fresh
    code, _ = graph.attempt(MASKS, "--retries", "1", **shim.environment("rasterize:b kill 2"))
    assert code != 0
    assert not (graph.results / "masks" / "b").exists()

    graph.run(MASKS, "--retries", "1", **shim.environment("rasterize:b kill 3"))
    assert masks(graph) == masks(finished)


def test_a_second_snakemake_is_refused(fresh, finished):
    graph, shim = fresh
    with graph.start(MASKS, **shim.environment(SLOW)) as process:
        wait_until(shim.is_waiting)
        code, printed = graph.attempt(MASKS, **shim.environment())
        assert code != 0
        assert "Directory cannot be locked" in printed
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert masks(graph) == masks(finished)


def test_results_that_show_late_are_waited_for(fresh, finished):
    """As network file systems show them."""
    graph, shim = fresh
    graph.run(MASKS, "--latency-wait", "20", **shim.environment("rasterize:b late 3"))
    assert masks(graph) == masks(finished)


GPUS = """
from tilewright.runtime import gpu
gpu.require_usable = lambda count: None
"""


@pytest.mark.parametrize("gpus", [1, 2])
def test_each_training_has_a_gpu_of_its_own(fresh, tmp_path, gpus):
    """As many trainings at a time as the profile has GPUs; devices are fakes."""
    graph, shim = fresh
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "sitecustomize.py").write_text(GPUS)
    shutil.copy(Path(__file__).parents[1] / "fakes" / "pynvml.py", fakes)
    path = {
        "PYTHONPATH": f"{graph.folder / 'code'}{os.pathsep}{fakes}", "TMPDIR": str(tmp_path),
        "FAKE_GPUS": json.dumps([{"uuid": "GPU-0"}, {"uuid": "GPU-1"}]),
    }  # fmt: skip
    models = [f"results/models/far/fold{fold}/model.safetensors" for fold in (0, 1)]

    graph.run(*models, "--resources", f"gpu={gpus}", **shim.environment(), **path)

    one, other = (step for step in shim.steps() if step.verb == "train")
    together = float(one.begin) < float(other.end) and float(other.begin) < float(one.end)
    assert together == (gpus == 2)
    logs = [(graph.results / "logs" / "train" / "far" / f"fold{fold}.log").read_text() for fold in (0, 1)]
    found = {re.search(r"^on GPU GPU-(\d)$", said, re.MULTILINE)[1] for said in logs}
    assert found == ({"0", "1"} if together else {"0"})
