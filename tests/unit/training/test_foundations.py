"""Foundation models by short names: what is said of them, and files of their weights as publishers name tensors."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from tilewright.project.config import Network
from tilewright.runtime.errors import DataError, UserError
from tilewright.training import encoders
from tilewright.training.architectures import build_network, check_network, spelt_out
from tilewright.training.foundations import FOUNDATIONS, Foundation, build_transformer, timm_arguments, timm_name
from tilewright.training.tensors import named_as_in_timm

NARROW = {"decoder_channels": [16, 16, 8, 8, 8]}
TINY = {"patch_size": 14, "img_size": 112, "depth": 4}
GATED_UNIT = {
    **FOUNDATIONS["hibou-b"].arguments,
    **TINY,
    "reg_tokens": 4,
    "no_embed_class": True,
    "init_values": 1e-5,
    "mlp_ratio": 4,
}


@pytest.fixture
def known(monkeypatch):
    """Makes a foundation model of a few narrow blocks."""

    def add(name, **options):
        monkeypatch.setitem(FOUNDATIONS, name, Foundation("some/where", "test_vit", "any", 14, 0, **options))

    return add


def network(**options):
    return Network(**{"tiles": "any", "options": NARROW, "encoder": "tiny", "encoder_weights": "random", **options})


def transformer(encoder="tiny"):
    """As a publisher has it: with a classifier, and weights that all matter."""
    torch.manual_seed(7)
    made = timm.create_model(timm_name(encoder), **{**timm_arguments(encoder), "num_classes": 5})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def as_in_transformers(state, old):
    """The state of a network of timm by the names that transformers gives to ViT (old), or to DINOv2 with registers."""
    names = {
        "cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings", "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        ".attn.proj.": ".attention.output.dense.", "norm.": "layernorm.",
        ".norm1.": ".layernorm_before." if old else ".norm1.", ".norm2.": ".layernorm_after." if old else ".norm2.",
        ".mlp.fc1.": ".intermediate.dense." if old else ".mlp.weights_in.",
        ".mlp.fc2.": ".output.dense." if old else ".mlp.weights_out.",
        ".ls1.gamma": ".layer_scale1.lambda1", ".ls2.gamma": ".layer_scale2.lambda1",
        ".attn.qkv.": ".attention.attention.query.",
    }  # fmt: skip
    found = {}
    for name, value in state.items():
        if name.startswith("head."):
            continue
        there = "encoder.layer." + name.removeprefix("blocks.") if name.startswith("blocks.") else name
        for here, other in names.items():
            if here in there and not (here == "norm." and "layer" in there):
                there = there.replace(here, other)
        if ".query." in there:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[there.replace("query", part)] = third.contiguous()
        else:
            found[there] = value
    if "embeddings.register_tokens" in found:  # the class token has a position of its own there
        positions, own = found["embeddings.position_embeddings"], torch.randn_like(found["embeddings.cls_token"])
        found["embeddings.position_embeddings"] = torch.cat([own, positions], dim=1)
        found["embeddings.cls_token"] = found["embeddings.cls_token"] - own
        found["embeddings.mask_token"] = torch.zeros(1, positions.shape[-1])
    return found


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_each_has_the_parameters_and_the_patch_that_are_told(name):
    foundation = FOUNDATIONS[name]
    with torch.device("meta"):
        built = build_transformer(name)
    assert sum(each.numel() for each in built.parameters()) == foundation.parameters
    assert built.patch_embed.patch_size == (foundation.patch, foundation.patch)
    assert len(foundation.mean) == len(foundation.std) == 3
    assert all(0 < each < 1 for each in (*foundation.mean, *foundation.std))
    check_network(network(encoder=name))


def test_input_is_normalised_as_the_weights_were_trained_unless_the_config_says_otherwise():
    found = spelt_out(network(encoder="h-optimus-0", encoder_weights="some.safetensors"))
    assert (found.encoder, found.mean, found.std) == (
        "h-optimus-0", [0.707223, 0.578729, 0.703617], [0.211883, 0.230117, 0.177517],
    )  # fmt: skip
    assert spelt_out(network(encoder="phikon")).mean == [0.485, 0.456, 0.406]
    assert spelt_out(network(encoder="phikon", mean=[0.5, 0.5, 0.5])).mean == [0.5, 0.5, 0.5]


def test_none_is_at_hand():
    with pytest.raises(ValueError, match="the packages have none for uni2-h; set imagenet to download them, a file"):
        network(encoder="uni2-h", encoder_weights="auto")


def loaded(path, encoder="tiny", **options):
    spec = network(encoder=encoder, encoder_weights=str(path), **options)
    return build_network(spec, 1, pretrained=True).network.encoder.transformer


@pytest.mark.parametrize("prefix", ["", "vit."])
@pytest.mark.parametrize(
    ("arguments", "old"), [({**TINY, "init_values": None}, True), (GATED_UNIT, False)], ids=["ViT", "DINOv2"]
)
def test_files_named_by_transformers_give_the_same_tokens(known, tmp_path, arguments, old, prefix):
    known("tiny", arguments=arguments)
    whole = transformer().eval()
    state = as_in_transformers(whole.state_dict(), old)
    assert not set(state) & set(whole.state_dict())
    save_file({prefix + name: value for name, value in state.items()}, tmp_path / "w.safetensors")
    image = torch.randn(1, 3, 56, 70)
    with torch.no_grad():
        expected = whole.forward_intermediates(image, indices=[1, 3], intermediates_only=True)
        found = (
            loaded(tmp_path / "w.safetensors")
            .eval()
            .forward_intermediates(image, indices=[1, 3], intermediates_only=True)
        )
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(expected, found, strict=True))


def test_queries_keys_and_values_are_joined_as_the_attention_of_timm_reads_them():
    width, tokens = 64, torch.randn(1, 5, 64)
    parts = {part: torch.nn.Linear(width, width) for part in ("query", "key", "value")}
    stored = {"embeddings.cls_token": torch.zeros(1, 1, width)}
    for part, layer in parts.items():
        for kind in ("weight", "bias"):
            stored[f"encoder.layer.0.attention.attention.{part}.{kind}"] = getattr(layer, kind).detach()
    found = named_as_in_timm(stored)
    attention = timm.create_model("test_vit").blocks[0].attn.eval()
    attention.qkv.load_state_dict({kind: found[f"blocks.0.attn.qkv.{kind}"] for kind in ("weight", "bias")})
    heads = attention.num_heads
    query, key, value = (parts[part](tokens).view(1, 5, heads, -1).transpose(1, 2) for part in parts)
    plain = functional.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1) @ value
    expected = attention.proj(plain.transpose(1, 2).flatten(2))
    assert torch.allclose(attention(tokens), expected, atol=1e-5)


def test_files_of_timm_are_taken_with_or_without_their_classifier(known, tmp_path):
    known("tiny", arguments=TINY)
    whole = transformer()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    kept = loaded(tmp_path / "w.safetensors").state_dict()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in kept.items())
    save_file({name: value.contiguous() for name, value in kept.items()}, tmp_path / "bare.safetensors")
    again = loaded(tmp_path / "bare.safetensors").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in again.items())


def test_a_file_that_does_not_fit_says_which_tensors_differ(known, tmp_path):
    known("tiny", arguments=TINY)
    known("deep", arguments={**TINY, "depth": 6})
    known("coarse", arguments={**TINY, "patch_size": 16, "img_size": 128})
    for name in ("deep", "coarse", "tiny"):
        save_file(transformer(name).state_dict(), tmp_path / f"{name}.safetensors")
    with pytest.raises(DataError, match=r"cannot be loaded into the encoder: 24 not in the network: blocks\.4\."):
        loaded(tmp_path / "deep.safetensors")
    with pytest.raises(
        DataError, match=r"24 missing: blocks\.4\.norm1\.weight, .*, \.\.\.; 4 not in the network: head"
    ) as caught:
        loaded(tmp_path / "tiny.safetensors", encoder="deep")
    assert str(caught.value).startswith(str(tmp_path / "tiny.safetensors"))
    shape = r"1 of another shape: patch_embed\.proj\.weight \(64 x 3 x 14 x 14, not 64 x 3 x 16 x 16\)"
    with pytest.raises(DataError, match=shape):
        loaded(tmp_path / "tiny.safetensors", encoder="coarse")


@pytest.mark.parametrize("wrapper", ["module.", "teacher.backbone."])
def test_what_a_program_puts_before_all_names_does_not_matter(known, tmp_path, wrapper):
    known("tiny", arguments=TINY)
    whole = transformer().state_dict()
    save_file({f"{wrapper}{name}": value for name, value in whole.items()}, tmp_path / "w.safetensors")
    kept = loaded(tmp_path / "w.safetensors").state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in kept.items())


@pytest.mark.parametrize("name", ["reg_token", "norm_pre.weight"])
def test_a_transformer_that_computes_something_else_is_refused(known, tmp_path, name):
    known("tiny", arguments=TINY)
    save_file({**transformer().state_dict(), name: torch.zeros(1, 4, 64)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=rf"1 not in the network: {name}") as caught:
        loaded(tmp_path / "w.safetensors")
    assert "docs/encoders.md says how other files become one" in str(caught.value)


def test_weights_are_downloaded_by_the_repository_and_named_as_any_file(known, monkeypatch):
    known("tiny", arguments={**TINY, "init_values": None})
    whole, asked = transformer(), []

    def download(repository, weights_only):
        asked.append((repository, weights_only))
        return as_in_transformers(whole.state_dict(), old=True)

    monkeypatch.setattr(encoders, "load_state_dict_from_hf", download)
    built = build_network(network(encoder_weights="imagenet"), 1, pretrained=True)
    assert asked == [("some/where", True)]
    kept = built.network.encoder.transformer.state_dict()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in kept.items())


def test_what_cannot_be_downloaded_says_what_to_bring_and_that_terms_come_first(known, monkeypatch):
    known("tiny", arguments=TINY, gated=True)

    def unreachable(*_, **__):
        raise OSError("We couldn't connect to the hub.\nCheck your connection.")

    monkeypatch.setattr(encoders, "load_state_dict_from_hf", unreachable)
    with pytest.raises(UserError) as caught:
        build_network(network(encoder_weights="imagenet"), 1, pretrained=True)
    said = str(caught.value)
    assert 'the weights of the encoder "tiny" cannot be downloaded (We couldn\'t connect to the hub.).' in said
    assert "copy model.safetensors from huggingface.co/some/where and give that file as encoder_weights;" in said
    assert "The terms have to be accepted" in said
