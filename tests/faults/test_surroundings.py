"""Folders, clocks and processors that are not as one would like them."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from running import new_graph

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

ODD = 'a b\'c "d" $e ä;#%'
LONG = hashlib.sha512(b"a slide").hexdigest() + hashlib.sha256(b"a slide").hexdigest()[:52]
OTHER_DISK = Path("/dev/shm")


def test_odd_paths_other_disks_and_one_processor_change_no_byte(new_project, finished, tmp_path):
    """A folder with an odd name, data behind a link, results on another disk, one core, another hash seed."""
    graph = new_graph(tmp_path / ODD, new_project(tmp_path / ODD / "project"))
    sheet = graph.project.sheet.parent
    sheet.rename(tmp_path / "elsewhere ü")
    sheet.symlink_to(tmp_path / "elsewhere ü")
    shared = OTHER_DISK / f"tilewright-{os.getpid()}"
    if os.access(OTHER_DISK, os.W_OK):
        shared.mkdir()
        graph.results.symlink_to(shared)
    try:
        graph.run("--cores", "1", PYTHONHASHSEED="123")
        places = (
            "folds.csv",
            "masks",
            "scaled",
            "tiles",
            "models",
            "probabilities",
            "segments",
            "submission",
            "metrics",
        )
        assert relative(graph, *places) == relative(finished, *places)
        assert graph.jobs() == {}
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def relative(graph, *places):
    """Hashes of files by their place in the results; curves name the folder in no way either."""
    return {path.removeprefix(str(graph.results)): value for path, value in graph.hashes(*places).items()}


def test_a_slide_with_a_long_name_goes_through(graph):
    row = graph.project.add_slide(LONG, "png", 96, 96, "test", LONG, LONG, "one", "")
    graph.project.write_sheet([*graph.project.rows(), row])

    graph.run(f"results/segments/both/{LONG}")

    names = {path.name for path in (graph.results / "segments" / "both" / LONG).iterdir()}
    assert f"{LONG}.mask.ome.tif" in names


def test_results_that_cannot_be_written_are_named(graph):
    """A read-only folder."""
    folder = graph.results / "masks"
    if os.geteuid():
        folder.chmod(0o555)
    elif subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True).returncode:
        pytest.skip("needs leave to mount, as root")
    try:
        order = next((graph.results / ".orders" / "rasterize").iterdir())
        command = ["tilewright", "rasterize", "--order", order, "--out", "results/masks/c"]
        done = subprocess.run(command, cwd=graph.project.folder, capture_output=True, text=True)
    finally:
        if os.geteuid():
            folder.chmod(0o755)
        else:
            subprocess.run(["umount", folder], check=True)
    assert done.returncode == 3
    assert "results/masks: cannot be written (" in done.stderr
    assert "Traceback" not in done.stderr


def test_clocks_and_touched_files_rerun_nothing(graph):
    """Inputs are compared by their content; code by what it computes."""
    future = time.time() + 86_400
    for place in (graph.project.sheet.parent, graph.code):
        for path in place.rglob("*"):
            os.utime(path, (future, future))
    assert graph.jobs() == {}


DELETED = (
    "masks/t", "scaled/half/t", "tiles/fine/a.h5", "folds.csv", "models/near/fold0/model.safetensors",
    "seams/near.json", "probabilities/far/t", "ensembles/both/a", "calibration/both.json", "bundles/both",
    "segments/both/t", "metrics/both", "submission/both.csv", "report",
)  # fmt: skip


def test_deleted_results_are_made_again_byte_for_byte(graph):
    """Any of them, here all at once."""
    graph.project.write_config(graph.project.config() | {"kept": False})
    others = ("logs", "benchmarks", ".run.json", ".kept", ".made", ".jobs")
    places = [path.name for path in graph.results.iterdir() if path.name not in others]
    before = graph.hashes(*places)
    for place in DELETED:
        path = graph.results / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    graph.run()

    assert graph.hashes(*places) == before
    assert graph.jobs() == {}
