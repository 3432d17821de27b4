from types import SimpleNamespace

import pytest

from tilewright.project import demands
from tilewright.project.config import Config
from tilewright.project.demands import Demands
from tilewright.tiles.folding import project_of

NEAR = SimpleNamespace(model="near", shard="a", fold="0")


@pytest.fixture
def of(project, monkeypatch):
    """What the jobs of the model near take, with other values of its keys."""
    monkeypatch.chdir(project.folder)

    def made(*, gpu=False, inference=None, **values):
        config = project.config()
        near = config["models"]["near"]
        near |= values
        near["inference"] |= inference or {}
        return Demands(project_of(Config(**config)), gpu=gpu)

    return made


def test_a_training_takes_more_memory_for_larger_batches_and_crops_and_more_processes(of):
    plain = of().training_memory(NEAR, threads=1)
    for more in ({"batch_size": 64}, {"crop": 96, "batch_size": 32}, {"devices": 2}, {"workers": 2}):
        assert of(**more).training_memory(NEAR, threads=1) > plain
    large = of(batch_size=16, crop=512).training_memory(NEAR, threads=1)
    assert 29_000 < large - demands.PROCESS < 30_000
    shared = of(batch_size=16, crop=512, devices=2).training_memory(NEAR, threads=1)
    assert shared == large + demands.PROCESS, "devices share a batch"
    assert of(batch_size="auto", crop=512).training_memory(NEAR, threads=1) < large


def test_with_a_gpu_batches_take_no_memory_of_the_host(of):
    found = of(gpu=True, batch_size=16, crop=512).training_memory(NEAR, threads=1)
    assert found == of(gpu=True).training_memory(NEAR, threads=1) == demands.GPU_PROCESS
    assert of(gpu=True, devices=2, workers=3).training_memory(NEAR, threads=1) == 2 * found + 6 * demands.WORKER
    windows = {"window": 1024, "batch_size": 32}
    assert of(gpu=True, inference=windows).prediction_memory(NEAR) == of(gpu=True).prediction_memory(NEAR)


def test_workers_are_counted_as_the_threads_of_the_job_leave_them(of):
    one, five = (of(workers="auto").training_memory(NEAR, threads=threads) for threads in (1, 5))
    assert five - one == 4 * demands.WORKER


def test_a_prediction_takes_more_memory_for_larger_windows_and_batches(of):
    plain = of().prediction_memory(NEAR)
    for more in ({"window": 1024}, {"window": 256, "batch_size": 32}, {"window": 512, "tta_scales": [1, 2]}):
        assert of(inference=more).prediction_memory(NEAR) > plain + 200


def test_a_file_of_weights_takes_its_size_as_often_as_it_is_held(of, tmp_path):
    file = tmp_path / "encoder.safetensors"
    with file.open("wb") as stream:
        stream.truncate(2_000_000_000)

    def training(**values):
        plain, heavy = (of(encoder_weights=each, **values) for each in ("random", str(file)))
        return heavy.training_memory(NEAR, threads=1) - plain.training_memory(NEAR, threads=1)

    assert (training(encoder_rate=0), training(), training(gpu=True)) == (6000, 12_000, 6000)
    plain, heavy = (of(encoder_weights=each).prediction_memory(NEAR) for each in ("random", str(file)))
    assert heavy - plain == 2000 * (2 + 1)  # folds


def test_gpus_are_asked_for_where_there_are_any(of, monkeypatch):
    assert of(devices=2).training_gpus(NEAR) == of().prediction_gpus(NEAR) == 0
    monkeypatch.setattr(demands, "visible_gpus", lambda: ["GPU-1", "GPU-2"])
    assert of(devices=2).training_gpus(NEAR) == 2
    assert of().prediction_gpus(NEAR) == 1


def test_what_the_network_leaves_of_a_jobs_threads_loads_tiles(of, monkeypatch):
    monkeypatch.setattr("tilewright.runtime.cores.visible_gpus", lambda: ["0"])
    monkeypatch.setattr("tilewright.runtime.cores.cores", lambda: 6)
    assert of(threads=2).training_threads(NEAR) == 6
    assert [of(threads=2).loading_workers(NEAR, threads=given) for given in (6, 3)] == [4, 1]
    assert of(workers=1).loading_workers(NEAR, threads=6) == 1
    assert of(inference={"threads": 3}).prediction_threads(NEAR) == 3


def test_a_large_shard_is_decoded_by_two_threads(of, monkeypatch):
    assert of().reading_threads(NEAR) == 1
    monkeypatch.setattr(demands, "LARGE_SHARD", 100)
    assert of().reading_threads(NEAR) == 2
