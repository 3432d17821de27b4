"""The encoder trained at a rate of its own, or not at all: convolutions and transformers."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load, load_file

from tilewright.bundles.pack import _pack_network
from tilewright.inference.loading import load_model
from tilewright.project.bundle import Band, BundleMember
from tilewright.project.bundlenetworks import BundleNetwork
from tilewright.project.config import Network
from tilewright.runtime.errors import UserError
from tilewright.training.architectures import build_network, check_network, parameters
from tilewright.training.devices import strategy
from tilewright.training.foundations import FOUNDATIONS, Foundation
from tilewright.training.memory import Step, trial
from tilewright.training.optimizers import optimizer, rate_groups
from tilewright.training.state import TrainingState
from tilewright.training.task import SegmentationTask

CONVOLUTIONS = {"encoder": "tu-test_resnet.r160_in1k"}
TOKENS = {"encoder": "tiny14"}
SMALL = {"encoder_weights": "random", "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}}
EVERY = [CONVOLUTIONS, TOKENS]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    shape = {"patch_size": 14, "img_size": 112, "depth": 2, "proj_drop_rate": 0.2}
    monkeypatch.setitem(FOUNDATIONS, "tiny14", Foundation("any/any", "test_vit", "any", 14, 0, shape))


def network(**options):
    return Network(**{"tiles": "any", **SMALL, **options})


def built(**options):
    torch.manual_seed(0)
    return build_network(network(**options), 2, pretrained=False)


def is_pretrained(name, options):
    return name.startswith("network.encoder.transformer." if options is TOKENS else "network.encoder.")


def stepped(segmenter, spec):
    """The optimiser of a training, after a step."""
    made = optimizer(spec, rate_groups(spec, segmenter))
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    segmenter(images).square().mean().backward()
    made.step()
    return made


@pytest.mark.parametrize("options", EVERY, ids=["convolutions", "tokens"])
def test_what_is_frozen_stays_as_it_is_and_has_no_state_in_the_optimiser(options):
    spec, segmenter = network(encoder_rate=0, **options), built(encoder_rate=0, **options).train()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    frozen = {name for name in before if is_pretrained(name, options)}
    assert segmenter.frozen_names() == frozen
    made = stepped(segmenter, spec)
    changed = {name for name, value in segmenter.state_dict().items() if not torch.equal(value, before[name])}
    assert not changed & frozen
    assert changed == before.keys() - frozen - {"mean", "std"}
    trained = [each for each in segmenter.parameters() if each.requires_grad]
    assert len(made.state) == len(trained) == len(list(segmenter.parameters())) - len(segmenter.pretrained_parameters())
    assert sum(len(group["params"]) for group in made.param_groups) == len(trained)
    assert parameters(spec, 2) == sum(each.numel() for each in trained)
    assert not any(each.requires_grad or each.grad is not None for each in segmenter.pretrained_parameters())


def test_of_a_transformer_the_convolutions_and_projections_beside_it_are_trained():
    segmenter = built(encoder_rate=0, **TOKENS)
    trained = {name for name, each in segmenter.network.encoder.named_parameters() if each.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"detail", "projections"}


@pytest.mark.parametrize("options", EVERY, ids=["convolutions", "tokens"])
def test_what_is_frozen_predicts_whatever_the_rest_does(options):
    """Without dropout and by its own statistics, also after validation, after a trial, and with more heads."""
    segmenter = built(encoder_rate=0, deep_supervision=1, image_loss=0.1, **options)
    (part,) = segmenter._pretrained
    for mode in (segmenter.train, segmenter.eval, segmenter.train):
        mode()
        assert not any(each.training for each in part.modules())
    assert segmenter.training
    assert segmenter.network.decoder.training
    free = built(encoder_rate=1, **options).train()
    assert all(each.training for each in free.modules())


@pytest.mark.parametrize("options", EVERY, ids=["convolutions", "tokens"])
def test_nothing_is_kept_for_a_gradient_of_what_is_frozen(options):
    segmenter, seen = built(encoder_rate=0, **options).train(), []
    (part,) = segmenter._pretrained
    for each in part.modules():
        each.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    segmenter(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    tensors = [each for each in seen if isinstance(each, torch.Tensor)]
    assert len(tensors) > 5
    assert not any(each.requires_grad for each in tensors)


@pytest.mark.parametrize("options", EVERY, ids=["convolutions", "tokens"])
def test_a_share_of_the_rate_moves_the_encoder_by_that_share(options):
    """A step of plain gradient descent is the rate times the gradient, which is the same in both."""
    moves = {}
    for rate in (1, 0.1):
        spec, segmenter = network(encoder_rate=rate, optimizer="sgd", **options), built(encoder_rate=rate, **options)
        segmenter.eval()
        before = {name: value.detach().clone() for name, value in segmenter.named_parameters()}
        made = stepped(segmenter, spec)
        moves[rate] = {name: (value.detach() - before[name]) for name, value in segmenter.named_parameters()}
    assert [group["lr"] for group in made.param_groups] == [1e-3, pytest.approx(1e-4)]
    for name, move in moves[1].items():
        share = 0.1 if is_pretrained(name, options) else 1
        assert torch.allclose(moves[0.1][name], share * move, rtol=1e-2, atol=1e-7), name
    assert max(move.abs().max() for name, move in moves[1].items() if is_pretrained(name, options)) > 1e-5


def test_at_the_full_rate_there_is_one_group_of_all_parameters_in_order():
    segmenter = built()
    (group,) = rate_groups(network(), segmenter)
    assert list(map(id, group["params"])) == list(map(id, segmenter.parameters()))


def test_networks_without_encoder_have_no_rate_of_one():
    with pytest.raises(UserError, match=r"encoder_rate: FCN has no encoder\.\n  Leave out encoder_rate"):
        check_network(Network(tiles="any", architecture="FCN", encoder_rate=0.5))
    check_network(Network(tiles="any", architecture="FCN"))


def test_averages_hold_what_changes_and_stand_for_the_whole_network():
    options = {**TOKENS, "ema": 0.5, "swa": 0.5, "encoder_rate": 0}
    segmenter = built(**options).train()
    task = SegmentationTask(segmenter, network(**options), ["a", "b"], steps=1)
    for value in (1.0, 3.0):
        torch.nn.init.constant_(segmenter.network.segmentation_head[0].bias, value)
        for average in task.averages.values():
            average.update(segmenter)
    segmenter.eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    for name in ("ema", "swa"):
        assert not task.averages[name].weights.keys() & segmenter.frozen_names()
        whole = task.weights(name)
        assert whole.keys() == segmenter.state_dict().keys()
        assert whole["network.segmentation_head.0.bias"].unique().item() == 2
        other = built(**options).eval()
        other.load_state_dict(whole)
        with torch.no_grad():
            assert torch.equal(task.logits(name, image), other(image))


def test_devices_share_a_network_of_which_a_part_is_frozen():
    segmenter = built(encoder_rate=0, **TOKENS)
    assert strategy(segmenter, 64) == "ddp"
    assert segmenter.training
    assert not segmenter.network.encoder.transformer.training


def test_a_trial_of_memory_leaves_what_is_frozen_as_it_was():
    segmenter = built(encoder_rate=0, **TOKENS)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    assert trial(segmenter, network(encoder_rate=0, ema=0.9, **TOKENS), ["a", "b"], 64, torch.device("cpu"))(
        Step(2, 64, "32")
    )
    assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())
    assert segmenter.training
    assert not segmenter.network.encoder.transformer.training


@pytest.mark.slow
def test_two_processes_train_beside_what_is_frozen(trained, tmp_path):
    options = {**SMALL, "encoder": "tu-test_vit", "encoder_rate": 0, "ema": 0.5}
    order = trained.order(devices=2, epochs=1, batch_size=4, **options)
    trained.by_command(order, tmp_path / "two")
    found = load_file(tmp_path / "two" / "model.safetensors")
    torch.manual_seed(order.network.seed)
    start = build_network(order.network, 2, pretrained=False)
    same = {name for name, value in start.state_dict().items() if torch.equal(value, found[name])}
    assert same == start.frozen_names() | {"mean", "std"}


class KilledError(Exception):
    pass


EVERYTHING = {"ema": 0.9, "swa": 0.5, "schedule": "plateau", "plateau": {"patience": 1}, "accumulate": 2, "clip": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0, 0.1])
@pytest.mark.parametrize("options", EVERY, ids=["convolutions", "tokens"])
def test_an_interruption_changes_nothing(trained, tmp_path, monkeypatch, options, rate):
    """To the bit; and the checkpoint on the way holds the whole network, but no moments of what is frozen."""
    recipe = {**SMALL, **options, **EVERYTHING, "encoder_rate": rate, "epochs": 2}
    uninterrupted = trained(tmp_path / "whole", **recipe)
    finish = TrainingState.on_train_epoch_end

    def fail(state, *given):
        finish(state, *given)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "on_train_epoch_end", fail)
        with pytest.raises(KilledError):
            trained(tmp_path / "killed", **recipe)
    (file,) = (tmp_path / "killed" / "state").glob("*.ckpt")
    kept = torch.load(file, weights_only=True)
    segmenter = built(encoder_rate=rate, **options)
    assert {f"segmenter.{name}" for name in segmenter.state_dict()} <= kept["state_dict"].keys()
    (state,) = kept["optimizer_states"]
    assert len(state["state"]) == sum(each.requires_grad for each in segmenter.parameters())
    assert len(state["param_groups"]) == (2 if rate else 1)
    frozen = {name for name in segmenter.state_dict() if is_pretrained(name, options) and not rate}
    assert kept["averages"]["ema"][1].keys() == segmenter.state_dict().keys() - frozen
    assert trained(tmp_path / "killed", **recipe) == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0, 0.01])
def test_a_trained_transformer_predicts_and_is_packed(trained, tmp_path, rate):
    recipe = {**SMALL, **TOKENS, "encoder_rate": rate, "epochs": 2, "seed": 3}
    found = trained(tmp_path / "out", **recipe)
    card, weights = json.loads(found["model.json"]), load(found["model.safetensors"])
    torch.manual_seed(3)
    start = build_network(trained.network(**recipe), 2, pretrained=False)
    same = {name for name, value in start.state_dict().items() if torch.equal(value, weights[name])}
    assert same == (start.frozen_names() if rate == 0 else set()) | {"mean", "std"}
    assert card["parameters"] == sum(each.numel() for each in start.parameters() if each.requires_grad)
    assert pd.read_csv(tmp_path / "out" / "history.csv")["learning_rate"].max() == pytest.approx(0.005)

    segmenter, _ = load_model(tmp_path / "out")
    bundled = BundleNetwork(**{name: card["network"][name] for name in BundleNetwork.model_fields})
    bands = [Band(name, "mask") for name in card["classes"]]
    member = BundleMember.model_construct(network=bundled, bands=bands)
    _pack_network(tmp_path / "out", member, tmp_path / "packed.safetensors")
    again = build_network(bundled.to_build(), 2, pretrained=False).eval()
    again.load_state_dict(load_file(tmp_path / "packed.safetensors"))
    images = torch.randint(0, 256, (2, 3, 100, 75), dtype=torch.uint8)
    with torch.inference_mode():
        logits = segmenter(images)
        assert torch.equal(again(images), logits)
    assert logits.std() > 0
