"""What fitting for objects, cuts at necks and further targets bring for nuclei: the table of ``docs/objects.md``.

``python quality/objects.py DATA`` holds 34 of the 104 images of dsb2018 out (seeded), trains ``config/dsb2018.yaml`` on
the others with each set of targets, makes objects in each way, and adds to ``quality/objects.json`` what the held-out
images give: F1 at an overlap of one half, the score of the Data Science Bowl (the mean over 0.50:0.95, then over
images), Dice. ``--table`` prints what is there, the mean of seeds with the lowest and the highest.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from sets import REPOSITORY

RESULTS = Path(__file__).with_name("objects.json")
HELD_OUT = 34
SCORES = {"f1": "F1 at 0.5", "share_correct": "mean over 0.50:0.95", "pooled_dice": "Dice"}


class Way(NamedTuple):
    """A way from a training to objects.

    Attributes:
        name: in the table.
        targets: what the network learns.
        calibration: what is fitted.
        segmentation: how objects are made.
    """

    name: str
    targets: list[str]
    calibration: dict[str, Any]
    segmentation: dict[str, Any]


MASK, OBJECTS = ["mask"], {"aim": "objects"}
WAYS = [
    Way("mask, fitted for Dice", MASK, {"min_area": "fit"}, {"split": None}),
    Way("mask, cut at necks, fitted for Dice", MASK, {"min_area": "fit"}, {"split": {}}),
    Way("mask, fitted for objects", MASK, OBJECTS, {"split": None}),
    Way("mask, cut at necks, fitted for objects", MASK, OBJECTS, {"split": {}}),
    Way("mask, touching", ["mask", "touching"], OBJECTS, {"split": None}),
    Way("mask, touching, border", ["mask", "touching", "border"], OBJECTS, {"split": None}),
    Way("mask, distance", ["mask", "distance"], OBJECTS, {"split": None}),
]


def main() -> None:
    """Train, measure, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of the real data sets")
    parser.add_argument("--budgets", type=float, nargs="+", default=[1.0, 2.0], help="times the epochs of the config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=[way.name for way in WAYS])
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality" / "objects")
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    options = parser.parse_args()
    if options.table:
        print("\n".join(_table(json.loads(RESULTS.read_text()))))
        return
    out = options.out.resolve()
    sheet = _sheet(options.data.resolve() / "dsb2018", out)
    for budget in options.budgets:
        for seed in options.seeds:
            for way in (each for each in WAYS if each.name in options.ways):
                record = _measured(way, budget, seed, sheet, options.data.resolve() / "dsb2018", out)
                print(json.dumps(record), flush=True)


def _measured(way: Way, budget: float, seed: int, sheet: Path, data: Path, out: Path) -> dict[str, Any]:
    """Train, where that is not done yet, and make objects; results of one training lie beside each other."""
    key = {"way": way.name, "budget": budget, "seed": seed}
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if found := [record for record in known if key.items() <= record.items()]:
        return dict(found[0])
    results = out / "-".join([f"x{budget:g}", f"seed{seed}", *way.targets])
    values = yaml.safe_load((REPOSITORY / "config" / "dsb2018.yaml").read_text())
    (model,) = values["models"].values()
    model |= {"targets": way.targets, "seed": seed, "epochs": round(budget * model["epochs"])}
    values |= {
        "sheet": str(sheet), "data": str(data), "layout": None, "pathvars": {"results": str(results)},
        "models": {"unet": model}, "segmentation": values.get("segmentation", {}) | way.segmentation,
        "ensembles": {"unet": {"models": {"unet": 1}, "calibration": way.calibration}},
    }  # fmt: skip
    config = out / f"{results.name}.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    metrics = results / "metrics" / "unet"
    subprocess.run(
        ["snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "all", "--configfile", config, "--", metrics],
        check=True,
    )
    scores = json.loads((metrics / "summary.json").read_text())["test"]["nucleus"]
    record = {**key, **{name: scores[name] for name in SCORES}}
    RESULTS.write_text(json.dumps([*known, record], indent=1) + "\n")
    return record


def _table(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    for budget in sorted({record["budget"] for record in records}):
        own = [record for record in records if record["budget"] == budget]
        yield f"| {budget:g} x the epochs | " + " | ".join(SCORES.values()) + " | seeds |"
        yield "| --- |" + " --- |" * (len(SCORES) + 1)
        for way in WAYS:
            found = [record for record in own if record["way"] == way.name]
            if found:
                cells = [_cell([record[score] for record in found]) for score in SCORES]
                yield f"| {way.name} | " + " | ".join(cells) + f" | {len(found)} |"
        yield ""


def _cell(values: Sequence[float]) -> str:
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def _sheet(data: Path, out: Path) -> Path:
    """All images, some of them for testing."""
    out.mkdir(parents=True, exist_ok=True)
    listed, sheet = out / "listed.csv", out / "slides.csv"
    subprocess.run(["tilewright", "sheet", "dsb2018", data, "--out", listed], check=True)
    with listed.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    chosen = {row["slide"] for row in random.Random(0).sample(rows, HELD_OUT)}
    for row in rows:
        row["role"] = "train"
        if row["slide"] in chosen:
            row |= {"role": "test", "group": f"{row['group']}-test", "shard": f"{row['shard']}-test"}
    with sheet.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return sheet


if __name__ == "__main__":
    main()
