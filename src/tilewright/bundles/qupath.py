"""A bundle as folders for QuPath's InstanSeg extension, one a class: ``instanseg.pt``, ``rdf.yaml`` and a README.

QuPath brings a slide to the pixel size of the ``rdf.yaml``, scales each colour so that its percentiles 0.1 and 99.9
become 0 and 1, clips to -0.5 to 1.5, and wants the labels of objects. All that follows from networks to objects is in
the file. Two classes in one folder would be an inner and an outer one to QuPath, which drops inner objects without an
outer one of the same number.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from tilewright.bundles.chosen import Chosen, scale_of
from tilewright.bundles.labelling import Wanted
from tilewright.bundles.mean import shared_bands
from tilewright.bundles.tilescript import TileMember, TileObjects, compiled, tile_member
from tilewright.pixels.finder import seedings
from tilewright.project.bundle import Bundle, BundleClass
from tilewright.project.bundled import BundledMember
from tilewright.project.project import Bounds
from tilewright.runtime.errors import Problem, UserError, raise_all
from tilewright.runtime.hashed import file_hash
from tilewright.runtime.progress import note

Left = Literal["split", "inside", "views"]
"""What may be left out on the way."""
Levels = Sequence[tuple[float, float]]
PERCENTILES = (0.1, 99.9)
WHOLE: Levels = ((0.0, 255.0),) * 3
TILE = (96, 128)
"""Rows and columns of the tile that stands in the folder as an example."""


def write_qupath(
    bundle: Bundle,
    members: Sequence[Chosen],
    folder: Path,
    *,
    without: Collection[Left] = (),
    mpp: float | None = None,
    sample: NDArray[np.uint8] | None = None,
) -> None:
    """Write a folder for each class of a bundle.

    Args:
        bundle: what it says of itself.
        members: the members that count, at one scale.
        folder: where the folders go, ``{bundle}-{class}``.
        without: what is left out, where the file could not do it.
        mpp: micrometres in a pixel of the slides that areas of the bundle count in.
        sample: an image as QuPath will see, rows x columns x 3, whose percentiles are expected of others.

    Raises:
        UserError: what cannot be done in a tile and was not left out, or an unknown pixel size; everything at once.
        DataError: a network cannot be traced.
    """
    raise_all(UserError, list(_faults(bundle, members, without, mpp)))
    bands, total = shared_bands(members), sum(each.spec.weight for each in members)
    shares = [each.spec.weight / total if total else 1 / len(members) for each in members]
    ready = [tile_member(each, bands, plain="views" in without) for each in members]
    levels = _levels(sample)
    for one in bundle.classes:
        tile = _tile(bundle, one, ready, shares, levels, bands, _factor(bundle, members[0], mpp))
        name = _plain(f"{bundle.name}-{one.name}")
        _write_folder(folder / name, name, tile, bundle, one, _pixel(bundle, members[0], mpp))
        note(f"{name}: {len(ready)} member(s), levels {', '.join(f'{low:.0f} to {high:.0f}' for low, high in levels)}")


def qupath_levels(pixels: NDArray[np.uint8]) -> Levels:
    """The values of each colour that QuPath makes 0 and 1 on an image of rows x columns x 3."""
    low, high = np.percentile(pixels.reshape(-1, 3), PERCENTILES, axis=0)
    return [(float(dark), float(max(light, dark + 1))) for dark, light in zip(low, high, strict=True)]


def _levels(sample: NDArray[np.uint8] | None) -> Levels:
    return WHOLE if sample is None else qupath_levels(sample)


def _tile(
    bundle: Bundle,
    one: BundleClass,
    members: Sequence[TileMember],
    shares: Sequence[float],
    levels: Levels,
    bands: Sequence[str],
    factor: float,
) -> TileObjects:
    """The module that finds the objects of a class."""
    spec = bundle.segmentation
    bounds = {each.name: Bounds(*each.bounds) for each in bundle.classes}
    seeding = seedings(bands, bounds, spec.seeds).get(one.name)
    area = factor**2
    wanted = Wanted(
        threshold=round(255 * one.threshold, 6),
        fill_holes=int(spec.fill_holes / area),
        min_area=one.min_area / area,
        max_area=-1.0 if spec.max_area is None else spec.max_area / area,
        min_confidence=max(one.min_confidence, spec.min_confidence),
        use_max=spec.confidence == "max",
        least=spec.seeds.least if spec.seeds else 1,
        reach=seeding.reach if seeding else 1,
    )
    mix = dict(seeding.mix.weights) if seeding else {}
    level = round(255 * seeding.mix.level, 6) if seeding else 255.0
    return TileObjects(members, shares, levels, bands.index(one.name), mix, level, wanted)


def _faults(
    bundle: Bundle, members: Sequence[Chosen], without: Collection[Left], mpp: float | None
) -> Iterator[Problem]:
    """What stands in the way, or would be done otherwise than tilewright does it."""
    spec, first = bundle.segmentation, members[0].spec
    if len({scale_of(each).model_dump_json() for each in members}) > 1:
        names = ", ".join(each.spec.name for each in members)
        what = f"{names} work at several scales, and QuPath shows a file one."
        yield Problem("export", what, f"Export them one by one: --members {first.name}.")
    seeded = seedings(shared_bands(members), {one.name: Bounds(*one.bounds) for one in bundle.classes}, spec.seeds)
    if spec.split and len(seeded) < len(bundle.classes) and "split" not in without:
        what = "the bundle cuts objects where they are narrow (segmentation.split), which the file cannot."
        yield Problem("export", what, "Leave it out: --without split. Touching objects then stay one.")
    if spec.inside and "inside" not in without:
        what = f"the bundle keeps objects inside {', '.join(spec.inside)} only, which the file does not know."
        yield Problem("export", what, "Leave it out: --without inside. Run it in annotations of those parts.")
    if any(each.spec.inference.tta_scales != [1.0] for each in members) and "views" not in without:
        what = "the bundle looks at tiles in several sizes (tta_scales), which the file cannot."
        yield Problem("export", what, "Leave views out: --without views.")
    yield from _faults_of_scale(bundle, members[0], mpp)


def _faults_of_scale(bundle: Bundle, member: Chosen, mpp: float | None) -> Iterator[Problem]:
    """Pixel sizes that are not known."""
    if mpp is not None and not mpp > 0:
        yield Problem("--mpp", f"{mpp:g} is no pixel size.", "Give micrometres, such as 0.25.")
    elif _pixel(bundle, member, mpp) is None:
        what = "no training slide told its pixel size, and QuPath goes by one."
        yield Problem("export", what, "Give micrometres in a pixel of the slides: --mpp 0.25.")
    spec, areas = bundle.segmentation, [one.min_area for one in bundle.classes]
    if member.spec.scale.factor is None and mpp is None and any((*areas, spec.fill_holes, spec.max_area)):
        what = "areas of the bundle count in pixels of slides, whose size it does not tell."
        yield Problem("export", what, "Give micrometres in a pixel of the slides: --mpp 0.25.")


def _pixel(bundle: Bundle, member: Chosen, mpp: float | None) -> float | None:
    """Micrometres in a pixel of the tiles; None: unknown."""
    factor = member.spec.scale.factor
    return mpp * factor if mpp and factor else BundledMember(bundle.name, member.spec).mpp


def _factor(bundle: Bundle, member: Chosen, mpp: float | None) -> float:
    """How many pixels of a slide the edge of a pixel of the tiles is; 1 where nothing depends on it."""
    pixel = _pixel(bundle, member, mpp)
    return member.spec.scale.factor or (pixel / mpp if pixel and mpp else 1.0)


def _plain(name: str) -> str:
    """A name as a folder may have it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)


def _write_folder(
    folder: Path, name: str, tile: TileObjects, bundle: Bundle, one: BundleClass, pixel: float | None
) -> None:
    """Write what QuPath looks for, and an example, whose pixels are drawn."""
    folder.mkdir()
    script = compiled(tile)
    script.save(str(folder / "instanseg.pt"))
    images = torch.rand(1, 3, *TILE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        labels = script(images)
    np.save(folder / "test-input.npy", images.numpy())
    np.save(folder / "test-output.npy", labels.numpy())
    (folder / f"{name}_README.md").write_text(_readme(name, bundle, one), encoding="utf-8")
    described = _described(folder, name, bundle, one, pixel)
    (folder / "rdf.yaml").write_text(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _described(folder: Path, name: str, bundle: Bundle, one: BundleClass, pixel: float | None) -> dict[str, Any]:
    """The content of the ``rdf.yaml``, in the format 0.5 of the BioImage Model Zoo."""

    def file(own: str) -> dict[str, str]:
        return {"source": own, "sha256": file_hash(folder / own)}

    def axes(channels: Sequence[str], size: Mapping[str, Any]) -> list[dict[str, Any]]:
        space = {"type": "space", "unit": "micrometer", "scale": float(pixel or 1)}
        own = [{**size, "axis_id": axis} if "tensor_id" in size else dict(size) for axis in "yx"]
        edges = [{"id": axis, **space, "size": length} for axis, length in zip("yx", own, strict=True)]
        return [{"type": "batch"}, {"type": "channel", "channel_names": list(channels)}, *edges]

    scaled = {"min_percentile": PERCENTILES[0], "max_percentile": PERCENTILES[1], "eps": 1e-6, "axes": ["x", "y"]}
    return {
        "format_version": "0.5.3",
        "type": "model",
        "name": name,
        "description": (bundle.description or f"{one.name}, by {bundle.name}")[:1024],
        "authors": [{"name": author} for author in bundle.credits.authors or ["unknown"]],
        **({"license": bundle.credits.licence} if bundle.credits.licence else {}),
        "documentation": f"{name}_README.md",
        "tags": ["tilewright", "instance-segmentation"],
        "inputs": [{
            "id": "raw", "axes": axes(("red", "green", "blue"), {"min": 32, "step": 1}), "data": {"type": "float32"},
            "test_tensor": file("test-input.npy"), "preprocessing": [{"id": "scale_range", "kwargs": scaled}],
        }],
        "outputs": [{
            "id": "instance_segmentation", "axes": axes((_plain(one.name),), {"tensor_id": "raw"}),
            "data": {"type": "float32"}, "test_tensor": file("test-output.npy"),
        }],
        "weights": {"torchscript": {**file("instanseg.pt"), "pytorch_version": torch.__version__.partition("+")[0]}},
    }  # fmt: skip


def _readme(name: str, bundle: Bundle, one: BundleClass) -> str:
    """What a person sees beside the model in QuPath."""
    said = bundle.credits
    lines = [
        f"# {name}",
        "",
        f"Finds {one.name}. {bundle.description}".strip(),
        "",
        f"- made by tilewright of the bundle {bundle.name}: {said.title or 'without a title'}",
        f"- authors: {', '.join(said.authors) or 'not told'}",
        f"- licence: {said.licence or 'not told'}",
        f"- to cite: {said.cite or 'not told'}",
        "",
        "Not a medical device.",
        "",
    ]
    return "\n".join(lines)
