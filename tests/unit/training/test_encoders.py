"""Names of encoders, and weights that have to be fetched."""

import pytest
import segmentation_models_pytorch as smp

from tilewright.project.config import Network
from tilewright.runtime.errors import UserError
from tilewright.training.architectures import build_network
from tilewright.training.encoders import successor


def network(**options):
    return Network(**{"tiles": "small", **options})


@pytest.mark.parametrize(
    ("encoder", "source", "mean"),
    [
        ("efficientnet-b0", "smp-hub/efficientnet-b0.imagenet", "0.485, 0.456, 0.406"),
        ("tu-test_resnet.r160_in1k", "timm/test_resnet.r160_in1k", "0.5, 0.5, 0.5"),
    ],
)
def test_weights_that_cannot_be_downloaded_are_an_error_that_says_what_to_do(monkeypatch, encoder, source, mean):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect to the hub.\nCheck your connection.")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(UserError) as caught:
        build_network(network(encoder=encoder, encoder_weights="imagenet"), 1, pretrained=True)
    assert str(caught.value).startswith(
        f'config, models: the ImageNet weights of the encoder "{encoder}" cannot be downloaded '
        f"(We couldn't connect to the hub.).\n  Weights are fetched once and stay in "
    )
    assert (
        "where jobs have no network, run `tilewright check` where there is one, such as the login node. Or copy "
        f"model.safetensors from huggingface.co/{source} and give "
        f"encoder_weights: FILE.safetensors, mean: [{mean}], std: "
    ) in str(caught.value)
    options = {"encoder": encoder, "encoder_weights": "imagenet", "options": {"decoder_attention_type": "foo"}}
    with pytest.raises(UserError, match="cannot be built"):
        build_network(network(**options), 1, pretrained=True)


def test_names_that_the_library_will_drop_have_others_that_it_keeps():
    dropped = [name for name in smp.encoders.get_encoder_names() if name.startswith("timm-")]
    assert len(dropped) > 15
    assert all(successor(name) for name in dropped)
    names = ("timm-efficientnet-b0", "timm-skresnet18", "timm-regnety_016", "timm-mobilenetv3_large_100")
    assert [successor(name) for name in names] == [
        "tu-tf_efficientnet_b0", "tu-skresnet18", "tu-regnety_016", "tu-tf_mobilenetv3_large_100",
    ]  # fmt: skip
    assert successor("resnet34") == successor("tu-resnet18") == ""
