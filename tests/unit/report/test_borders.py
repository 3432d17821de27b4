"""Borders of tiles and windows lie where tiles were cut and where windows are predicted."""

import json

import numpy as np
import pytest
from viewing import MODEL, TILED, add_borders, make_results, viewer

from tilewright.inference import predict
from tilewright.pixels.grid import Window
from tilewright.pixels.rasters import open_raster
from tilewright.report.viewer.borders import config_of
from tilewright.report.viewer.runs import find_run
from tilewright.tiles.archive import open_archive

SLIDE, SIZE, FACTOR = "b1", (160, 128), 2


@pytest.fixture(scope="module")
def bordered(tmp_path_factory, new_project):
    project = new_project(tmp_path_factory.mktemp("borders") / "project")
    make_results(project)
    add_borders(project)
    return project


@pytest.fixture(scope="module")
def results(bordered):
    return bordered.folder / "results"


@pytest.fixture(scope="module")
def seen(results, tmp_path_factory):
    with viewer(results, log=tmp_path_factory.mktemp("log") / "view.log") as found:
        yield found


def boxes(seen, kind, name, box=(0, 0, *SIZE), slide=SLIDE):
    told = seen.json(f"0/{slide}/borders.json?kind={kind}&name={name}&box={','.join(map(str, box))}")
    assert not told["many"]
    return told["boxes"]


def test_the_pixels_inside_the_border_of_a_tile_are_those_of_the_tile(seen, results):
    found = boxes(seen, "tiles", TILED)
    with (
        open_archive(results / "tiles" / TILED / "b.h5") as archive,
        open_raster(results / "scaled" / "half" / "b" / f"{SLIDE}.image.tif") as image,
    ):
        own = archive["slide"].asstr()[:] == SLIDE
        assert len(found) == own.sum() > 6
        for box, pixels in zip(found, archive["images"][own], strict=True):
            left, top, right, bottom = (round(edge / FACTOR) for edge in box)
            inside = np.moveaxis(image.read(Window(left, top, right - left, bottom - top)), 0, -1)
            assert (pixels[: inside.shape[0], : inside.shape[1]] == inside).all()
            assert inside.shape == pixels.shape


def test_the_windows_are_those_that_predict_takes(seen, results, monkeypatch):
    taken = []
    monkeypatch.setattr(predict, "predict_windows", lambda _net, _image, corners, *_rest: taken.extend(corners))
    inference = config_of(find_run(results)).models[MODEL].inference
    with open_raster(results / "scaled" / "half" / "b" / f"{SLIDE}.image.tif") as image:
        predict.predict_image([], image, image, inference, [])
    width, height = (FACTOR * edge for edge in (48, 32))
    expected = [[FACTOR * x, FACTOR * y, FACTOR * x + width, FACTOR * y + height] for x, y in taken]
    assert sorted(boxes(seen, "windows", MODEL)) == sorted(expected)
    assert len(expected) > 6
    assert max(right for _, _, right, _ in expected) == SIZE[0]


def test_a_part_of_a_slide_has_the_borders_that_meet_it(seen):
    every = boxes(seen, "windows", MODEL)
    part = (100, 70, 110, 80)
    meeting = [box for box in every if box[0] < 110 and box[2] > 100 and box[1] < 80 and box[3] > 70]
    assert 0 < len(meeting) < len(every)
    assert boxes(seen, "windows", MODEL, part) == meeting


def test_slides_of_other_shards_have_none(seen):
    about = seen.json("0/a1/about.json")
    assert (about["tiles"], about["windows"]) == ([], [])
    assert seen.json(f"0/{SLIDE}/about.json")["windows"] == [MODEL]


def test_a_config_that_has_changed_since_moves_no_window(bordered, results, tmp_path):
    config, said = bordered.config(), bordered.config()
    said["models"][MODEL]["inference"]["window"] = [64, 64]
    said["tiles"][TILED]["scale"] = "full"
    bordered.write_config(said)
    try:
        with viewer(results, log=tmp_path / "log") as seen:
            left, top, right, bottom = boxes(seen, "windows", MODEL)[0]
            assert (right - left, bottom - top) == (96, 64)
            left, _, right, _ = boxes(seen, "tiles", TILED)[0]
            assert right - left == 64
    finally:
        bordered.write_config(config)
    claim = json.loads((results / ".run.json").read_text())
    assert claim["config"]["models"][MODEL]["inference"]["window"] == [48, 32]
