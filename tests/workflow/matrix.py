"""What a dry run would run again, for many configs, in children of one process that has imported snakemake.

``python matrix.py ORDERS.json``: {"snakefile", "folder", "configs": {name: config file}}. Prints {name: {rule: jobs}}.
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


def reruns(snakefile, folder, config):
    """Jobs of each rule that would run."""
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
        return collections.Counter(job.rule.name for job in done.jobs if done.finished(job))


def in_child(*arguments):
    """The same in a child: the Snakefile runs among the names of a module of snakemake, and leaves its own there."""
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as said:
        process = os.fork()
        if process == 0:
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            try:
                answer.write(json.dumps(reruns(*arguments)))
                answer.flush()
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        answer.seek(0)
        said.seek(0)
        found = answer.read()
        return json.loads(found) if found else f"failed: {said.read()}"


if __name__ == "__main__":
    order = json.loads(Path(sys.argv[1]).read_text())
    found = {name: in_child(order["snakefile"], order["folder"], config) for name, config in order["configs"].items()}
    print(json.dumps(found))
