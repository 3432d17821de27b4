"""Each preset, end to end, on a folder in the layout of its competition, called as by those who know no more.

Images are synthetic and networks small, so that this takes minutes; what the networks find is not looked at.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tilewright.pixels.rle import decode_rle
from tilewright.tiles.folding import read_project

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}
WITHOUT_ENCODER = {"FCN", "PlainUnet", "AttentionUnet"}
SHORT = {"epochs": 1, "tiles_per_epoch": 2, "batch_size": 2}


def picture(width, height, seed):
    """A stained section with disks, and where they are."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.full((height, width, 3), (225, 190, 215)) + draw.normal(0, 6, (height, width, 3))
    centers = draw.uniform((0.2 * width, 0.2 * height), (0.8 * width, 0.8 * height), (3, 2))
    radius = min(width, height) / 12
    for x, y in centers:
        pixels[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = (120, 60, 140)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), centers, radius


def ring(x, y, radius):
    turn = np.linspace(0, 2 * np.pi, 24)
    return np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)]).round(1).tolist()


def kidney(folder):
    for number in range(6):
        part, name = ("test" if number == 5 else "train"), f"slide{number}"
        (folder / part).mkdir(parents=True, exist_ok=True)
        image, centers, radius = picture(640, 560, number)
        image.save(folder / part / f"{name}.tiff")
        labels = [{"classification": {"name": "G"}}, {"classification": {"name": "FC"}}, {}]
        outlines = [
            {
                "type": "Feature",
                "properties": label,
                "geometry": {"type": "Polygon", "coordinates": [ring(*center, radius)]},
            }
            for label, center in zip(labels, centers, strict=True)
        ]
        if part == "train":
            (folder / part / f"{name}.json").write_text(json.dumps(outlines))
    return {"slide5": (640, 560)}


def vasculature(folder):
    lines, table = [], ["id,source_wsi,dataset,i,j"]
    for number in range(6):
        part, name = ("test" if number == 5 else "train"), f"tile{number}"
        (folder / part).mkdir(parents=True, exist_ok=True)
        image, centers, radius = picture(512, 512, number)
        image.save(folder / part / f"{name}.tif")
        table.append(f"{name},{number % 3 + 1},1,{512 * number},0")
        if number < 4:
            found = [{"type": "blood_vessel", "coordinates": [ring(*center, radius)]} for center in centers]
            lines.append(json.dumps({"id": name, "annotations": found}))
    (folder / "polygons.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "tile_meta.csv").write_text("\n".join(table) + "\n")
    (folder / "wsi_meta.csv").write_text("source_wsi,age,sex\n1,40,M\n2,50,F\n3,60,F\n")
    return {"tile5": (512, 512)}


def sartorius(folder):
    rows = [["id", "annotation", "width", "height", "cell_type", "sample_id"]]
    for number in range(4):
        part, name = ("test" if number == 3 else "train"), f"cell{number}"
        (folder / part).mkdir(parents=True, exist_ok=True)
        image, centers, radius = picture(704, 520, number)
        image.save(folder / part / f"{name}.png")
        place = np.arange(704 * 520).reshape(520, 704)
        for x, y in centers if part == "train" else ():
            flat = place[(place % 704 - x) ** 2 + (place // 704 - y) ** 2 < radius**2]
            starts = flat[np.diff(flat, prepend=-9) != 1]
            stops = flat[np.diff(flat, append=1 << 40) != 1]
            code = " ".join(f"{start + 1} {stop - start + 1}" for start, stop in zip(starts, stops, strict=True))
            rows.append([name, code, 704, 520, ("shsy5y", "astro", "cort")[number % 3], f"sample{number}"])
    with (folder / "train.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return {"cell3": (704, 520)}


def run(name, data, folder, *further):
    """What a newcomer types, but for smaller networks; the folder of results."""
    preset = REPOSITORY / "config" / ("" if name == "sartorius" else "presets") / f"{name}.yaml"
    values = yaml.safe_load(preset.read_text())
    models = {
        model: {**SHORT, **({} if spec["architecture"] in WITHOUT_ENCODER else SMALL)}
        for model, spec in values["models"].items()
    }
    if name == "kidney-2nd":
        models["unetplusplus-regnety16"]["architecture"] = "Unet"  # whose blocks the small encoder has not
        scse = {"encoder_depth": 3, "decoder_channels": [32, 16, 16], "decoder_attention_type": "scse"}
        models["unet-regnety16-scse"]["options"] = scse
    folds = {"selected": [0], **({"count": 3} if name.startswith("sartorius") else {})}  # its images are few
    overrides = {"models": models, "folds": folds}
    if name.startswith("vasculature"):  # whose networks are large: tiles and windows of a quarter of the pixels
        overrides["tiles"] = {"whole": {"size": 256}}
        models.update({model: {**short, "inference": {"window": 256}} for model, short in models.items()})
    command = [
        *(Path(sys.executable).with_name("snakemake"), "-s", REPOSITORY / "Snakefile", "-d", folder, "--cores", "2"),
        *("--configfile", preset, "--config", f"data={data}"),
        *(f"{key}={json.dumps(value)}" for key, value in overrides.items()),
        *further,
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder / values["pathvars"]["results"]


def figures(name, data, folder, monkeypatch):
    """The lines that ``quality/competitions.py`` prints of a finished run."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "quality"))
    monkeypatch.chdir(folder)
    values = yaml.safe_load((REPOSITORY / "config" / "presets" / f"{name}.yaml").read_text())
    Path("whole.yaml").write_text(yaml.safe_dump({**values, "data": str(data)}))
    competitions = __import__("competitions")
    return [competitions.line(each) for each in competitions.figures(name, read_project("whole.yaml"))]


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", ["kidney-notebook", "kidney-4th", "kidney-2nd"])
def test_a_kidney_preset_gives_a_row_a_slide_by_columns(name, tmp_path):
    tests = kidney(tmp_path / "data")
    # one of the three goes on to report and bundles, as those of the other layouts do
    further = () if name == "kidney-4th" else ("--until", "encode")
    submissions = sorted((run(name, tmp_path / "data", tmp_path, *further) / "submission").glob("*.csv"))
    assert submissions
    for path in submissions:
        rows = table(path)
        assert [row["id"] for row in rows] == list(tests)
        assert list(rows[0]) == ["id", "predicted"]
        width, height = tests[rows[0]["id"]]
        decode_rle(rows[0]["predicted"], height, width, "column_major")


def test_the_vasculature_preset_gives_a_code_with_its_confidence_for_each_object(tmp_path, monkeypatch):
    tests = vasculature(tmp_path / "data")
    for path in sorted((run("vasculature-fcn-unet", tmp_path / "data", tmp_path) / "submission").glob("*.csv")):
        rows = table(path)
        assert [row["id"] for row in rows] == list(tests)
        assert list(rows[0]) == ["id", "height", "width", "prediction_string"]
        words = rows[0]["prediction_string"].split()
        assert len(words) % 3 == 0
        assert set(words[::3]) <= {"0"}
        assert all(0 <= float(word) <= 1 for word in words[1::3])
        assert all(decode_rle(word, 512, 512, "coco").any() for word in words[2::3])
    lines = figures("vasculature-fcn-unet", tmp_path / "data", tmp_path, monkeypatch)
    assert [line[:5] for line in lines] == ["S2-06"] * 3 + ["S2-17"] * 8 + ["     "] * 2
    radius = 512 / 12
    shares = [float(line.split()[-1]) for line in lines[:3]]
    assert max(shares) <= 3 * np.pi * radius**2 / 512**2 * 1.02  # three disks, which may overlap
    assert min(shares) > 0.03
    assert "theirs   0.5488  ours" in lines[3]


@pytest.mark.parametrize("name", ["sartorius-attention-unet", "sartorius"])
def test_the_sartorius_preset_gives_a_row_an_object_by_rows_without_overlaps(tmp_path, name):
    tests = sartorius(tmp_path / "data")
    (path,) = sorted((run(name, tmp_path / "data", tmp_path) / "submission").glob("*.csv"))
    rows = table(path)
    assert {row["id"] for row in rows} == set(tests)
    masks = [decode_rle(row["predicted"], 520, 704, "row_major") for row in rows]
    assert np.sum(masks, axis=0).max(initial=0) <= 1
