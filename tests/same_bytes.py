"""Whether two runs of the graph gave the same results, byte for byte.

``python tests/same_bytes.py BEFORE AFTER`` compares two folders of results and says of each file that differs what
differs in it. ``python tests/same_bytes.py --draw FOLDER`` runs the graph of this checkout on the drawn project into
``FOLDER``. What holds times, versions or hashes of code is left out: logs, benchmarks, TensorBoard's events,
Snakemake's own files, the orders of jobs, the versions in ``model.json``, and those in bundles.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np

from tilewright.pixels.rasters import open_raster

APART = {
    "logs",
    "benchmarks",
    "events",
    "state",
    ".orders",
    ".jobs",
    ".made",
    ".kept",
    ".snakemake",
    ".snakemake_timestamp",
}
"""Files and folders that are not compared."""
VERSIONS = ("versions", "code", "crc32")
"""Members of a document that tell of versions; the checksum follows them."""
MADE_WITH = "\n## Made with\n"
"""From here on the README of a bundle tells of versions."""


def compared(folder):
    """The files of a folder of results that are compared, by their place in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(place): path for path in paths if not APART & set((place := path.relative_to(folder)).parts)}


def differences(before, after):
    """What differs between two folders of results, by file."""
    ours, others = compared(before), compared(after)
    found = {name: "is missing" for name in ours if name not in others}
    found |= {name: "is new" for name in others if name not in ours}
    for name in ours.keys() & others.keys():
        if content(ours[name]) != content(others[name]):
            found[name] = told(ours[name], others[name]) or "the same content, other bytes"
    return dict(sorted(found.items()))


def content(path):
    """The bytes of a file, without the versions that models and bundles tell."""
    if path.name == "README.md":
        return path.read_text().partition(MADE_WITH)[0]
    if path.name not in ("model.json", "bundle.json"):
        return path.read_bytes()
    said = {key: value for key, value in json.loads(path.read_text()).items() if key not in VERSIONS}
    said.get("files", {}).pop("README.md", None)
    return json.dumps(said)


def told(before, after):
    """What differs between two files whose bytes differ, as far as it can be told."""
    tell = {".tif": raster, ".json": document, ".csv": lines, ".html": lines, ".h5": archive}.get(before.suffix)
    return tell(before, after) if tell else "other bytes"


def raster(before, after):
    """Of TIFFs: pixels, or tags."""
    with open_raster(before) as one, open_raster(after) as other:
        if one.size != other.size or not np.array_equal(one.read(), other.read()):
            return "other pixels"
        tags = sorted(
            name for name in one.tags.keys() | other.tags.keys() if one.tags.get(name) != other.tags.get(name)
        )
    return f"the same pixels, other tags: {', '.join(tags)}" if tags else "the same pixels and tags, other bytes"


def document(before, after):
    """Of documents: members, with both values."""
    one, other = (json.loads(path.read_text()) for path in (before, after))
    return "; ".join(members(one, other, ""))


def members(one, other, place):
    """Members of objects that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from members(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
    elif one != other:
        yield f"{place}: {one} became {other}"


def lines(before, after):
    """Of texts: lines, with both."""
    one, other = (path.read_text().splitlines() for path in (before, after))
    changed = [f"{a} became {b}" for a, b in zip(one, other, strict=False) if a != b]
    return "; ".join([*changed, *([f"{len(one)} lines became {len(other)}"] if len(one) != len(other) else [])])


def archive(before, after):
    """Of tile archives: data sets."""
    with h5py.File(before) as one, h5py.File(after) as other:
        names = [name for name in one if name not in other or not np.array_equal(one[name][:], other[name][:])]
    return f"other {', '.join(names)}" if names else "the same data, other bytes"


def draw(folder):
    """Run the graph on the drawn project."""
    from conftest import make_project
    from running import new_graph

    shutil.rmtree(folder, ignore_errors=True)
    graph = new_graph(folder, make_project(folder / "project"))
    graph.run()
    return graph.results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    if options.draw:
        print(draw(options.folders[0].resolve()))
    else:
        differing = differences(*options.folders)
        for name, what in differing.items():
            print(f"{name}: {what}")
        count = len(compared(options.folders[0]))
        print(f"{count} files compared, {len(differing)} differ")
        sys.exit(bool(differing))
