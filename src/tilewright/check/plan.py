"""A config for the slides of a sheet, with the reason beside each value."""

import math
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from tilewright.check.proposal import Choice, Machine, Plan, planned
from tilewright.check.survey import survey
from tilewright.project.config import DEFAULT_LIMITS, Network
from tilewright.project.configfile import parse_config
from tilewright.project.naming import valid_name
from tilewright.project.rows import NO_CLASS
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.atomic import write_new
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.gpu import visible_gpus
from tilewright.runtime.progress import note
from tilewright.training.architectures import build_network

OPTIONS = {"decoder_channels": [128, 64, 32, 16, 16]}
"""The narrow decoder of config/config.yaml."""
MEASURED, WARM_UP, CROP, BATCH = 6, 2, 128, 4
"""Steps that are timed, those before them, and what a step takes."""
COLUMN = 72
"""Where reasons begin."""


def plan(
    *,
    sheet: Path = Path("config/slides.csv"),
    data: Path | None = None,
    minutes: float = 60.0,
    out: Path = Path("config/plan.yaml"),
) -> None:
    """Look at slides and outlines of a sheet, and write a config that suits them, with the reason beside each value.

    Args:
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        minutes: that the whole run may take on this machine, about.
        out: the config to write; one that is there is never written over.

    Raises:
        UserError: the sheet, an image or outlines cannot be used, there is only one group, or there is a config.
    """
    if not (math.isfinite(minutes) and minutes > 0):
        raise UserError(Problem("--minutes", f"{minutes:g} is no time.", "Give a number above 0."))
    if out.exists():
        raise UserError(Problem(str(out), "is there already.", "Name another file by --out, or move it away."))
    roots = [data, sheet.parent] if data else [sheet.parent]
    rows = read_sheet(sheet, roots, None).rows
    facts = survey(rows, DEFAULT_LIMITS)
    if facts.groups < 2:
        what = "all training slides are of one group, and cross-validation holds out whole groups."
        remedy = "Give the column group more values, or cut a slide into parts by the column region."
        raise UserError(Problem(str(sheet), what, remedy))
    found = planned(facts, _machine(), minutes)
    text = rendered(found, sheet, data, valid_name(out.stem))
    parse_config(yaml.safe_load(text))
    write_new(out, text)
    if unknown := sorted({name for row in rows for name in row.labelled} - found.classes.keys() - {NO_CLASS}):
        known = ", ".join(sorted(found.classes))
        note(f"{sheet}: the column labelled names {', '.join(unknown)}, which is no class of the plan ({known}).")
    told = shlex.quote(str(out))
    note(f"{out} is written. Next: tilewright check --config {told}, then snakemake --cores all --configfile {told}")


def _machine() -> Machine:
    """What trains here, and how fast."""
    gpus = len(visible_gpus())
    return Machine(gpus or os.cpu_count() or 1, bool(gpus), _rate("cuda" if gpus else "cpu"))


def _rate(device: str) -> float:
    """Pixels a second that the network of the plan is trained on, by a device or one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        segmenter = build_network(Network(tiles="none", options=OPTIONS), 1, pretrained=False).to(device).train()
        images = torch.zeros(BATCH, 3, CROP, CROP, dtype=torch.uint8, device=device)
        begin = 0.0
        for step in range(-WARM_UP, MEASURED):
            if step == 0:
                begin = time.perf_counter()
            segmenter(images).square().mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return MEASURED * BATCH * CROP**2 / (time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)


def rendered(found: Plan, sheet: Path, data: Path | None, name: str) -> str:
    """The plan as YAML, with the reason beside each value."""
    return "".join(f"{line}\n" for part in (_of_slides(found, sheet, data, name), _of_models(found)) for line in part)


def _of_slides(found: Plan, sheet: Path, data: Path | None, name: str) -> Iterator[str]:
    """What is found, and how slides are prepared."""
    yield "# Written by `tilewright plan`: a proposal, to be edited. Every key: config/README.md."
    yield ""
    yield f"sheet: {_text(str(sheet))}"
    if data:
        yield f"data: {_text(str(data))}"
    yield f"pathvars: {{results: {_text(f'results/{name}')}}}  # a folder of its own"
    yield ""
    yield "classes:"
    for name, labels in found.classes.items():
        yield _with_reason(f"  {_text(name)}: {{labels: {_text(labels.value)}}}", labels)
    if found.annotations:
        yield ""
        yield "annotations:"
        yield from _keys(2, **found.annotations)
    yield ""
    yield "scales:"
    yield _with_reason(f"  planned: {_inline(found.scale.value)}", found.scale)
    yield ""
    yield "tissue:"
    yield _with_reason(f"  method: {found.tissue.value}", found.tissue)
    yield ""
    yield "tiles:"
    yield "  planned:"
    yield "    scale: planned"
    yield from _keys(4, size=found.tile, overlap=found.tile_overlap, objects=found.objects)
    yield ""
    yield "folds:"
    yield from _keys(2, count=found.folds)


def _of_models(found: Plan) -> Iterator[str]:
    """What is trained, and what is made of it."""
    yield ""
    yield "models:"
    yield "  unet:"
    yield "    architecture: Unet"
    yield f"    options: {_inline(OPTIONS)}"
    yield "    ema: 0.99"
    yield "    ema_warmup: true"
    yield "    tiles: planned"
    yield from _keys(
        4, crop=found.crop, batch_size=found.batch_size, epochs=found.epochs, tiles_per_epoch=found.tiles_per_epoch,
        final=found.final,
    )  # fmt: skip
    yield "    inference:"
    yield from _keys(6, window=found.window, overlap=found.overlap)
    yield ""
    yield "ensembles:"
    yield "  unet:"
    yield "    models: {unet: 1}"
    yield _with_reason("    calibration: {min_area: fit}", Choice(None, "what is best on the training slides"))
    if found.split:
        yield ""
        yield "segmentation:"
        yield _with_reason(f"  split: {_inline(found.split.value)}", found.split)


def _keys(indent: int, **choices: Choice) -> Iterator[str]:
    for key, choice in choices.items():
        yield _with_reason(f"{' ' * indent}{key}: {_text(choice.value)}", choice)


def _with_reason(text: str, choice: Choice) -> str:
    return f"{text:<{COLUMN}}# {choice.reason}" if len(text) < COLUMN else f"{text}  # {choice.reason}"


def _inline(value: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) + "}"


def _text(value: object) -> str:
    """A value as YAML has it on one line, within brackets or without."""
    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.strip()[1:-1]
