"""Networks that learn of objects: what is trained, told, kept and predicted."""

import io
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from tilewright.inference.loading import load_model
from tilewright.tiles.archive import read_table
from tilewright.training.architectures import build_network, parameters
from tilewright.training.augment import Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.data import TileDataset, targets, together
from tilewright.training.objects import CERTAIN, ObjectBands
from tilewright.training.sampling import Draw

ALL = ["mask", "touching", "border", "distance"]


@pytest.mark.slow
def test_a_training_tells_the_loss_of_each_target_and_keeps_all_bands(trained, tmp_path):
    files = trained(tmp_path / "out", targets=ALL, epochs=4)
    history = pd.read_csv(io.BytesIO(files["history.csv"]))
    for use in ("train", "val"):
        each = history[[f"{use}_{target}" for target in ALL]]
        assert each.notna().all().all()
        assert each.sum(axis=1).to_numpy() == pytest.approx(history[f"{use}_loss"].to_numpy(), rel=1e-4)
        assert (each.iloc[-1] < each.iloc[0]).sum() >= 3, "it learns"
    segmenter, bands = load_model(tmp_path / "out")
    assert bands == ["gland", "vessel", *(f"{name}:{target}" for target in ALL[1:] for name in ("gland", "vessel"))]
    with torch.inference_mode():
        assert segmenter(torch.zeros(1, 3, 40, 50, dtype=torch.uint8)).shape == (1, 8, 40, 50)


def test_the_mask_alone_is_trained_as_if_there_were_no_targets(trained, tmp_path):
    history = pd.read_csv(io.BytesIO(trained(tmp_path, epochs=1)["history.csv"]))
    assert not [name for name in history if name.endswith(("_mask", "_touching"))]


def test_every_head_has_a_channel_for_each_target(trained):
    plain, taught = (
        build_network(trained.network(targets=wanted, deep_supervision=1, image_loss=0.1), 2, pretrained=False)
        for wanted in (["mask"], ALL)
    )
    assert [head.out_channels for head in plain.coarse_heads] == [2]
    assert [head.out_channels for head in taught.coarse_heads] == [8]
    assert taught.image_head.out_features == 2
    assert parameters(trained.network(targets=ALL), 2) > parameters(trained.network(), 2)


def test_bands_come_with_their_tile_and_count_where_the_mask_counts(trained):
    archives, table = [shard.archive for shard in trained.shards()], read_table(trained.shards(), ["gland", "vessel"])
    rows = [Draw(row, 7, True) for row in range(len(table))]
    batch = together([TileDataset(archives, table, None, bands=ObjectBands(ALL))[row] for row in rows])
    truth, valid = targets(batch.bits, batch.labelled, batch.bands)
    assert truth.shape == valid.shape == (len(table), 8, 64, 64)
    mask, distance = truth[:, :2], truth[:, 6:]
    assert ((distance > 0) == (mask > 0)).float().mean() > 0.99
    for part in range(1, 4):
        assert torch.equal(valid[:, 2 * part : 2 * part + 2], valid[:, :2])
    assert (batch.bands.amax(dim=(0, 2, 3)) == CERTAIN).sum() >= 4
    turning = Augmentation("d4", Cropping(64, classes=2), ObjectBands(ALL))
    moved = together([TileDataset(archives, table, turning, bands=ObjectBands(ALL))[row] for row in rows])
    assert torch.equal(moved.bands.flatten(1).sort().values, batch.bands.flatten(1).sort().values), "only turned"
    assert not torch.equal(moved.bands, batch.bands)


def test_archives_without_objects_teach_the_mask_alone(trained, tmp_path):
    shards = [replace(shard, archive=tmp_path / shard.archive.name) for shard in trained.shards()]
    for shard, old in zip(shards, trained.shards(), strict=True):
        shutil.copyfile(old.archive, shard.archive)
    with h5py.File(shards[0].archive, "a") as archive:
        del archive["labels"], archive["shared"]
    table = read_table(shards, ["gland", "vessel"])
    dataset = TileDataset([shard.archive for shard in shards], table, None, bands=ObjectBands(["mask", "border"]))
    batch = together([dataset[Draw(row, 0, True)] for row in range(len(table))])
    _, valid = targets(batch.bits, batch.labelled, batch.bands)
    first = torch.from_numpy(np.asarray(table.archive == 0))
    assert valid[first, :2].any()
    assert not valid[first, 2:].any()
    assert valid[~first, 2:].any()
