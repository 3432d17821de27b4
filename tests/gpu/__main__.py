"""What a GPU has to show: ``python tests/gpu`` (``make test-gpu``). See docs/gpu-tests.md.

Each part runs in a process of its own, which is ended where the time is up; what it found until then stays. The parts
call the steps themselves: neither Snakemake, nor an installed tilewright, nor a network is needed.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import tomllib
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import children
import table
from parts import PARTS, PRELOADED, with_needs
from parts.setting import ROOT, Setting

PACKAGES = (
    "torch", "numpy", "lightning", "timm", "segmentation-models-pytorch", "albumentations", "opencv-python-headless",
    "rasterio", "h5py", "pydantic", "nvidia-ml-py",
)  # fmt: skip


def main():
    """Run the chosen parts; the exit code is 1 where a claim is false or a part failed, 2 without the device."""
    options = _options()
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    if options.inside:
        _know_tilewright(options.folder)
        children.work(options.inside, Setting(options.device, options.small, options.folder))
        return
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    begin = time.monotonic()
    report = {"about": _about(options), "parts": {}}
    with tempfile.TemporaryDirectory(prefix="tilewright-gpu-") as folder:
        _know_tilewright(Path(folder))
        _preload()
        setting = Setting(options.device, options.small, Path(folder))
        for name in with_needs(["device", *options.parts]):
            left = 60 * options.minutes - (time.monotonic() - begin)
            report["parts"][name] = found = _run(name, setting, left, report["parts"])
            report["about"]["seconds"] = round(time.monotonic() - begin, 1)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(report, indent=1))
            print(table.part(name, found), flush=True)
            if name == "device" and found["state"] == "failed":
                sys.exit(2)
    print("\n" + table.whole(report))
    sys.exit(bool(table.wrong(report)))


def _run(name, setting, left, before):
    """What a part found, or why it was left out."""
    part = PARTS[name]
    lacking = [need for need in part.needs if before[need]["state"] != "done"]
    if lacking:
        return children.left_out(f"it needs {', '.join(lacking)}")
    if left < (expected := part.seconds if setting.device == "cuda" else part.seconds / 10):
        return children.left_out(f"it takes about {expected:.0f} s, and {max(0, left):.0f} s are left")
    return children.run(name, setting, left)


def _preload():
    """Import once what the processes of the parts need; what is missing is left to them to tell."""
    for name in PRELOADED:
        try:
            import_module(name)
        except ImportError:
            continue


def _know_tilewright(folder):
    """Let a tilewright that is not installed have a version, which its package and the cards of models ask for."""
    if _version("tilewright") == "missing":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        metadata = folder / f"tilewright-{project['version']}.dist-info" / "METADATA"
        metadata.parent.mkdir(exist_ok=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: tilewright\nVersion: {project['version']}\n")
        sys.path.append(str(folder))


def _about(options):
    return {
        "device": options.device,
        "small": options.small,
        "minutes": options.minutes,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _options():
    parser = argparse.ArgumentParser(prog="python tests/gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small numbers: every part in seconds, rates mean nothing")
    parser.add_argument("--parts", default=",".join(PARTS), help="names, with commas: " + ", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"), help="the JSON, after each part anew")
    parser.add_argument("--minutes", type=float, default=5, help="what does not fit into them is left out")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.parts = [name for name in options.parts.split(",") if name]
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
