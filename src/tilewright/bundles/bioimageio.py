"""A bundle as a zip for the BioImage Model Zoo, which programs such as ilastik, deepImageJ and BiaPy read.

``rdf.yaml`` describes it; ``input.npy`` and ``output.npy`` are an example. The mean of all networks lies in it as ONNX,
and where networks allow as TorchScript and as weights with ``net.py``. Input: batch x 3 x rows x columns, float32 from
0 to 255; output: probabilities, a channel for each band.
"""

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from tilewright.bundles import net
from tilewright.bundles.chosen import Chosen, scale_of
from tilewright.bundles.mean import Mean, mean_of, shared_bands
from tilewright.bundles.onnxfiles import write_onnx
from tilewright.bundles.tilescript import traced
from tilewright.project.bundle import Bundle
from tilewright.project.bundled import BundledMember
from tilewright.project.bundlenetworks import BundleNetwork
from tilewright.project.config.training import ENCODER
from tilewright.runtime.errors import TilewrightError
from tilewright.runtime.extras import WRITING_ONNX, require_extra
from tilewright.runtime.hashed import file_hash
from tilewright.runtime.progress import note
from tilewright.training.networks import NETWORKS

EXAMPLE = (128, 192)
"""Rows and columns of the example."""
DATE = (1980, 1, 1, 0, 0, 0)
ONNX_FILE, TRACED_FILE, WEIGHTS_FILE, CODE_FILE = "weights.onnx", "weights.torchscript.pt", "weights.pt", "net.py"
SCORES = (
    "", "Dice of training slides, each by networks that had not seen it:", "",
    "| class | source | Dice | slides |", "| --- | --- | --- | --- |",
)  # fmt: skip


def write_packages(
    bundle: Bundle, members: Sequence[Chosen], folder: Path, *, sample: NDArray[np.uint8] | None = None
) -> None:
    """Write ``{bundle}.zip`` with the mean of some members, or, where they work at several scales, a zip for each.

    Args:
        bundle: what it says of itself.
        members: the members.
        folder: where zips go.
        sample: an image of rows x columns x 3 whose middle is the example; without it, the example is drawn.

    Raises:
        UserError: the packages of the extra ``onnx`` are not installed.
        DataError: a network cannot be expressed in ONNX.
    """
    require_extra("export", "onnx", WRITING_ONNX)
    one_scale = len({scale_of(member).model_dump_json() for member in members}) == 1
    packages = {bundle.name: members} if one_scale else {f"{bundle.name}-{one.spec.name}": [one] for one in members}
    for name, own in packages.items():
        with TemporaryDirectory() as place:
            _write_package(bundle, own, Path(place), folder / f"{name}.zip", sample)


def _write_package(
    bundle: Bundle, members: Sequence[Chosen], folder: Path, out: Path, sample: NDArray[np.uint8] | None
) -> None:
    """Write the files of a package into an empty folder, and their zip."""
    mean, bands = mean_of(members).requires_grad_(False), shared_bands(members)
    images = torch.from_numpy(_example(sample))
    with torch.inference_mode():
        np.save(folder / "output.npy", mean(images).numpy())
    np.save(folder / "input.npy", images.numpy())
    (folder / "README.md").write_text(_readme(bundle, members, bands), encoding="utf-8")
    write_onnx(mean, folder / ONNX_FILE, output="probabilities", facts={"bands": bands}, dtype=torch.float32)
    weights = {**_state(mean, members, folder), **_traced(mean, folder)}
    weights["onnx"] = {**_file(folder, ONNX_FILE), "opset_version": _opset(folder / ONNX_FILE)}
    for name in weights:
        if name != next(iter(weights)):
            weights[name]["parent"] = next(iter(weights))
    said = _described(bundle, members, bands, folder, weights)
    (folder / "rdf.yaml").write_text(yaml.safe_dump(said, sort_keys=False, allow_unicode=True), encoding="utf-8")
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name, DATE), path.read_bytes())
    note(f"{out.name}: {', '.join(weights)}")


def _example(sample: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """The example, 1 x 3 x rows x columns."""
    rows, columns = EXAMPLE
    if sample is None or sample.shape[0] < rows or sample.shape[1] < columns:
        colours = np.random.default_rng(0).integers(0, 256, (rows // 8, columns // 8, 3), np.uint8)
        sample = colours.repeat(8, axis=0).repeat(8, axis=1)
    top, left = (sample.shape[0] - rows) // 2, (sample.shape[1] - columns) // 2
    middle = sample[top : top + rows, left : left + columns]
    return np.ascontiguousarray(np.moveaxis(middle, -1, 0)[np.newaxis], np.float32)


def _state(mean: Mean, members: Sequence[Chosen], folder: Path) -> dict[str, Any]:
    """The entry of the weights with their code; none where networks are not built by the library alone."""
    built = [_arguments(member) for member in members for _ in member.networks]
    if None in built:
        note("without weights for PyTorch: their networks are built by tilewright alone")
        return {}
    arguments = {"networks": built, "shares": mean.shares, "places": mean.places}
    torch.save(mean.state_dict(), folder / WEIGHTS_FILE)
    (folder / CODE_FILE).write_bytes(Path(net.__file__).read_bytes())
    net.Net(**arguments).load_state_dict(mean.state_dict())  # type: ignore[arg-type]
    code = {**_file(folder, CODE_FILE), "callable": net.Net.__name__, "kwargs": arguments}
    return {"pytorch_state_dict": {**_file(folder, WEIGHTS_FILE), "pytorch_version": _version(), "architecture": code}}


def _arguments(member: Chosen) -> dict[str, Any] | None:
    """How the library builds the networks of a member; None: it does not."""
    spec = member.spec.network
    assert isinstance(spec, BundleNetwork), "graphs were refused"
    own = {name.lower() for name in NETWORKS}
    if spec.architecture.lower() in own or spec.resize or not _is_plain(member):
        return None
    named = {"architecture": spec.architecture, "encoder": spec.encoder or ENCODER, "options": spec.options}
    return {**named, "channels": len(member.bands)}


def _is_plain(member: Chosen) -> bool:
    """Whether the encoder is one that the library knows, and not a transformer of this project."""
    module = next(iter(member.networks.values())).network
    encoder = getattr(module, "encoder", None)
    return isinstance(encoder, nn.Module) and not type(encoder).__module__.startswith("tilewright")


def _traced(mean: Mean, folder: Path) -> dict[str, Any]:
    """The entry of TorchScript; none where the networks cannot be traced."""
    try:
        traced(mean, "the mean of the networks").save(str(folder / TRACED_FILE))
    except TilewrightError as error:
        note(f"without TorchScript: {error}")
        return {}
    return {"torchscript": {**_file(folder, TRACED_FILE), "pytorch_version": _version()}}


def _file(folder: Path, name: str) -> dict[str, str]:
    return {"source": name, "sha256": file_hash(folder / name)}


def _version() -> str:
    return torch.__version__.partition("+")[0]


def _opset(path: Path) -> int:
    """Version of the operators of an ONNX file."""
    import onnx

    own = (each.version for each in onnx.load(path).opset_import if each.domain in ("", "ai.onnx"))
    return int(next(own))


def _title(bundle: Bundle, members: Sequence[Chosen]) -> str:
    """That of the bundle, and of which members of it a package is, if not of all."""
    title, names = bundle.credits.title or bundle.name, [one.spec.name for one in members]
    return title if len(names) == len(bundle.members) else f"{title} ({' and '.join(names)})"


def _described(
    bundle: Bundle, members: Sequence[Chosen], bands: Sequence[str], folder: Path, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of the ``rdf.yaml``."""
    said, pixel = bundle.credits, BundledMember(bundle.name, members[0].spec).mpp
    unit = {"unit": "micrometer", "scale": pixel} if pixel else {}
    sized = [{"id": axis, "type": "space", **unit, "size": {"min": 64, "step": 32}} for axis in "yx"]
    like = [{**axis, "size": {"tensor_id": "images", "axis_id": axis["id"]}} for axis in sized]

    def axes(names: Sequence[str], space: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [{"type": "batch"}, {"type": "channel", "channel_names": list(names)}, *space]

    return {
        "format_version": "0.5.3",
        "type": "model",
        "name": _named(_title(bundle, members)),
        "description": (bundle.description or f"Segments {', '.join(one.name for one in bundle.classes)}.")[:1024],
        "authors": [{"name": author} for author in said.authors or ["unknown"]],
        "cite": [{"text": said.cite or said.title or bundle.name, "url": "https://bioimage.io"}],
        **({"license": said.licence} if said.licence else {}),
        "documentation": "README.md",
        "tags": ["semantic-segmentation", "2d", "rgb", "tilewright"],
        "inputs": [{
            "id": "images", "axes": axes(("red", "green", "blue"), sized), "test_tensor": _file(folder, "input.npy"),
            "data": {"type": "float32", "range": [0, 255]},
        }],
        "outputs": [{
            "id": "probabilities", "axes": axes([re.sub(r"\W", "_", name) for name in bands], like),
            "test_tensor": _file(folder, "output.npy"), "data": {"type": "float32", "range": [0, 1]},
        }],
        "weights": dict(weights),
    }  # fmt: skip


def _named(title: str) -> str:
    """A title as the zoo takes it: of 5 to 128 characters, and few kinds of them."""
    plain = re.sub(r"[^\w +()-]", " ", title)
    return plain[:128] if len(plain) >= 5 else f"{plain} (tilewright)"


def _readme(bundle: Bundle, members: Sequence[Chosen], bands: Sequence[str]) -> str:
    """What people read: what it is, and how it can be validated."""
    said, pixel = bundle.credits, BundledMember(bundle.name, members[0].spec).mpp
    scores = [f"| {one.class_name} | {one.source or 'all'} | {one.dice} | {one.slides} |" for one in bundle.scores]
    levels = [f"| {one.name} | {one.threshold:g} | {one.min_area} |" for one in bundle.classes]
    lines = [
        f"# {said.title or bundle.name}", "", bundle.description, "",
        f"Input: RGB from 0 to 255{f', {pixel:g} micrometres a pixel' if pixel else ''}; the normalisation is inside.",
        f"Output: probabilities of {', '.join(bands)}.", "",
        f"Authors: {', '.join(said.authors) or 'not told'}. Licence: {said.licence or 'not told'}.",
        f"To cite: {said.cite or 'not told'}", "",
        "A pixel is of a class from its threshold on; areas count in pixels of the slide.", "",
        "| class | threshold | least area |", "| --- | --- | --- |", *levels, "",
        "# Validation", "",
        "Compare masks with outlines of your own images by Dice, and look at the worst, before results are used.",
        *(SCORES if scores else ()), *scores, "",
    ]  # fmt: skip
    return "\n".join(lines)
