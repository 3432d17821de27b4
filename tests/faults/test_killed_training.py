"""A training is killed at many points, and its state is damaged: it ends with the weights of a whole run."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import h5py
import pyarrow.parquet as pq
import pytest
from faults.killer import content
from faults.test_killed_steps import commands

from tilewright.runtime.documents import CHECKSUM

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

KILLER = Path(__file__).with_name("killer.py")
EPOCHS = 4
POINTS = 12
OUT = "results/models/far/fold0"


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A graph whose tiles are cut, the command of a training of several epochs, and the hash of what it gives."""
    graph = finished.copied(tmp_path_factory.mktemp("training") / "copy")
    config = graph.project.config()
    config["models"]["far"] |= {"epochs": EPOCHS, "ema": 0.9}
    graph.project.write_config(config)
    found = commands(graph, f"{OUT}/model.safetensors")["train"]
    shutil.rmtree(graph.project.folder / OUT)
    assert tilewright(graph, found).returncode == 0
    return graph, found, content(graph.project.folder / OUT)


def tilewright(graph, argv, *patches):
    program = Path(sys.executable).parent / "tilewright"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (graph.folder / "code", *patches)))}
    return subprocess.run(
        [program, *argv], cwd=graph.project.folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_training_killed_anywhere_ends_with_the_weights_of_a_whole_one(project):
    graph, argv, whole = project
    order = {"argv": argv, "out": OUT, "folder": OUT, "points": POINTS, "mount": "", "fresh": True}
    (graph.project.folder / "orders.json").write_text(json.dumps([order]))
    environment = {**os.environ, "PYTHONPATH": str(graph.folder / "code")}
    done = subprocess.run(
        [sys.executable, KILLER, "orders.json"],
        cwd=graph.project.folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert len(answer["ended"]) >= POINTS // 2
    assert set(answer["ended"]) == {whole}


def cut(data):
    return data[: len(data) // 2]


def emptied(data):
    return bytes(len(data))


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


@pytest.fixture(scope="module")
def stopped_once(project, tmp_path_factory):
    """A graph whose training was stopped after its third epoch."""
    graph, argv, _ = project
    folder = tmp_path_factory.mktemp("stopped")
    copy = graph.copied(folder / "copy")
    shutil.rmtree(copy.project.folder / OUT)
    patch = folder / "patches"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(STOP)
    done = tilewright(copy, argv, patch)
    assert done.returncode == 75, done.stderr
    return copy


@pytest.fixture
def stopped(stopped_once, project, tmp_path):
    """A copy of it, and the folder of its state."""
    _, argv, whole = project
    copy = stopped_once.copied(tmp_path / "copy")
    return copy, argv, whole, copy.project.folder / OUT / "state"


STOP = """
import os, signal
import lightning
saved = []
save = lightning.Trainer.save_checkpoint
def stop(self, *arguments, **options):
    save(self, *arguments, **options)
    saved.append(1)
    if len(saved) == 4:
        os.kill(os.getpid(), signal.SIGTERM)
lightning.Trainer.save_checkpoint = stop
"""


@pytest.fixture(scope="module")
def step(project):
    """Runs a step in a graph: its exit code and messages. One process has imported everything, for all of them."""
    environment = {**os.environ, "PYTHONPATH": str(project[0].folder / "code")}
    with subprocess.Popen(
        [sys.executable, KILLER, "-"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(graph, argv):
            print(json.dumps({"argv": argv, "folder": str(graph.project.folder)}), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
            return answer["code"], answer["said"]

        yield run
        process.stdin.close()


@pytest.mark.parametrize("damage", [cut, emptied, flipped])
@pytest.mark.parametrize("which", ["newest", "both", "best"])
def test_a_damaged_state_is_told_and_never_used(stopped, step, damage, which):
    graph, argv, whole, state = stopped
    checkpoints = sorted(state.glob("epoch*.ckpt"))
    assert [path.name[:6] for path in checkpoints] == ["epoch1", "epoch2"]
    damaged = {"newest": checkpoints[-1:], "both": checkpoints, "best": sorted(state.glob("best-*"))}[which]
    for path in damaged:
        path.write_bytes(damage(path.read_bytes()))

    code, said = step(graph, argv)

    assert code == 0, said
    assert "damaged; it is not used" in said
    assert ("going on from" in said) == (which == "newest")
    assert content(graph.project.folder / OUT) == whole


@pytest.fixture(scope="module")
def command_of(project):
    """The command of a verb; its paths are relative, so that it serves each copy of the graph."""
    return cache(lambda verb: commands(project[0], *TARGETS[verb])[verb])


@pytest.mark.parametrize(
    ("place", "verb", "damage"),
    [
        ("models/far/fold0/model.safetensors", "predict", cut),
        ("models/far/fold0/model.safetensors", "predict", emptied),
        ("models/far/fold0/model.safetensors", "predict", flipped),
        ("models/far/fold0/model.json", "predict", cut),
        ("models/far/fold0/model.json", "predict", flipped),
        ("tiles/coarse/a.h5", "train", cut),
        ("tiles/coarse/a.h5", "train", emptied),
        ("tiles/coarse/a.h5", "train", flipped),
        ("folds.csv", "train", emptied),
        ("folds.csv", "train", flipped),
        ("folds.csv", "calibrate", flipped),
        ("calibration/both.json", "segment", cut),
        ("calibration/both.json", "segment", flipped),
        ("metrics/both/summary.json", "report", flipped),
        ("calibration/both.json", "pack", flipped),
        ("models/near/fold1/model.safetensors", "pack", flipped),
        ("models/near/fold1/model.json", "pack", cut),
        ("scaled/full/a/a1.image.tif", "pack", emptied),
        ("masks/b/b1.tif", "evaluate", cut),
        ("masks/b/b1.tif", "evaluate", flipped),
        ("masks/b/b1.outlines.parquet", "evaluate", flipped),
        ("scaled/half/a/a1.image.tif", "predict", flipped),
        ("scaled/half/a/a1.tissue.tif", "predict", flipped),
        ("probabilities/far/a/a1.tif", "ensemble", emptied),
        ("probabilities/far/a/a1.tif", "ensemble", flipped),
        ("ensembles/both/a/a1.tif", "segment", flipped),
        ("segments/both/b/b1.mask.tif", "evaluate", flipped),
        ("ensembles/both/b/b1.tif", "audit", flipped),
        ("masks/b/b1.outlines.parquet", "audit", flipped),
        ("segments/both/b/b1.objects.parquet", "evaluate", flipped),
    ],
)
def test_a_damaged_result_is_an_error_that_names_it(project, command_of, step, tmp_path, place, verb, damage):
    command = command_of(verb)  # writes the order of the job, which is to be copied
    graph = project[0].copied(tmp_path / "copy")
    path = graph.results / place
    path.write_bytes(
        INSIDE[path.suffix](path) if damage is flipped and path.suffix in INSIDE else damage(path.read_bytes())
    )
    code, said = step(graph, command)
    assert code in (2, 3), said
    assert path.name in said or path.parent.name in said
    assert "Traceback" not in said


def in_pixels(path):
    """An archive with a wrong bit in its first tile."""
    with h5py.File(path) as archive:
        place = archive["images"].id.get_chunk_info(0).byte_offset + 100
    return wrong_at(path, place)


def in_values(path):
    """A table with a wrong bit in its last column."""
    row_group = pq.read_metadata(path).row_group(0)
    column = row_group.column(row_group.num_columns - 1)
    return wrong_at(path, column.data_page_offset + column.total_compressed_size // 2)


def in_last_digit(path):
    """A document whose last digit is another one."""
    text = path.read_bytes()
    end = text.rfind(CHECKSUM.encode())
    return wrong_at(path, max(text.rfind(digit, 0, end) for digit in b"0123456789"), bit=1)


def wrong_at(path, place, bit=0x10):
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    return bytes(data)


INSIDE = {".h5": in_pixels, ".parquet": in_values, ".json": in_last_digit}
"""Where a wrong bit means something and is still well formed."""


TARGETS = {
    "predict": ["results/probabilities/far/a"],
    "train": [f"{OUT}/model.safetensors"],
    "calibrate": ["results/calibration/both.json"],
    "pack": ["results/bundles/both"],
    "segment": ["results/segments/both/a"],
    "evaluate": ["results/metrics/both"],
    "audit": ["results/audit/both"],
    "ensemble": ["results/ensembles/both/a"],
    "report": ["results/report"],
}
