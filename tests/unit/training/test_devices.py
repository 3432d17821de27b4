"""Several devices train what one would."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from timm.layers import BatchNormAct2d
from timm.layers.norm_act import SyncBatchNormAct

from tilewright.project.config import Network
from tilewright.project.config.training import LOSS_PARAMETERS
from tilewright.training import trainer
from tilewright.training.architectures import build_network
from tilewright.training.data import Sample
from tilewright.training.devices import strategy, with_shared_norms
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask

FUSED = (
    "timm-efficientnet-b0", "timm-tf_efficientnet_lite0", "timm-skresnet18", "timm-skresnext50_32x4d", "tu-regnetx_002",
    "tu-regnety_002", "tu-gernet_s", "tu-mobilenetv3_small_050", "tu-resnetv2_50", "tu-densenet121", "tu-cspresnet50",
)  # fmt: skip
"""An encoder of each family of segmentation_models_pytorch's lists whose batch norms hold the activation."""
OWN = ("FCN", "PlainUnet", "AttentionUnet")


def built(name):
    model = {"architecture": name} if name in OWN else {"encoder": name, "encoder_weights": "random"}
    return build_network(Network(tiles="any", **model), 2, pretrained=False).eval()


@pytest.mark.parametrize("name", FUSED + OWN)
def test_batch_norms_of_all_devices_change_neither_logits_nor_names(name):
    """PyTorch's own conversion drops the activations and keeps the names, so that nothing would notice."""
    torch.manual_seed(0)
    segmenter = built(name)
    fused = sum(isinstance(module, BatchNormAct2d) for module in segmenter.modules())
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        before = segmenter(images)
    names = list(segmenter.state_dict())

    shared = with_shared_norms(deepcopy(segmenter))

    assert (fused > 0) == (name in FUSED)
    assert sum(isinstance(module, torch.nn.SyncBatchNorm) for module in shared.modules()) > fused
    assert list(shared.state_dict()) == names
    with torch.no_grad():
        assert torch.equal(shared(images), before)
    segmenter.load_state_dict(shared.state_dict())  # as a prediction does


def test_a_training_on_two_gpus_keeps_the_activations(monkeypatch, tmp_path):
    seen = {}

    class Trainer:
        def __init__(self, **options):
            seen.update(options)

        def fit(self, task, *_, **__):
            seen["task"] = task

    monkeypatch.setattr(trainer.lightning, "Trainer", Trainer)
    monkeypatch.setattr(trainer, "loaders", lambda *_: ([0], [0]))
    monkeypatch.setattr(trainer, "tile_edge", lambda _: 32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    network = Network(tiles="any", encoder_weights="random", devices=2, precision="32")
    trainer.run_training(
        SimpleNamespace(archives=[]),
        network,
        ["gland"],
        SimpleNamespace(checkpoint=lambda: None, course=None),
        tmp_path,
    )
    norms = [each for each in seen["task"].modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(each, torch.nn.SyncBatchNorm) for each in norms)
    assert any(isinstance(each, SyncBatchNormAct) for each in norms)
    assert seen["benchmark"]
    assert not seen.get("sync_batchnorm")  # which would convert them again, and drop the activations


def test_two_devices_learn_what_one_would(tmp_path):
    """Each loss, with ignored pixels, slides without labels, batches of different sizes, and all heads."""
    command = [sys.executable, Path(__file__).with_name("sharing.py"), tmp_path / "meeting"]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    said, nothing = (process.communicate(timeout=120)[0] for process in processes)
    found = json.loads(said)
    assert found.keys() >= LOSS_PARAMETERS.keys()
    assert max(found.values()) < 1e-6, found
    assert not nothing


def test_devices_mix_at_the_same_steps(monkeypatch):
    """Their losses wait for each other, so that each must have as many."""
    mixing = {"kind": "mixup", "probability": 0.5}
    segmenter = Segmenter(torch.nn.Conv2d(3, 2, 1), [0.5] * 3, [0.5] * 3)
    task = SegmentationTask(segmenter, Network(tiles="any", mixing=mixing), ["gland", "vessel"], 1)
    batch = Sample(torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int32), torch.ones(2, 2) > 0)
    found = []
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    monkeypatch.setattr(task, "_loss_of_all_heads", lambda *_: (found.append(1), torch.zeros(()))[1])
    counts = []
    for rank in (0, 1):
        monkeypatch.setattr(SegmentationTask, "global_rank", rank)
        for index in range(12):
            found.clear()
            task.training_step(batch, index)
            counts.append(len(found))
    assert counts[:12] == counts[12:]
    assert set(counts) == {1, 2}


@pytest.mark.parametrize(("name", "used"), [("timm-tf_efficientnet_lite0", False), ("PlainUnet", True)])
def test_parameters_without_part_are_looked_for_only_where_there_are_some(name, used):
    segmenter = built(name)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    segmenter.train()
    assert strategy(segmenter, 32) == ("ddp" if used else "ddp_find_unused_parameters_true")
    assert segmenter.training
    assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())
    assert all(each.grad is None for each in segmenter.parameters())


@pytest.mark.parametrize(
    ("gpu", "bf16", "trained", "predicted"),
    [
        (False, False, "32-true", torch.float16),  # which a prediction on a CPU does not look at
        (True, False, "16-mixed", torch.float16),
        (True, True, "bf16-mixed", torch.bfloat16),
    ],
)
def test_arithmetic_is_the_best_that_the_device_has(monkeypatch, gpu, bf16, trained, predicted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert trainer.precision("auto") == trained
    assert built("PlainUnet").gpu_dtype == predicted


@pytest.mark.parametrize("gpu", [True, False])
def test_a_gpu_measures_convolutions_and_multiplies_in_tf32_unless_32_bits_are_asked_for(tmp_path, monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    asked = {}
    monkeypatch.setattr(trainer.lightning, "Trainer", lambda **options: asked.update(options))
    trainer._trainer(Network(tiles="any", precision="bf16"), SimpleNamespace(course=None), 3, tmp_path, "auto")
    assert asked["benchmark"] == (True if gpu else None)
    monkeypatch.setattr(trainer, "loaders", lambda *_: 1 / 0)
    found = []
    try:
        for precision in ("32", "bf16"):
            torch.set_float32_matmul_precision("highest")
            network = Network(tiles="any", precision=precision)
            with pytest.raises(ZeroDivisionError):
                trainer._fit(None, None, network, ["gland"], None, tmp_path, "auto", None)
            found.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
    assert found == ([("highest", False), ("high", True)] if gpu else 2 * [("highest", True)])
