"""Whether networks are far apart on those test slides that they get wrong: the figures of ``docs/results.md``.

``python quality/spread.py DATA`` trains ``config/dsb2018.yaml`` on 36 images of dsb2018 (seeded), without a final
model, predicts the others, and prints the rank correlation of what the report lists them by with the share of the
nuclei's pixels that are wrong (1 - Dice), and how much of all error stands on the first fifth of that list.
"""

import argparse
import json
import random
import subprocess
from pathlib import Path

import pandas as pd
import yaml
from sets import REPOSITORY, read_sheet, write_sheet

TRAINED = 36
FIRST = 0.2


def main() -> None:
    """Train, predict, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real data sets")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality" / "spread")
    options = parser.parse_args()
    for seed in options.seeds:
        results = _run(options.data.resolve() / "dsb2018", options.epochs, seed, options.out.resolve() / f"seed{seed}")
        print(json.dumps({"seed": seed, "epochs": options.epochs, **_compared(results)}), flush=True)


def _run(data: Path, epochs: int, seed: int, out: Path) -> Path:
    """Train on some images and predict the others; the folder of results."""
    out.mkdir(parents=True, exist_ok=True)
    values = yaml.safe_load((REPOSITORY / "config" / "dsb2018.yaml").read_text())
    (model,) = values["models"].values()
    model |= {"epochs": epochs, "seed": seed, "final": False}
    model["inference"]["spread"] = True
    values |= {
        "sheet": _sheet(data, seed, out), "data": str(data), "layout": None,
        "pathvars": {"results": str(out / "results")}, "models": {"unet": model},
    }  # fmt: skip
    config = out / "config.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    command: list[str | Path] = ["snakemake", "-s", REPOSITORY / "Snakefile", "--cores", "2", "--configfile", config]
    subprocess.run([*command, "--", out / "results" / "report"], check=True)
    return out / "results"


def _sheet(data: Path, seed: int, out: Path) -> str:
    """All images, most of them for testing."""
    listed = out / "listed.csv"
    subprocess.run(["tilewright", "sheet", "dsb2018", data, "--out", listed], check=True)
    rows = read_sheet(listed)
    chosen = {row["slide"] for row in random.Random(seed).sample(rows, TRAINED)}
    for row in rows:
        row["role"] = "train"
        if row["slide"] not in chosen:
            row |= {"role": "test", "group": f"{row['group']}-test", "shard": f"{row['shard']}-test"}
    return write_sheet(out / "slides.csv", rows)


def _compared(results: Path) -> dict[str, float]:
    """How spread and error go together on the test slides."""
    scores = pd.read_csv(results / "metrics" / "unet" / "slides.csv").query("set == 'test' and `class` == 'nucleus'")
    spread = pd.read_csv(results / "report" / "spread.csv")
    both = scores.merge(spread[["slide", "spread"]], on="slide").sort_values("spread", ascending=False)
    error = 1 - both["dice"]
    first = error.iloc[: round(FIRST * len(error))]
    return {
        "slides": len(both), "dice": round(float(both["dice"].mean()), 3),
        "rank_correlation": round(float(both["spread"].corr(error, method="spearman")), 3),
        "error_on_first_fifth": round(float(first.sum() / error.sum()), 3),
        "error_on_worst_fifth": round(float(error.nlargest(len(first)).sum() / error.sum()), 3),
    }  # fmt: skip


if __name__ == "__main__":
    main()
