"""Commands and config of the README are run here, whole or as a dry run of the same command on the tiny project."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tilewright.cli import VERBS, app
from tilewright.project.configfile import read_config

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
COMPETITIONS = (REPOSITORY / "docs" / "competitions.md").read_text(encoding="utf-8")


def in_blocks():
    """Commands of the code blocks, a continued line being one."""
    text = README + COMPETITIONS
    blocks = re.findall(r"^ *```(?:sh|bash|console)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return list(dict.fromkeys(line.split(" #")[0].strip() for line in lines if line.strip()))


def inline():
    """Commands in the text that stand in backquotes and are whole; tests/workflow/test_graph.py writes a report."""
    found = re.findall(r"`((?:snakemake|tilewright|make) [^`\n]+)`", README)
    return [command for command in dict.fromkeys(found) if "VERB" not in command and "--report" not in command]


def run(*command, folder):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def try_make(arguments, project):
    run("make", "-n", *arguments, folder=REPOSITORY)


def try_tilewright(arguments, project):
    """Really run, on the tiny project.

    A competition's folder is not at hand, so its commands are only parsed; ``apply`` runs in
    tests/workflow/test_apply.py, and ``view``, which does not end, in tests/browser.
    """
    function, _, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert function.__module__.startswith("tilewright.")
    if arguments[0] in ("apply", "view") or any("vasculature" in part for part in arguments):
        return
    places = {"DATA": project.sheet.parent, "config/mine.yaml": project.config_file}
    if arguments[0] == "plan":
        places = {"DATA": project.sheet.parent, "config/slides.csv": project.sheet}
    (project.folder / "config").mkdir(exist_ok=True)
    shutil.copy(project.config_file, project.folder / "config" / "config.yaml")  # what is taken where none is named
    command = [str(places.get(part, part)) for part in arguments]
    run(Path(sys.executable).parent / "tilewright", *command, folder=project.folder)


def try_snakemake(arguments, project):
    """A dry run: of the tiny project for a user's config, else of the demo."""
    configs = [part for part in arguments if part.endswith(".yaml")]
    mine = [part for part in configs if not (REPOSITORY / part).is_file()]
    if configs and not mine:
        read_config(REPOSITORY / configs[0])
    arguments = [str(project.config_file) if part in configs else part for part in arguments]
    arguments = [part.replace("data=DATA", f"data={project.sheet.parent}") for part in arguments]
    arguments = [str(REPOSITORY / part) if part.startswith("profiles/") else part for part in arguments]
    programs, folder = Path(sys.executable).parent, project.folder if configs else REPOSITORY
    cores = [] if "--cores" in arguments or "--workflow-profile" in arguments else ["--cores", "1"]
    dry = [] if "--dry-run" in arguments else ["--dry-run"]
    run(programs / "snakemake", "-s", REPOSITORY / "Snakefile", *arguments, *cores, *dry, folder=folder)


TRIED_BY = {"make": try_make, "tilewright": try_tilewright, "snakemake": try_snakemake}


def test_the_readme_shows_commands():
    assert {shlex.split(command)[0] for command in in_blocks()} >= TRIED_BY.keys()


@pytest.mark.slow
@pytest.mark.parametrize("command", dict.fromkeys([*in_blocks(), *inline()]))
def test_the_command_can_be_run(command, project):
    program, *arguments = shlex.split(command)
    if program == "source":
        assert arguments == [".venv/bin/activate"]
        return
    TRIED_BY[program](arguments, project)


def test_the_config_of_ones_own_takes_eight_lines_and_plans_the_whole_chain(project):
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(text.splitlines()) <= 8
    slides, programs = project.sheet.parent, Path(sys.executable).parent
    for name in ("t1", "t2"):
        (slides / f"{name}.geojson").unlink(missing_ok=True)
    (project.folder / "config").mkdir()
    (project.folder / "config" / "mine.yaml").write_text(text.replace("DATA", str(slides)))
    own = [command for command in in_blocks() if "mine.yaml" in command or "sheet qupath" in command]
    commands = [command for command in own if "tilewright plan" not in command]
    assert len(commands) == 4
    for command in commands[:3]:
        program, *arguments = shlex.split(command.replace("DATA", str(slides)))
        where = ["-s", REPOSITORY / "Snakefile"] if program == "snakemake" else []
        printed = run(programs / program, *arguments, *where, folder=project.folder)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    assert jobs["train"] == "5"
    assert jobs.keys() >= {"rasterize", "predict", "calibrate", "segment", "encode", "evaluate", "report"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCS)])
def test_links_lead_somewhere(page):
    path = REPOSITORY / page
    targets = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert not [one for one in targets if not one.startswith("https://") and not (path.parent / one).exists()]


def test_the_table_of_the_chain_names_the_file_of_each_step():
    rows = re.findall(r"^\| `(\w+)` \|.*\| `([\w/.]+)` \|$", README, re.MULTILINE)
    assert len(rows) == 20
    for verb, file in rows:
        assert VERBS[verb][0] == f"tilewright.{file.removesuffix('.py').replace('/', '.')}:{verb}"
