"""Watching jobs on a SLURM cluster whose controller is away for a while.

snakemake-executor-plugin-slurm (seen in 2.8.0) forgets all jobs when it cannot ask for their state, and snakemake
then waits for ever. Here they are kept and asked for again.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"


def keep_watching() -> None:
    """Let the plugin, if it is loaded, keep the jobs whose state is not known."""
    executor = getattr(sys.modules.get(PLUGIN), "Executor", None)
    if executor is None or hasattr(executor.check_active_jobs, "keeps"):
        return
    check = executor.check_active_jobs

    async def check_active_jobs(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        # the first call comes, without jobs, while another thread still sets the executor up
        answers = getattr(self, "_status_query_calls", 0)
        async for job in check(self, active_jobs):
            yield job
        if active_jobs and self._status_query_calls == answers:
            self.logger.warning("SLURM does not answer; asking again.")
            for job in active_jobs:
                yield job

    check_active_jobs.keeps = True  # type: ignore[attr-defined]
    executor.check_active_jobs = check_active_jobs
