from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import open_raster
from tilewright.project.config.training import Sampling
from tilewright.runtime.errors import DataError, UserError
from tilewright.tiles.archive import TileReader, read_table
from tilewright.training import placing as places
from tilewright.training.augment import Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.data import TileDataset, together
from tilewright.training.loaders import loaders, read_tiles
from tilewright.training.placing import Placing
from tilewright.training.sampling import draw_weights, sampler

EDGE = 64


@pytest.fixture
def table(trained):
    return read_table(trained.shards(), trained.order().classes)


@pytest.fixture
def placing(trained, table):
    """Reads tiles at places drawn anew."""

    def made(folders=None, **sampling):
        shards = trained.shards()
        scaled = [shard.scaled for shard in shards] if folders is None else folders
        return Placing(table, scaled, Size(EDGE, EDGE), trained.order().classes, Sampling(**sampling))

    return made


def found_at(trained, table, row, image, mask):
    """Where a tile lies in its scaled slide; each slide has noise of its own."""
    shard = trained.shards()[table.archive[row]].scaled
    with open_raster(shard / f"{table.slide[row]}.image.tif") as raster:
        whole = np.moveaxis(raster.read(), 0, -1)
    with open_raster(shard / f"{table.slide[row]}.mask.tif") as raster:
        bits = raster.read()[0]
    height, width = whole.shape[:2]
    for y in range(height - EDGE + 1):
        for x in range(width - EDGE + 1):
            if (whole[y, x] == image[0, 0]).all() and (whole[y : y + EDGE, x : x + EDGE] == image).all():
                assert (bits[y : y + EDGE, x : x + EDGE] == mask).all()
                return x, y
    raise AssertionError("the tile is no part of its slide")


def test_a_tile_is_a_part_of_its_slide_at_most_half_a_tile_from_one_of_the_grid(trained, table, placing):
    corners = np.stack([table.x, table.y], axis=1)
    reader, seen = placing(), set()
    for row in range(0, len(table), 3):
        for seed in range(4):
            place = found_at(trained, table, row, *reader.read(row, seed))
            assert (np.abs(corners[row] - place) <= EDGE // 2).all()
            seen.add((*place, str(table.slide[row])))
    assert len(seen) > len(table)


def test_a_place_depends_on_the_seed_of_its_sample_alone(placing):
    first, again = placing(), placing()
    tiles = [first.read(row, 7) for row in (0, 5, 0)]
    (image, mask), (other, _) = again.read(0, 7), again.read(0, 8)
    for same in (tiles[0], tiles[2]):
        assert (same[0] == image).all()
        assert (same[1] == mask).all()
    assert (image != other).any()


def test_tiles_whose_centre_shows_no_class_are_passed_over_at_the_stated_rate(table, placing):
    def share(**sampling):
        reader = placing(**sampling)
        middle = slice(EDGE // 2 - 2, EDGE // 2 + 2)
        masks = [reader.read(int(row), seed)[1][middle, middle] for seed, row in enumerate(np.arange(300) % len(table))]
        return np.mean([(mask & 3).any() for mask in masks])

    plain = share()
    assert 0.1 < plain < 0.9
    assert share(center=4, center_rate=1.0) == 1
    expected = plain / (plain + 0.5 * (1 - plain))
    assert share(center=4, center_rate=0.5) == pytest.approx(expected, abs=0.08)


def test_where_nothing_shows_a_class_the_last_place_is_taken(trained, table, placing, monkeypatch):
    monkeypatch.setattr(places, "MOST_TRIALS", 3)
    monkeypatch.setattr(Placing, "_takes", lambda *_: False)
    assert placing(center=4).read(0, 0)[0].shape == (EDGE, EDGE, 3)


def test_tiles_of_archives_without_scaled_slides_are_read_as_they_were_cut(trained, table, placing):
    shards = trained.shards()
    reader = placing([shards[0].scaled, None, shards[2].scaled])
    cut = int(np.flatnonzero(table.archive == 1)[0])
    assert reader.read(cut, 0) is None
    archives = [shard.archive for shard in shards]
    tile = TileDataset(archives, table, None, reader)[(cut, 0, True)]
    image, _ = TileReader(archives[1]).read(int(table.index[cut]))
    assert (tile.augmented.image == np.moveaxis(image, -1, 0)).all()


def test_what_is_drawn_anew_is_not_weighed_by_the_centre_of_the_tile_that_was_cut(trained, table):
    archives, classes = [shard.archive for shard in trained.shards()], trained.order().classes
    network = trained.network(sampling={"center": 4, "center_rate": 0.9})
    drawn = draw_weights(table, archives, network, classes, np.zeros(len(table), bool))
    assert drawn == pytest.approx(np.full(len(table), 1 / len(table)))
    half = draw_weights(table, archives, network, classes, table.archive == 0)
    assert len(set(half[table.archive != 0].round(9))) == 1
    assert len(set(half[table.archive == 0].round(9))) == 2


def test_few_slides_are_open_at_a_time(table, placing, monkeypatch):
    monkeypatch.setattr(places, "MOST_OPEN", 2)
    reader, fresh = placing(), placing()
    for row in (*range(len(table)), 0):
        assert (reader.read(row, 1)[0] == fresh.read(row, 1)[0]).all()
        assert len(reader._open) <= 2


def test_workers_change_nothing_and_epochs_do(trained, table, placing):
    archives = [shard.archive for shard in trained.shards()]

    def batches(workers, epoch=0):
        dataset = TileDataset(archives, table, Augmentation("none", Cropping(EDGE)), placing())
        drawn = sampler(table, archives, trained.network(), trained.order().classes)
        drawn.set_epoch(epoch)
        loader = DataLoader(dataset, 4, sampler=drawn, num_workers=workers, collate_fn=together)
        return [batch.image for batch in loader]

    first = batches(0)
    assert all(torch.equal(one, other) for one, other in zip(first, batches(2), strict=True))
    pixels = Counter(image.numpy().tobytes() for batch in (*first, *batches(0, 1)) for image in batch)
    assert max(pixels.values()) < 3
    assert len(pixels) > 1.5 * len(table)


def test_validation_is_read_as_it_was_cut(trained):
    shards, classes = trained.shards(), trained.order().classes
    tiles = read_tiles(shards[:1], shards[1:2], classes)
    validated = loaders(tiles, trained.network(), classes)[1]
    plain = read_tiles([replace(shards[0], scaled=None)], [replace(shards[1], scaled=None)], classes)
    for one, other in zip(validated, loaders(plain, trained.network(), classes)[1], strict=True):
        assert torch.equal(one.image, other.image)


@pytest.mark.slow
def test_a_training_at_random_places_is_repeated_to_the_bit_and_another_one(trained, whole, tmp_path):
    first = trained(tmp_path / "one", at="random")
    assert first == trained(tmp_path / "two", at="random", workers=2)
    assert first["model.safetensors"] != whole["model.safetensors"]


def test_scaled_slides_that_are_not_there_are_an_error(trained, placing, tmp_path):
    with pytest.raises(DataError, match=r"a1\.image\.tif: cannot be read"):
        placing([tmp_path, tmp_path, tmp_path]).read(0, 0)
    from tilewright.training.train import train

    given = {**trained.places(), "scaled": None}
    with pytest.raises(UserError, match="--scaled: tiles at random places are read from scaled slides"):
        train(trained.order(at="random"), model="tiny", fold=0, **given, out=tmp_path)
