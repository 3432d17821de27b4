"""The weights of a whole network that a training starts from, read so that nothing of a file is executed.

Names of tensors are those of ``Segmenter``; those of other programs' files fit after prefixes that wrappers put before
them. Heads that depend on the classes, or that are trained beside the network, may be missing or have another shape;
then they stay as they were drawn. Everything else must fit.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from tilewright.project.bundle import bundle_file, read_bundle
from tilewright.project.bundlefiles import REMEDY
from tilewright.project.bundlenetworks import BundleNetwork, OnnxNetwork
from tilewright.project.config.training import Network
from tilewright.project.places import NETWORK, weights_file
from tilewright.runtime.errors import Problem, UserError
from tilewright.training.architectures import spelt_out
from tilewright.training.tensors import fitting, listed, misfits

PREFIXES = ("module.", "model.", "network.", "segmenter.")
"""What wrappers put before the names of a network's tensors."""
HEADS = ("segmentation_head.", "head.", "coarse_heads.", "image_head.")
"""Parts that give something for each class."""
BESIDE = ("coarse_heads.", "image_head.")
"""Heads that are trained beside the network; a file may have those that the network has not."""
BUFFERS = ("mean", "std")
"""Normalisation of the input."""
FIT = "Start from weights of the same architecture, encoder and options."


def started(network: Network) -> Network:
    """The network with the mean and std of the weights that it starts from, where the config gives none.

    Weights mean something for the input that they were trained with. Only a file of this project tells it; in those of
    other programs buffers of these names may count in other units.

    Raises:
        UserError, DataError: as of ``load_start``.
    """
    if network.start is None:
        return network
    found, _ = read_weights(network)
    told = {
        name: [round(value / 255, 6) for value in found[name].flatten().tolist()]
        for name in BUFFERS
        if getattr(network, name) is None and name in found and any(each.startswith("network.") for each in found)
    }
    return network.model_copy(update=told)


def load_start(segmenter: nn.Module, network: Network) -> list[str]:
    """Give a network the weights of a file.

    Args:
        segmenter: the network as it was drawn; its mean and std stay as they are.
        network: says which file; of a bundle the first member with its architecture and encoder is taken.

    Returns:
        What is worth a line in the log.

    Raises:
        UserError: the file cannot be read without executing what it holds, or does not fit; names what differs.
        DataError: a bundle that is damaged.
    """
    weights, source = read_weights(network)
    own = {name: value for name, value in segmenter.state_dict().items() if name not in BUFFERS}
    given = _renamed(weights, own, source)
    fits = fitting(own, given)
    drawn = [name for name in own if name not in fits and _is_of(HEADS, name)]
    unused = [name for name in given if name not in own and _is_of(BESIDE, name)]
    if wrong := list(misfits(own, given, {*fits, *drawn, *unused})):
        raise UserError(Problem(source, f"does not fit the network: {'; '.join(wrong)}.", FIT))
    segmenter.load_state_dict(fits, strict=False)
    said = [f"starting from {len(fits)} tensors of {source}"]
    said += [f"drawn anew, because the file has none of this shape: {', '.join(drawn)}"] if drawn else []
    return said + ([f"in the file and not in the network: {', '.join(unused)}"] if unused else [])


def load_trained(segmenter: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network all its weights, as a training of the same network left them.

    Raises:
        ValueError: they are those of another network; names what differs.
    """
    own = segmenter.state_dict()
    if wrong := list(misfits(own, weights, set(fitting(own, weights)))):
        raise ValueError(f"weights of another network: {'; '.join(wrong)}")
    segmenter.load_state_dict(weights)


def read_weights(network: Network) -> tuple[dict[str, Tensor], str]:
    """The tensors that a network starts from, by their names in their file, and where they come from.

    Raises:
        UserError, DataError: as of ``load_start``.
    """
    assert network.start, "only asked for by networks that start from weights"
    path = weights_file(Path(network.start))
    if not path.is_file():
        remedy = "Name a .safetensors, .pt or .pth file, a bundle, or a folder that train wrote."
        raise UserError(Problem(str(path), "there are no weights to start from.", remedy))
    if path.suffix == Path(NETWORK).suffix:
        try:
            return load_file(path), str(path)
        except (OSError, SafetensorError) as error:
            raise UserError(Problem(str(path), f"cannot be read ({error}).", "Copy the file again.")) from error
    if path.suffix in (".pt", ".pth"):
        return _read_pickle(path), str(path)
    return _read_bundle(Path(network.start), network)


def _read_bundle(path: Path, network: Network) -> tuple[dict[str, Tensor], str]:
    """Weights of the first member of a bundle that is built like the network, and which they are."""
    bundle, wanted = read_bundle(path), (network.architecture.lower(), spelt_out(network).encoder)
    alike = [one for one in bundle.members if _built_as(one.network) == wanted]
    if not alike:
        held = [f"{one.name} ({one.network.told})" for one in bundle.members]
        own = f"{network.architecture} with {wanted[1] or 'no encoder'}"
        what = f"none of its members is built like the network, {own}: {listed(held)}."
        raise UserError(Problem(str(path), what, FIT))
    file = alike[0].weights[0].file
    try:
        return load(bundle_file(path, bundle, file)), f"{path}, {file}"
    except SafetensorError as error:
        raise UserError(Problem(f"{path}, {file}", f"cannot be read ({error}).", REMEDY)) from error


def _built_as(network: BundleNetwork | OnnxNetwork) -> tuple[str, str | None] | None:
    """Architecture and encoder of a network; None: it is a graph, whose weights have names of their own."""
    return None if isinstance(network, OnnxNetwork) else (network.architecture.lower(), network.encoder)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickle, which PyTorch reads without calling anything that the file names."""
    remedy = 'Where you trust it, write its tensors: safetensors.torch.save_file(model.state_dict(), "x.safetensors").'
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # the pickle's machine raises whatever a damaged or a strange file leads it to
        what = "is damaged, or holds more than tensors, which would have to be executed; it was not."
        raise UserError(Problem(str(path), what, remedy)) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(Problem(str(path), "holds no state of a network: tensors by name.", remedy))
    return {str(name): value for name, value in state.items()}


def _renamed(given: Mapping[str, Tensor], own: Iterable[str], source: str) -> dict[str, Tensor]:
    """The tensors by the names that the network has for them, without its mean and std."""
    names = {_bare(name): name for name in own}
    renamed: dict[str, Tensor] = {}
    for name, value in given.items():
        known = name if name in names.values() else names.get(_bare(name), name)
        if known in renamed:
            what = f"holds several tensors for {known}: it keeps more than one network."
            raise UserError(Problem(source, what, "Write a file that holds the one to start from."))
        if _bare(name) not in BUFFERS:
            renamed[known] = value
    return renamed


def _bare(name: str) -> str:
    """A name without what wrappers put before it."""
    while prefix := next((each for each in PREFIXES if name.startswith(each)), ""):
        name = name.removeprefix(prefix)
    return name


def _is_of(parts: tuple[str, ...], name: str) -> bool:
    return _bare(name).startswith(parts)
