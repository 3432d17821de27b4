"""Encoders: the weights that they start from, and the normalisation of what those were trained on."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import huggingface_hub.constants
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import load_state_dict_from_hf
from torch import Tensor, nn

from tilewright.project.config.training import AT_HAND, ENCODER, Network
from tilewright.runtime.errors import DataError, Problem, UserError
from tilewright.training.foundations import FOUNDATIONS, GATED, Foundation
from tilewright.training.tensors import fitting, misfits, named_as_in_timm

_KEPT = {
    "timm-tf_efficientnet_lite": "tu-efficientnet_lite",
    "timm-efficientnet-": "tu-tf_efficientnet_",
    "timm-mobilenetv3": "tu-tf_mobilenetv3",
    "timm-": "tu-",
}
"""How names of encoders begin that segmentation_models_pytorch will drop, and those that it keeps."""

OWN = "Give a .safetensors file of this encoder's state; docs/encoders.md says how other files become one."
TOKENS = "patch_embed.proj.weight"
"""A tensor that transformers have."""
AFTER = ("norm.", "fc_norm.", "head", "attn_pool.", "pooler.", "classifier.", "mask_token", "embeddings.mask_token")
"""How names of tensors begin that transformers have for what is not asked of an encoder."""


def normalisation(network: Network) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the channels.

    The config's, else those that the encoder's weights were trained with.
    """
    mean: Sequence[float] = [0.5, 0.5, 0.5]
    std: Sequence[float] = [0.5, 0.5, 0.5]
    if foundation := FOUNDATIONS.get(network.encoder or ENCODER):
        mean, std = foundation.mean, foundation.std
    elif network.encoder_weights == "imagenet":
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
    """Load a .safetensors file of the encoder's state, or of a whole network of timm or transformers.

    Raises:
        DataError: it cannot be read, or does not fit the encoder; names what differs.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(Problem(str(path), f"cannot be loaded ({first_line(error)}).", OWN)) from error
    _load(encoder, stored, str(path))


def load_foundation(encoder: nn.Module, foundation: Foundation) -> None:
    """Load the weights of a foundation model, which are downloaded where they were not before.

    Raises:
        DataError: they are not those of the model that is known by the name; names what differs.
    """
    stored = load_state_dict_from_hf(foundation.repository, weights_only=True)
    _load(encoder, stored, f"huggingface.co/{foundation.repository}")


def _load(encoder: nn.Module, stored: Mapping[str, Tensor], source: str) -> None:
    own = encoder.state_dict()
    given = _renamed(named_as_in_timm(_without_wrapper(stored, own)), own)
    if wrong := list(misfits(own, given, set(fitting(own, given)))):
        raise DataError(Problem(source, f"cannot be loaded into the encoder: {'; '.join(wrong)}.", OWN))
    encoder.load_state_dict(given)


def _without_wrapper(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors without what all their names begin with, put there by programs that wrap a network."""
    while not own.keys() & stored.keys() and len({name.partition(".")[0] for name in stored}) == 1:
        bare = {name.partition(".")[2]: value for name, value in stored.items()}
        if "" in bare:
            break
        stored = bare
    return stored


def _renamed(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that they have in the encoder; without those that it does not need, if it has all it needs.

    What the encoder does not need is a classifier, or levels that are coarser than it goes. A transformer with more
    blocks or tokens is another one.
    """
    # the library wraps the network, whose stages may become parts of their own: stages.0 is model.stages_0 then
    names = {name.removeprefix("model.").replace(".", "_"): name for name in wanted}
    given = {name if name in wanted else names.get(name.replace(".", "_"), name): each for name, each in stored.items()}
    if wanted.keys() <= given.keys():
        whole = any(name.endswith(TOKENS) for name in wanted)
        given = {name: each for name, each in given.items() if name in wanted or (whole and not name.startswith(AFTER))}
    return given


def not_loaded(network: Network, error: Exception) -> Problem:
    """What is said where the weights of an encoder cannot be had, most often for want of a connection."""
    encoder = network.encoder or ENCODER
    foundation = FOUNDATIONS.get(encoder)
    whose = "" if foundation else "ImageNet "
    what = f'the {whose}weights of the encoder "{encoder}" cannot be downloaded ({first_line(error)}).'
    source = f"huggingface.co/{place}" if (place := _repository(encoder)) else "where they are published"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in normalisation(network))
    given = f"encoder_weights: FILE.safetensors, mean: [{mean}], std: [{std}]"
    if foundation:
        given = "that file as encoder_weights"
    gate = f" {GATED}" if foundation and foundation.gated else ""
    cache = huggingface_hub.constants.HF_HUB_CACHE
    remedy = (
        f"Weights are fetched once and stay in {cache} (HF_HOME): where jobs have no network, run `tilewright check` "
        f"where there is one, such as the login node. Or copy model.safetensors from {source} and give {given}; or "
        f"take encoder_weights: random, or weights of a whole network (start).{gate}"
    )
    return Problem("config, models", what, remedy)


def _repository(encoder: str) -> str:
    """Where the weights of an encoder lie; empty where that is not known."""
    if encoder in FOUNDATIONS:
        return FOUNDATIONS[encoder].repository
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
