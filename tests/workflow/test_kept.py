"""Nothing is computed twice: stories of people who change something and change it back, on the real graph."""

import os
import shutil
from collections import Counter

import pytest
from running import Graph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEPT = "kept since "


@pytest.fixture
def run(graph):
    """Runs the plain command; jobs of each rule that ran, and of those the ones that computed."""
    return lambda *arguments, of=graph, **environment: ran(of, *arguments, **environment)


def ran(graph, *arguments, **environment):
    logs = graph.results / "logs"
    before = {path: path.stat().st_mtime_ns for path in logs.rglob("*.log")}
    graph.run(*arguments, **environment)
    touched = [path for path in logs.rglob("*.log") if before.get(path) != path.stat().st_mtime_ns]
    computed = [path for path in touched if KEPT not in path.read_text()]
    count = lambda paths: dict(Counter(path.relative_to(logs).with_suffix("").parts[0] for path in paths))  # noqa: E731
    return count(touched), count(computed)


def rated(graph, rate):
    config = graph.project.config()
    config["models"]["near"]["learning_rate"] = rate
    graph.project.write_config(config)


def test_a_deleted_scaled_folder_costs_no_training_when_a_test_slide_is_added(graph, run):
    shutil.rmtree(graph.results / "scaled")
    rows = [*graph.project.rows(), graph.project.add_slide("t3", "png", 96, 96, "test", "t3", "t3", "one", "")]
    graph.project.write_sheet(rows)
    planned, computed = run()
    assert planned["train"] == 2, "those at the scale of the outputs, which are compared with all scaled slides"
    assert planned["downscale"] > computed["downscale"] == 2
    new = {"rasterize": 1, "downscale": 2, "predict": 2, "ensemble": 1, "segment": 1}
    assert computed == {**new, "encode": 1, "measure": 1, "evaluate": 1, "report": 1}


def test_a_copied_folder_computes_nothing(graph, run, tmp_path):
    shutil.copytree(graph.folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    copy = Graph(tmp_path / "elsewhere", type(graph.project)(tmp_path / "elsewhere" / "project"))
    planned, computed = run(of=copy)
    assert len(planned) > 5
    assert computed == {}


def test_moved_data_and_a_renamed_sheet_compute_nothing(graph, run):
    moved = graph.project.folder / "moved"
    graph.project.sheet.parent.rename(moved)
    (moved / "slides.csv").rename(moved / "table.csv")
    for path in moved.iterdir():
        path.touch()
    graph.project.write_config(graph.project.config() | {"sheet": "moved/table.csv"})
    planned, computed = run()
    assert planned["rasterize"] == planned["downscale"] / 2 == 4
    assert computed.keys() <= {"report"}


def test_a_loss_that_is_changed_and_changed_back_trains_once(graph, run):
    first = graph.hashes("models", "submission")
    before = graph.project.config()["models"]["near"]["learning_rate"]
    rated(graph, 0.02)
    assert run()[1]["train"] == 2
    assert graph.hashes("models") != {path: digest for path, digest in first.items() if "/models/" in path}
    rated(graph, before)
    planned, computed = run()
    assert planned["train"] == 2
    assert computed == {}
    assert graph.hashes("models", "submission") == first


def test_an_upgrade_of_a_message_plans_nothing_and_a_switched_key_computes_nothing(graph, run):
    graph.edit("inference/predict.py", 'f"predict {name}"', 'f"look at {name}"')
    assert graph.jobs() == {}
    config = graph.project.config()
    graph.project.write_config(config | {"rerun_on_code_change": False})
    assert run()[1] == {}
    graph.edit("training/losses.py", "\nimport torch\n", "\nimport torch\n\nFOR_THE_TEST = 1\n")
    assert run() == ({}, {})
    graph.project.write_config(config)
    planned, computed = run()
    assert planned["train"] == computed["train"] == 4
    assert computed.keys() <= {"train", "seams", "report"}, "the same weights are of equal content"


def test_a_result_is_kept_by_the_content_of_its_inputs(graph, run):
    image = graph.project.sheet.parent / "t1.tif"
    whole, times = image.read_bytes(), image.stat()
    spoilt = bytearray(whole)
    spoilt[-1] ^= 1
    image.write_bytes(spoilt)
    _, computed = run()
    assert computed["downscale"] == 2
    image.write_bytes(whole)
    planned, computed = run()
    assert planned["downscale"] == 2
    assert computed == {}
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
