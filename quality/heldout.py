"""How good a planned config is on tiles and slides that nothing knew: nine vessel tiles of the outlined ones, seeded.

``python quality/heldout.py DATA`` plans for the other tiles, runs the graph once for each seed, and prints, a line a
seed, the Dice of vessels on the nine tiles (of slides that the training knows) and the nested Dice out of fold (of
whole slides that neither training nor threshold knew). ``--config`` takes a config in place of the planned one.
"""

import argparse
import csv
import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml
from sets import REPOSITORY

HELD_OUT = 9
VESSELS = {"blood_vessel": "blood_vessel", "blood_vessel_or_unsure": "blood_vessel"}
"""Labels that are taken, and the class they stand for; the others are left out."""


def main() -> None:
    """Plan, run and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real data sets")
    parser.add_argument("--minutes", type=float, default=15.0, help="that a run may take")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, help="a config in place of the planned one")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality" / "heldout")
    options = parser.parse_args()
    out, source = options.out.resolve(), options.data.resolve() / "hubmap-vasculature"
    out.mkdir(parents=True, exist_ok=True)
    sheet = _sheet(source, out)
    config = options.config or out / "planned.yaml"
    if not config.exists():
        limits = ["--minutes", str(options.minutes), "--out", config]
        _run("tilewright", "plan", "--sheet", sheet, "--data", source, *limits)
    for seed in options.seeds:
        print(json.dumps(_measured(config, sheet, source, out, seed)), flush=True)


def _measured(config: Path, sheet: Path, source: Path, out: Path, seed: int) -> dict[str, Any]:
    values = yaml.safe_load(config.read_text())
    values |= {"sheet": str(sheet), "data": str(source), "pathvars": {"results": f"{out}/seed{seed}"}}
    for model in values["models"].values():
        model["seed"] = seed
    (ensemble,) = values["ensembles"]
    path = out / f"seed{seed}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    begin = time.monotonic()
    results, snakefile = Path(f"{out}/seed{seed}"), REPOSITORY / "Snakefile"
    _run("snakemake", "--snakefile", snakefile, "--cores", "all", "--quiet", "--configfile", path, "--",
         results / "metrics" / ensemble)  # fmt: skip
    summary = json.loads((results / "metrics" / ensemble / "summary.json").read_text())
    calibration = json.loads((results / "calibration" / f"{ensemble}.json").read_text())
    return {
        "seed": seed,
        "known_slides": summary["test"]["blood_vessel"]["pooled_dice"],
        "new_slides": calibration["dice"]["blood_vessel"]["nested"],
        "threshold": calibration["thresholds"]["blood_vessel"],
        "seconds": round(time.monotonic() - begin),
    }


def _sheet(source: Path, out: Path) -> Path:
    """The outlined tiles, nine of them for testing, with outlines of vessels alone."""
    listed, sheet = out / "listed.csv", out / "slides.csv"
    _run("tilewright", "sheet", "vasculature", source, "--out", listed)
    rows = [row for row in _rows(listed) if row["role"] == "train"]
    chosen = {row["slide"] for row in random.Random(0).sample(rows, HELD_OUT)}
    for name in {row["annotations"] for row in rows}:
        _write_vessels(source / name, out / name)
    for row in rows:
        row["annotations"], row["labelled"] = str(out / row["annotations"]), ""
        if row["slide"] in chosen:
            row |= {"role": "test", "group": f"{row['group']}-test", "shard": f"{row['shard']}-test"}
    with sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return sheet


def _write_vessels(source: Path, out: Path) -> None:
    """Write the outlines of a file that are vessels, with one label."""
    lines = []
    for line in source.read_text().splitlines():
        tile = json.loads(line)
        kept = [{**each, "type": VESSELS[each["type"]]} for each in tile["annotations"] if each["type"] in VESSELS]
        lines.append(json.dumps({**tile, "annotations": kept}) + "\n")
    out.write_text("".join(lines))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
