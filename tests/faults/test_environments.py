"""The environment of ``--sdm conda`` from its file alone: its packages install together, and the steps run in it.

Conda is not needed: ``fakes/conda`` makes the environment as conda would, from what the file lists for pip.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from running import PROGRAMS, REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]
UV = PROGRAMS / "uv"
SNAKEDEPLOY = "0.17.1"


@pytest.fixture(scope="module")
def conda(tmp_path_factory):
    """The folder of a conda, with the variables that a run by it needs."""
    folder = tmp_path_factory.mktemp("conda") / "bin"
    folder.mkdir()
    shutil.copy(REPOSITORY / "tests" / "fakes" / "conda", folder)
    (folder / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    if not UV.exists():
        pytest.skip("installs packages by uv; make env")
    return {"PATH": f"{folder}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "UV": str(UV)}


def test_steps_run_in_the_environment_of_the_file_by_the_code_of_the_checkout(graph, conda):
    shutil.rmtree(graph.results / "masks")
    graph.edit(
        "masks/rasterize.py",
        "def rasterize(",
        'import sys; print("python", sys.prefix, sys.path, file=sys.stderr)\n\ndef rasterize(',
    )
    printed = graph.run("--sdm", "conda", "--until", "rasterize", "results/masks/a", **conda)
    assert "steps done" in printed
    log = (graph.results / "logs" / "rasterize" / "a.log").read_text()
    (said,) = (line for line in log.splitlines() if line.startswith("python "))
    (environment,) = (path for path in (graph.project.folder / ".snakemake" / "conda").iterdir() if path.is_dir())
    assert said.split()[1] == str(environment)
    assert str(PROGRAMS.parent) not in said, "nothing of the environment that Snakemake runs in"
    assert not list(environment.rglob("site-packages/tilewright*"))


def test_the_package_installs_into_it_and_plans_the_demo(tmp_path, conda):
    """As README says it: conda env create, then pip install without dependencies."""
    create = [Path(conda["PATH"].split(os.pathsep)[0]) / "conda", "env", "create"]
    file = REPOSITORY / "envs" / "environment.yaml"
    subprocess.run([*create, "--file", file, "--prefix", tmp_path / "env"], check=True, env={**os.environ, **conda})
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([UV, "pip", "install", "-q", "--no-deps", "--python", python, REPOSITORY], check=True)
    environment = {"PATH": f"{python.parent}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(tmp_path)}
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    source = Path(
        subprocess.run(
            [python, "-c", "import tilewright; print(tilewright.__file__)"], capture_output=True, text=True, check=True,
            cwd=tmp_path, env=environment,
        ).stdout.strip()
    ).parent  # fmt: skip
    assert source.is_relative_to(tmp_path / "env")
    planned = subprocess.run(
        [python.with_name("snakemake"), "-n", "-s", source / "share" / "Snakefile"], cwd=tmp_path, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "train            4" in planned.stdout + planned.stderr


def test_the_container_recipe_copies_and_installs_what_its_run_needs(tmp_path):
    """Its files and its commands, in a folder and an environment of their own in place of a container."""
    if not UV.exists():
        pytest.skip("installs packages by uv; make env")
    recipe = (REPOSITORY / "envs" / "apptainer.def").read_text()
    parts = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", recipe, re.MULTILINE | re.DOTALL))
    root, environment = tmp_path / "opt" / "tilewright", tmp_path / "env"
    root.mkdir(parents=True)
    for source, target in (line.split() for line in parts["files"].strip().splitlines()):
        copy = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy
        copy(REPOSITORY / source, str(target).replace("/opt/tilewright", str(root)))
    subprocess.run([UV, "venv", "-q", environment], check=True)
    commands = [line.strip() for line in parts["post"].splitlines() if line.strip().startswith("uv ")]
    assert len(commands) == 2
    for command in commands:
        here = command.replace("/opt/tilewright", str(root)).replace("--system", f"--python {environment}/bin/python")
        subprocess.run([UV, *shlex.split(here)[1:]], check=True, capture_output=True)
    (run,) = re.findall(r"exec (.*) \"\$@\"", parts["runscript"])
    command = [*shlex.split(run.replace("/opt/tilewright", str(root))), "-n"]
    path = f"{environment}/bin{os.pathsep}/usr/bin{os.pathsep}/bin"
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    planned = subprocess.run(
        command, cwd=tmp_path, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert re.search(r"^train +4$", planned.stdout, re.MULTILINE)


def test_snakedeploy_writes_a_workflow_that_runs(tmp_path):
    """From a local clone; what it writes for GitHub differs in the place of the Snakefile alone."""
    if not UV.exists():
        pytest.skip("installs packages by uv; make env")
    subprocess.run([UV, "venv", "-q", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([UV, "pip", "install", "-q", "--python", python, f"snakedeploy=={SNAKEDEPLOY}"], check=True)
    clone, place = tmp_path / "clone", tmp_path / "mine"
    subprocess.run(["git", "clone", "-q", REPOSITORY, clone], check=True)
    subprocess.run(["git", "-C", clone, "switch", "-q", "-C", "deployed"], check=True)
    place.mkdir()
    deploy = [
        python.with_name("snakedeploy"),
        "deploy-workflow",
        clone,
        place,
        "--branch",
        "deployed",
        "--name",
        "masks",
    ]
    subprocess.run(deploy, check=True)
    snakefile = place / "workflow" / "Snakefile"
    text = snakefile.read_text()
    assert '"workflow/Snakefile"' in text
    snakefile.write_text(text.replace('"workflow/Snakefile"', f'"{REPOSITORY}/workflow/Snakefile"'))
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    command = [PROGRAMS / "snakemake", "--cores", "2", "--until", "rasterize"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 steps done" in done.stderr
    assert (place / "results" / "demo" / "masks" / "nest_left" / "nest_left.tif").is_file()


def test_the_catalog_of_workflows_is_told_what_holds():
    entry = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    assert entry["usage"]["software-stack-deployment"]["conda"] is True
    assert entry["usage"]["report"] is True
    assert "report:" in (REPOSITORY / "workflow" / "Snakefile").read_text()
