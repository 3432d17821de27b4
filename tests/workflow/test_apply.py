"""A bundle that was moved elsewhere predicts what the graph that made it did, by one command."""

import csv
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import pyvips
from graphs import by_hand, expected, keras_like
from running import PROGRAMS, REPOSITORY

from tilewright.pixels.grid import Window
from tilewright.pixels.rasters import open_raster
from tilewright.runtime.atomic import MARKS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(program, *arguments, cwd):
    """Run a program that lies in no path; what it said."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(each) for each in (program, *arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def written(folder):
    """When each result was written."""
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
        and not {".orders", ".jobs", ".made", ".run.json", "logs", "benchmarks", *MARKS} & set(path.parts)
    }


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A folder with the bundle of a finished run and its test images, and nothing else of it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(finished.results / "bundles" / "both", folder / "glands")
    for name in ("t1.tif", "t2.png"):
        shutil.copy(finished.project.sheet.parent / name, folder)
    (folder / "mine.csv").write_text("slide,image,shard\nt1,t1.tif,t\nt2,t2.png,t\n")
    return folder


@pytest.fixture(scope="module")
def applied(place):
    """What the program said when it predicted the images of a sheet."""
    return run(PROGRAMS / "tilewright", "apply", "glands", "mine.csv", "--out", "out", "--cores", 2, cwd=place)


def same(one, other):
    """The names of the files of two folders, whose bytes are the same."""
    names = sorted(path.name for path in one.iterdir() if path.name not in MARKS)
    assert [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()] == []
    return names


def test_probabilities_and_masks_are_those_of_the_graph_byte_for_byte(applied, place, finished):
    results, theirs = place / "out" / "results", finished.results
    for model in ("near", "far"):
        assert same(results / "probabilities" / f"both.{model}" / "t", theirs / "probabilities" / model / "t")
    assert same(results / "ensembles" / "both" / "t", finished.results / "ensembles" / "both" / "t") == [
        "t1.tif",
        "t2.tif",
    ]
    found = same(results / "segments" / "both" / "t", finished.results / "segments" / "both" / "t")
    assert {"t1.mask.tif", "t1.objects.parquet", "t2.mask.ome.tif", "t2.geojson.gz"} <= set(found)
    assert (results / "submission" / "both.csv").read_bytes() == (
        finished.results / "submission" / "both.csv"
    ).read_bytes()


def test_nothing_is_drawn_trained_fitted_or_scored(applied, place):
    ran = {path.name.removesuffix(".log") for path in (place / "out" / "results" / "logs").iterdir()}
    assert ran == {"downscale", "predict", "ensemble", "segment", "encode", "measure", "report"}
    page = (place / "out" / "results" / "report" / "index.html").read_text()
    assert "overlays/both/t1" in page
    assert "Training" not in page
    assert "nothing was fitted here" in page


def test_the_table_of_slides_has_a_row_for_each_slide_and_class(applied, place, finished):
    with (place / "out" / "results" / "slides.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (finished.results / "slides.csv").open(newline="") as stream:
        before = [row for row in csv.DictReader(stream) if row["slide"] in ("t1", "t2")]
    assert [(row["slide"], row["class"]) for row in rows] == [
        (slide, name) for slide in ("t1", "t2") for name in ("gland", "vessel")
    ]
    assert rows == before


def test_the_program_says_what_to_open(applied, place):
    for path in re.findall(r"^  (?:report|table|submission) +(\S+)$", applied, re.MULTILINE):
        assert (place / path).is_file()
    assert "2 slide(s) predicted" in applied
    assert "near works by factor" in applied


def test_a_graph_that_another_framework_made_predicts_in_a_bundle_by_hand(tmp_path, finished):
    by_hand(tmp_path / "keras", keras_like())
    image = tmp_path / "t2.png"
    shutil.copy(finished.project.sheet.parent / "t2.png", image)
    run(PROGRAMS / "tilewright", "apply", "keras", image, "--out", "out", "--cores", 2, cwd=tmp_path)
    with open_raster(tmp_path / "out" / "results" / "ensembles" / "kidney" / "t2" / "t2.tif") as raster:
        found = raster.read(Window(0, 0, *raster.size))
    pixels = pyvips.Image.new_from_file(str(image)).numpy()
    wanted = expected(np.moveaxis(pixels, -1, 0)[np.newaxis] / 255)[0]
    assert np.abs(found - 255 * wanted).max() <= 0.51
    assert (tmp_path / "out" / "results" / "segments" / "kidney" / "t2" / "t2.objects.parquet").is_file()


def test_a_second_run_does_nothing_and_a_new_image_is_work_for_itself_alone(applied, place):
    command = (PROGRAMS / "tilewright", "apply", "glands")
    folder = place / "out" / "results"
    before = written(folder)
    assert "Nothing to be done" in run(*command, "mine.csv", "--out", "out", "--cores", 2, cwd=place)
    assert written(folder) == before

    shutil.copy(place / "t2.png", place / "new.png")
    (place / "mine.csv").write_text("slide,image,shard\nt1,t1.tif,t\nt2,t2.png,t\nnew,new.png,\n")
    run(*command, "mine.csv", "--out", "out", "--cores", 2, cwd=place)
    after = written(folder)
    changed = {path for path in before if after[path] != before[path]}
    assert {path.parts[0] for path in changed} == {"submission", "slides.csv", "report"}
    assert Path("segments/both/new/new.mask.tif") in after


def test_the_wheel_alone_applies_a_bundle(place, tmp_path):
    """In an environment without the checkout; what tilewright stands on comes from that of the tests."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    python = tmp_path / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    home = run(python, "-c", "import tilewright; print(tilewright.__file__)", cwd=tmp_path)
    assert Path(home.strip()).is_relative_to(packages)

    shutil.copy(place / "t2.png", tmp_path)
    run(python.parent / "tilewright", "apply", place / "glands", "t2.png", "--out", "o", "--cores", 2, cwd=tmp_path)
    assert (tmp_path / "o" / "results" / "report" / "index.html").is_file()
    with (tmp_path / "o" / "results" / "submission" / "both.csv").open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == ["t2", "t2"]
