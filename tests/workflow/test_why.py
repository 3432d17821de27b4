"""Why the next run would make results again, on the real graph."""

import shutil
import subprocess

import pytest
from running import PROGRAMS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def why(graph, *targets):
    command = [PROGRAMS / "python", "-m", "tilewright.cli", "why", *targets, "--config", graph.project.config_file]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=graph.project.folder, env={"PYTHONPATH": str(graph.code.parent)}
    )
    return done.stdout.splitlines() or [done.stderr]


def test_each_key_module_and_file_that_changed_is_a_line_with_its_jobs(graph):
    assert why(graph) == ["Nothing has changed of what results were made of."]
    config = graph.project.config()
    config["models"]["near"]["epochs"] += 2
    graph.project.write_config(config)
    graph.edit("segments/measure.py", "import", "FOR_THE_TEST = 1\nimport")
    image = graph.project.sheet.parent / "t1.tif"
    image.write_bytes(image.read_bytes() + b"\0")
    (image.parent / "a1.png").touch()
    lines = why(graph)
    old, new = config["models"]["near"]["epochs"] - 2, config["models"]["near"]["epochs"]
    assert f"network.epochs: {old} -> {new} (train near fold 0, train near fold 1)" in lines
    assert "code of segments/measure.py (measure)" in lines
    assert any(line.startswith(f"{image.relative_to(graph.project.folder)} is newer (") for line in lines)
    assert not any("a1.png" in line for line in lines), "its content is the same"
    named = {job.split()[0] for line in lines for job in line[line.rindex("(") + 1 : -1].split(", ")}
    assert named <= graph.jobs().keys()
    assert {"train", "measure"} <= named
    assert why(graph, "results/masks/a") == ["Nothing has changed of what results were made of."]
    assert any(line.startswith("network.epochs: ") for line in why(graph, "results/segments/both/t"))


def test_two_images_that_changed_names_are_others_though_they_are_old(graph):
    slides = graph.project.sheet.parent
    exchange(slides / "a2.tif", slides / "t1.tif")
    assert {"downscale", "tile", "train", "predict"} <= graph.jobs().keys()
    (line,) = (line for line in why(graph) if "slides/t1.tif" in line)
    assert line.startswith("slides/t1.tif is another file than the one that was read (downscale ")
    exchange(slides / "a2.tif", slides / "t1.tif")
    assert graph.jobs() == {}
    assert why(graph) == ["Nothing has changed of what results were made of."]


def exchange(one, other):
    """Give two files each other's name; their times stay."""
    between = one.with_suffix(".between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def test_results_that_are_gone_or_were_never_made_are_said_where_they_are_asked_for(graph):
    (graph.results / "submission" / "both.csv").unlink()
    assert why(graph, "results/submission/both.csv") == ["results/submission/both.csv is gone (encode)"]
    assert why(graph, "results/none")[0].startswith("results/none: no run in this folder has made it.")
    graph.run()
    first, taken = why(graph, "results/submission/both.csv")
    assert first == "Nothing has changed of what results were made of."
    assert taken.startswith("taken from what was kept, not computed: encode of 20")


def test_values_of_the_command_line_count_and_a_folder_without_results_is_told(graph):
    (line,) = why(graph, "submission={dialect: row_major}")
    assert line == 'submission.dialect: "column_major" -> "row_major" (encode)'
    shutil.rmtree(graph.project.folder / ".snakemake" / "metadata")
    assert why(graph)[0].startswith("No run in this folder has made results;")
