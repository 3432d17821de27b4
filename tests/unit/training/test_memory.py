"""Batches that fit are found before anything is learnt, and change nothing."""

import json

import pytest
import torch

from tilewright.project.config import Network
from tilewright.runtime.errors import UserError
from tilewright.training import trainer
from tilewright.training.architectures import build_network
from tilewright.training.memory import Step, chosen_batch, does_not_fit, trial
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask

CPU = torch.device("cpu")


def network(**options):
    small = {"encoder": "tu-test_resnet.r160_in1k", "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}}
    return Network(tiles="any", encoder_weights="random", batch_size="auto", **small, **options)


def room_for(tiles, seen=None):
    """A device that holds so many tiles of 64 pixels; half precision takes half the room."""

    def fits(step):
        if seen is not None:
            seen.append(step.tiles)
        return step.tiles * (step.crop / 64) ** 2 * (1 if step.precision == "32" else 0.5) <= tiles

    return fits


def test_a_batch_is_halved_until_it_fits():
    seen = []
    assert chosen_batch(network(precision="32"), 64, room_for(9, seen)) == 8
    assert seen == [32, 16, 8]


@pytest.mark.parametrize(("devices", "expected"), [(1, 4), (2, 8), (3, 15)])
def test_each_device_has_its_share_of_a_batch(devices, expected):
    assert chosen_batch(network(devices=devices, precision="32"), 64, room_for(7)) == expected


def test_without_a_gpu_a_batch_is_always_the_same():
    assert [chosen_batch(network(devices=count), 64, None) for count in (1, 2, 16)] == [8, 8, 16]


def test_what_does_not_fit_is_said_with_what_would():
    step = Step(16, 128, "32")
    said = str(does_not_fit(network(), step, room_for(33)))
    assert "batch_size 16 with crop 128 and precision 32 does not fit into memory" in said
    assert said.endswith("What would fit: batch_size 8, or crop 64, or precision auto.")
    assert "a smaller network" in str(does_not_fit(network(), step, lambda _: False))
    assert "auto finds what fits" in str(does_not_fit(network(devices=2), step, None))


def test_not_even_one_tile_is_the_users_to_change():
    with pytest.raises(UserError, match=r"batch_size 1 with crop 64 .* does not fit into memory(.|\n)*crop 32"):
        chosen_batch(network(), 64, room_for(0.2))


@pytest.mark.parametrize("limit", [1, 100])
def test_a_trial_sees_what_does_not_fit_and_leaves_network_and_draws_as_they_were(monkeypatch, limit):
    spec = network(ema=0.9, deep_supervision=1, image_loss=0.1, mixing={"kind": "mixup", "probability": 1})
    segmenter = build_network(spec, 2, pretrained=False)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    drawn, seen, outputs = torch.get_rng_state(), [], Segmenter.outputs

    def limited(network, images):
        seen.append((network.training, images.shape[-1]))
        if len(images) > limit:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return outputs(network, images)

    monkeypatch.setattr(Segmenter, "outputs", limited)
    fits = trial(segmenter, spec, ["gland", "vessel"], 96, CPU)(Step(2, 64, "32"))

    assert fits == (limit > 2)
    assert seen == ([(True, 64), (False, 96), (False, 96)] if fits else [(True, 64)])
    assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())
    assert all(each.grad is None for each in segmenter.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert segmenter.training


def test_other_errors_of_a_trial_are_raised(monkeypatch):
    spec = network()
    monkeypatch.setattr(Segmenter, "outputs", lambda *_: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        trial(build_network(spec, 2, pretrained=False), spec, ["a", "b"], 64, CPU)(Step(2, 64, "32"))


@pytest.mark.slow
def test_the_batch_is_chosen_once_and_the_model_says_so(trained, tmp_path, monkeypatch):
    """An interrupted training goes on with the batches that it began with; the result is as if they had been given."""
    sizes = iter([4, 16])
    monkeypatch.setattr(trainer, "chosen_batch", lambda *_: next(sizes))
    finish = trainer.TrainingState.on_train_epoch_end

    def fail(state, *given):
        finish(state, *given)
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(trainer.TrainingState, "on_train_epoch_end", fail)
        with pytest.raises(KeyError):
            trained(tmp_path / "auto", batch_size="auto", epochs=2)
    found = trained(tmp_path / "auto", batch_size="auto", epochs=2)
    assert json.loads(found["model.json"])["network"]["batch_size"] == 4
    given = trained(tmp_path / "given", batch_size=4, epochs=2)
    picture = "batch.jpg"  # drawn before the size is chosen, of the first eight tiles
    assert {**found, picture: b""} == {**given, picture: b""}
    assert not (tmp_path / "auto" / "state" / "batch_size").exists()


@pytest.mark.slow
def test_a_training_that_runs_out_of_memory_names_what_it_depends_on(trained, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA error: out of memory")

    monkeypatch.setattr(SegmentationTask, "batch_loss", fail)
    with pytest.raises(UserError, match="batch_size 8 with crop 64 and precision auto does not fit"):
        trained(tmp_path)


def test_auto_stays_auto_in_an_order_and_no_number_stands_for_it():
    spec = network()
    assert Network.model_validate_json(spec.model_dump_json()) == spec
    assert json.loads(spec.model_dump_json())["batch_size"] == "auto"
    for size in (0, -1, "most"):
        with pytest.raises(ValueError, match="batch_size"):
            Network(tiles="any", batch_size=size)
