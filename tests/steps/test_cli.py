import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ordering import order_of

from tilewright.cli import VERBS, app, main, without_job
from tilewright.project.config import Annotations
from tilewright.project.orders import RasterizeOrder, read_order, write_order

REPOSITORY = Path(__file__).parents[2]
RULES = sorted(
    name
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk")
    for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
)


VARIANTS = {"downscale_in_one_pass": "downscale"}
"""Rules that a config turns on, and their verb; ``workflow/test_graph.py`` runs them."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory, new_project):
    """A folder, and the shell commands of every rule, as a dry run of the tiny project there prints them.

    With a second round, a training on all slides, fitted weights and saved predictions.
    """
    project = new_project(tmp_path_factory.mktemp("cli") / "project")
    config = project.config()
    config["models"]["again"] = {**config["models"]["near"], "pseudo": {"from": "both"}}
    config["models"]["far"]["final"] = True
    config["ensembles"]["second"] = {"models": {"again": 1}}
    config["ensembles"]["fitted"] = {"models": {"near": 1, "far": 1}, "weights": "fit"}
    config["predictions"] = {"theirs": {"folder": "saved", "out_of_fold": True}}
    config["ensembles"]["mixed"] = {"models": {"near": 1, "theirs": 1}}
    project.write_config(config)
    arguments = ["-s", REPOSITORY / "Snakefile", "-d", project.folder, "--configfile", project.config_file]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", "-n", "-p"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^\s*(?:Shell command: )?(tilewright .*)$", done.stdout + done.stderr, re.MULTILINE)
    return project.folder, [shlex.split(line.split(" 2> ")[0]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_command_of_a_rule_is_a_command_of_the_program(commands, rule, monkeypatch):
    if rule == "all" or rule in VARIANTS:
        return
    folder, lines = commands
    monkeypatch.chdir(folder)
    own = [command for command in lines if command[1] == rule]
    assert own, f"the dry run has no command of {rule}"
    for command in own[:2]:
        job, others = without_job(command[1:])
        assert job is not None, "no rule computes what it has made before"
        function, bound, _ = app.parse_args(others, exit_on_error=False, print_error=False)
        assert function.__name__ == rule
        assert bound.arguments


def test_every_rule_is_a_verb():
    assert {VARIANTS.get(rule, rule) for rule in RULES} <= VERBS.keys()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["split", "--help"], ["rasterize", "--help"]])
def test_help_is_shown_without_loading_networks(arguments):
    heavy = {"torch", "lightning", "matplotlib", "segmentation_models_pytorch"}
    heavy |= {"rasterio", "numpy", "pandas"} if arguments[0].startswith("--") or arguments[0] == "split" else set()
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('LOADED', sorted({heavy!r} & set(sys.modules))))\n"
        f"from tilewright.cli import main\nmain({arguments!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("LOADED []\n")


def failure(arguments, capsys):
    """Exit code and message of a command that must fail."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    message = printed.err + printed.out
    assert "Traceback" not in message
    return caught.value.code, message


def rasterize(project, edit=lambda text: text):
    """A command to draw the glands of a shard, by an order that was written by hand."""
    order = order_of(RasterizeOrder, project.sheet, "a", classes={"gland": ["gland"]}, annotations=Annotations())
    path = project.folder / "mine.json"
    path.write_text(edit(order.model_dump_json()))
    return ["rasterize", "--order", str(path), "--out", str(project.folder / "out")]


@pytest.mark.parametrize("damage", [lambda text: text.replace("gland", "glans"), lambda text: text[:-9], lambda _: ""])
def test_an_order_that_is_not_what_was_written_is_a_data_error(project, capsys, damage):
    arguments = rasterize(project)
    path = Path(
        write_order(read_order(RasterizeOrder, Path(arguments[2])), lambda digest: f"{project.folder}/{digest}.json")
    )
    path.write_text(damage(path.read_text()))
    code, message = failure(["rasterize", "--order", str(path), *arguments[3:]], capsys)
    assert code == 3
    assert f"{path}: was damaged or edited: it is not what was written.\n  Delete it" in message


def test_an_order_of_another_step_is_a_user_error(project, capsys):
    order = read_order(RasterizeOrder, Path(rasterize(project)[2]))
    path = write_order(order, lambda digest: f"{project.folder}/{digest}.json")
    code, message = failure(["downscale", "--order", path, "--masks", "m", "--out", "o"], capsys)
    assert code == 2
    assert f"{path}: is no order of this step.\n  Name one of the step's own" in message


def test_an_order_that_is_missing_is_a_data_error(project, capsys):
    code, message = failure(["rasterize", "--order", "none.json", *rasterize(project)[3:]], capsys)
    assert code == 3
    assert "none.json: cannot be read (No such file or directory).\n  Name the order" in message


def test_a_step_needs_neither_sheet_nor_config(project, capsys):
    arguments = rasterize(project, lambda text: text.replace('{"gland":["gland"]}', '{"all":["gland","vessel"]}'))
    project.sheet.unlink()
    project.config_file.unlink()
    main(arguments)
    assert (project.folder / "out" / "a1.tif").is_file()


def test_a_wrong_outline_is_a_data_error(project, capsys):
    code, message = failure(rasterize(project), capsys)
    assert code == 3
    assert "vessel" in message
    assert not (project.folder / "out").exists()


def test_a_missing_file_is_a_data_error(project, capsys):
    (project.sheet.parent / "a1.geojson").write_text("{")
    code, message = failure(rasterize(project), capsys)
    assert code == 3
    assert "a1.geojson" in message


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda arguments: [*arguments, "--shede", "x"], "--shede"),
        (lambda arguments: arguments[:-2], "--out"),
        (lambda arguments: ["rasterise", *arguments[1:]], "rasterise"),
    ],
    ids=["unknown option", "missing option", "unknown verb"],
)
def test_a_command_that_cannot_be_understood_is_a_users_error(project, capsys, edit, says):
    code, message = failure(edit(rasterize(project)), capsys)
    assert code == 2
    assert says in message


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            lambda text: text.replace('"classes"', '"klasses"'),
            ["mine.json, classes: Field required", "mine.json, klasses"],
        ),
        (lambda text: text.replace("{", "["), ["mine.json: Invalid JSON"]),
    ],
)
def test_an_order_of_ones_own_that_is_wrong_is_a_users_error(project, capsys, edit, says):
    code, message = failure(rasterize(project, edit), capsys)
    assert code == 2
    assert all(each in message for each in says), message


def test_a_config_with_problems_ends_the_graph_with_a_message(project):
    config = project.config()
    config["modells"] = config.pop("models")
    config["predictions"] = {"theirs": {"folder": "saved", "out_of_fold": True}}
    config["ensembles"]["mixed"] = {"models": {"near": 1, "theirs": 1}}
    project.write_config(config)
    arguments = ["-s", REPOSITORY / "Snakefile", "-d", project.folder, "--configfile", project.config_file]
    done = subprocess.run([sys.executable, "-m", "snakemake", *arguments, "-n"], capture_output=True, text=True)
    message = done.stdout + done.stderr
    assert done.returncode != 0
    assert 'unknown key "modells".\n  Did you mean "models"?' in message
    assert "Traceback" not in message
