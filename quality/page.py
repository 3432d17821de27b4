"""Make ``docs/quality.md`` from the results of ``make quality``: ``python quality/page.py [RESULTS.json]``."""

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes import REPOSITORY, ablations, presets

Record = Mapping[str, Any]
RESULTS = Path(__file__).with_name("results.json")
TITLES = {
    "hgsc": "nuclei, H&E (hgsc)",
    "vasculature": "vessels, PAS (hubmap-vasculature)",
    "vasculature-slides": "vessels, other slides",
    "vasculature-full": "vessels, full resolution",
    "dsb2018": "nuclei, many looks (dsb2018)",
}
HEAD = """\
# Quality of training recipes

Out-of-fold Dice after equal training time, by the whole graph: two folds, each trained for the minutes given on two
cores (one thread for twice as long, two folds side by side); predicted by the fold that did not see a slide;
thresholds fitted out of fold, by the rule `best` for all: the default's rule draws them to one half, which would cost
those much whose probabilities are not calibrated. Made by

    make quality ARGS="--data DATA"
    python quality/page.py

A probe tells how long a batch of each recipe takes, and the epochs ({epochs}) get as many tiles as fit; validations do
not count, and ablations that train as fast as the default take its speed. A recipe is what a model's config says of
network, loss, sampling, augmentation, optimiser and schedule; tile set, crop and inference are the same for all.
Encoders whose ImageNet weights would have to be downloaded (S1, S3, S4) start from random weights here; only the
default's come with an installed package. Processors: {cpus}.
"""
SETS = """
The sets: `hgsc`: three classes, the two halves of one region, hence of one slide; Dice of all nuclei together.
`hubmap-vasculature`: 29 annotated tiles, half of the tiles of each source against the other half, so that slides are
on both sides; "other slides" holds whole slides out; "full resolution" trains on four fifths of them, with crops of
256 of the whole resolution in place of 128 of a half, and predicts in all eight positions. `dsb2018`: 104 images of
many kinds, half of the images of each look.
"""
STALE = "†"
OLDER = """
{mark}: of {dates}, before augmentation in two halves, validation of each pixel once, epochs chosen by a smoothed
curve, and the network of S5 as it is now; `make quality` makes these anew.
"""
NEVER = """
Never run: the presets at full length on the data of their competitions. `python quality/competitions.py DATA` does so
for those who have the data and a GPU, and prints the figures of the systems (S2-06, S2-17, S4-21 of
[reference-systems.md](reference-systems.md)) beside those that it finds. Nothing here was run on a GPU.
"""


def main() -> None:
    """Write the page."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    (REPOSITORY / "docs" / "quality.md").write_text(page(json.loads(source.read_text())))


def page(records: Sequence[Record]) -> str:
    """The text of the page."""
    cpus = ", ".join(str(each) for each in sorted({record["cpus"] for record in records}))
    epochs = ", ".join(str(each) for each in sorted({record["epochs"] for record in records}))
    text = HEAD.format(cpus=cpus, epochs=epochs)
    for minutes in sorted({record["minutes"] for record in records}):
        part = [record for record in records if record["minutes"] == minutes]
        main_rows = ["default", *presets(download=False)]
        if any(record["recipe"] in main_rows for record in part):
            text += f"\n## {minutes:g} minutes a fold\n\n" + _table(part, main_rows)
        changed = [name for name in ablations() if any(record["recipe"] == name for record in part)]
        if changed:
            text += f"\n## The default with one thing changed, {minutes:g} minutes a fold\n\n"
            text += _table(part, ["default", *changed])
    stale = sorted({record["date"] for record in records if record.get("stale")})
    return text + (OLDER.format(mark=STALE, dates=", ".join(stale)) if stale else "") + SETS + NEVER


def _table(records: Sequence[Record], recipes: Sequence[str]) -> str:
    names = [
        name for name in TITLES if any(record["set"] == name and record["recipe"] in recipes for record in records)
    ]
    lines = [f"| recipe | {' | '.join(TITLES[name] for name in names)} |", "| --- |" + " --- |" * len(names)]
    for recipe in recipes:
        found = [
            [record for record in records if (record["set"], record["recipe"]) == (name, recipe)] for name in names
        ]
        if any(found):
            lines.append(f"| {recipe} | {' | '.join(map(_cell, found))} |")
    return "\n".join(lines) + "\n"


def _cell(records: Iterable[Record]) -> str:
    """Mean Dice over seeds, their standard deviation where there are several, and the tiles trained on."""
    records = list(records)
    if not records:
        return "-"
    scores = [record["dice"] for record in records]
    spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
    tiles = records[0]["tiles_per_epoch"] * records[0]["epochs"]
    mark = STALE if any(record.get("stale") for record in records) else ""
    return f"{statistics.mean(scores):.3f}{spread}{mark} ({tiles:,} tiles)"


if __name__ == "__main__":
    main()
