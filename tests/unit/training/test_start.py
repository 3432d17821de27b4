import json
import os
import pickle

import pytest
import torch
from bundling import content, member, write_bundle, zipped
from safetensors.torch import load_file, save, save_file

from tilewright.project.config import Network
from tilewright.runtime.errors import DataError, UserError
from tilewright.training.architectures import build_network
from tilewright.training.networks import NETWORKS
from tilewright.training.start import load_start, started
from tilewright.training.state import TrainingState
from tilewright.training.task import SegmentationTask

TINY = {
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}


def network(**options):
    return Network(**{"tiles": "small", **TINY, **options})


def drawn(seed=0, classes=2, **options):
    torch.manual_seed(seed)
    return build_network(network(**options), classes, pretrained=False)


def saved(path, state):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def load_from(segmenter, path, **options):
    return load_start(segmenter, network(start=str(path), **options))


def differing(segmenter, state):
    """Tensors that are not those of a state, the normalisation apart."""
    own = segmenter.state_dict()
    return {name for name in own if name not in ("mean", "std") and not torch.equal(own[name], state[name])}


OWN = {"encoder": None, "encoder_weights": "auto", "options": {}}


@pytest.mark.parametrize("options", [{}, *({**OWN, "architecture": name} for name in NETWORKS)])
def test_all_weights_are_those_of_the_file_and_a_head_of_other_classes_is_new(tmp_path, options):
    first = drawn(0, **options).state_dict()
    path = saved(tmp_path / "w.safetensors", first)
    same, other, untouched = drawn(1, **options), drawn(1, classes=3, **options), drawn(1, classes=3, **options)
    assert load_from(same, path, **options) == [f"starting from {len(first) - 2} tensors of {path}"]
    assert differing(same, first) == set()
    said = load_from(other, path, **options)
    head = {name for name, value in other.state_dict().items() if value.shape != first[name].shape}
    assert len(head) == 2
    assert all("head" in name and name in said[1] for name in head)
    for name, value in other.state_dict().items():
        assert torch.equal(value, untouched.state_dict()[name] if name in head else first[name])


def test_heads_beside_the_network_may_be_missing_or_too_many(tmp_path):
    plain, more = drawn(0).state_dict(), drawn(0, deep_supervision=1, image_loss=0.1).state_dict()
    heads = more.keys() - plain.keys()
    fewer, wider = drawn(1), drawn(1, deep_supervision=1, image_loss=0.1)
    before = wider.state_dict()["image_head.weight"].clone()
    said = load_from(wider, saved(tmp_path / "plain.safetensors", plain))
    assert all(name in said[1] for name in heads)
    assert torch.equal(wider.state_dict()["image_head.weight"], before)
    said = load_from(fewer, saved(tmp_path / "more.safetensors", more))
    assert "not in the network: " in said[1]
    assert differing(fewer, more) == set()


def test_everything_that_does_not_fit_is_told_at_once(tmp_path):
    state = drawn().state_dict()
    state["network.extra"] = torch.zeros(2)
    gone = next(name for name in state if name.startswith("network.encoder."))
    del state[gone]
    name = "network.decoder.blocks.0.conv1.0.weight"
    state[name] = state[name][:, :3]
    with pytest.raises(UserError) as caught:
        load_from(drawn(), saved(tmp_path / "w.safetensors", state))
    (problem,) = caught.value.problems
    assert f"1 missing: {gone}" in problem.what
    assert "1 not in the network: network.extra" in problem.what
    assert f"1 of another shape: {name} (16 x 3 x 3 x 3, not 16 x " in problem.what
    assert "same architecture, encoder and options" in problem.remedy
    untouched = drawn(1)
    with pytest.raises(UserError):
        load_from(untouched, tmp_path / "w.safetensors")
    assert differing(untouched, drawn(1).state_dict()) == set()


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "segmenter.network."])
def test_tensors_of_pytorch_are_read_whatever_wraps_them(tmp_path, prefix, wrap):
    first = drawn(0).state_dict()
    state = {
        f"{prefix}{name.removeprefix('network.')}": value
        for name, value in first.items() if name.startswith("network.")
    }  # fmt: skip
    torch.save(wrap(state), tmp_path / "w.pth")
    segmenter = drawn(1)
    load_from(segmenter, tmp_path / "w.pth")
    assert differing(segmenter, first) == set()


def test_two_networks_in_one_file_are_refused(tmp_path):
    first = drawn().state_dict()
    state = first | {f"model.{name}": value for name, value in first.items() if name.startswith("network.")}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UserError, match="it keeps more than one network"):
        load_from(drawn(), tmp_path / "w.pt")


class Harm:
    """Makes a folder where a pickle of it is read as Python reads them."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", [Harm(), {"state_dict": {"network.a": torch.zeros(1)}, "callback": Harm()}])
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_holds_code_is_refused_and_not_executed(tmp_path, monkeypatch, content, write):
    monkeypatch.chdir(tmp_path)
    write(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt: is damaged, or holds more than tensors.*\n  .*save_file"):
        load_from(drawn(), tmp_path / "w.pt")
    assert not (tmp_path / "harm").exists()
    if write is torch.save:
        torch.load(tmp_path / "w.pt", weights_only=False)
        assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {"state_dict": 3}])
def test_plain_values_that_are_no_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no state of a network"):
        load_from(drawn(), tmp_path / "w.pt")


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"w\.safetensors: cannot be read"):
        load_from(drawn(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"fold0/model\.safetensors: there are no weights"):
        load_from(drawn(), tmp_path / "fold0")


@pytest.fixture(params=[False, True])
def bundle(request, tmp_path):
    """Its first member is of another encoder, the first weights of the second one are those that are wanted."""
    states = [drawn(seed).state_dict() for seed in (0, 1)]
    said = content(members=[member("other"), member("near", 2)])
    said["members"][0]["network"]["encoder"] = "resnet18"
    for fold, state in enumerate(states):
        said["members"][1]["weights"][fold]["data"] = save({name: value.contiguous() for name, value in state.items()})
    files = {one["file"]: one.pop("data") for one in said["members"][1]["weights"]}
    folder = write_bundle(tmp_path / "both", said, files)
    return (zipped(folder, tmp_path / "both.zip") if request.param else folder), states[0]


def test_a_bundle_gives_the_first_weights_of_the_first_member_that_is_built_alike(bundle):
    path, first = bundle
    segmenter = drawn(2)
    assert load_from(segmenter, path)[0].endswith(f"tensors of {path}, weights/near/fold0.safetensors")
    assert differing(segmenter, first) == set()
    with pytest.raises(
        UserError, match=r"none of its members is built like .*FPN with tu-test.*: other \(Unet, resnet18"
    ):
        load_from(segmenter, path, architecture="FPN", options={})


def test_weights_of_a_bundle_that_were_edited_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"both, weights/near/fold0\.safetensors: cannot be read"):
        load_from(drawn(), write_bundle(tmp_path / "both"))
    (tmp_path / "both" / "weights" / "near" / "fold0.safetensors").write_bytes(b"WEIGHTS/near/fold0.safetensors")
    with pytest.raises(DataError, match="was damaged or edited"):
        load_from(drawn(), tmp_path / "both")


def test_the_normalisation_is_that_of_the_config_else_of_a_file_of_this_project(tmp_path):
    mean, std = [0.485, 0.456, 0.406], [0.2, 0.3, 0.4]
    first = drawn(mean=mean, std=std).state_dict()
    ours, others = saved(tmp_path / "w.safetensors", first), saved(
        tmp_path / "o.safetensors",
        {name.replace("network.", "model."): value for name, value in first.items()},
    )  # fmt: skip
    found = started(network(start=str(ours)))
    assert (found.mean, found.std) == (mean, std)
    found = started(network(start=str(ours), std=[0.1, 0.1, 0.1]))
    assert (found.mean, found.std) == (mean, [0.1, 0.1, 0.1])
    found = started(network(start=str(others)))
    assert (found.mean, found.std) == (None, None)
    segmenter = drawn()
    before = segmenter.mean.clone()
    load_from(segmenter, ours)
    assert torch.equal(segmenter.mean, before)


def test_no_weights_of_the_encoder_are_needed():
    assert Network(tiles="small", encoder="tu-test_resnet.r160_in1k", start="w.safetensors").encoder_weights == "auto"
    with pytest.raises(ValueError, match="the packages have none"):
        Network(tiles="small", encoder="tu-test_resnet.r160_in1k")


@pytest.fixture
def first_weights(monkeypatch):
    """The states that trainings begin their first step with."""
    states = []

    def keep(task):
        states.append({name: value.detach().clone() for name, value in task.segmenter.state_dict().items()})

    monkeypatch.setattr(SegmentationTask, "on_train_start", keep)
    return states


@pytest.mark.slow
def test_a_training_begins_with_the_weights_of_the_folder(trained, tmp_path, first_weights, capsys):
    trained(tmp_path / "first", epochs=1, mean=[0.4, 0.5, 0.6])
    weights = load_file(tmp_path / "first" / "model.safetensors")
    found = trained(tmp_path / "second", epochs=1, seed=5, start=str(tmp_path / "first"))
    assert all(torch.equal(first_weights[1][name], value) for name, value in weights.items())
    assert f"tensors of {tmp_path}/first" in capsys.readouterr().err
    card = json.loads(found["model.json"])
    assert card["network"]["mean"] == [0.4, 0.5, 0.6]
    assert card["network"]["start"] == str(tmp_path / "first")


def test_an_interrupted_training_goes_on_only_with_the_same_file(trained, tmp_path, monkeypatch):
    prints = []

    def stop(_state, fingerprint):
        prints.append(fingerprint)
        raise UserError("enough is known")

    monkeypatch.setattr(TrainingState, "prepare", stop)
    path = tmp_path / "w.safetensors"
    for value in (0, 0, 1):
        saved(path, {"network.a": torch.full((2,), float(value))})
        with pytest.raises(UserError, match="enough is known"):
            trained(tmp_path, start=str(path))
    assert prints[0] == prints[1] != prints[2]
