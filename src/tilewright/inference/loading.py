"""Trained networks, from the folders that ``train`` writes and from bundles."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file

from tilewright.inference.onnxgraphs import load_onnx
from tilewright.project.bundle import BundleMember, bundle_file, read_bundle
from tilewright.project.bundlenetworks import OnnxNetwork
from tilewright.project.config import Network
from tilewright.project.orders import BundledModel
from tilewright.project.places import CARD, NETWORK
from tilewright.project.targets import band_names
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.failures import remedy_for
from tilewright.runtime.hashed import file_hash
from tilewright.training.architectures import build_network
from tilewright.training.segmenter import Segmenter
from tilewright.training.start import load_trained


def load_folds(folders: Sequence[Path]) -> tuple[list[Segmenter], list[str]]:
    """The networks of the folds of a model, and the names of their bands.

    Raises:
        DataError: a fold cannot be read, or they hold different classes.
    """
    loaded = [load_model(folder) for folder in folders]
    first = loaded[0][1]
    for folder, (_, classes) in zip(folders, loaded, strict=True):
        if classes != first:
            what = f"holds the classes {', '.join(classes)}; {folders[0]} holds {', '.join(first)}."
            raise DataError(Problem(str(folder), what, "Delete the older one and run the same command again."))
    return [segmenter for segmenter, _ in loaded], first


def load_model(folder: str | Path) -> tuple[Segmenter, list[str]]:
    """Build the network of a folder that ``train`` wrote, with its weights, ready to predict.

    Returns:
        The network and the names of its bands: those of the classes, and with further targets, such as touching,
        ``CLASS:TARGET`` after them.

    Raises:
        DataError: a file is missing or does not fit.

    Examples:
        >>> model, classes = load_model("results/demo/models/unet/fold0")
        >>> import torch
        >>> with torch.inference_mode():
        ...     probabilities = model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).sigmoid()
        >>> classes, tuple(probabilities.shape)
        (['connective', 'inflammatory', 'neoplastic'], (1, 3, 64, 64))
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(Problem(str(folder), "there is no such folder.", "Name one that `train` wrote."))
    try:
        content = read_document(folder / CARD, folder)
        network = Network(**content["network"])
        segmenter = build_network(network, len(content["classes"]), pretrained=False)
        if file_hash(folder / NETWORK) != content["weights"]:
            raise ValueError(f"{NETWORK} is not the file that {CARD} describes")
        load_trained(segmenter, load_file(folder / NETWORK))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        remedy = remedy_for(error, "Delete the folder and run the same command again.", folder / NETWORK)
        raise DataError(Problem(str(folder), f"holds no usable model ({error}).", remedy)) from error
    return segmenter.eval(), band_names(content["classes"], network.targets)


def load_bundled(path: Path, model: BundledModel) -> tuple[list[Segmenter], list[str]]:
    """The networks of the folds of a model of a bundle, and the names of their bands.

    Args:
        path: the folder or the zip.
        model: the model as the job was told of it.

    Raises:
        DataError: the bundle is damaged, or another one than the job was planned with.
    """
    member, contents = model.member, bundled_weights(path, model)
    pairs = zip(contents, member.weights, strict=True)
    networks = [_of_bundle(content, member, path, file.file) for content, file in pairs]
    return networks, band_names(member.classes, member.targets)


def bundled_weights(path: Path, model: BundledModel) -> list[bytes]:
    """The files of weights of a model of a bundle, in the order of its folds.

    Raises:
        DataError: the bundle is damaged, or another one than the job was planned with.
    """
    bundle = read_bundle(path)
    if model not in [BundledModel.of(bundle, member) for member in bundle.members]:
        what = f"does not hold the model {model.member.name} that the job was planned with."
        raise DataError(Problem(str(path), what, "Run snakemake again, which plans with the bundle that is there."))
    return [bundle_file(path, bundle, one.file) for one in model.member.weights]


def _of_bundle(content: bytes, member: BundleMember, path: Path, file: str) -> Segmenter:
    if isinstance(member.network, OnnxNetwork):
        return load_onnx(content, member, f"{path}, {file}")
    segmenter = build_network(member.network.to_build(member.targets), len(member.classes), pretrained=False)
    try:
        load_trained(segmenter, load(content))
    except (ValueError, SafetensorError) as error:
        what = f"its weights do not fit the network of {member.name} ({error})."
        remedy = "Ask for the bundle again, packed by this version of tilewright, or use the version that packed it."
        raise DataError(Problem(str(path), what, remedy)) from error
    return segmenter.eval()
