"""Compare recipes at equal training time on real sets, by the out-of-fold Dice of the whole graph.

``make quality ARGS="--sets hgsc --recipes default --minutes 3"``; results are added to ``quality/results.json``, from
which ``page.py`` makes ``docs/quality.md``; a result that is there is not made anew, unless it is marked as stale. The
minutes of a fold are those of two cores: each fold trains with one thread for twice as long, two folds side by side;
validations do not count. How fast each recipe trains is measured first and kept in ``quality/speeds.json``; the machine
should do nothing else meanwhile (``--speeds-only`` stops there). The trainings then take so many tiles, however long
that is.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from page import RESULTS
from recipes import SAME_COST, Recipe, ablations, default, presets, transformers
from sets import REPOSITORY, SETS, DataSet

EPOCHS = 12
CORES = 2
SPEEDS = RESULTS.with_name("speeds.json")
Speed = dict[str, Any]


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    known = {"default": default(), **presets(download=options.download), **ablations()}
    if options.encoder:
        known |= transformers(*options.encoder)
    chosen = {name: recipe for name, recipe in known.items() if _is_asked_for(name, options.recipes)}
    if not chosen:
        sys.exit(f"No recipe fits. There are: {', '.join(known)}")
    out = options.out
    for name in options.sets:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        data = SETS[name](options.data, folder)
        costs = {recipe: "default" if recipe in SAME_COST else recipe for recipe in chosen}
        speeds = {
            cost: speed(name, data, cost, _model(known[cost], data), folder) for cost in dict.fromkeys(costs.values())
        }
        for recipe, spec in () if options.speeds_only else chosen.items():
            for seed in range(options.seeds):
                key = {"set": name, "recipe": recipe, "minutes": options.minutes, "seed": seed}
                if any(key.items() <= known.items() for known in _read(RESULTS) if not known.get("stale")):
                    continue
                record = compare(
                    name, data, recipe, _model(spec, data, seed), speeds[costs[recipe]], options.minutes, folder
                )
                _add(RESULTS, record, list(key))
                print(json.dumps(record), flush=True)


def speed(name: str, data: DataSet, recipe: str, model: Recipe, folder: Path) -> Speed:
    """Seconds of a training batch of a recipe, measured where they are not known yet."""
    for known in _read(SPEEDS):
        if (known["set"], known["recipe"]) == (name, recipe):
            return known
    _snakemake(folder, data, "any", model, ["--until", "tile", "split"])
    found = {"set": name, "recipe": recipe, "batch": _probe(folder, data, model)}
    _add(SPEEDS, found, ("set", "recipe"))
    return found


def compare(
    name: str, data: DataSet, recipe: str, model: Recipe, speed: Speed, minutes: float, folder: Path
) -> dict[str, Any]:
    """Train a recipe on all folds for the minutes given, and predict and measure out of fold."""
    short = f"{recipe.replace(' ', '-').replace(chr(39), '').lower()}-{minutes:g}min-seed{model['seed']}"
    batches = int(minutes * 60 * CORES / EPOCHS / speed["batch"])
    model = {**model, "tiles_per_epoch": batches * model.get("batch_size", 8), "validate_every": data.validate_every}
    begin = time.time()
    _snakemake(folder, data, short, model, ["--", f"{folder}/results/metrics/{short}"])
    summary = json.loads((folder / "results" / "metrics" / short / "summary.json").read_text())
    found = summary["out_of_fold"][data.target]
    return {
        "set": name, "recipe": recipe, "minutes": minutes, "seed": model["seed"], "class": data.target,
        "dice": found["pooled_dice"], "tiles_per_epoch": model["tiles_per_epoch"], "epochs": EPOCHS,
        "cpu_seconds": [_cpu_seconds(folder, short, fold) for fold in range(data.config["folds"]["count"])],
        "seconds": round(time.time() - begin, 1), "cpus": os.cpu_count(),
        "date": date.today().isoformat(),
    }  # fmt: skip


def _model(spec: Recipe, data: DataSet, seed: int = 0) -> Recipe:
    inference = {"window": 2 * data.crop, "overlap": 0.25, "batch_size": 4, "tta": data.tta}
    common = {"tiles": "tiles", "crop": data.crop, "threads": 1, "epochs": EPOCHS, "inference": inference}
    return {**spec, **common, "seed": seed}


def _cpu_seconds(folder: Path, name: str, fold: int) -> float:
    with (folder / "results" / "benchmarks" / "train" / name / f"fold{fold}.tsv").open() as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    return float(row["cpu_time"])


def _snakemake(folder: Path, data: DataSet, name: str, model: Recipe, arguments: list[str]) -> None:
    ensemble = {"models": {name: 1}, "calibration": {"rule": "best"}}
    config = {
        **data.config, "models": {name: model}, "ensembles": {name: ensemble},
        "pathvars": {"results": f"{folder}/results"},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command: list[str | Path] = [
        "snakemake",
        "--snakefile",
        REPOSITORY / "Snakefile",
        "--cores",
        "2",
        "--quiet",
        "--configfile",
        path,
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def _probe(folder: Path, data: DataSet, model: Recipe) -> float:
    """The slower of two processes that measure side by side, as the folds will train."""
    network = {key: value for key, value in model.items() if key != "inference"}
    order = {
        "network": network, "classes": sorted(data.config["classes"]), "folds": f"{folder}/results/folds.csv",
        "tiles": f"{folder}/results/tiles/tiles",
    }  # fmt: skip

    def measure(fold: int) -> float:
        command: list[str | Path] = [sys.executable, Path(__file__).parent / "probe.py"]
        done = subprocess.run(command, input=json.dumps({**order, "fold": fold}), capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return float(done.stdout)

    with ThreadPoolExecutor() as pool:
        return max(pool.map(measure, range(2)))


def _is_asked_for(name: str, recipes: list[str]) -> bool:
    return not recipes or any(name == each or name.startswith(f"{each} ") for each in recipes)


def _read(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return records


def _add(path: Path, record: dict[str, Any], key: Sequence[str]) -> None:
    """Keep a record in place of the one that has the same key."""
    others = [each for each in _read(path) if any(each[name] != record[name] for name in key)]
    path.write_text(json.dumps([*others, record], indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--sets", nargs="+", default=["hgsc", "vasculature"], choices=list(SETS))
    parser.add_argument("--recipes", nargs="*", default=[], help="names, or their first words; none: all")
    parser.add_argument("--minutes", type=float, default=3.0, help="training time of a fold on two cores")
    parser.add_argument("--seeds", type=int, default=1, help="trainings with different seeds")
    parser.add_argument("--download", action="store_true", help="download the encoder weights that presets name")
    parser.add_argument(
        "--encoder", nargs=2, metavar=("NAME", "FILE"), help="a transformer of docs/encoders.md and its weights"
    )
    parser.add_argument("--speeds-only", action="store_true", help="only measure how fast the recipes train")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality")
    return parser.parse_args()


if __name__ == "__main__":
    main()
