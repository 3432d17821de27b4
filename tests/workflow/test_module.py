"""The workflow inside another one, from another directory: as a module, with a prefix, and as snakedeploy writes it."""

import os
import re
import shutil
import subprocess

import pytest
from running import PROGRAMS, REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OUTER = """\
configfile: "config.yaml"
module kidney:
    snakefile: "{snakefile}"
    config: config
    {prefix}
use rule * from kidney as kidney_*
rule count:
    input: "{below}results/masks/a"
    output: "count.txt"
    default_target: True
    shell: "ls {{input}} > {{output}}"
"""


@pytest.fixture
def place(graph):
    """The tiny project without results; what runs here sees the workflow elsewhere."""
    shutil.rmtree(graph.results)
    shutil.rmtree(graph.project.folder / ".snakemake", ignore_errors=True)
    return graph.project


def snakemake(folder, *arguments):
    command = [PROGRAMS / "snakemake", "--cores", "2", *arguments]
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("below", ["", "kidney/", "deep/er/"])
def test_a_workflow_takes_its_results_and_its_images_stay_where_they_are(place, below):
    place.folder.joinpath("config.yaml").write_text(place.config_file.read_text())
    prefix = f'prefix: "{below}"' if below else ""
    outer = OUTER.format(snakefile=REPOSITORY / "Snakefile", prefix=prefix, below=below)
    (place.folder / "Snakefile").write_text(outer)
    done = snakemake(place.folder)
    assert done.returncode == 0, done.stderr
    assert "a1.tif" in (place.folder / "count.txt").read_text().split()
    results = place.folder / below / "results"
    assert {path.name for path in results.iterdir()} >= {"masks", "logs", ".orders"}
    assert (place.folder / "results").exists() == (not below), "nothing lies elsewhere"
    assert "Nothing to be done" in snakemake(place.folder, "-n").stdout
    whole = snakemake(place.folder, "-n", "kidney_all")
    assert "not present" not in whole.stdout + whole.stderr, "nothing is asked for by the names of before"
    assert re.search(r"^kidney_report +1$", whole.stdout, re.MULTILINE), "all of the graph is planned"


def test_it_runs_from_anywhere_on_a_folder_anywhere(place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = ["-s", REPOSITORY / "Snakefile", "-d", place.folder, "--configfile", place.config_file]
    done = snakemake(elsewhere, *where, "--until", "rasterize")
    assert done.returncode == 0, done.stderr
    assert (place.folder / "results" / "masks" / "a" / "a1.tif").is_file()
    assert not list(elsewhere.iterdir()), "nothing is written where it was started"
