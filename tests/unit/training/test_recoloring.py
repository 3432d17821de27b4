import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tilewright.training.augment import Augmentation
from tilewright.training.colors import OPERATIONS
from tilewright.training.cropping import Cropping
from tilewright.training.recoloring import Change, Recoloring

SETS = ("strong", "light_scale", "rich")


def drawn(name, count=48, edge=32):
    """Crops of a set and what is left to the device; among so many every operation of the set occurs."""
    pixels = np.random.default_rng(0).integers(0, 256, (edge, edge, 3), np.uint8)
    mask = np.zeros((edge, edge), np.uint8)
    made = [Augmentation(name, Cropping(edge))(pixels, mask, seed) for seed in range(count)]
    return torch.from_numpy(np.stack([each.image for each in made])), [each.changes for each in made]


@pytest.mark.parametrize("name", SETS)
def test_a_sample_looks_the_same_in_any_batch(name):
    images, changes = drawn(name)
    whole = Recoloring.of(changes)(images)
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    for part in (order[:5], order[5:6], order[6:]):
        found = Recoloring.of([changes[number] for number in part])(images[part])
        assert torch.equal(found.float(), whole[part].float())


@pytest.mark.parametrize("name", SETS)
def test_all_at_once_is_one_by_one(name):
    images, changes = drawn(name)
    recoloring = Recoloring.of(changes)
    assert torch.allclose(recoloring.together(images), recoloring(images), atol=2e-2)


def test_every_operation_is_drawn_by_some_set():
    kinds = {change.kind for name in SETS for changes in drawn(name, 400)[1] for change in changes}
    assert kinds == OPERATIONS.keys()


def test_changes_of_a_sample_come_in_their_order():
    images, _ = drawn("none", 4)
    dark, bright = (Change("linear", np.array(each, np.float32)) for each in ([0, 0, 0, 0], [1, 10, 10, 10]))
    recoloring = Recoloring.of([[dark, bright], [bright, dark], [bright], []])
    for found in (recoloring(images), recoloring.together(images)):
        assert found[0].unique().tolist() == [10]
        assert found[1].unique().tolist() == [0]
        assert torch.equal(found[2], (images[2].float() + 10).clamp(max=255))
        assert torch.equal(found[3], images[3].float())


def test_a_batch_without_changes_stays_bytes():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert Recoloring.of([[], []])(images) is images


@pytest.mark.parametrize("name", SETS)
def test_a_batch_on_a_gpu_is_changed_there_without_waiting(name):
    images, changes = drawn(name)
    recoloring = Recoloring.of(changes)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        there = mode.from_tensor(images).to("cuda")
        found = recoloring.to("cuda")(there)
    assert (found.device.type, found.dtype, found.shape) == ("cuda", torch.float32, images.shape)
