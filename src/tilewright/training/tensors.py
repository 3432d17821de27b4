"""Tensors by name: what of a file does not fit a network, and names that other programs give them."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

SHOWN = 5
"""Tensors that a message names."""
PREFIXES = ("vit.", "dinov2.", "dinov2_with_registers.")
"""What transformers puts before names where a network has a head."""
PARTS = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.register_tokens": "reg_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"encoder\.layer\.(\d+)\.(?:layernorm_before|norm1)\.": r"blocks.\1.norm1.",
    r"encoder\.layer\.(\d+)\.(?:layernorm_after|norm2)\.": r"blocks.\1.norm2.",
    r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.": r"blocks.\1.attn.\2.",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense\.": r"blocks.\1.attn.proj.",
    r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1": r"blocks.\1.ls\2.gamma",
    r"encoder\.layer\.(\d+)\.(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.": r"blocks.\1.mlp.fc1.",
    r"encoder\.layer\.(\d+)\.(?:output\.dense|mlp\.fc2|mlp\.weights_out)\.": r"blocks.\1.mlp.fc2.",
    r"layernorm\.": "norm.",
}
"""How names of ViT and DINOv2 in transformers begin, and those of timm."""


def named_as_in_timm(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a vision transformer by timm's names, where the names are those of transformers; else as they are.

    There, queries, keys and values are three layers instead of one, and where there are registers, the position
    embedding holds a row for the class token, which timm adds to the token itself.
    """
    bare = {_without_prefix(name): value for name, value in stored.items()}
    if not any(name.startswith("embeddings.") for name in bare):
        return dict(stored)
    named = {_renamed(name): value for name, value in bare.items()}
    found = {name: value for name, value in named.items() if not re.search(r"\.attn\.(query|key|value)\.", name)}
    for name in [name for name in named if ".attn.query." in name]:
        parts = [named[part] for each in ("query", "key", "value") if (part := name.replace("query", each)) in named]
        found[name.replace("query", "qkv")] = torch.cat(parts)
    if "reg_token" in found and "pos_embed" in found:
        positions = found["pos_embed"]
        found |= {"cls_token": found["cls_token"] + positions[:, :1], "pos_embed": positions[:, 1:]}
    return found


def misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor], fine: set[str]) -> Iterable[str]:
    """What of a file does not fit.

    Args:
        own: tensors of the network.
        given: tensors of the file by the names that the network has for them.
        fine: names that are left out.
    """
    missing = [name for name in own if name not in given and name not in fine]
    surplus = [name for name in given if name not in own and name not in fine]
    shapes = [
        f"{name} ({_shape(given[name])}, not {_shape(own[name])})" for name in own if name in given and name not in fine
    ]
    for what, names in (("missing", missing), ("not in the network", surplus), ("of another shape", shapes)):
        if names:
            yield f"{len(names)} {what}: {listed(names)}"


def fitting(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file that the network has, with the same shape."""
    return {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}


def listed(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _without_prefix(name: str) -> str:
    return name.removeprefix(next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""))


def _renamed(name: str) -> str:
    for there, here in PARTS.items():
        if match := re.match(there, name):
            return match.expand(here) + name[match.end() :]
    return name


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one value"
