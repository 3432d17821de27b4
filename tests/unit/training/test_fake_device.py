"""Steps run on tensors of a GPU that is not there: what mixes devices, or waits for the device, fails."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from tilewright.inference.views import view_probabilities
from tilewright.project.config import Network
from tilewright.project.config.training import LOSS_PARAMETERS
from tilewright.training.architectures import build_network
from tilewright.training.data import Sample
from tilewright.training.task import SegmentationTask

DEVICE = "cuda"
CLASSES = ["gland", "vessel"]
SMALL = {"encoder": "tu-test_resnet.r160_in1k", "encoder_weights": "random", "precision": "32"}
SMALL["options"] = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
HEADS = {"deep_supervision": 1, "image_loss": 0.5}
AVERAGES = {"ema": 0.9, "swa": 0.5}
CASES = {
    **{name: {"loss": {name: 1.0}} for name in LOSS_PARAMETERS},
    "heads": HEADS,
    "averages": AVERAGES,
    "mixup": {"mixing": {"kind": "mixup", "probability": 1.0}},
    "cutmix": {"mixing": {"kind": "cutmix", "probability": 1.0}},
    "all": {"loss": dict.fromkeys(LOSS_PARAMETERS, 1.0), "class_weights": {"gland": 2.0}, **HEADS, **AVERAGES},
}


class Copies(TorchDispatchMode):
    """Notes what goes from the host to the device, or back."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, given=(), options=None):
        result = function(*given, **(options or {}))
        tensors = [each for each in (*given, result) if isinstance(each, torch.Tensor)]
        if len({each.device.type for each in tensors}) > 1:
            self.seen.append(str(function))
        return result


@pytest.fixture
def task_of():
    """Makes a task whose tensors are on the device."""
    with FakeTensorMode():

        def made(**options):
            network = Network(tiles="any", **{**SMALL, **options})
            with unset_fake_temporarily():
                task = SegmentationTask(build_network(network, 2, pretrained=False), network, CLASSES, 1)
            for module in task.modules():
                for tensors in (module._parameters, module._buffers):
                    tensors.update({name: moved(each) for name, each in tensors.items() if each is not None})
            task.log = lambda *_, **__: None
            return task

        yield made


def moved(tensor):
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
    return torch.nn.Parameter(copy) if isinstance(tensor, torch.nn.Parameter) else copy


def batch():
    kinds = (((4, 3, 64, 64), torch.uint8), ((4, 64, 64), torch.int32), ((4, 2), torch.bool))
    return Sample(*(torch.empty(shape, dtype=kind, device=DEVICE) for shape, kind in kinds))


@pytest.mark.parametrize("name", CASES)
def test_steps_stay_on_the_device_and_never_wait_for_it(task_of, name):
    task, tiles = task_of(**CASES[name]), batch()
    task.segmenter.train()
    with Copies() as copies:
        for index in range(2):
            loss = task.training_step(tiles, index)
            if torch.cuda.is_available():  # going back, PyTorch asks the driver for the device
                loss.backward()
            for average in task.averages.values():
                average.update(task.segmenter)
    assert loss.device.type == DEVICE
    assert {each.device.type for each in task.state_dict().values()} == {DEVICE}
    assert all(each.grad.device.type == DEVICE for each in task.parameters() if each.grad is not None)
    task.segmenter.eval()
    with torch.no_grad(), copies:
        task.validation_step(tiles, 0)
    assert task.validated() == ["raw", *task.averages]
    assert copies.seen == []


@pytest.mark.parametrize("architecture", ["FCN", "PlainUnet", "AttentionUnet"])
def test_networks_of_this_project_stay_on_the_device(task_of, architecture):
    segmenter = task_of(architecture=architecture, encoder=None, encoder_weights="random", options={}).segmenter
    with Copies() as copies:
        assert segmenter(batch().image).device.type == DEVICE
    assert copies.seen == []


@pytest.mark.parametrize("tta", ["none", "flips", "d4"])
def test_views_stay_on_the_device(task_of, tta):
    segmenter, windows = task_of().segmenter.eval(), batch().image
    with torch.no_grad(), Copies() as copies:
        found = list(view_probabilities(segmenter, windows, tta, (1.0, 1.5)))
    assert {(each.device.type, each.shape) for each in found} == {(DEVICE, (4, 2, 64, 64))}
    assert copies.seen == []
