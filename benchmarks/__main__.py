"""Measure tilewright and its peers side by side: ``python benchmarks`` (``make bench``). See README.md here."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import table
from bench import SIZES, Bench
from inputs import Inputs
from measure import PYTHONS, ROOT, Call, Failed, Unavailable, measure_case, run
from rows import HIDDEN, ROWS

PACKAGES = {
    "ours": "tilewright numpy scipy rasterio pyvips pyvips-binary shapely h5py pyarrow pandas torch monai",
    "peers": "numpy scipy rasterio pyvips pyvips-binary opencv-python-headless pycocotools scikit-image "
    "openslide-python openslide-bin pillow h5py shapely",
    "tiatoolbox": "tiatoolbox numpy opencv-python openslide-python openslide-bin h5py torch",
}


def main():
    """Run the chosen rows; the exit code is 1 where outputs differ or a row of ours failed."""
    options = _options()
    report = {"about": _about(options), "results": [], "skipped": {}, "broken": {}}
    for name in options.rows:
        print(name, flush=True)
        _run_row(name, options, report)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1))
    print("\n" + _headline(report["about"]))
    print(table.text(report["results"], report["skipped"]))
    wrong = table.wrong(report["results"], report["broken"])
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    sys.exit(bool(wrong))


def _run_row(name, options, report):
    work = options.cache / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    bench = Bench(Inputs(options.cache / "inputs", options.data), SIZES[options.size], work)
    try:
        for case in (ROWS | HIDDEN)[name](bench):
            if options.cases not in case.title:
                continue
            report["results"].append(_run_case(name, case, options))
    except Unavailable as error:
        kind = "broken" if isinstance(error, Failed) else "skipped"
        print(f"  {kind}: {error}", flush=True)
        report[kind][name] = str(error)
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


def _run_case(name, case, options):
    if options.ours_only:
        case = replace(case, peers=tuple(peer for peer in case.peers if peer.call.environment == "ours"))
    ours, peers = measure_case(case, options.repeats, settle=options.size != "quick", say=partial(print, flush=True))
    return table.result(name, case, ours, peers)


def _options():
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("--rows", type=lambda names: names.split(","), default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--cases", default="", help="only cases with this text in their title")
    parser.add_argument("--repeats", type=int, help="how often each is measured (3; quick: 1)")
    parser.add_argument("--size", choices=SIZES, default="full", help="how large the inputs are")
    parser.add_argument("--quick", action="store_const", const="quick", dest="size", help="the same as --size quick")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with hubmap-kidney")
    parser.add_argument("--cache", type=Path, default=ROOT / ".bench", help="folder for inputs and outputs")
    parser.add_argument("--out", type=Path, help="the JSON to write (.bench/SIZE.json)")
    parser.add_argument("--keep", action="store_true", help="keep the outputs")
    parser.add_argument("--ours-only", action="store_true", help="leave the peers out")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS | HIDDEN):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    options.repeats = options.repeats or (1 if options.size == "quick" else 3)
    options.out = options.out or options.cache / f"{options.size}.json"
    options.cache = options.cache.resolve()
    return options


def _about(options):
    """Machine, date, sizes and versions."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "size": options.size,
        "repeats": options.repeats,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _versions(name) for name in PYTHONS},
    }


def _versions(environment):
    arguments = {"packages": PACKAGES[environment].split()}
    try:
        return run(Call("versions", arguments, environment, module="shared"))["facts"]
    except Unavailable as error:
        return str(error)


def _headline(about):
    memory = about["memory"] / (1 << 30)
    machine = f"{about['cpus']} CPUs, {memory:.0f} GiB, load {about['load']:.1f} at the start"
    return f"{about['date']}, {machine}, medians of {about['repeats']}, size {about['size']}"


if __name__ == "__main__":
    main()
