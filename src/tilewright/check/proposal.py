"""Rules of ``plan``: settings that follow from what is outlined, and how much time there is, each with its reason.

Diameters are those of circles with the area of an outline. The figures are rules of thumb of the field (nnU-Net and
users of it); what was tried of them stands in docs/plan.md.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tilewright.check.survey import NO_LABEL, Facts, LabelFacts
from tilewright.project.config import ANY, IGNORE, Annotations

FINE, MIDDLE_SMALL, MIDDLE_LARGE = 10, 16, 64
"""Pixels of a scale that the diameter of small outlines, and of the middle one, should have at least."""
DENSE = 100
"""Outlines of a slide from which on they are many and small."""
RARE = 0.02
"""Share of the pixels below which what is outlined is rare."""
CROWDED = 0.05
"""Share of touching outlines from which on objects are cut."""
FEW_GROUPS, FOLDS, LEAST_FOLDS = 20, 5, 3
USED = 0.6
"""Share of the time that trainings have; the rest is for everything else."""
MOST = 0.9
"""Share of the slides with tissue and glass from which on tissue is looked for."""
EPOCHS, LEAST_TILES, ENOUGH = 25, 64, 3000
"""Most epochs, least tiles of one, and tiles of a training from which on more folds are worth more than more tiles."""


class Machine(NamedTuple):
    """Where it runs.

    Attributes:
        trainings: that run side by side: GPUs, or processor cores.
        gpu: whether they run on GPUs.
        rate: pixels a second that one of them trains on.
    """

    trainings: int
    gpu: bool
    rate: float


class Choice(NamedTuple):
    """A value of the config, and why it is so."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """What ``plan`` proposes; each with its reason.

    Attributes:
        classes: labels of each class.
        annotations: how outlines are read.
        scale: factor or mpp.
        tissue: method.
        tile: edge of a tile.
        tile_overlap: share of it.
        objects: whether tiles are centred on outlines too.
        folds: their number.
        crop: edge of a crop.
        batch_size: tiles of a batch, or auto.
        epochs: of a training.
        tiles_per_epoch: of a training.
        final: whether it ends with a training on all slides.
        window: edge of a window.
        overlap: share of it.
        split: least distance of two centres, where objects are cut.
    """

    classes: dict[str, Choice]
    annotations: dict[str, Choice]
    scale: Choice
    tissue: Choice
    tile: Choice
    tile_overlap: Choice
    objects: Choice
    folds: Choice
    crop: Choice
    batch_size: Choice
    epochs: Choice
    tiles_per_epoch: Choice
    final: Choice
    window: Choice
    overlap: Choice
    split: Choice | None


def planned(facts: Facts, machine: Machine, minutes: float) -> Plan:
    """Settings for slides of these facts.

    Args:
        facts: the training slides and their outlines.
        machine: where it runs.
        minutes: that the whole run may take, about.
    """
    diameters = np.concatenate([label.diameters for label in facts.labels.values()])
    factor, why = _factor(facts.labels, diameters, len(facts.sizes))
    large = float(np.quantile(diameters, 0.95)) / factor
    tile = _tile(large, facts, factor)
    crop = Choice(
        min(tile.value, max(256 if machine.gpu else 128, _up(2 * large))),
        "twice a large outline, and what a processor trains on fast" if not machine.gpu else "twice a large outline",
    )
    few = facts.groups <= FEW_GROUPS
    final = Choice(few, f"each fold lacks a part of {facts.groups} groups" if few else "folds see nearly all")
    folds = _folds(machine, minutes, facts.groups, final.value, crop.value)
    epochs, tiles = _course(machine, minutes, folds.value + final.value, crop.value)
    return Plan(
        classes=_classes(facts.labels),
        annotations=_annotations(facts),
        scale=_scale(facts, factor, why),
        tissue=_tissue(facts),
        tile=tile,
        tile_overlap=_tile_overlap(facts, factor, tile.value),
        objects=Choice(facts.covered < RARE, f"{facts.covered:.1%} of the pixels are outlined"),
        folds=folds,
        crop=crop,
        batch_size=Choice("auto", "as many as fit into the GPU") if machine.gpu else Choice(4, "small, without a GPU"),
        epochs=epochs,
        tiles_per_epoch=tiles,
        final=final,
        window=Choice(tile.value, "that of a tile"),
        overlap=_overlap(large, tile.value),
        split=_split(facts, diameters),
    )


def _factor(labels: Mapping[str, LabelFacts], diameters: Any, slides: int) -> tuple[int, str]:
    """The largest power of two at which small outlines and the middle one are still large enough."""
    small = min(float(np.quantile(label.diameters, 0.1)) for label in labels.values())
    middle = float(np.median(diameters))
    wanted = MIDDLE_SMALL if len(diameters) >= DENSE * slides else MIDDLE_LARGE
    fits = min(small / FINE, middle / wanted)
    factor = 2 ** max(0, min(5, math.floor(math.log2(fits)))) if fits > 0 else 1
    return factor, f"small outlines measure {small / factor:.0f} pixels then, the middle one {middle / factor:.0f}"


def _scale(facts: Facts, factor: int, why: str) -> Choice:
    if facts.mpp is None:
        return Choice({"factor": factor}, why)
    low, high = facts.mpp
    if high <= 1.02 * low:
        return Choice({"mpp": round(low * factor, 4)}, f"{why}; {factor} pixels of a slide")
    return Choice({"mpp": round(high * factor, 4)}, f"{why}; pixels of slides measure {low:g} to {high:g}")


def _tile(large: float, facts: Facts, factor: int) -> Choice:
    edges = [min(size) for size in facts.sizes]
    usual = int(np.quantile(edges, 0.25)) // factor
    wanted = max(256, min(1024, _up(4 * large)))
    if wanted > usual:
        return Choice(max(32, usual // 32 * 32), f"as much as most images have, which measure {usual} pixels or more")
    return Choice(wanted, f"four times a large outline of {large:.0f} pixels")


def _tile_overlap(facts: Facts, factor: int, tile: int) -> Choice:
    tiles = sum(math.ceil(size.width / factor / tile) * math.ceil(size.height / factor / tile) for size in facts.sizes)
    few = tiles < 1000
    return Choice(0.25 if few else 0.0, f"{'only ' if few else ''}{tiles:,} tiles without one")


def _overlap(large: float, window: int) -> Choice:
    share = min(0.5, max(0.25, math.ceil(20 * large / window) / 20))
    return Choice(share, f"a large outline of {large:.0f} pixels fits into it, or a quarter")


def _folds(machine: Machine, minutes: float, groups: int, final: bool, crop: int) -> Choice:
    """As many as there are groups, five at most; where time is short, the number of which most run side by side."""
    most = min(FOLDS, groups)
    why = f"{groups} groups; each lies in one fold"
    if _tiles(machine, minutes, most + final, crop) >= ENOUGH:
        return Choice(most, why)
    found = max(
        range(min(LEAST_FOLDS, most), most + 1),
        key=lambda count: (_tiles(machine, minutes, count + final, crop), count),
    )
    return Choice(found, why if found == most else f"{why}; fewer than {most}, as the time is short")


def _tiles(machine: Machine, minutes: float, trainings: int, crop: int) -> int:
    """Tiles that each training has the time for."""
    turns = math.ceil(trainings / machine.trainings)
    return int(minutes * 60 * USED / turns * machine.rate / crop**2)


def _course(machine: Machine, minutes: float, trainings: int, crop: int) -> tuple[Choice, Choice]:
    """Epochs, and tiles of an epoch, that the time allows."""
    tiles = _tiles(machine, minutes, trainings, crop)
    epochs = max(5, min(EPOCHS, tiles // LEAST_TILES))
    why = f"{trainings} trainings, {min(trainings, machine.trainings)} at a time, in {minutes:g} minutes in all"
    return Choice(epochs, why), Choice(max(16, tiles // epochs), f"{machine.rate * 60 / crop**2:,.0f} crops a minute")


def _split(facts: Facts, diameters: Any) -> Choice | None:
    if facts.touching < CROWDED:
        return None
    distance = max(3, round(float(np.quantile(diameters, 0.1)) / 2))
    return Choice({"distance": distance}, f"{facts.touching:.0%} of the outlines touch another one")


def _tissue(facts: Facts) -> Choice:
    both = float(np.mean([0.05 <= share <= 0.95 for share in facts.tissue]))
    seen = f"on {both:.0%} of the slides the default thresholds find tissue and glass"
    return Choice("color" if both >= MOST else "none", seen)


def _classes(labels: Mapping[str, LabelFacts]) -> dict[str, Choice]:
    """A class for each label, by a name that files may have."""
    found: dict[str, Choice] = {}
    for label, facts in labels.items():
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", label).strip("_.-") or "class"
        name = plain if plain not in (ANY, IGNORE) else f"{plain}_"
        while name in found:
            name += "_"
        found[name] = Choice(
            [label], f"{_counted(len(facts.diameters), 'outline')} on {_counted(facts.slides, 'slide')}"
        )
    return found


def _annotations(facts: Facts) -> dict[str, Choice]:
    """Keys of the section of that name."""
    ignored = [label for label in facts.marked if label.lower().startswith(IGNORE)]
    others = [label for label in facts.marked if label not in (*ignored, *Annotations().region)]
    found = {}
    if facts.objects:
        found["objects"] = Choice([*facts.objects], "they have classes, and annotations have none")
    if facts.unlabelled:
        found["unlabelled"] = Choice(NO_LABEL, "some outlines have no label")
    if facts.rle_order:
        found["rle_order"] = Choice(facts.rle_order, "in this order objects hang together")
    if ignored:
        found["ignore"] = Choice(ignored, "as in QuPath: what they cover does not count")
    if others:
        found["discard"] = Choice(others, "as in QuPath: a class with a star is no object")
    return found


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _up(pixels: float) -> int:
    return 32 * math.ceil(pixels / 32)
