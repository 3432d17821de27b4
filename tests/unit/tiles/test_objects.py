"""The objects of tiles are those of the outlines, each with the pixels that its outline covers."""

import time
from dataclasses import replace

import numpy as np
import pytest
import shapely
from shapely import Point, box

from tilewright.annotations import Annotation
from tilewright.masks.outlines import outline_writer
from tilewright.pixels.grid import Frame, Size, Window, grid
from tilewright.pixels.instances import instances_of_outlines
from tilewright.runtime.errors import DataError
from tilewright.tiles.objects import tile_objects

CLASSES = ["cell", "gland"]


def written(folder, shapes, size=(3000, 2600), corner=(0, 0), ignore=()):
    """The table of outlines (label, shape) of a slide, and its frame."""
    frame = Frame(*corner, *size, Size(4000, 4000))
    with outline_writer(folder / "outlines.parquet", frame, {name: [name] for name in CLASSES}, ignore) as writer:
        for begin in range(0, len(shapes), 1000):
            writer.write([Annotation(label, shape) for label, shape in shapes[begin : begin + 1000]])
    return folder / "outlines.parquet", frame


def discs(count, seed=0, size=(3000, 2600), radius=(3, 20)):
    draws = np.random.default_rng(seed)
    centers = draws.uniform((0, 0), size, (count, 2))
    shapes = shapely.buffer(shapely.points(centers), draws.uniform(*radius, count), quad_segs=6)
    return list(zip(draws.choice(CLASSES, count).tolist(), shapes, strict=True))


def alone(shapes, window, factor):
    """For each class and outline the pixels of a tile that it covers, bool[outlines, rows, columns]."""
    found = {}
    for name in CLASSES:
        own = np.array([shapely.transform(shape, lambda at: at / factor) for label, shape in shapes if label == name])
        objects = instances_of_outlines(own, window)
        cover = np.zeros((len(own), window.height * (window.width + 1)), bool)
        for start, stop, owner in zip(objects.starts, objects.stops, objects.owner, strict=True):
            cover[owner, start:stop] = True
        cover = cover.reshape(len(own), window.height, window.width + 1)[..., :-1]
        found[name] = cover[cover.any(axis=(1, 2))]
    return found


@pytest.mark.parametrize("factor", [1, 2.5])
@pytest.mark.parametrize("corner", [(0, 0), (300, 200)])
def test_each_pixel_is_of_the_smallest_object_that_covers_it(tmp_path, factor, corner):
    shapes = discs(600)
    moved = [(label, shapely.transform(shape, lambda at: at + corner)) for label, shape in shapes]
    table, frame = written(tmp_path, moved, corner=corner)
    scaled = frame.scaled(factor)
    with tile_objects(table, scaled, CLASSES, "center", tmp_path) as objects:
        for x, y in [(0, 0), (900, 950), (970, 400)]:
            window = Window(round(x / factor), round(y / factor), 128, 96)
            found = objects.of(window)
            assert found.labels.shape == (2, 96, 128)
            for place, cover in enumerate(alone(shapes, window, factor).values()):
                labels, times = found.labels[place], cover.sum(axis=0)
                assert ((labels > 0) == (times > 0)).all()
                assert ((found.shared >> place & 1) == (times > 1)).all()
                assert len(np.unique(labels[labels > 0])) >= len(cover) - 3
                for number in np.unique(labels[labels > 0]):
                    own = labels == number
                    holding = cover[(cover | ~own).all(axis=(1, 2))]
                    assert len(holding), "one outline covers all of it"
                    here = cover[:, own].any(axis=1)
                    assert cover[here].sum(axis=(1, 2)).min() <= holding.sum(axis=(1, 2)).min()


def test_ignored_outlines_are_no_objects_and_beyond_the_slide_there_is_nothing(tmp_path):
    shapes = [("cell", box(10, 10, 30, 30)), ("fold", box(0, 0, 400, 400)), ("gland", box(90, 90, 300, 300))]
    table, frame = written(tmp_path, shapes, size=(100, 100), ignore=["fold"])
    with tile_objects(table, frame, CLASSES, "center", tmp_path) as objects:
        found = objects.of(Window(0, 0, 128, 128))
    assert (found.labels[0] > 0).sum() == 400
    assert found.shared.sum() == 0
    assert found.labels[1, 90:100, 90:100].all()


def test_an_outline_in_many_blocks_is_one_object(tmp_path):
    table, frame = written(tmp_path, [("gland", box(5, 5, 2900, 2500)), ("gland", Point(1100, 1100).buffer(40))])
    with tile_objects(table, replace(frame, factor=4.0), CLASSES, "center", tmp_path) as objects:
        found = objects.of(Window(0, 0, 750, 650))
    assert sorted(np.unique(found.labels[1]).tolist()) == [0, 1, 2]
    assert (found.shared > 0).sum() == (found.labels[1] == found.labels[1][275, 275]).sum() < 400


def test_a_damaged_table_is_named(tmp_path):
    table, frame = written(tmp_path, discs(50))
    table.write_bytes(table.read_bytes()[:-40])
    with (
        pytest.raises(DataError, match=r"outlines\.parquet: cannot be read"),
        tile_objects(table, frame, CLASSES, "center", tmp_path),
    ):
        pass


@pytest.mark.slow
def test_a_hundred_thousand_outlines_take_seconds(tmp_path):
    size = (30_000, 20_000)
    table, frame = written(tmp_path, discs(100_000, size=size), size=size)
    begin = time.process_time()
    with tile_objects(table, frame, CLASSES, "center", tmp_path) as objects:
        several = [objects.of(Window(x, y, 512, 512)) for x, y in list(grid(Size(*size), (512, 512), 0))[:400]]
    assert max(int(each.labels.max()) for each in several) > 20
    assert time.process_time() - begin < 20
