from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from tilewright.graph import Graph
from tilewright.project.claim import claim, left_before, made_since, refuse_incomplete
from tilewright.project.demands import Demands
from tilewright.project.jobs import Deferred
from tilewright.project.places import FINAL, PART, folder, name_pattern
from tilewright.project.storage import url_of
from tilewright.runtime.attempts import grown, let_grow
from tilewright.runtime.codeversion import code_version
from tilewright.runtime.errors import TilewrightError
from tilewright.runtime.gpu import visible_gpus
from tilewright.runtime.ownenv import step_prefix
from tilewright.runtime.ram import usable_megabytes
from tilewright.runtime.slurm import keep_watching

# What uses this workflow as a module with a prefix moves the results below it; images and outlines stay where they are.
paths = workflow.modifier.path_modifier
below, paths.prefix = paths.prefix or "", None

try:
    graph = Graph.load(config, workflow.configfiles, below)
    if workflow.is_main_process:
        refuse_incomplete(graph.places)
except TilewrightError as error:
    raise WorkflowError(f"The input has problems.\n{error}")

keep_watching()

# Jobs of one machine share its memory; on a cluster (--jobs) each node has its own.
if workflow.resource_settings.nodes is None and not {"mem", "mem_mb", "mem_mib"} & {
    *workflow.global_resources
}:
    workflow.global_resources["mem_mb"] = usable_megabytes()

# An environment that Snakemake makes has the packages; the steps are those of this checkout.
if "CONDA" in {
    method.name for method in workflow.deployment_settings.deployment_method
}:
    shell.prefix(step_prefix(Path(".snakemake") / "package"))

project = graph.project
absent = project.sheet.absent
PROFILE = workflow.resource_settings.overwrite_resources
places = graph.places
ENSEMBLES = list(project.config.ensembles)
ONE_PASS = sorted(project.config.one_pass)
demands = Demands(
    project,
    gpu=bool(visible_gpus()) or any("gpu" in asked for asked in PROFILE.values()),
)


def order(rule):
    written = graph.order(rule)

    def path(wildcards):
        try:
            return written(wildcards)
        except TilewrightError as error:
            raise WorkflowError(f"The work of {rule} cannot be written down.\n{error}")

    return path


# Of the inputs and outputs of a job: no reason to run it again.
def job(rule, module):
    written = graph.job(rule, module)

    def path(wildcards, input, output):
        try:
            return written(wildcards, input, output)
        except TilewrightError as error:
            raise WorkflowError(f"The job of {rule} cannot be written down.\n{error}")

    return lambda wildcards, input, output: Deferred(
        lambda: path(wildcards, input, output), lambda: workflow.dryrun
    )


def code(module):
    return code_version(module) if project.config.rerun_on_code_change else ""


def stored(path):
    url = url_of(path)
    return workflow.storage_registry(url, keep_local=True) if url else path


# A file that is not there stops the job of its slide alone, which says so.
def fetched(files):
    def paths(wildcards):
        try:
            return [stored(path) for path in files(wildcards) if path not in absent]
        except TilewrightError as error:
            raise WorkflowError(f"A target is none of this project's.\n{error}")

    return paths


wildcard_constraints:
    shard=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    scale=name_pattern(project.scales),
    tiles=name_pattern(project.config.tiles),
    model=name_pattern(project.known("model")),
    predictions=name_pattern(project.config.predictions),
    ensemble=name_pattern(ENSEMBLES),
    fold=r"\d+",
    part=PART,
