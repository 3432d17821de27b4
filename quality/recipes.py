"""Recipes to compare: the default, the models of the presets, and the default with one thing changed.

A recipe is the part of a model's config that is about the network and its training. What belongs to the data (tile set,
crop, means of the channels of another stain) or to the time at hand (epochs, tiles an epoch) is left to the comparison.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
Recipe = dict[str, Any]
LEFT_OUT = (
    "tiles",
    "crop",
    "crop_at",
    "epochs",
    "tiles_per_epoch",
    "inference",
    "mean",
    "std",
    "pseudo",
    "validate_every",
    "validate_on",
    "seed",
)
SAME_COST = (
    "random encoder",
    "no EMA",
    "flips and turns only",
    "loss BCE only",
    "loss Dice only",
    "tiles drawn by source",
    "tiles drawn by class",
    "a third of the crops at a class",
    "CutMix",
    "SWA",
)
"""Ablations that train as fast as the default."""

PRESETS = {
    "S1 kidney-notebook": ("kidney-notebook", "unet"),
    "S2 vasculature U-Net": ("vasculature-fcn-unet", "unet"),
    "S2 vasculature FCN": ("vasculature-fcn-unet", "fcn"),
    "S3 kidney-4th": ("kidney-4th", "first"),
    "S4 kidney-2nd": ("kidney-2nd", "unet-regnety16"),
    "S5 sartorius": ("sartorius-attention-unet", "attention"),
}


def default() -> Recipe:
    """The recipe of ``config/config.yaml``."""
    return _recipe(REPOSITORY / "config" / "config.yaml", "unet")


def presets(*, download: bool) -> dict[str, Recipe]:
    """The recipes of the presets.

    Args:
        download: load the weights of encoders that a preset names; else these encoders start from random weights.
    """
    found = {}
    for name, (preset, model) in PRESETS.items():
        recipe = _recipe(REPOSITORY / "config" / "presets" / f"{preset}.yaml", model)
        if recipe.get("encoder_weights") == "imagenet" and not download:
            recipe["encoder_weights"] = "random"
        # what names classes or slides of the preset's own data
        recipe.pop("class_weights", None)
        recipe.get("sampling", {}).get("rates", {}).pop("role", None)
        found[name] = recipe
    return found


def ablations() -> dict[str, Recipe]:
    """The default with one thing changed."""
    changes: Mapping[str, Recipe] = {
        "encoder lite1": {"encoder": "tu-efficientnet_lite1"},
        "encoder lite2": {"encoder": "tu-efficientnet_lite2"},
        "encoder of the old name": {"encoder": "timm-tf_efficientnet_lite0"},
        "random encoder": {"encoder_weights": "random"},
        "no EMA": {"ema": None},
        "flips and turns only": {"augmentation": "d4"},
        "loss BCE only": {"loss": {"bce": 1}},
        "loss Dice only": {"loss": {"dice": 1}},
        "tiles drawn by source": {"sampling": {"rates": {"source": "equal"}}},
        "tiles drawn by class": {"sampling": {"rates": {"class": "equal"}}},
        "a third of the crops at a class": {"class_crops": 0.33},
        "smp's wide decoder": {"options": {}},
        "deep supervision": {"deep_supervision": 2},
        "CutMix": {"mixing": {"kind": "cutmix", "probability": 0.5, "alpha": 1}},
        "SWA": {"swa": 0.3},
    }
    return {name: {**default(), **change} for name, change in changes.items()}


def transformers(encoder: str, weights: str) -> dict[str, Recipe]:
    """The default with a vision transformer as its encoder, frozen and trained at a tenth of the rate.

    Args:
        encoder: a foundation model of ``docs/encoders.md``.
        weights: its file.
    """
    tokens = {**default(), "encoder": encoder, "encoder_weights": weights}
    return {
        f"{encoder} frozen": {**tokens, "encoder_rate": 0},
        f"{encoder} at a tenth of the rate": {**tokens, "encoder_rate": 0.1},
    }


def _recipe(path: Path, model: str) -> Recipe:
    spec = yaml.safe_load(path.read_text())["models"][model]
    return {key: value for key, value in spec.items() if key not in LEFT_OUT}
