"""Networks by name: all architectures and encoders of segmentation_models_pytorch, and those of ``networks``."""

import inspect
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from tilewright.project.config.base import MULTIPLE, width_and_height
from tilewright.project.config.training import ENCODER, Network
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean, nearest_name
from tilewright.training.devices import half_type
from tilewright.training.encoders import (
    first_line,
    load_at_hand,
    load_encoder_file,
    load_foundation,
    normalisation,
    not_loaded,
)
from tilewright.training.foundations import (
    FOUNDATIONS,
    build_transformer,
    is_transformer,
    timm_arguments,
    timm_name,
)
from tilewright.training.networks import NETWORKS
from tilewright.training.segmenter import Segmenter
from tilewright.training.transformers import TransformerEncoder, registered


def build_network(network: Network, classes: int, *, pretrained: bool) -> Segmenter:
    """Make a network.

    Args:
        network: architecture, encoder and their options.
        classes: number of classes; the logits have a channel for each target of each.
        pretrained: load ``network.encoder_weights``; not wanted where trained weights follow.

    Raises:
        UserError: an unknown architecture, encoder or option.
        DataError: a file of weights that does not fit the encoder.
    """
    check_network(network)
    channels = classes * len(network.targets)
    if own := _own(network.architecture):
        model: Any = own(channels, **network.options)
        blocks, deepest, encoder = list(model.decoder_blocks), model.deepest, None
    else:
        model = _of_library(network, channels, pretrained=pretrained)
        blocks, deepest, encoder = _blocks(model), model.encoder, _pretrained(model.encoder)
    resize = width_and_height(network.resize) if network.resize else None
    segmenter = Segmenter(model, *normalisation(network), half_type(network.precision), resize, encoder)
    if network.encoder_rate == 0:
        segmenter.freeze()
    # the finest block feeds the network's own head
    supervised = blocks[-2::-1][: network.deep_supervision]
    if len(supervised) < network.deep_supervision:
        what = f"deep_supervision: {network.deep_supervision}, but the decoder has {len(supervised)} coarser levels."
        raise UserError(Problem("config, models", what, "Lower it."))
    if network.deep_supervision or network.image_loss:
        image = deepest if network.image_loss else None
        segmenter.add_heads(classes, supervised, image, len(network.targets))
    return segmenter


def parameters(network: Network, classes: int) -> int:
    """Parameters of a network that are trained; nothing is drawn, and no memory taken."""
    with torch.device("meta"):
        built = build_network(network, classes, pretrained=False)
    return sum(each.numel() for each in built.parameters() if each.requires_grad)


def check_network(network: Network) -> None:
    """Check the names of architecture, encoder and options, and what they allow, without building anything.

    Raises:
        UserError: everything that is wrong, with the nearest known name.
    """
    problems = [Problem("config, models", what, remedy) for what, remedy in _problems(network)]
    if problems:
        raise UserError(problems)


def _problems(network: Network) -> list[tuple[str, str]]:
    """What is wrong, each with its remedy."""
    problems = []
    own, architectures = _own(network.architecture), _architectures()
    model = own or architectures.get(network.architecture.lower())
    if model is None:
        known = [*NETWORKS, *(architecture.__name__ for architecture in architectures.values())]
        problems.append(
            (f'architecture "{network.architecture}" is unknown.', did_you_mean(network.architecture, known))
        )
    elif unknown := [name for name in network.options if name not in (known := _options(model))]:
        problems += [
            (f'option "{name}" is unknown to {network.architecture}.', did_you_mean(name, known)) for name in unknown
        ]
    elif own and (fault := _fault(own, network.options)):
        remedy = f"Correct options; {network.architecture} takes {', '.join(_options(own)) or 'none'}."
        problems.append((f"{network.architecture} cannot be built ({fault}).", remedy))
    weights, encoder = network.encoder_weights, network.encoder or ENCODER
    if own and (network.encoder or weights not in ("auto", "random")):
        problems.append((f"{network.architecture} has no encoder.", "Leave out encoder and encoder_weights."))
    elif encoder not in (known := [*smp.encoders.get_encoder_names(), *FOUNDATIONS]) and not _is_timm(encoder):
        near = nearest_name(encoder, [*known, *(f"tu-{name}" for name in timm.list_models())])
        problems.append((f'encoder "{encoder}" is unknown.', did_you_mean(encoder, [near] if near else known)))
    elif _is_dpt(network.architecture) and is_transformer(encoder) and (patch := _patch(encoder)) and MULTIPLE % patch:
        remedy = "Use Unet, FPN, UPerNet or another architecture: they take any patch."
        problems.append((f"DPT takes patches of 8 or 16 pixels, and those of {encoder} have {patch}.", remedy))
    if own and network.encoder_rate != 1:
        problems.append((f"encoder_rate: {network.architecture} has no encoder.", "Leave out encoder_rate."))
    if network.deep_supervision and model is not None and not _supervisable(model):
        remedy = "Use Unet, UnetPlusPlus, Linknet, MAnet, PlainUnet or AttentionUnet."
        problems.append((f"deep_supervision is not possible with {network.architecture}.", remedy))
    return problems


def _of_library(network: Network, classes: int, *, pretrained: bool) -> Any:
    weights, encoder = network.encoder_weights if pretrained else "random", network.encoder or ENCODER
    foundation = FOUNDATIONS.get(encoder) if weights == "imagenet" else None
    try:
        model = _created(network, classes, download=weights == "imagenet" and foundation is None)
        if foundation:
            load_foundation(_pretrained(model.encoder), foundation)
    except DataError:
        raise
    except Exception as error:  # the library raises whatever its parts do for options that do not fit each other
        if weights == "imagenet" and _is_built_without_weights(network, classes):
            raise UserError(not_loaded(network, error)) from error
        what = f"{network.architecture} with {encoder} cannot be built ({first_line(error)})."
        raise UserError(Problem("config, models", what, "Check options, encoder_weights and the network.")) from error
    if weights == "auto":
        load_at_hand(model.encoder, encoder)
    elif weights not in ("random", "imagenet"):
        load_encoder_file(_pretrained(model.encoder), Path(weights))
    return model


def _created(network: Network, classes: int, *, download: bool) -> Any:
    """The network as the library builds it: DPT with transformers of its own, others with those of this project."""
    encoder, options = network.encoder or ENCODER, dict(network.options)
    made: AbstractContextManager[str] = nullcontext("")
    if is_transformer(encoder) and _is_dpt(network.architecture):
        encoder, options = f"tu-{timm_name(encoder)}", options | timm_arguments(encoder)
    elif is_transformer(encoder):
        made, download = registered(encoder, pretrained=download), False
    # the library warns where it is given a name for an encoder of timm
    hub = (encoder.startswith("tu-") or "imagenet") if download else None
    with warnings.catch_warnings(), made as name:
        warnings.filterwarnings("ignore", "`timm-", DeprecationWarning)  # the names that weights are known by
        return smp.create_model(network.architecture, name or encoder, encoder_weights=hub, classes=classes, **options)


def _is_built_without_weights(network: Network, classes: int) -> bool:
    try:
        _created(network, classes, download=False)
    except Exception:  # as above
        return False
    return True


def _pretrained(encoder: nn.Module) -> nn.Module:
    """The part of an encoder that weights can be had for: of transformers all but what is put beside them here."""
    return encoder.transformer if isinstance(encoder, TransformerEncoder) else encoder


def _is_dpt(architecture: str) -> bool:
    return architecture.lower() == "dpt"


def _patch(encoder: str) -> int:
    """Edge of the patches of a transformer, in pixels."""
    with torch.device("meta"):
        patch: int = build_transformer(encoder).patch_embed.patch_size[0]
    return patch


def _own(architecture: str) -> type[nn.Module] | None:
    return {name.lower(): model for name, model in NETWORKS.items()}.get(architecture.lower())


def _fault(own: type[nn.Module], options: dict[str, Any]) -> str:
    """What is wrong with the values of options; empty: nothing. Nothing is drawn, and no memory taken."""
    try:
        with torch.device("meta"):
            own(1, **options)
    except (TypeError, ValueError) as error:
        return first_line(error)
    return ""


def _architectures() -> dict[str, type[nn.Module]]:
    """Those of the library, by their names in lower case."""
    found = (getattr(smp, name) for name in dir(smp))
    base = smp.base.SegmentationModel
    return {item.__name__.lower(): item for item in found if isinstance(item, type) and issubclass(item, base)}


def _options(model: type[nn.Module]) -> list[str]:
    """Arguments that the config may give; the others follow from other keys."""
    taken = ("classes", "encoder_name", "encoder_weights", "in_channels", "activation", "aux_params")
    return [name for name in inspect.signature(model).parameters if name not in taken]


def _is_timm(encoder: str) -> bool:
    """Whether a name means an encoder of timm, given as tu-NAME."""
    return encoder.startswith("tu-") and bool(timm.is_model(encoder.removeprefix("tu-")))


def _supervisable(model: type[nn.Module]) -> bool:
    """Whether the decoder works in blocks from coarse to fine."""
    return model.__name__ in ("Unet", "UnetPlusPlus", "Linknet", "MAnet", "PlainUnet", "AttentionUnet")


def _blocks(model: Any) -> list[nn.Module]:
    """The blocks of a decoder from coarse to fine; of UnetPlusPlus those that lead to its result."""
    blocks = getattr(model.decoder, "blocks", [])
    if isinstance(blocks, nn.ModuleDict):
        depth = model.decoder.depth
        return [blocks[f"x_{0}_{place}"] for place in range(depth + 1)]
    return list(blocks)


def spelt_out(network: Network) -> Network:
    """The network with encoder, mean and std as they are, so that other defaults would not change it."""
    mean, std = normalisation(network)
    encoder = None if _own(network.architecture) else network.encoder or ENCODER
    return network.model_copy(update={"encoder": encoder, "mean": mean, "std": std})
