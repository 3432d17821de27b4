from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ordering import order_of
from torch.utils.data import DataLoader

from tilewright.pixels.rasters import open_raster
from tilewright.project.config import Network, TileSet
from tilewright.project.orders import TileOrder
from tilewright.project.places import image_file, scaled_mask_file
from tilewright.runtime.errors import DataError
from tilewright.tiles.archive import TrainingShard
from tilewright.tiles.tile import tile
from tilewright.training.data import Sample, TileDataset, together
from tilewright.training.loaders import read_tiles
from tilewright.training.overlaps import Overlaps, repeats
from tilewright.training.sampling import EachOnce
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask

CLASSES = ["gland", "vessel"]
KINDS = ("grid", "background", "object")


def places(corners):
    x, y, slide = (np.array(column) for column in zip(*corners, strict=True))
    return SimpleNamespace(x=x, y=y, slide=slide.astype(str), archive=np.zeros(len(x), np.int64))


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from("ab")), min_size=1, max_size=9),
    st.sampled_from([(5, 5), (6, 4), (4, 7)]),
)
def test_each_pixel_of_a_slide_counts_once_in_the_tile_whose_centre_is_nearest(corners, shape):
    overlaps, (height, width) = Overlaps(places(corners)), shape
    counted = {slide: np.full((24, 24), -1) for slide in "ab"}
    for row, (x, y, slide) in enumerate(corners):
        elsewhere = overlaps.elsewhere(row, shape)
        own = np.ones(shape, bool) if elsewhere is None else ~elsewhere
        part = counted[slide][y : y + height, x : x + width]
        assert (part[own] == -1).all()
        part[own] = row
    for slide, found in counted.items():
        for (y, x), row in np.ndenumerate(found):
            near = [
                ((2 * (x - left) + 1 - width) ** 2 + (2 * (y - top) + 1 - height) ** 2, place)
                for place, (left, top, of) in enumerate(corners)
                if of == slide and 0 <= x - left < width and 0 <= y - top < height
            ]
            assert row == min(near, default=(0, -1))[1]


def test_tiles_that_share_no_pixel_count_as_they_are():
    overlaps = Overlaps(places([(0, 0, "a"), (4, 0, "a"), (0, 4, "a"), (1, 1, "b")]))
    assert [overlaps.elsewhere(row, (4, 4)) for row in range(4)] == [None] * 4


def test_a_tile_that_was_pushed_back_onto_another_is_a_repetition():
    """An image of 704 x 520 in tiles of 512, then objects, which stay, and other slides."""
    corners = [(0, 0, "a"), (192, 0, "a"), (0, 8, "a"), (192, 8, "a"), (0, 8, "b"), (1, 8, "a"), (0, 60, "a")]
    table = places(corners)
    table.kind = np.array(["grid"] * 5 + ["object", "background"])
    assert repeats(table, (512, 512)).tolist() == [False, False, True, True, False, False, False]
    assert repeats(table, (512, 400)).tolist() == [False, False, True, True, False, False, False]
    assert not repeats(table, (60, 60)).any()
    table.archive = np.arange(7)
    assert not repeats(table, (512, 512)).any()


@pytest.mark.parametrize("shape", [(40, 40), (40, 70), (32, 33)])
def test_repetitions_are_those_of_comparing_all_with_all(shape):
    (height, width), draw = shape, np.random.default_rng(0)
    corners = [(int(x), int(y), slide) for x, y in draw.integers(0, 120, (300, 2)) for slide in "ab"]
    expected, kept = [], []
    for x, y, slide in corners:
        common = [max(width - abs(x - u), 0) * max(height - abs(y - v), 0) for u, v, other in kept if other == slide]
        expected.append(any(each > 0.9 * height * width for each in common))
        kept += [] if expected[-1] else [(x, y, slide)]
    table = places(corners)
    table.kind = np.array(["grid"] * len(corners))
    assert repeats(table, shape).tolist() == expected
    assert 0.02 < np.mean(expected) < 0.9


class Pixelwise(torch.nn.Module):
    """Logits of a pixel from its own colour alone."""

    def forward(self, images):
        images = images.float()
        return torch.stack([images[:, 0] - images[:, 1] - 70, images[:, 2] - images[:, 0] / 2], dim=1) / 60


def validated(batches, monkeypatch):
    """What a task logs after some batches."""
    network = Network(tiles="any", loss={"bce": 1}, batch_size=3)
    as_stored = Segmenter(Pixelwise(), [0] * 3, [1 / 255] * 3)
    task, logged = SegmentationTask(as_stored, network, CLASSES, steps=1), {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(task, "log_dict", logged.update)
    for number, batch in enumerate(batches):
        task.validation_step(batch, number)
    task.on_validation_epoch_end()
    return logged


@pytest.mark.parametrize("kinds", [KINDS, KINDS[:2]])
@pytest.mark.parametrize("devices", [1, 2])
def test_scores_of_overlapping_tiles_are_those_of_each_pixel_once(trained, tmp_path, monkeypatch, kinds, devices):
    sheet = trained.folder / "slides" / "slides.csv"
    tiles = TileSet(scale="full", size=64, overlap=0.5, objects=True, min_tissue=0)
    order = order_of(TileOrder, sheet, "b", CLASSES, tiles=tiles)
    scaled, archive = trained.folder / "s" / "b", TrainingShard(tmp_path / "b.h5")
    tile(order, scaled=scaled, masks=trained.folder / "m" / "b", out=archive.archive)
    read = read_tiles([archive], [archive], CLASSES, kinds)
    dataset = TileDataset(read.archives, read.validation, None)
    parts = [EachOnce(len(dataset), device, devices) for device in range(devices)]
    found = validated((batch for part in parts for batch in DataLoader(dataset, 3, sampler=part, collate_fn=together)),
                      monkeypatch)  # fmt: skip

    def pixels(name, slide):
        with open_raster(name(scaled, slide)) as raster:
            return torch.from_numpy(raster.read().reshape(raster.bands, 1, -1).astype(np.int32))

    images, masks = (
        torch.cat([pixels(name, row.slide) for row in order.rows], dim=2) for name in (image_file, scaled_mask_file)
    )
    whole = Sample(images[None].to(torch.uint8), masks, torch.ones(1, 2, dtype=torch.bool))
    expected = validated([whole], monkeypatch)
    assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    for name in ("dice", "iou", "dice_gland", "dice_vessel"):
        assert 0.05 < expected[name] < 0.99
        assert found[name] == expected[name]


def test_kinds_that_a_tile_set_lacks_are_told(trained):
    with pytest.raises(DataError, match=r"no labelled tiles to validate on\.\n.*look at validate_on"):
        read_tiles(trained.shards()[:1], trained.shards()[1:2], CLASSES, ["object"])
