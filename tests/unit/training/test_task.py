"""What the validation of an epoch measures."""

import math
from types import SimpleNamespace

import pytest
import torch

from tilewright.project.config.training import Mixing, Network
from tilewright.training.data import Sample
from tilewright.training.schedules import rate_curve
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask

NETWORK = Network(tiles="any")


class Fixed(torch.nn.Module):
    """Gives the same logits whatever it is shown."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return self.logits


def validated(monkeypatch, logits, bits, labelled=(True,)):
    """What a task logs after one batch of one tile."""
    segmenter = Segmenter(Fixed(logits[None]), [0.5] * 3, [0.5] * 3)
    task = SegmentationTask(segmenter, NETWORK, ["vessel", "gland"][: len(labelled)], steps=1)
    logged = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(task, "log_dict", logged.update)
    image = torch.zeros(1, 3, *bits.shape, dtype=torch.uint8)
    task.validation_step(Sample(image, bits[None], torch.tensor([labelled])), 0)
    task.on_validation_epoch_end()
    return logged


@pytest.fixture
def rare():
    """A tile of which one pixel in a hundred is of the class."""
    bits = torch.zeros(20, 20, dtype=torch.int32)
    bits[0, :4] = 1
    return bits


def test_a_hesitant_network_that_finds_the_class_beats_one_that_guesses(monkeypatch, rare):
    hesitant = torch.where(rare == 1, -1.0, -3.0)[None]
    guessing = torch.full((1, 20, 20), 0.1)
    assert validated(monkeypatch, hesitant, rare)["dice"] == 1
    assert validated(monkeypatch, guessing, rare)["dice"] == pytest.approx(2 * 4 / (400 + 4))


def test_dice_at_the_best_threshold_equals_the_plain_search(monkeypatch, rare):
    logits = torch.randn(1, 20, 20, generator=torch.Generator().manual_seed(3)) + rare
    bins = (torch.sigmoid(logits) * 255 + 0.5).long()
    taken = [(bins >= cut) for cut in range(1, 256)]
    plain = max(2 * (mask & (rare == 1)).sum() / (mask.sum() + 4) for mask in taken)
    assert validated(monkeypatch, logits, rare)["dice"] == pytest.approx(float(plain))


def test_ignored_pixels_and_unlabelled_classes_do_not_count(monkeypatch, rare):
    logits = torch.where(rare == 1, 2.0, -2.0).repeat(2, 1, 1)
    logits[:, 10:] = 5.0
    rare[10:] = 1 << 2
    logged = validated(monkeypatch, logits, rare, labelled=(True, False))
    assert logged["dice"] == logged["dice_vessel"] == 1
    assert math.isnan(logged["dice_gland"])


def learnt(monkeypatch, logits, bits, **options):
    """What a task logs of an epoch of two batches, each of both halves of a tile."""
    network = NETWORK.model_copy(update=options)
    task = SegmentationTask(Segmenter(Fixed(logits), [0.5] * 3, [0.5] * 3), network, ["vessel"], steps=1)
    logged = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(task, "_trainer", SimpleNamespace(num_training_batches=2, current_epoch=0, global_step=0))
    monkeypatch.setattr(SegmentationTask, "global_rank", 0)
    image = torch.zeros(len(bits), 3, *bits.shape[1:], dtype=torch.uint8)
    for index in range(2):
        task.training_step(Sample(image, bits, torch.ones(len(bits), 1, dtype=torch.bool)), index)
        task.on_train_batch_end(None, None, index)
    assert not task.learnt.any()
    return logged


def test_what_is_trained_on_has_the_dice_of_all_pixels_of_the_epoch(monkeypatch, rare):
    logits = torch.randn(2, 1, 20, 20, generator=torch.Generator().manual_seed(3)) + rare
    bits = torch.stack([rare, rare * 0])
    bits[1, :, 10:] = 2
    logged = learnt(monkeypatch, logits, bits)
    bins = (torch.sigmoid(logits[:, 0]) * 255 + 0.5).long()[bits < 2]
    taken = [bins >= cut for cut in range(1, 256)]
    plain = max(float(2 * (mask & (bits[bits < 2] == 1)).sum() / (mask.sum() + 4)) for mask in taken)
    assert 0 < plain < 1
    assert logged["train_dice"] == pytest.approx(plain)
    assert logged["train_iou"] == pytest.approx(plain / (2 - plain))


@pytest.mark.parametrize(("kind", "scored"), [("mixup", False), ("cutmix", True)])
def test_batches_with_two_truths_have_no_dice(monkeypatch, rare, kind, scored):
    mixing = Mixing(kind=kind, probability=1.0)
    logged = learnt(monkeypatch, torch.zeros(2, 1, 20, 20), torch.stack([rare, rare]), mixing=mixing)
    assert ("train_dice" in logged) == ("train_iou" in logged) == scored


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_learning_rate_rises_to_its_peak_and_does_not_rise_again(schedule):
    share = rate_curve(NETWORK.model_copy(update={"schedule": schedule, "warmup": 0.1}), 100)
    rates = [share(step) for step in range(100)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == (1 if schedule == "constant" else pytest.approx(0, abs=0.02))
