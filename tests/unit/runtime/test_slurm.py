"""Jobs are watched on while SLURM does not answer."""

import asyncio
import logging
import sys
from types import SimpleNamespace

from tilewright.runtime.slurm import PLUGIN, keep_watching


class Executor:
    """What the plugin's executor does: it asks once, and yields the jobs that run."""

    logger = logging.getLogger("test")

    def __init__(self, answers):
        self._answers, self._status_query_calls = answers, 0

    async def check_active_jobs(self, active_jobs):
        found = self._answers.pop(0)
        if found is not None:
            self._status_query_calls += 1
            for job in active_jobs:
                if job in found:
                    yield job


def left(executor, jobs):
    async def collect():
        return [job async for job in executor.check_active_jobs(jobs)]

    return asyncio.run(collect())


def test_jobs_are_kept_while_there_is_no_answer(monkeypatch):
    monkeypatch.setitem(sys.modules, PLUGIN, SimpleNamespace(Executor=type("Patched", (Executor,), {})))
    keep_watching()
    keep_watching()  # each process of snakemake reads the Snakefile, some more than once
    executor = sys.modules[PLUGIN].Executor([["a", "b"], None, None, ["b"], []])

    jobs = ["a", "b"]
    counts = []
    for _ in range(5):
        jobs = left(executor, jobs)
        counts.append(jobs)

    assert counts == [["a", "b"], ["a", "b"], ["a", "b"], ["b"], []]


def test_an_executor_that_is_not_set_up_yet_has_no_jobs(monkeypatch):
    """Snakemake asks from another thread; an error would end that thread, and no job would be watched."""
    monkeypatch.setitem(sys.modules, PLUGIN, SimpleNamespace(Executor=type("Patched", (Executor,), {})))
    keep_watching()
    executor = sys.modules[PLUGIN].Executor([None])
    del executor._status_query_calls

    assert left(executor, []) == []


def test_without_the_plugin_nothing_happens(monkeypatch):
    monkeypatch.setitem(sys.modules, PLUGIN, None)
    keep_watching()
