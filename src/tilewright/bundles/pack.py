"""The bundle of an ensemble: all that a prediction needs, and nothing else.

Of the networks the weights of what predicts are kept, of the slides no pixel and no name but of those that the config
names as examples, and a hash of each file that was trained on. The same inputs give the same bytes.
"""

import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from jinja2 import Environment, PackageLoader, StrictUndefined
from rasterio.enums import Resampling
from safetensors.torch import save

from tilewright.inference.calibration import read_bounds, read_scores
from tilewright.inference.ensemble import fitted_weights
from tilewright.inference.loading import bundled_weights, load_model
from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import open_raster, read_file_print
from tilewright.project.bundle import (
    Band,
    Bundle,
    BundleClass,
    BundleFile,
    BundleMember,
    PixelSize,
    Weights,
    bundle_file,
    read_bundle,
)
from tilewright.project.bundlenetworks import BundleNetwork
from tilewright.project.config import Credits, Scale
from tilewright.project.orders import PackMember, PackOrder
from tilewright.project.places import (
    BUNDLE,
    CARD,
    MODEL_CARD,
    image_file,
    packed_example,
    packed_weights,
    part_folder,
)
from tilewright.runtime.atomic import MARK, atomic_directory, atomic_path
from tilewright.runtime.codeversion import code_version
from tilewright.runtime.documents import read_document, write_document
from tilewright.runtime.hashed import file_hash
from tilewright.runtime.progress import track
from tilewright.training.architectures import build_network

EXAMPLE_EDGE = 1024
"""Longest edge of the picture of an example, in pixels."""
PLAIN_FILE = 0o100644 << 16
UNIX = 3


def pack(
    order: PackOrder,
    *,
    models: Path,
    calibration: Path,
    weights: Path,
    scaled: Path,
    out: Path,
    zip_: bool = False,
) -> None:
    """Write the bundle of an ensemble.

    Args:
        order: the models, their weights, what is told of them, and the slides that they have seen.
        models: folder of the trained models, ``{model}/{part}``.
        calibration: the JSON of ``calibrate``: thresholds, least sizes, scores.
        weights: the JSON of ``weigh``; read where the order says that weights are fitted.
        scaled: folder of the ensemble's scale, ``{shard}/{slide}.image.tif``.
        out: the folder to write: ``bundle.json``, ``README.md``, ``weights/{model}/{part}.safetensors`` and
            ``examples/{slide}.jpg``.
        zip_: also write the same as ``{out}.zip``.

    Raises:
        DataError: a model, the calibration or a scaled image is missing or damaged.
    """
    shares = fitted_weights(weights) if order.fit else order.weights
    # the first one is kept whatever its weight: its scale is that of the probabilities
    kept = [one for place, one in enumerate(order.members) if shares[one.name] or not place]
    used = dict.fromkeys(one.bundle for one in kept if one.bundle)
    inside = [read_bundle(path) for path in (*(order.bundles[name] for name in used), *order.starts)]
    cards = {one.name: [_card(models, one.name, part) for part in one.parts] for one in kept if not one.model}
    members = [
        _taken(one, one.model.member, shares[one.name])
        if one.model
        else _member(one, cards[one.name], shares[one.name])
        for one in kept
    ]
    with atomic_directory(out) as folder:
        for one, member in track(list(zip(kept, members, strict=True)), f"pack {order.ensemble}"):
            _write_weights(one, member, order, models, folder)
        for row in order.examples:
            _draw(image_file(scaled / row.shard, row.slide), folder / packed_example(row.slide))
        seen = {read_file_print(image_file(scaled / row.shard, row.slide)) for row in order.seen}
        seen.update(*(bundle.trained_on for bundle in inside))
        told = [card["versions"] for each in cards.values() for card in each]
        versions = _versions([*told, *(bundle.versions for bundle in inside)])
        bundle = _described(order, members, inside, seen, versions, calibration)
        (folder / MODEL_CARD).write_text(rendered(bundle), encoding="utf-8")
        bundle = bundle.model_copy(update={"files": _listed(folder)})
        write_document(folder / BUNDLE, bundle.model_dump(mode="json"))
        read_bundle(folder)
    if zip_:
        write_zip(out, Path(f"{out}.zip"))


def _write_weights(one: PackMember, member: BundleMember, order: PackOrder, models: Path, folder: Path) -> None:
    """Write the files of a member: taken from its bundle as they are, or of the parts that were trained here."""
    files = [folder / file.file for file in member.weights]
    files[0].parent.mkdir(parents=True)
    if one.model:
        for file, content in zip(files, bundled_weights(order.bundles[one.bundle], one.model), strict=True):
            file.write_bytes(content)
        return
    for file, part in zip(files, one.parts, strict=True):
        _pack_network(part_folder(models, one.name, part), member, file)


def _described(
    order: PackOrder,
    members: Sequence[BundleMember],
    inside: Sequence[Bundle],
    seen: Collection[str],
    versions: Mapping[str, str],
    calibration: Path,
) -> Bundle:
    """What a bundle says of itself, but of its files."""
    bounds = read_bounds(calibration, list(order.colors))
    return Bundle(
        format=order.format,
        name=order.ensemble,
        credits=Credits(**order.text.model_dump(include=set(Credits.model_fields))),
        description=order.text.description,
        inside=_credits(inside),
        classes=[BundleClass(name=name, color=color, **bounds[name]._asdict()) for name, color in order.colors.items()],
        members=list(members),
        tissue=order.tissue,
        slides=order.slides,
        segmentation=order.segmentation,
        aim=order.aim,
        scores=read_scores(calibration),
        trained_on=sorted(seen),
        versions=dict(versions),
        code=code_version("bundles.pack"),
        files={},
    )


def _credits(bundles: Sequence[Bundle]) -> list[Credits]:
    """What is told of some bundles, and of those that they were made of, each once."""
    found: list[Credits] = []
    for bundle in bundles:
        own = bundle.credits.model_copy(update={"title": bundle.credits.title or bundle.name})
        found += [one for one in (own, *bundle.inside) if one not in found]
    return found


def rendered(bundle: Bundle) -> str:
    """The README of a bundle: what it says, for people."""
    environment = Environment(
        loader=PackageLoader("tilewright", "bundles"),
        autoescape=False,  # noqa: S701 - Markdown, of what the reader of the bundle gets anyway
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    total = sum(member.weight for member in bundle.members)
    return environment.get_template("pack.md.j2").render(bundle=bundle, total=total)


def write_zip(folder: Path, out: Path) -> None:
    """Write the files of a bundle as a zip: as they are, in the order of their names, without dates."""
    bundle = read_bundle(folder)
    with atomic_path(out) as private, zipfile.ZipFile(private, "w") as archive:
        for name in sorted([BUNDLE, *bundle.files]):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = UNIX, PLAIN_FILE
            content = (folder / BUNDLE).read_bytes() if name == BUNDLE else bundle_file(folder, bundle, name)
            archive.writestr(entry, content)


def _card(models: Path, model: str, part: str) -> dict[str, Any]:
    folder = part_folder(models, model, part)
    return read_document(folder / CARD, folder)


def _taken(one: PackMember, member: BundleMember, weight: float) -> BundleMember:
    """A model of another bundle, under its name here."""
    files = [
        Weights(role=own.role, file=packed_weights(one.name, own.role, Path(own.file).suffix)) for own in member.weights
    ]
    return member.model_copy(update={"name": one.name, "weight": weight, "weights": files})


def _pack_network(trained: Path, member: BundleMember, out: Path) -> None:
    """Write the weights of a trained part, without the heads that only its training needed."""
    assert isinstance(member.network, BundleNetwork), "it was built here"
    segmenter, _ = load_model(trained)
    bare = build_network(member.network.to_build(member.targets), len(member.classes), pretrained=False)
    weights = segmenter.state_dict()
    bare.load_state_dict({name: weights[name] for name in bare.state_dict()})
    # not by save_file, which does not say as Python does that the disk is full
    out.write_bytes(save({name: tensor.contiguous() for name, tensor in bare.state_dict().items()}))


def _member(one: PackMember, cards: Sequence[dict[str, Any]], weight: float) -> BundleMember:
    """What is told of a model: by its order, and by the cards of its parts."""
    first, known = cards[0], [card["mpp"] for card in cards if card["mpp"]]
    return BundleMember(
        name=one.name,
        network=BundleNetwork(**{name: first["network"][name] for name in BundleNetwork.model_fields}),
        scale=Scale(**first["scale"]),
        mpp=_range(known) if known else None,
        inference=one.inference,
        weight=weight,
        bands=[Band(name, target) for target in first["network"]["targets"] for name in first["classes"]],
        weights=[Weights(role=part, file=packed_weights(one.name, part)) for part in one.parts],
    )


def _range(sizes: Sequence[Mapping[str, float]]) -> PixelSize:
    return PixelSize(min=min(each["min"] for each in sizes), max=max(each["max"] for each in sizes))


def _versions(told: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The packages that networks were trained with; several versions of one where an update came between."""
    found: dict[str, set[str]] = {}
    for versions in told:
        for name, version in versions.items():
            found.setdefault(name, set()).update(version.split(", "))
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _draw(image: Path, out: Path) -> None:
    """Draw a slide, reduced to ``EXAMPLE_EDGE`` where it is larger."""
    with open_raster(image) as raster:
        shrink = max(1.0, max(raster.size) / EXAMPLE_EDGE)
        size = Size(*(max(1, round(edge / shrink)) for edge in raster.size))
        pixels = raster.reduced(size, Resampling.average)
    out.parent.mkdir(exist_ok=True)
    pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).jpegsave(str(out), Q=90, optimize_coding=True)


def _listed(folder: Path) -> dict[str, BundleFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    return {
        path.relative_to(folder).as_posix(): BundleFile(sha256=file_hash(path), size=path.stat().st_size)
        for path in paths
    }
