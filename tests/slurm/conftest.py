"""A SLURM cluster of two nodes on this machine, and snakemake with the profile for clusters on it."""

import os
import platform
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import Graph, Shim, ended, new_graph

SCRIPT = Path(__file__).with_name("cluster.sh")
WITHOUT_GPUS = """
from tilewright.runtime import gpu
gpu.require_usable = lambda count: None
"""
"""For the processes of jobs: the cluster hands out GPUs that are not there."""
OPTIONS = (
    # what a cluster of a user would not have to shorten
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--latency-wait", "5", "--slurm-no-account"),
)


def pytest_collection_modifyitems(items):
    """Say why nothing of this folder runs, where it cannot."""
    lacking = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    if platform.system() != "Linux" or os.geteuid() != 0:
        why = "needs root on Linux"
    else:
        why = f"needs {', '.join(lacking)} (Debian: slurm-wlm, munge)" if lacking else ""
    for item in items:
        if why and item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.skip(reason=why))


@dataclass(frozen=True)
class Cluster:
    """The cluster in a folder."""

    folder: Path

    def do(self, *verb):
        """Run the script of the cluster."""
        subprocess.run([SCRIPT, verb[0], self.folder, *verb[1:]], check=True, timeout=90)

    def running(self, rule):
        """Number and node of the jobs of a rule that run; snakemake puts the rule into their comment."""
        command = ["squeue", "--noheader", "--states", "RUNNING", "--format", "%i|%N|%k"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        lines = [line.split("|") for line in done.stdout.splitlines()]
        return [(number, node) for number, node, comment in lines if comment.startswith(rule)]

    def has(self, number):
        """Whether a job runs or is about to end."""
        command = ["squeue", "--noheader", "--states", "RUNNING,COMPLETING", "--format", "%i"]
        return number in subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()

    def control(self, *arguments):
        """Run scontrol."""
        subprocess.run(["scontrol", *arguments], check=True, timeout=60)

    def resume(self, node):
        """Let a node take jobs again; one that answers may have come back by itself."""
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], capture_output=True, timeout=60)


@dataclass(frozen=True)
class OnCluster:
    """The graph of the tiny project, run by the profile for clusters."""

    graph: Graph
    shim: Shim

    def patched(self, more=""):
        """Variables with which no process looks for its GPUs, and something more may be patched."""
        patches = self.graph.folder / f"patches-{len(more)}"
        patches.mkdir(exist_ok=True)
        (patches / "sitecustomize.py").write_text(WITHOUT_GPUS + more)
        return {"PYTHONPATH": f"{self.graph.folder / 'code'}{os.pathsep}{patches}"}

    @contextmanager
    def running(self, *arguments, fault="", retries=2, **environment):
        """Snakemake in the background; killed in the end, if it has not ended.

        Args:
            arguments: of snakemake.
            fault: of the shim.
            retries: how often snakemake tries a job again.
            environment: variables to set.
        """
        process = self.graph.start(
            *("--workflow-profile", self.graph.folder / "code" / "profiles" / "slurm", *OPTIONS),
            *("--retries", str(retries), *arguments),
            **self.shim.environment(fault),
            # of one that hangs, what it said and where it stands
            PYTHONUNBUFFERED="1",
            PYTHONFAULTHANDLER="1",
            **{**self.patched(), **environment},
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def run(self, *arguments, **options):
        """Run snakemake and return what it printed."""
        with self.running(*arguments, **options) as process:
            printed = ended(process, 900)
        assert process.returncode == 0, printed
        return printed

    def has_state(self, model, fold):
        """Whether a training holds its state."""
        return (self.graph.results / "models" / model / f"fold{fold}" / "state" / "lock").exists()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The cluster, started once and stopped in the end."""
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    made.do("start")
    yield made
    made.do("stop")


@pytest.fixture(scope="session")
def on_cluster(new_project, cluster):
    """Makes a project to run on the cluster."""
    assert cluster.folder

    def make(folder):
        graph = new_graph(folder, new_project(folder / "project"))
        return OnCluster(graph, Shim(folder))

    return make
