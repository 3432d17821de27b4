"""Nothing is computed twice: stories of people who change something and change it back, on the real graph.

What each finds stands in ``stories.yaml``, from which the README's table is made; ``REWRITE=1`` writes it anew.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from running import PROGRAMS, Graph, ended

from tilewright.annotations.decisions import Decision, outline_hash, write_decisions
from tilewright.masks.outlines import recorded_outlines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEPT = "kept since "
STORIES = Path(__file__).with_name("stories.yaml")


def tell(name, planned, computed):
    """Compare the rules that were planned and that computed with what the table says of a story."""
    found = {"planned": sorted(planned), "computed": sorted(computed)}
    with FileLock(f"{tempfile.gettempdir()}/tilewright-stories.lock"):
        rows = yaml.safe_load(STORIES.read_text())
        (row,) = (row for row in rows if row.get("test") == name)
        if os.environ.get("REWRITE") and row != row | found:
            row |= found
            head = "".join(line for line in STORIES.read_text().splitlines(True) if line.startswith("#"))
            STORIES.write_text(head + yaml.safe_dump(rows, sort_keys=False, width=120, default_flow_style=None))
    assert {key: row.get(key) for key in found} == found


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
    tell("a_deleted_scaled_folder_and_a_new_test_slide", planned, computed)
    new = {"rasterize": 1, "downscale": 2, "predict": 2, "ensemble": 1, "segment": 1}
    assert computed == {**new, "encode": 1, "measure": 1, "evaluate": 1, "report": 1}


def test_a_copied_folder_computes_nothing(graph, run, tmp_path):
    shutil.copytree(graph.folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    # which file is newer than which is up to the order of folders on a disk: the first by name is the newest here
    for place, path in enumerate(sorted(path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file())):
        os.utime(path, (time.time() - place / 100,) * 2)
    copy = Graph(tmp_path / "elsewhere", type(graph.project)(tmp_path / "elsewhere" / "project"))
    planned, computed = run(of=copy)
    assert len(planned) > 5
    assert computed == {}
    tell("a_copied_folder", planned, computed)


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
    tell("moved_data_and_a_renamed_sheet", planned, computed)


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
    tell("a_rate_that_is_changed_and_changed_back", planned, computed)


def test_an_upgrade_of_a_message_plans_nothing_and_a_switched_key_computes_nothing(graph, run):
    graph.edit("inference/predict.py", 'f"predict {name}"', 'f"look at {name}"')
    assert graph.jobs() == {}
    config = graph.project.config()
    tell("an_upgrade_of_a_message", *run())
    graph.project.write_config(config | {"rerun_on_code_change": False})
    planned, computed = run()
    assert computed == {}
    tell("a_switched_key", planned, computed)
    graph.edit("training/losses.py", "\nimport torch\n", "\nimport torch\n\nFOR_THE_TEST = 1\n")
    assert run() == ({}, {})
    graph.project.write_config(config)
    planned, computed = run()
    assert planned["train"] == computed["train"] == 4
    assert computed.keys() <= {"train", "seams", "report"}, "the same weights are of equal content"
    tell("an_upgrade_of_a_loss", planned, computed)


@pytest.mark.faults
def test_two_runs_at_once_share_a_folder_and_a_third_takes_from_it(finished, tmp_path):
    graphs = [finished.copied(tmp_path / name) for name in ("first", "second", "third")]
    for graph in graphs:
        graph.project.write_config(graph.project.config() | {"kept": str(tmp_path / "shared")})
        rated(graph, 0.02)
    processes = [graph.start() for graph in graphs[:2]]
    for process in processes:
        printed = ended(process)
        assert process.returncode == 0, printed
    assert not list((tmp_path / "shared").rglob("*partial*"))
    planned, computed = ran(graphs[2])
    assert planned["train"] == 2
    assert computed == {}
    made = [graph.results / "models" / "near" / "fold0" / "model.safetensors" for graph in graphs]
    assert made[2].read_bytes() in [path.read_bytes() for path in made[:2]]
    assert len({path.stat().st_ino for path in made}) == 3


def asked(verb, graph, *options):
    command = [PROGRAMS / "python", "-m", "tilewright.cli", verb, "--config", graph.project.config_file, *options]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=graph.project.folder, env={"PYTHONPATH": str(graph.code.parent)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_what_is_large_goes_and_what_is_needed_of_it_comes_back_without_a_training(graph, run):
    told = asked("clean", graph, "--cold")
    assert "Would be removed" in told
    assert (graph.results / "scaled").is_dir()
    assert "Removed" in asked("clean", graph, "--cold", "--yes")
    gone = [graph.results / name for name in ("scaled", "tiles", "probabilities")]
    assert not any(path.exists() for path in gone)
    assert run() == ({}, {})
    tell("large_intermediates_removed", {}, {})
    rows = [*graph.project.rows(), graph.project.add_slide("t3", "png", 96, 96, "test", "t3", "t3", "one", "")]
    graph.project.write_sheet(rows)
    planned, computed = run()
    assert planned["train"] >= 2
    assert "train" not in computed
    assert computed["downscale"] == planned["downscale"]
    tell("a_new_test_slide_after_that", planned, computed)


@pytest.mark.long
def test_what_no_rule_makes_and_nothing_needs_is_told_and_removed_alone(graph, run):
    assert "No rule of this config makes" not in asked("clean", graph)
    rated(graph, 0.02)
    del (config := graph.project.config())["models"]["far"], config["ensembles"]["both"]["models"]["far"]
    graph.project.write_config(config)
    (graph.results / "notes.txt").write_text("mine")
    assert run()[1]["train"] == 2
    told = asked("clean", graph)
    for name in ("models/far", "probabilities/far", "seams/far.json", "notes.txt"):
        assert f"  {graph.results.relative_to(graph.project.folder) / name}" in told
    asked("clean", graph, "--leftover", "--unneeded", "--yes")
    assert not (graph.results / "models" / "far").exists()
    assert (graph.results / "notes.txt").read_text() == "mine"
    told = asked("clean", graph)
    assert "models/far" not in told
    assert {line.split()[-3] for line in told.splitlines() if line.startswith("  train")} == {"KB"}
    assert run() == ({}, {})
    rated(graph, 0.01)
    assert run()[1]["train"] == 2, "what nothing needed is gone"


@pytest.mark.long
def test_a_pixel_of_a_large_image_that_changed_behind_its_time_is_found_when_asked_for(graph, run):
    image = graph.project.sheet.parent / "a2.tif"
    image.write_bytes(image.read_bytes() + bytes(1_000_000))
    run()
    assert "of other content: 0." in asked("clean", graph, "--rehash", "--yes")
    change_behind_its_time(image)
    assert run() == ({}, {})
    assert "(of slides/a1.png, slides/a2.tif" in asked("clean", graph, "--rehash")
    assert run() == ({}, {}), "nothing is done without --yes"
    asked("clean", graph, "--rehash", "--yes")
    assert "was made of other content than there is now" in asked("why", graph)
    planned, computed = run()
    assert computed["downscale"] == 2
    assert planned["train"] == 4


def change_behind_its_time(image):
    """Another last byte of the pixels, under the same size and time."""
    status, spoilt = image.stat(), bytearray(image.read_bytes())
    spoilt[-1_000_001] ^= 255
    image.write_bytes(spoilt)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_result_is_kept_by_the_content_of_its_inputs(graph, run):
    image = graph.project.sheet.parent / "t1.tif"
    whole = image.read_bytes()
    spoilt = bytearray(whole)
    spoilt[-1] ^= 1
    image.write_bytes(spoilt)
    planned, computed = run()
    assert computed["downscale"] == 2
    tell("a_changed_pixel", planned, computed)
    image.write_bytes(whole)
    planned, computed = run()
    assert planned["downscale"] == 2
    assert computed == {}
    tell("a_pixel_changed_back", planned, computed)


def test_a_corrected_outline_draws_its_shard_anew_and_nothing_of_another(graph, run):
    originals = {path: path.read_bytes() for path in graph.project.sheet.parent.iterdir() if path.is_file()}
    untouched = graph.hashes("masks/b", "masks/t", "scaled/half/b", "tiles/fine/b.zip")
    outlines = recorded_outlines(graph.results / "masks" / "a" / "a1.outlines.parquet")
    label, shape = outlines["label"][0], outlines["geometry"][0]
    gone = Decision("d1", "reject", label, shape, "me", replaces_hash=outline_hash(label, shape))
    write_decisions(graph.project.sheet.parent / "corrections" / "a1.geojson", [gone])
    planned, computed = run()
    for verb, jobs in (("rasterize", 1), ("downscale", 2), ("tile", 2), ("train", 4)):
        assert planned[verb] == computed[verb] == jobs, verb
    tell("a_corrected_outline", planned, computed)
    assert len(recorded_outlines(graph.results / "masks" / "a" / "a1.outlines.parquet")) == len(outlines) - 1
    assert graph.hashes("masks/b", "masks/t", "scaled/half/b", "tiles/fine/b.zip") == untouched
    assert {path: path.read_bytes() for path in originals} == originals
