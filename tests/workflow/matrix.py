"""What a dry run would run again, for many configs, in children of one process that has imported snakemake.

``python matrix.py ORDERS.json``: {"snakefile", "folder", "configs": {name: config file}}. Prints {name: {rule: anew}}:
whether a job of the rule is told something else than any that has run, so that it is computed whatever its inputs hold.
"""

import collections
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)


def told(path):
    """The step of a job file, and what it is told."""
    job = json.loads(Path(path).read_text())
    return job["verb"], job["told"], job["code"]


def reruns(snakefile, folder, config, known):
    """The rules of which jobs would run, and whether one of them is told what none has been."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=(Path(config),)),
            snakefile=Path(snakefile),
            workdir=Path(folder),
        )
        graph = workflow.dag(dag_settings=DAGSettings())
        graph.execute_workflow(executor="dryrun", execution_settings=ExecutionSettings(lock=False))
        done = workflow._workflow.dag  # after a dry run, what would have run counts as finished
        found = collections.defaultdict(bool)
        for job in done.jobs:
            if done.finished(job):
                found[job.rule.name] |= hasattr(job.params, "job") and told(job.params.job.made()) not in known
        return found


class Child:
    """The same in a child: the Snakefile runs among the names of a module of snakemake, and leaves its own there."""

    def __init__(self, *arguments):
        self.answer, self.said = (tempfile.TemporaryFile("w+") for _ in "as")  # noqa: SIM115 - closed by ended
        self.process = os.fork()
        if self.process == 0:
            for stream in (1, 2):
                os.dup2(self.said.fileno(), stream)
            try:
                self.answer.write(json.dumps(reruns(*arguments)))
                self.answer.flush()
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(0)

    def ended(self):
        """What it found, or what it said."""
        os.waitpid(self.process, 0)
        with self.answer, self.said:
            self.answer.seek(0)
            self.said.seek(0)
            found = self.answer.read()
            return json.loads(found) if found else f"failed: {self.said.read()}"


def main(snakefile, folder, configs):
    """As many children at once as there are processors."""
    found, waiting = {}, dict(configs)
    known = {told(path) for path in Path(folder).glob("results/.jobs/*/*.json")}
    while waiting:
        names = list(waiting)[: len(os.sched_getaffinity(0))]
        children = {name: Child(snakefile, folder, waiting.pop(name), known) for name in names}
        found |= {name: child.ended() for name, child in children.items()}
    return found


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(Path(sys.argv[1]).read_text()))))
