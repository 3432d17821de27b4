"""What the graph itself costs: parsing, planning, scheduling, without the work of the steps.

``python benchmarks/graph.py --slides 200 2000 10000 --images 7033 --run 200``; prints a table and writes JSON. Slides
are empty files of one shard each; images lie in 32 shards. Four models, five folds, two ensembles. Measured are a dry
run, a dry run where nothing is to be done (``--run``), the parsing and planning of one cluster job, and the time for
each job when a program that only makes its outputs stands in for ``tilewright``. The peer, in the same run, is
Snakemake with the same graph and nothing else (``bare.smk``): what no workflow of these jobs can be faster than.
"""

import argparse
import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
BARE = Path(__file__).with_name("bare.smk")
PROGRAMS = Path(sys.executable).parent
MODELS = ("one", "two", "three", "four")
CONFIG = {
    "sheet": "slides.csv",
    "classes": {"gland": {}},
    "scales": {"half": {"factor": 2}},
    "tiles": {"tiles": {"scale": "half", "size": 256}},
    "folds": {"count": 5},
    "models": {name: {"tiles": "tiles", "seed": number} for number, name in enumerate(MODELS)},
    "ensembles": {"all": {"models": dict.fromkeys(MODELS, 1)}, "half": {"models": dict.fromkeys(MODELS[:2], 1)}},
}
SHIM = """#!/usr/bin/env bash
# makes the outputs of a step and nothing else
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; verb=${verb:-$1}; shift; done
case $verb in
train) mkdir -p "$out"; for name in model.safetensors model.json history.csv curves.png; do : > "$out/$name"; done ;;
tile|split|calibrate|seams|encode|measure) : > "$out" ;;
*) mkdir -p "$out"; : > "$out/done" ;;
esac
"""


def main():
    """Measure what the command line asks for."""
    options = _options()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sizes = [(count, count) for count in options.slides] + [(count, 32) for count in options.images]
        for count, shards in sizes:
            project = make(Path(folder) / f"{count}-{shards}", count, shards)
            row = {"slides": count, "shards": shards, **planned(project, shards), "job": one_job(project)}
            if count in options.run and shards == count:
                row |= run(project, row["jobs"])
            rows.append(row)
            print(json.dumps(row), flush=True)
            shutil.rmtree(project)
    print(table(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n")


def make(folder, count, shards):
    """A project whose slides are empty files; a fifth of the shards is tested."""
    (folder / "images").mkdir(parents=True)
    (folder / "bin").mkdir()
    program = folder / "bin" / "tilewright"
    program.write_text(SHIM)
    program.chmod(0o755)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    with (folder / "slides.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("slide", "image", "annotations", "role", "group", "shard"))
        for number in range(count):
            name, shard = f"s{number:05d}", f"h{number % shards:05d}"
            role = "test" if number % shards % 5 == 4 else "train"
            for suffix in ("tif", "geojson"):
                (folder / "images" / f"{name}.{suffix}").touch()
            writer.writerow((name, f"images/{name}.tif", f"images/{name}.geojson", role, shard, shard))
    return folder


def snakemake(project, *arguments):
    """Run our graph: seconds, peak memory in bytes, what it printed."""
    path = os.pathsep.join(map(str, (project / "bin", PROGRAMS, os.environ["PATH"])))
    options = ("-s", REPOSITORY / "Snakefile", "-d", project, "--configfile", project / "config.yaml")
    return measured(PROGRAMS / "snakemake", *options, *arguments, path=path)


def bare(project, shards):
    """Seconds of a dry run of the same graph, bare, and its jobs."""
    options = ("-s", BARE, "-d", project, "--config", f"shards={shards}", "--workflow-profile", "none")
    seconds, _, printed = measured(PROGRAMS / "snakemake", *options, "-n", "--quiet", "rules")
    return seconds, total(printed)


def measured(*command, path=os.environ["PATH"]):
    """Run a program: seconds, peak memory in bytes, what it printed."""
    begin = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": path}
    ) as process:
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(printed[-5000:])
    return time.monotonic() - begin, usage.ru_maxrss * 1024, printed


def planned(project, shards):
    """Jobs, seconds and memory of a dry run, and the seconds of the bare graph."""
    seconds, memory, printed = snakemake(project, "-n", "--quiet", "rules")
    alone, jobs = bare(project, shards)
    if jobs != total(printed):
        sys.exit(f"bare.smk has {jobs} jobs in place of {total(printed)}: it is another graph")
    return {"jobs": jobs, "plan": seconds, "memory": memory, "bare": alone}


def total(printed):
    """The number of jobs that a dry run names."""
    return int(re.search(r"^total +(\d+)", printed, re.MULTILINE)[1])


def one_job(project):
    """Seconds that one job on a cluster needs before its step begins: as it is submitted, and inside its srun."""
    target = ["--target-jobs", "rasterize:shard=h00000", "--allowed-rules", "rasterize", "--force", "--nolock"]
    return snakemake(project, "-n", "--quiet", "all", *target)[0]


def run(project, jobs):
    """Milliseconds of each job on two cores with the stand-in, and a dry run after it."""
    seconds, memory, _ = snakemake(project, "--cores", "2", "--quiet", "all")
    again = snakemake(project, "-n", "--quiet", "all")[0]
    return {"each": 1000 * seconds / jobs, "run_memory": memory, "again": again}


def table(rows):
    """The rows as Markdown."""
    lines = [
        "| slides | shards | jobs | dry run | bare graph | ratio | memory | before a cluster job "
        "| each job, two at a time | dry run when all is done |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        done = (f"{row['each']:.0f} ms", f"{row['again']:.1f} s") if "each" in row else ("", "")
        cells = (
            f"{row['slides']:,}", f"{row['shards']:,}", f"{row['jobs']:,}", f"{row['plan']:.1f} s",
            f"{row['bare']:.1f} s", f"{row['plan'] / row['bare']:.2f}", f"{row['memory'] / 1e9:.2f} GB",
            f"{row['job']:.1f} s", *done,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, nargs="*", default=[200], help="numbers of slides, a shard each")
    parser.add_argument("--images", type=int, nargs="*", default=[], help="numbers of images in 32 shards")
    parser.add_argument("--run", type=int, nargs="*", default=[], help="numbers of slides to run with the stand-in")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".bench" / "graph.json")
    return parser.parse_args()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
