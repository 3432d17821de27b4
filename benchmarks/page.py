"""The page of figures from measurements: ``python benchmarks/page.py .bench/full.json > docs/speed.md``.

Several files may be given; where two hold the same case, the later one counts.
"""

import json
import sys
from pathlib import Path

import table

INTRODUCTION = """# Speed and memory

Every figure here comes from `make bench` ([what it does](../benchmarks/README.md)), which measures tilewright and
others in turns on the same machine, each in its own process, and compares their outputs. Ratios say how many times
faster tilewright is, or what share of the other's memory it holds. This page is written by
`python benchmarks/page.py`."""
COLUMNS = ("case", "against", "goal", "ours", "other", "ratio", "memory", "other's", "met", "outputs")
TITLES = {
    "rasterize": "Outlines in memory to a mask on disk",
    "rasterize-step": "The step rasterize, from a GeoJSON file",
    "kidney": "Glomeruli of the kidney data set",
    "rle": "Run-length encoding",
    "downscale": "Downscaling",
    "pyramid": "Downscaling slides with levels",
    "tiles": "Cutting tiles",
    "components": "Components with their areas and centres",
    "predict": "Prediction by windows",
    "host": "Prediction without its network, in seconds of the processor",
    "augment": "Augmentation on one thread, in seconds of the processor",
    "chain": "From prediction to submission on a large slide",
    "growth": "Growth: each step at 1, 4 and 16 times the pixels or the outlines",
    "full": "The chain on one large slide, from outlines to submission",
}


def page(reports):
    """Markdown of some reports."""
    rows = {}
    for report in reports:
        for one in report["results"]:
            rows.setdefault(one["row"], {})[one["case"]] = (one, report["about"])
    parts = [INTRODUCTION]
    for name in (name for name in TITLES if name in rows):
        cases = list(rows[name].values())
        about = cases[0][1]
        cells = [line for one, _ in cases for line in table.lines(one)]
        parts.append(f"## {TITLES[name]}\n\n{_machine(name, about)}\n\n{_markdown(cells)}")
    parts.append(_versions(reports[-1]["about"]["versions"]))
    return "\n\n".join(parts) + "\n"


def _machine(name, about):
    """The command of a row and where it ran."""
    command = f'make bench ARGS="--rows {name} --size {about["size"]} --repeats {about["repeats"]}"'
    runs = "one run" if about["repeats"] == 1 else f"medians of {about['repeats']}"
    memory = about["memory"] / (1 << 30)
    text = f"`{command}`: {runs}, {about['cpus']} CPUs, {memory:.0f} GiB, {about['date'][:10]}."
    if about["load"] > about["cpus"]:
        text += f" Other programs ran meanwhile (load {about['load']:.1f}) and lengthened the seconds."
    return text


def _markdown(lines):
    header = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    rows = []
    for _, case, against, goal, ours, each, other, ratio, memory, others, met, outputs in lines:
        took = f"{ours} ({each})" if each else ours
        rows.append("| " + " | ".join((case, against, goal, took, other, ratio, memory, others, met, outputs)) + " |")
    return "\n".join(header + rows)


def _versions(versions):
    lines = ["## Versions", "", "| environment | packages |", "| --- | --- |"]
    for name, packages in versions.items():
        text = packages if isinstance(packages, str) else ", ".join(f"{key} {value}" for key, value in packages.items())
        lines.append(f"| {name} | {text} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page([json.loads(Path(path).read_text()) for path in sys.argv[1:]]), end="")
