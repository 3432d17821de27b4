"""Run every preset end to end on real images, shortened by epochs and tile counts on the command line.

``python quality/presets.py --data FOLDER``. The vasculature preset takes its own competition's tiles. Images of the
two others are not at hand, so real ones take their places in the layout of that competition: quarters of the bundled
H&E regions, whose inflammatory nuclei stand for healthy and whose others for unhealthy glomeruli; and microscopy
images of nuclei in place of cells. Encoders whose weights would be downloaded start from random ones unless
``--download`` is given.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
import yaml
from numpy.typing import NDArray
from shapely.geometry import mapping, shape

from tilewright.pixels.rle import encode_row_major
from tilewright.pixels.runs import Runs

REPOSITORY = Path(__file__).parents[1]
EDGE = 750
LAYOUTS = {
    "kidney-notebook": "kidney", "kidney-2nd": "kidney", "kidney-4th": "kidney",
    "vasculature-fcn-unet": "vasculature", "sartorius-attention-unet": "sartorius",
}  # fmt: skip


def main() -> None:
    """Run the presets that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--presets", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--download", action="store_true", help="download encoder weights")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality" / "presets")
    options = parser.parse_args()
    folders = {
        "kidney": kidney_layout(options.out / "kidney"),
        "vasculature": options.data / "hubmap-vasculature",
        "sartorius": sartorius_layout(options.data / "dsb2018", options.out / "sartorius"),
    }
    for preset in options.presets:
        begin = time.time()
        submissions = run(preset, folders[LAYOUTS[preset]], options.out, download=options.download)
        print(f"{preset}: {time.time() - begin:.0f} s, {', '.join(submissions)}", flush=True)


def run(preset: str, data: Path, out: Path, *, download: bool) -> list[str]:
    """Write the sheet, check, and run the graph; the sizes of the submissions."""
    path = REPOSITORY / "config" / "presets" / f"{preset}.yaml"
    sheet, results = out / f"{preset}.csv", out / preset
    shutil.rmtree(results, ignore_errors=True)
    by_tile = ["--group", "tile"] if LAYOUTS[preset] == "vasculature" else []
    _call("tilewright", "sheet", LAYOUTS[preset], data, *by_tile, "--out", sheet)
    if LAYOUTS[preset] == "sartorius":
        deal(sheet, yaml.safe_load(path.read_text())["folds"]["count"])
    models = {
        name: {
            "epochs": 2, "tiles_per_epoch": 8, "batch_size": 4,
            **({} if download or spec.get("encoder_weights") != "imagenet" else {"encoder_weights": "random"}),
        }
        for name, spec in yaml.safe_load(path.read_text())["models"].items()
    }  # fmt: skip
    overrides = {"sheet": str(sheet), "data": str(data), "pathvars": {"results": str(results)}, "models": models}
    if by_tile:
        overrides["folds"] = {"file": str(sheet.with_suffix(".folds.csv"))}
    config = [f"{key}={json.dumps(value) if isinstance(value, dict) else value}" for key, value in overrides.items()]
    _call(
        *("snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2", "--quiet"),
        *("--configfile", path, "--config", *config),
    )  # fmt: skip
    found = sorted((results / "submission").glob("*.csv"))
    return [f"{each.name} {len(each.read_text().splitlines()) - 1} rows" for each in found]


def kidney_layout(folder: Path) -> Path:
    """Quarters of the bundled regions as slides: six to train on, two to test on."""
    demo = REPOSITORY / "config" / "demo"
    number = 0
    for name in ("hgsc_nest", "hgsc_stromal_he"):
        image = _read(demo / f"{name}.jpg")
        features = json.loads((demo / f"{name}.geojson").read_text())["features"]
        for y in (0, EDGE):
            for x in (0, EDGE):
                part = folder / ("test" if (x, y) == (EDGE, EDGE) else "train")
                part.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(part / f"slide{number}.tiff"), image[y : y + EDGE, x : x + EDGE])
                if part.name == "train":
                    inside = [_moved(feature, x, y) for feature in features]
                    (part / f"slide{number}.json").write_text(json.dumps([each for each in inside if each]))
                number += 1
    return folder


def _read(path: Path) -> NDArray[Any]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        sys.exit(f"{path} cannot be read.")
    return image


def sartorius_layout(source: Path, folder: Path) -> Path:
    """Images of nuclei as those of cells: one row of row-major run lengths an object."""
    with (source / "meta.csv").open(newline="") as stream:
        names = [row["id"] for row in csv.DictReader(stream) if row["group"].startswith("dark")][:24]
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with (folder / "train.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "annotation", "width", "height", "cell_type"])
        for place, name in enumerate(names):
            held_out = place % 6 == 0
            image = _read(source / "images" / f"{name}.png")
            cv2.imwrite(str(folder / ("test" if held_out else "train") / f"{name[:12]}.png"), image)
            if not held_out:
                labels = _read(source / "labels" / f"{name}.png")
                height, width = labels.shape
                for value in np.unique(labels[labels > 0]):
                    code = encode_row_major(Runs.from_mask(labels == value))
                    writer.writerow([name[:12], code, width, height, "shsy5y"])
    return folder


def deal(sheet: Path, count: int) -> None:
    """Give the training rows of a sheet as many groups as there are folds: the layout makes one of some 32 images."""
    with sheet.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for place, row in enumerate(rows):
        if row["role"] == "train":
            row["group"] = row["shard"] = f"group{place % count}"
    with sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _moved(feature: dict[str, object], x: int, y: int) -> dict[str, object] | None:
    """A feature as it stands in a quarter; None if it has no part there."""
    area = shapely.make_valid(shape(feature["geometry"])).intersection(shapely.box(x, y, x + EDGE, y + EDGE))
    if area.geom_type not in ("Polygon", "MultiPolygon") or area.is_empty:
        return None
    label = "G" if feature["properties"]["classification"]["name"] == "inflammatory" else "FC"  # type: ignore[index]
    geometry = mapping(shapely.affinity.translate(area, -x, -y))
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": label}}}


def _call(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
