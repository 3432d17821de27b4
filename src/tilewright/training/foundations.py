"""Vision transformers that encoders can be: those of timm by its names, and foundation models by short names.

What stands here of a foundation model is what its publisher says of it; ``docs/encoders.md`` is made of the table.
"""

from dataclasses import dataclass, field
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers.mlp import SwiGLUPacked
from timm.models import is_model_in_modules
from torch import nn

Channels = tuple[float, float, float]

MODULES = ("vision_transformer", "deit", "eva")
"""Modules of timm whose networks keep tokens of one grid, a patch each, from the first block to the last."""
GATED = "The terms have to be accepted on the page first; a token of an account that did has to be at hand."


@dataclass(frozen=True)
class Foundation:
    """A published transformer.

    Attributes:
        repository: where its weights lie on huggingface.co.
        timm: the name of its architecture in timm.
        license: what it may be used for.
        patch: edge of its patches, in pixels.
        parameters: how many it has, without a classifier.
        arguments: what of the architecture is not as timm's name says.
        mean: mean of the channels that it was trained with, 0 to 1.
        std: their standard deviation.
        gated: whether somebody has to agree to terms before a download.
    """

    repository: str
    timm: str
    license: str
    patch: int
    parameters: int
    arguments: dict[str, Any] = field(default_factory=dict)
    mean: Channels = IMAGENET_DEFAULT_MEAN
    std: Channels = IMAGENET_DEFAULT_STD
    gated: bool = False


_GATED_UNIT: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
_HIBOU: dict[str, Any] = {
    "license": "Apache-2.0",
    "mean": (0.7068, 0.5755, 0.7220),
    "std": (0.1950, 0.2316, 0.1816),
}
_NO_DERIVATIVES = "CC-BY-NC-ND-4.0"
_OWKIN = "Owkin, non-commercial"
_META = "DINOv3 License"

FOUNDATIONS = {
    "h-optimus-0": Foundation(
        "bioptimus/H-optimus-0",
        "vit_giant_patch14_reg4_dinov2",
        "Apache-2.0",
        14,
        1_134_774_272,
        {"img_size": 224},
        (0.707223, 0.578729, 0.703617),
        (0.211883, 0.230117, 0.177517),
        gated=True,
    ),
    "uni2-h": Foundation(
        "MahmoodLab/UNI2-h",
        "vit_giant_patch14_224",
        _NO_DERIVATIVES,
        14,
        681_394_176,
        {
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "init_values": 1e-5,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            **_GATED_UNIT,
        },
        gated=True,
    ),
    "virchow2": Foundation(
        "paige-ai/Virchow2",
        "vit_huge_patch14_224",
        _NO_DERIVATIVES,
        14,
        631_239_424,
        {"init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": 4, **_GATED_UNIT},
        gated=True,
    ),
    "hibou-b": Foundation(
        "histai/hibou-b",
        "vit_base_patch14_reg4_dinov2",
        patch=14,
        parameters=85_739_520,
        arguments={"img_size": 224, "mlp_ratio": 2.66667 * 2, **_GATED_UNIT},
        **_HIBOU,
    ),
    "hibou-l": Foundation(
        "histai/hibou-L",
        "vit_large_patch14_reg4_dinov2",
        patch=14,
        parameters=303_657_216,
        arguments={"img_size": 224, "mlp_ratio": 5472 / 1024, **_GATED_UNIT},
        gated=True,
        **_HIBOU,
    ),
    "phikon": Foundation("owkin/phikon", "vit_base_patch16_224", _OWKIN, 16, 85_798_656),
    "phikon-v2": Foundation(
        "owkin/phikon-v2",
        "vit_large_patch16_224",
        _OWKIN,
        16,
        303_350_784,
        {"init_values": 1e-5},
    ),
    "lunit-s8": Foundation(
        "1aurent/vit_small_patch8_224.lunit_dino",
        "vit_small_patch8_224",
        "Lunit, non-commercial",
        8,
        21_670_272,
        mean=(0.70322989, 0.53606487, 0.66096631),
        std=(0.21716536, 0.26081574, 0.20723464),
    ),
    "dinov2-s": Foundation(
        "timm/vit_small_patch14_dinov2.lvd142m", "vit_small_patch14_dinov2", "Apache-2.0", 14, 22_056_192
    ),
    "dinov2-b": Foundation(
        "timm/vit_base_patch14_dinov2.lvd142m", "vit_base_patch14_dinov2", "Apache-2.0", 14, 86_579_712
    ),
    "dinov2-l": Foundation(
        "timm/vit_large_patch14_dinov2.lvd142m", "vit_large_patch14_dinov2", "Apache-2.0", 14, 304_367_616
    ),
    "dinov3-s": Foundation("timm/vit_small_patch16_dinov3.lvd1689m", "vit_small_patch16_dinov3", _META, 16, 21_586_944),
    "dinov3-b": Foundation("timm/vit_base_patch16_dinov3.lvd1689m", "vit_base_patch16_dinov3", _META, 16, 85_641_216),
    "dinov3-l": Foundation(
        "timm/vit_large_patch16_dinov3.lvd1689m", "vit_large_patch16_dinov3", _META, 16, 303_079_424
    ),
}
"""Foundation models by the name that a config gives them."""


def is_transformer(encoder: str) -> bool:
    """Whether an encoder is a vision transformer: a foundation model, or one of timm, given as tu-NAME."""
    return encoder in FOUNDATIONS or (
        encoder.startswith("tu-") and is_model_in_modules(encoder.removeprefix("tu-"), MODULES)
    )


def build_transformer(encoder: str, *, pretrained: bool = False) -> Any:
    """A transformer of timm for images of any size, without a classifier.

    Args:
        encoder: one that ``is_transformer``.
        pretrained: download the weights that timm knows by the name.
    """
    return timm.create_model(timm_name(encoder), pretrained=pretrained, **timm_arguments(encoder))


def timm_name(encoder: str) -> str:
    """The name by which timm makes a transformer."""
    return FOUNDATIONS[encoder].timm if encoder in FOUNDATIONS else encoder.removeprefix("tu-")


def timm_arguments(encoder: str) -> dict[str, Any]:
    """What timm is told of a transformer beside its name."""
    own = FOUNDATIONS[encoder].arguments if encoder in FOUNDATIONS else {}
    return {"num_classes": 0, "dynamic_img_size": True, **own}
