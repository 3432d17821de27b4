"""Encoders: the weights that they start from, and the normalisation of what those were trained on."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from tilewright.project.config.training import AT_HAND, ENCODER, Network
from tilewright.runtime.errors import DataError, Problem, UserError

_KEPT = {
    "timm-tf_efficientnet_lite": "tu-efficientnet_lite",
    "timm-efficientnet-": "tu-tf_efficientnet_",
    "timm-mobilenetv3": "tu-tf_mobilenetv3",
    "timm-": "tu-",
}
"""How names of encoders begin that segmentation_models_pytorch will drop, and those that it keeps."""


def normalisation(network: Network) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the channels.

    The config's, else those that the encoder's weights were trained with.
    """
    mean: Sequence[float] = [0.5, 0.5, 0.5]
    std: Sequence[float] = [0.5, 0.5, 0.5]
    if network.encoder_weights == "imagenet":
        # the library would ask the network for them, even where the weights are at hand
        name = (network.encoder or ENCODER).removeprefix("tu-").removeprefix("timm-")
        known = timm.get_pretrained_cfg(name, allow_unregistered=True)
        mean, std = (known.mean, known.std) if known else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return list(network.mean or mean), list(network.std or std)


def load_at_hand(encoder: nn.Module, name: str) -> None:
    """Load the ImageNet weights that an installed package holds for an encoder of ``AT_HAND``.

    Its tensors carry other names than the encoder's, but stand in the same order with the same shapes; the last ones
    belong to the classifier, which an encoder does not have.

    Raises:
        UserError: they do not fit the encoder.
    """
    models = (resources.files(AT_HAND[name]) / "models").iterdir()
    (path,) = (each for each in models if each.name.endswith(".pth"))
    stored = torch.load(str(path), weights_only=True, map_location="cpu")
    wanted = encoder.state_dict()
    values = list(stored.values())[: len(wanted)]
    if [value.shape for value in values] != [value.shape for value in wanted.values()]:
        what = f'the weights of the installed package do not fit the encoder "{name}" with these options.'
        raise UserError(Problem("config, models", what, f"They belong to {name} for RGB."))
    encoder.load_state_dict(dict(zip(wanted, values, strict=True)))


def load_encoder_file(encoder: nn.Module, path: Path) -> None:
    """Load a .safetensors file of the encoder's state, or of a whole network of timm.

    Raises:
        DataError: it cannot be read, or does not fit the encoder.
    """
    try:
        encoder.load_state_dict(_renamed(load_file(path), encoder.state_dict()))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        what = f"cannot be loaded into the encoder ({first_line(error)})."
        raise DataError(Problem(str(path), what, "Give a .safetensors file of this encoder's state.")) from error


def _renamed(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors of a network of timm by the names that they have in the encoder, if each of those is there."""
    # the library wraps the network, whose stages may become parts of their own: stages.0 is model.stages_0 then
    plain = {name.replace(".", "_"): tensor for name, tensor in stored.items()}
    found = {name: plain.get(name.removeprefix("model.").replace(".", "_")) for name in wanted}
    complete = {name: tensor for name, tensor in found.items() if tensor is not None}
    return complete if len(complete) == len(wanted) and stored.keys() != wanted.keys() else stored


def not_loaded(network: Network, error: Exception) -> Problem:
    """What is said where the ImageNet weights of an encoder cannot be had, most often for want of a connection."""
    encoder = network.encoder or ENCODER
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in normalisation(network))
    what = f'the ImageNet weights of the encoder "{encoder}" cannot be downloaded ({first_line(error)}).'
    source = f"huggingface.co/{place}" if (place := _repository(encoder)) else "where they are published"
    remedy = (
        f"Without a connection: copy model.safetensors from {source} and give encoder_weights: FILE.safetensors, "
        f"mean: [{mean}], std: [{std}]; or take encoder_weights: random, or weights of a whole network (start)."
    )
    return Problem("config, models", what, remedy)


def _repository(encoder: str) -> str:
    """Where the ImageNet weights of an encoder lie; empty where that is not known."""
    if encoder in smp.encoders.encoders:
        settings = smp.encoders.encoders[encoder]["pretrained_settings"]
        return str(settings.get("imagenet", {}).get("repo_id", ""))
    known = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
    return str(known.hf_hub_id or "") if known else ""


def successor(encoder: str) -> str:
    """The name that the library keeps of an encoder whose name it will drop (``timm-``); empty for others."""
    prefix = next((prefix for prefix in _KEPT if encoder.startswith(prefix)), "")
    name = _KEPT.get(prefix, "") + encoder.removeprefix(prefix).replace("-", "_")
    return name if prefix and timm.is_model(name.removeprefix("tu-")) else ""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
