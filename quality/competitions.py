"""Run the presets at full length on the competitions' data and print the systems' figures beside those found here.

``python quality/competitions.py DATA``. DATA has a folder for each competition whose data are at hand, as that gave it:
``kidney``, ``vasculature``, ``sartorius``. It takes a GPU and hours; ``--short`` is a try of minutes whose scores say
nothing. Results lie in ``.quality/competitions/PRESET``; what is done there is not done again.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from tilewright.pixels.rasters import open_raster
from tilewright.project.config import ANY
from tilewright.project.places import SUMMARY, Places, mask_file
from tilewright.project.project import Project
from tilewright.runtime.documents import read_document
from tilewright.tiles.folding import read_project

REPOSITORY = Path(__file__).parents[1]
FOLDERS = {
    "vasculature-fcn-unet": "vasculature", "kidney-notebook": "kidney", "kidney-4th": "kidney", "kidney-2nd": "kidney",
    "sartorius-attention-unet": "sartorius",
}  # fmt: skip
POSITIVE = (0.048136, 0.054572, 0.017804, 0.033523, 0.036642, 0.015309)
"""S2-06: share of positive pixels of each data set and slide, in their order."""
IOU = {
    "fcn": (0.548752, (0.562, 0.447, 0.621, 0.519, 0.540, 0.582)),
    "unet": (0.580156, (0.603, 0.473, 0.643, 0.542, 0.568, 0.628)),
}
"""S2-17: IoU on the validation tiles, of all and of each data set and slide."""
SHORT = {"epochs": 1, "tiles_per_epoch": 8, "batch_size": 4}


class Figure(NamedTuple):
    """A figure of a system and what was found here; None: not told, or not found."""

    id: str
    what: str
    theirs: float | None
    ours: float | None


def main() -> None:
    """Run the presets whose data are at hand, and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with a folder for each competition")
    parser.add_argument("--presets", nargs="+", default=list(FOLDERS), choices=list(FOLDERS))
    parser.add_argument("--short", action="store_true", help="one epoch of a few tiles, one fold")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality" / "competitions")
    options = parser.parse_args()
    there = [name for name in options.presets if (options.data / FOLDERS[name]).is_dir()]
    if not there:
        folders = ", ".join(sorted({FOLDERS[name] for name in options.presets}))
        sys.exit(f"{options.data}: no folder of a competition is there ({folders}).")
    for name in there:
        project = run(name, options.data / FOLDERS[name], options.out, short=options.short)
        print(f"\n{name}\n" + "\n".join(map(line, figures(name, project))), flush=True)


def run(name: str, data: Path, out: Path, *, short: bool) -> Project:
    """Run a preset; its project."""
    preset = REPOSITORY / "config" / "presets" / f"{name}.yaml"
    values = yaml.safe_load(preset.read_text())
    sheet = out / f"{name}.csv"
    values |= {"data": str(data.resolve()), "sheet": str(sheet), "pathvars": {"results": str(out / name)}}
    if "file" in values["folds"]:
        values["folds"]["file"] = str(sheet.with_suffix(".folds.csv"))
    if short:
        values["folds"]["selected"] = [0]
        for model in values["models"].values():
            weights = "random" if model.get("encoder_weights") == "imagenet" else model.get("encoder_weights", "auto")
            model.update({**SHORT, "encoder_weights": weights})
    out.mkdir(parents=True, exist_ok=True)
    config = out / f"{name}.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    snakemake = Path(sys.executable).with_name("snakemake")
    command = [snakemake, "--snakefile", REPOSITORY / "Snakefile", "--cores", "all", "--configfile", config]
    subprocess.run(list(map(str, command)), check=True)
    return read_project(config)


def figures(name: str, project: Project) -> Iterator[Figure]:
    """The figures of a system beside those of a finished run."""
    places = Places.of(project.config.pathvars)
    scores = {each: summary(places, each) for each in project.config.ensembles}
    if name == "vasculature-fcn-unet":
        shares = positive(project, places)
        for source, theirs in told(sorted(shares), POSITIVE):
            yield Figure("S2-06", f"share of positive pixels, {source}", theirs, shares[source])
        for model, (overall, parts) in IOU.items():
            found = scores[model]
            yield Figure("S2-17", f"IoU of {model}, mean of tiles", overall, found.get("mean_slide_iou"))
            for source, theirs in told(sorted(shares), parts):
                ours = found.get("sources", {}).get(source, {}).get("mean_slide_iou")
                yield Figure("S2-17", f"IoU of {model}, {source}", theirs, ours)
    for model, found in scores.items():
        yield Figure("", f"Dice of {model}, out of fold, all slides as one", None, found.get("pooled_dice"))
    if name == "kidney-2nd":
        yield Figure("S4-21", "private score, one model of four folds; the server judges", 0.949, None)
        yield Figure("S4-21", "private score, four models; the server judges", 0.950, None)


def told(sources: list[str], values: tuple[float, ...]) -> list[tuple[str, float | None]]:
    """Each source with its value; with none, where the data are not those that the values belong to."""
    return list(zip(sources, values if len(sources) == len(values) else [None] * len(sources), strict=True))


def summary(places: Places, ensemble: str) -> dict[str, Any]:
    """Out-of-fold scores of an ensemble: of all classes together, or of the only one."""
    folder = Path(places.metrics(ensemble))
    table = read_document(folder / SUMMARY, folder).get("out_of_fold", {}) if folder.is_dir() else {}
    found: dict[str, Any] = table.get(ANY) or next(iter(table.values()), {})
    return found


def positive(project: Project, places: Places) -> dict[str, float]:
    """Share of the pixels of training slides that are of a class, by source."""
    sums: dict[str, list[float]] = {}
    for row in project.rows("train"):
        with open_raster(mask_file(Path(places.masks(row.shard)), row.slide)) as raster:
            bits = raster.read() & ((1 << len(project.classes)) - 1)
            sums.setdefault(row.source, []).append(float((bits > 0).mean()))
    return {source: float(np.mean(shares)) for source, shares in sums.items()}


def line(figure: Figure) -> str:
    """A figure as a line."""
    theirs, ours = ("-" if value is None else f"{value:.4f}" for value in (figure.theirs, figure.ours))
    return f"{figure.id:6} {figure.what:60} theirs {theirs:>8}  ours {ours:>8}"


if __name__ == "__main__":
    main()
