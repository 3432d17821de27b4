"""Compare recipes at equal training time on real sets, by the out-of-fold Dice of the whole graph.

``make quality ARGS="--sets hgsc --recipes default --minutes 3"``; results are added to ``.quality/results.json``, from
which ``page.py`` makes ``docs/quality.md``. The minutes of a fold are those of two cores: each fold trains with one thread for
twice as long, both folds side by side. The machine should do nothing else.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from recipes import Recipe, ablations, default, presets
from sets import REPOSITORY, SETS, DataSet

EPOCHS = 12
CORES = 2
CROP = 128
INFERENCE = {"window": 256, "overlap": 0.25, "batch_size": 4}


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    known = {"default": default(), **presets(download=options.download), **ablations()}
    chosen = {name: recipe for name, recipe in known.items() if _is_asked_for(name, options.recipes)}
    if not chosen:
        sys.exit(f"No recipe fits. There are: {', '.join(known)}")
    out = options.out
    for name in options.sets:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        data = SETS[name](options.data, folder)
        for recipe, spec in chosen.items():
            for seed in range(options.seeds):
                record = compare(name, data, recipe, spec, options, seed, folder)
                _add(out / "results.json", record)
                print(json.dumps(record), flush=True)


def compare(
    name: str, data: DataSet, recipe: str, spec: Recipe, options: argparse.Namespace, seed: int, folder: Path
) -> dict[str, Any]:
    """Train a recipe on all folds for the minutes given, and predict and measure out of fold."""
    model = {
        **spec, "tiles": "tiles", "crop": CROP, "threads": 1, "seed": seed, "epochs": EPOCHS, "inference": INFERENCE,
    }  # fmt: skip
    short = f"{recipe.replace(' ', '-').replace(chr(39), '').lower()}-{options.minutes:g}min-seed{seed}"
    _snakemake(folder, data, short, model, ["--until", "tile", "split"])
    probed = _probe(folder, data, short, model)
    seconds = options.minutes * 60 * CORES / EPOCHS - probed["validation"]
    batches = max(1, int(seconds / probed["batch"]))
    model["tiles_per_epoch"] = batches * model.get("batch_size", 8)
    begin = time.time()
    _snakemake(folder, data, short, model, ["--", f"{folder}/results/metrics/{short}"])
    summary = json.loads((folder / "results" / "metrics" / short / "summary.json").read_text())
    found = summary["out_of_fold"][data.target]
    trained = [
        float((folder / "results" / "benchmarks" / "train" / short / f"fold{fold}.tsv").read_text().split("\n")[1].split("\t")[0])
        for fold in range(2)
    ]  # fmt: skip
    return {
        "set": name, "recipe": recipe, "minutes": options.minutes, "seed": seed, "class": data.target,
        "dice": found["pooled_dice"], "tiles_per_epoch": model["tiles_per_epoch"], "epochs": EPOCHS,
        "training_seconds": trained, "seconds": round(time.time() - begin, 1), "cpus": os.cpu_count(),
    }  # fmt: skip


def _snakemake(folder: Path, data: DataSet, name: str, model: dict[str, Any], arguments: list[str]) -> None:
    config = {
        **data.config, "models": {name: model}, "ensembles": {name: {"models": {name: 1}}},
        "pathvars": {"results": f"{folder}/results"},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command = ["snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2", "--quiet", "--configfile", path]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def _probe(folder: Path, data: DataSet, name: str, model: dict[str, Any]) -> dict[str, float]:
    """The slower of two processes that measure side by side, as the folds will train."""
    network = {key: value for key, value in model.items() if key != "inference"}
    order = {
        "network": network, "classes": sorted(data.config["classes"]), "folds": f"{folder}/results/folds.csv",
        "tiles": f"{folder}/results/tiles/tiles",
    }  # fmt: skip

    def measure(fold: int) -> dict[str, float]:
        command = [sys.executable, Path(__file__).parent / "probe.py"]
        done = subprocess.run(command, input=json.dumps({**order, "fold": fold}), capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(measure, range(2)))
    return {key: max(each[key] for each in both) for key in both[0]}


def _is_asked_for(name: str, recipes: list[str]) -> bool:
    return not recipes or any(name == each or name.startswith(f"{each} ") for each in recipes)


def _add(path: Path, record: dict[str, Any]) -> None:
    records = json.loads(path.read_text()) if path.is_file() else []
    same = ("set", "recipe", "minutes", "seed")
    records = [each for each in records if any(each[key] != record[key] for key in same)]
    path.write_text(json.dumps([*records, record], indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--sets", nargs="+", default=["hgsc", "vasculature"], choices=list(SETS))
    parser.add_argument("--recipes", nargs="*", default=[], help="names, or their first words; none: all")
    parser.add_argument("--minutes", type=float, default=3.0, help="training time of a fold on two cores")
    parser.add_argument("--seeds", type=int, default=1, help="trainings with different seeds")
    parser.add_argument("--download", action="store_true", help="download the encoder weights that presets name")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality")
    return parser.parse_args()


if __name__ == "__main__":
    main()
