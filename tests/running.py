"""The real graph on the tiny project, with a copy of package and workflow that a test may edit."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from ast import literal_eval
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Graph:
    """The tiny project beside a copy of package and workflow, so that a test may edit them."""

    folder: Path
    project: object

    @property
    def results(self):
        return self.folder / "project" / "results"

    @property
    def code(self):
        return self.folder / "code" / "tilewright"

    def copied(self, folder):
        """A copy with all results."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Graph(folder, type(self.project)(folder / "project"))

    def run(self, *arguments, **environment):
        """Run snakemake and return what it printed; variables of the environment may be set."""
        code, printed = self.attempt(*arguments, **environment)
        assert code == 0, printed
        return printed

    def attempt(self, *arguments, **environment):
        """Run snakemake; its exit code and what it printed."""
        with self.start(*arguments, **environment) as process:
            printed, _ = process.communicate()
        return process.returncode, printed

    def start(self, *arguments, **environment):
        """Start snakemake, alone in its process group; variables of the environment may be set."""
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        command = [
            *(PROGRAMS / "snakemake", "-s", self.folder / "code" / "Snakefile", "-d", self.project.folder),
            *("--configfile", self.project.config_file, "--cores", "2", *arguments),
        ]
        return subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={
                **os.environ, "PYTHONPATH": str(self.folder / "code"), "PATH": path,
                "PWD": str(self.project.folder), **environment,
            },
            cwd=self.project.folder,
        )  # fmt: skip

    def jobs(self, *arguments):
        """Jobs of each rule that would run."""
        printed = self.run(*arguments, "-n", "--quiet", "rules")
        table = re.search(r"^job +count\n[- ]+\n(.*?)^total ", printed, re.MULTILINE | re.DOTALL)
        if table is None:
            assert "Nothing to be done" in printed
            return {}
        counts = {name: int(count) for name, count in (line.split() for line in table[1].splitlines())}
        return {name: count for name, count in counts.items() if name not in ("all", "default")}

    def unseen(self):
        """Files of users that jobs took, by Snakemake's records, without being told when those are others."""
        found = []
        for path in (self.project.folder / ".snakemake" / "metadata").rglob("*"):
            record = json.loads(path.read_text()) if path.is_file() else {"input": []}
            seen = [json.loads(literal_eval(text)) for text in record.get("params", ()) if text.startswith("'{")]
            users = [name for name in record["input"] if not name.startswith("results/")]
            found += [(record["rule"], name) for name in users if not any(name in told for told in seen)]
        return found

    def edit(self, module, old, new):
        path = self.code / module
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def hashes(self, *places):
        """Hash of each file of the results that counts as one."""
        paths = [
            path for place in places for path in sorted((self.results / place).rglob("*")) or [self.results / place]
        ]
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.is_file() and not {"events", "state", ".snakemake_timestamp"} & set(path.parts)
        }


SHIM = """#!/usr/bin/env bash
# Stands before the program: notes who starts what where, and does the fault that a test asks for.
read -r what fault amount <<<"$TEST_FAULT"
out=${@: -1}
step="$1:$(basename "$out")"
if [ "$what" = "$step" ]; then
    case $fault in
    slow) if mkdir "$TEST_STEPS.began" 2>/dev/null; then sleep "$amount" & wait $!; fi ;;
    kill) for start in $(seq "$amount"); do if mkdir "$TEST_STEPS.$start" 2>/dev/null; then kill -9 $$; fi; done ;;
    esac
fi
begin=$(date +%s.%N)
{program} "$@"
code=$?
if [ "$what $fault" = "$step late" ]; then
    mv "$out" "$out.late"
    (sleep "$amount"; mv "$out.late" "$out") >/dev/null 2>&1 &
fi
echo "$1|${step#*:}|$SLURM_JOB_ID|$SLURMD_NODENAME|$CUDA_VISIBLE_DEVICES|$begin|$(date +%s.%N)|$code" >>"$TEST_STEPS"
exit $code
"""


class Step(NamedTuple):
    """A start of a step, as the shim notes it."""

    verb: str
    made: str
    job: str
    node: str
    gpus: str
    begin: str
    end: str
    code: str


class Shim:
    """A program of the same name that stands before ``tilewright``."""

    def __init__(self, folder):
        self._bin, self._log = folder / "bin", folder / "steps"
        self._bin.mkdir(exist_ok=True)
        program = self._bin / "tilewright"
        program.write_text(SHIM.replace("{program}", shlex.quote(str(PROGRAMS / "tilewright"))))
        program.chmod(0o755)

    def environment(self, fault=""):
        """Variables with which snakemake finds the shim.

        Args:
            fault: a verb with what it makes, a fault and a number: "rasterize:b slow 20" (the first start waits),
                "rasterize:b kill 2" (the first two starts are killed), "rasterize:b late 3" (the result shows later).
        """
        path = os.pathsep.join(map(str, (self._bin, PROGRAMS, os.environ["PATH"])))
        return {"PATH": path, "TEST_STEPS": str(self._log), "TEST_FAULT": fault}

    def is_waiting(self):
        """Whether the slow step has begun."""
        return Path(f"{self._log}.began").exists()

    def steps(self):
        """All starts that have ended by themselves."""
        return [Step(*line.split("|")) for line in self._log.read_text().splitlines()] if self._log.exists() else []


def wait_until(happens, seconds=120):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def ended(process, seconds=600):
    """What a process prints until it ends.

    Of one that does not, what it printed and where its threads stand is shown.
    """
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"not ended after {seconds} s:\n{process.communicate()[0]}")


def new_graph(folder, project):
    """Copy package and workflow beside the project in a folder."""
    graph = Graph(folder, project)
    shutil.copytree(REPOSITORY / "src" / "tilewright", graph.code, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(REPOSITORY / name, graph.code.parent / name)
    shutil.copy(REPOSITORY / "Snakefile", graph.code.parent)
    return graph
