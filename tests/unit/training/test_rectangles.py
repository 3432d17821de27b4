"""Tiles, crops and windows that are no squares, and no multiples of 32: an image of a microscope is one of them."""

import json

import numpy as np
import pytest
import torch
from ordering import order_of
from torch import nn

from tilewright.inference.layers import layers_of
from tilewright.inference.loading import load_model
from tilewright.inference.predict import Map, predict_image
from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import Inference, Network, TileSet
from tilewright.project.orders import TileOrder
from tilewright.project.places import image_file, scaled_mask_file, tissue_file
from tilewright.tiles.archive import TrainingShard, open_archive
from tilewright.tiles.tile import tile
from tilewright.training.augment import Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.data import Sample, Targets
from tilewright.training.loaders import read_tiles
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask
from tilewright.training.train import train

CLASSES = ["gland", "vessel"]


class Blurred(nn.Module):
    """Logits at full size and at a quarter of it, of a network that sees some pixels around each."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 1, 9, padding=4)
        self.coarse = nn.AvgPool2d(4)
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        self.coarse(images)
        return self.fine(images)


def segmenter_of(network):
    return Segmenter(network, [0.0] * 3, [1 / 255] * 3)


def test_what_is_missing_to_a_multiple_of_32_is_mirrored_and_its_logits_are_dropped():
    network = Blurred()
    images = torch.randint(0, 256, (2, 3, 40, 70), dtype=torch.uint8)
    logits = segmenter_of(network)(images)
    assert logits.shape == (2, 1, 40, 70)
    (seen,) = network.seen
    whole = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 24), (0, 26)), mode="symmetric")
    assert (seen.numpy() == whole).all()
    assert torch.equal(logits, network.fine(torch.from_numpy(whole).float())[..., :40, :70])


def test_what_is_mirrored_counts_neither_in_the_loss_nor_in_the_metrics():
    """A loss at a coarser level is that of its own pixels, whatever the network says of others."""
    torch.manual_seed(0)
    segmenter = segmenter_of(Blurred())
    segmenter.add_heads(1, [segmenter.network.coarse], None)
    spec = Network(tiles="any", loss={"bce": 1}, deep_supervision=1)
    task = SegmentationTask(segmenter, spec, ["gland"], 1)
    truth, valid = (torch.rand(2, 1, 40, 70) < 0.3).float(), torch.ones(2, 1, 40, 70)
    outputs = segmenter.outputs(torch.randint(0, 256, (2, 3, 40, 70), dtype=torch.uint8))
    (coarser,) = outputs.coarser
    assert coarser.shape == (2, 1, 16, 24)
    found = task._loss_of_all_heads(outputs, Targets(truth, valid))
    small = truth[..., 2::4, 2::4]
    assert small.shape == (2, 1, 10, 17)
    plain = nn.functional.binary_cross_entropy_with_logits
    expected = (plain(outputs.logits, truth) + plain(coarser[..., :10, :17], small) / 2) / 1.5
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    bits = truth[:, 0].int()
    task.validation_step(Sample(torch.zeros(2, 3, 40, 70, dtype=torch.uint8), bits, torch.ones(2, 1) > 0), 0)
    assert int(task.counts.sum()) == 2 * 40 * 70


@pytest.mark.parametrize("name", ["none", "flips", "d4", "strong", "zoom", "light_scale", "rich"])
@pytest.mark.parametrize("crop", [[96, 70], [64, 32], 32])
def test_every_set_of_augmentations_gives_crops_of_their_form(name, crop):
    mask = np.zeros((70, 96), np.uint8)
    mask[10:40, 20:70] = 1
    image = np.stack([mask * 100, mask * 0 + 90, mask * 0 + 120], axis=-1)
    augmentation = Augmentation(name, Cropping(crop, class_crops=0.5, classes=1))
    width, height = (crop, crop) if isinstance(crop, int) else crop
    for seed in range(25):
        found = augmentation(image, mask, seed)
        assert found.image.shape == (3, height, width)
        assert found.mask.shape == (height, width)
        if name in ("none", "flips", "d4"):
            assert (found.image[0] == 100 * found.mask).all()


def test_a_tile_that_is_no_square_is_flipped_and_not_turned():
    corner = np.zeros((32, 48), np.uint8)
    corner[2:8, 3:20] = 1
    image, augmentation = np.zeros((32, 48, 3), np.uint8), Augmentation("d4", Cropping([48, 32]))
    seen = [augmentation(image, corner, seed).mask.tobytes() for seed in range(400)]
    flips = {corner[rows, columns].tobytes() for rows in (slice(None), slice(None, None, -1))
             for columns in (slice(None), slice(None, None, -1))}  # fmt: skip
    assert set(seen) == flips
    assert [seen.count(each) / 400 for each in flips] == pytest.approx([0.25] * 4, abs=0.08)


@pytest.fixture(scope="module")
def tiled(trained, tmp_path_factory):
    """Tiles of 128 x 96 pixels, as large as the first slide."""
    folder, sheet = tmp_path_factory.mktemp("wide"), trained.folder / "slides" / "slides.csv"
    tiles = TileSet(scale="full", size=[128, 96], objects=True, min_tissue=0)
    for shard in ("a", "b", "x1"):
        order = order_of(TileOrder, sheet, shard, CLASSES, tiles=tiles)
        places = {"scaled": trained.folder / "s" / shard, "masks": trained.folder / "m" / shard}
        tile(order, **places, out=folder / f"{shard}.h5")
    return folder


def test_an_image_of_the_size_of_a_tile_is_one_tile(trained, tiled):
    with open_archive(tiled / "a.h5") as archive:
        rows = [row for row, slide in enumerate(archive["slide"].asstr()) if slide == "a1"]
        (only,) = [row for row in rows if archive["kind"].asstr()[row] != "object"]
        assert {(archive["x"][row], archive["y"][row]) for row in rows} == {(0, 0)}
        image, mask = archive["images"][only], archive["masks"][only]
    with open_raster(image_file(trained.folder / "s" / "a", "a1")) as whole:
        assert (np.moveaxis(image, -1, 0) == whole.read()).all()
    with open_raster(scaled_mask_file(trained.folder / "s" / "a", "a1")) as whole:
        assert (mask == whole.read()[0]).all()


def test_what_almost_repeats_another_tile_is_validated_and_not_trained_on(trained, tmp_path):
    """Of 112 x 112 pixels, in tiles of 112 x 108, the second repeats 96 % of the first."""
    order = order_of(TileOrder, trained.folder / "slides" / "slides.csv", "b", CLASSES,
                     tiles=TileSet(scale="full", size=[112, 108], min_tissue=0))  # fmt: skip
    tile(order, scaled=trained.folder / "s" / "b", masks=trained.folder / "m" / "b", out=tmp_path / "b.h5")
    shard = TrainingShard(tmp_path / "b.h5")
    read = read_tiles([shard], [shard], CLASSES)
    assert read.repeated == 1
    assert len(read.training) == len(read.validation) - 1
    rows = [part.y[part.slide == "b2"].tolist() for part in (read.validation, read.training)]
    assert rows == [[0, 4], [0]]


@pytest.mark.slow
@pytest.mark.parametrize("crop", [None, [100, 60]])
def test_a_model_is_trained_on_such_tiles_and_predicts_in_such_windows(trained, tiled, tmp_path, crop):
    order = trained.order(epochs=1, crop=crop, deep_supervision=1, image_loss=0.1, augmentation="strong", batch_size=2)
    places = {**trained.places(), "tiles": tiled}
    train(order, model="wide", fold=0, **places, out=tmp_path / "out")
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["network"]["crop"] == crop
    assert np.isfinite(card["best_dice"])
    segmenter, _ = load_model(tmp_path / "out")
    seen = []
    segmenter.network.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    inference = Inference(window=[128, 96], skip_background=False)
    (mean,) = layers_of(["fold0"], inference)
    folder = trained.folder / "s" / "a"
    with (
        torch.inference_mode(),
        open_raster(image_file(folder, "a1")) as image,
        open_raster(tissue_file(folder, "a1")) as tissue,
        create_raster(tmp_path / "p.tif", image.size, bands=2) as out,
    ):
        predict_image([segmenter], image, tissue, inference, [Map(mean, out)])
        expected = torch.sigmoid(segmenter(torch.from_numpy(image.read())[None]))[0]
    assert seen == [(1, 3, 96, 128)] * 2
    with open_raster(tmp_path / "p.tif") as found:
        assert found.size == Size(128, 96)
        assert np.abs(found.read() - 255 * expected.numpy()).max() <= 0.51
