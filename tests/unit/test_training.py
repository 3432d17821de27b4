import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from tilewright.archives import read_table
from tilewright.config import Annotations, Limits, Network, Scale, TileSet, Tissue
from tilewright.folds import split
from tilewright.masks import rasterize
from tilewright.runtime.errors import DataError, UserError
from tilewright.runtime.locks import state_lock
from tilewright.scales import downscale
from tilewright.settings import (
    DownscaleSettings,
    RasterizeSettings,
    SplitSettings,
    TileSettings,
    TrainSettings,
)
from tilewright.tiles import tile
from tilewright.training.augment import Augmentation
from tilewright.training.data import TileDataset, sampler, targets
from tilewright.training.fit import train
from tilewright.training.state import TrainingState
from tilewright.training.task import rate_curve

CLASSES = ["gland", "vessel"]
SHARDS = ("a", "b", "x1")
NETWORK = {
    "tiles": "small",
    "encoder": "tu-test_resnet.r160_in1k",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    "augmentation": "strong",
    "epochs": 3,
    "learning_rate": 0.01,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def tiled(tmp_path_factory, new_project):
    """A folder with tile archives and folds of the tiny project."""
    project = new_project(tmp_path_factory.mktemp("tiled") / "project")
    folder = project.folder
    common = {"sheet": project.sheet, "data": project.sheet.parent}
    masks = RasterizeSettings(classes={name: [name] for name in CLASSES}, annotations=Annotations(), limits=Limits())
    scale = DownscaleSettings(scales={"full": Scale(factor=1)}, tissue=Tissue(), limits=Limits())
    tiles = TileSettings(tiles=TileSet(scale="full", size=64, overlap=0.25), classes=CLASSES)
    for shard in SHARDS:
        rasterize(shard, **common, settings=masks, out=folder / "m" / shard)
        downscale(shard, **common, masks=folder / "m" / shard, settings=scale, out=[folder / "s" / shard])
        places = {"scaled": folder / "s" / shard, "masks": folder / "m" / shard}
        tile(shard, **common, **places, settings=tiles, out=folder / "t" / f"{shard}.h5")
    split(**common, settings=SplitSettings.model_validate({"folds": {"count": 2}}), out=folder / "folds.csv")
    return folder


def trained(tiled, out, fold=0, **options):
    network = Network(**{**NETWORK, **options})
    settings = TrainSettings(network=network, classes=CLASSES, scale=Scale(factor=1))
    train("tiny", fold=fold, folds=tiled / "folds.csv", tiles=tiled / "t", settings=settings, out=out)
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def whole(tiled, tmp_path_factory):
    """The outputs of an uninterrupted training."""
    return trained(tiled, tmp_path_factory.mktemp("whole"))


class KilledError(Exception):
    pass


def interrupt_after(monkeypatch, epochs):
    """Let training fail once that many epochs are saved, as a killed process would."""
    finish = TrainingState.on_train_epoch_end

    def fail(state, trainer, module):
        finish(state, trainer, module)
        if trainer.current_epoch + 1 == epochs:
            raise KilledError

    monkeypatch.setattr(TrainingState, "on_train_epoch_end", fail)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_training_gives_the_weights_of_an_uninterrupted_one_to_the_bit(
    tiled, whole, tmp_path, monkeypatch, epochs
):
    with monkeypatch.context() as patch:
        interrupt_after(patch, epochs)
        with pytest.raises(KilledError):
            trained(tiled, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    seen = []
    start = TrainingState.on_train_epoch_start
    monkeypatch.setattr(
        TrainingState, "on_train_epoch_start", lambda state, trainer, module: seen.append(trainer.current_epoch)
        or start(state, trainer, module)
    )  # fmt: skip
    assert trained(tiled, tmp_path) == whole
    assert seen == list(range(epochs, 3))


@pytest.mark.slow
def test_dropout_after_an_interruption_draws_what_it_would_have_drawn(tiled, tmp_path, monkeypatch):
    options = {"architecture": "FPN", "options": {"decoder_dropout": 0.5}, "epochs": 2}
    uninterrupted = trained(tiled, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tiled, tmp_path / "killed", **options)
    assert trained(tiled, tmp_path / "killed", **options) == uninterrupted


@pytest.mark.slow
def test_workers_change_nothing(tiled, whole, tmp_path):
    found = trained(tiled, tmp_path, workers=2)
    assert found["model.safetensors"] == whole["model.safetensors"]
    assert found["history.csv"] == whole["history.csv"]


@pytest.mark.slow
def test_another_seed_gives_other_weights(tiled, whole, tmp_path):
    assert trained(tiled, tmp_path, seed=1, epochs=1)["model.safetensors"] != whole["model.safetensors"]


@pytest.mark.slow
def test_a_state_of_other_settings_is_not_gone_on_from(tiled, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tiled, tmp_path / "one", learning_rate=0.1)
    assert trained(tiled, tmp_path / "one", epochs=1) == trained(tiled, tmp_path / "two", epochs=1)


@pytest.mark.slow
def test_the_outputs_say_how_the_model_was_made(whole):
    assert whole.keys() == {"model.safetensors", "model.json", "history.csv", "curves.png"}
    content = json.loads(whole["model.json"])
    history = pd.read_csv(io.BytesIO(whole["history.csv"]))
    assert content["classes"] == CLASSES
    assert content["fold"] == 0
    assert content["best_epoch"] == history["dice"].idxmax()
    assert {"epoch", "learning_rate", "train_loss", "val_loss", "dice", "dice_gland"} <= set(history.columns)


@pytest.mark.slow
def test_a_network_learns_what_is_easy(tiled, tmp_path):
    found = trained(tiled, tmp_path, epochs=6, augmentation="flips", tiles_per_epoch=48)
    assert json.loads(found["model.json"])["best_dice"] > 0.7


def test_a_second_trainer_on_the_same_state_is_refused(tiled, tmp_path):
    with state_lock(tmp_path / "state"), pytest.raises(UserError, match="is in use by process"):
        trained(tiled, tmp_path)


def test_a_fold_without_shards_is_refused(tiled, tmp_path):
    with pytest.raises(UserError, match="fold 7 has no shard"):
        trained(tiled, tmp_path, fold=7)


def test_archives_of_other_classes_are_refused(tiled, tmp_path):
    settings = TrainSettings(network=Network(**NETWORK), classes=["gland"], scale=Scale(factor=1))
    with pytest.raises(DataError, match="other classes"):
        train("tiny", fold=0, folds=tiled / "folds.csv", tiles=tiled / "t", settings=settings, out=tmp_path)


def draws(table, epoch=0, **options):
    drawn = sampler(table, Network(**{**NETWORK, **options}))
    drawn.set_epoch(epoch)
    return list(drawn)


def test_an_epoch_draws_every_tile_once_in_an_order_of_its_own(tiled):
    table = read_table([tiled / "t" / f"{shard}.h5" for shard in SHARDS])
    first, second = draws(table), draws(table, 1)
    assert sorted(draw.row for draw in first) == sorted(draw.row for draw in second) == list(range(len(table)))
    assert first != second
    assert draws(table) == first
    assert draws(table, seed=1) != first


@pytest.mark.parametrize("balance", ["source", "class"])
def test_balanced_draws_take_strata_equally_often(tiled, balance):
    table = read_table([tiled / "t" / f"{shard}.h5" for shard in SHARDS])
    strata = table.source if balance == "source" else np.where(table.coverage.any(1), table.coverage.argmax(1), -1)
    drawn = strata[[draw.row for draw in draws(table, balance=balance, tiles_per_epoch=4000)]]
    shares = [np.mean(drawn == each) for each in np.unique(strata)]
    assert shares == pytest.approx([1 / len(shares)] * len(shares), abs=0.03)


def test_what_a_sample_looks_like_does_not_depend_on_workers(tiled):
    archives = [tiled / "t" / f"{shard}.h5" for shard in SHARDS]
    table = read_table(archives)
    network = Network(**NETWORK)

    def batches(workers):
        dataset = TileDataset(archives, table, Augmentation("strong", 32))
        return list(DataLoader(dataset, 4, sampler=sampler(table, network), num_workers=workers))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_image_and_mask_are_augmented_alike():
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 5:50] = 1
    image = np.where(mask[..., None] == 1, 200, 20).repeat(3, axis=2).astype(np.uint8)
    augmentation = Augmentation("flips", 48)
    for seed in range(10):
        changed, bits = augmentation(image, mask, seed)
        assert changed.shape == (48, 48, 3)
        assert ((changed[..., 0] == 200) == (bits == 1)).all()


def test_ignored_pixels_and_unlabelled_classes_do_not_count():
    bits = torch.tensor([[[0b001, 0b010, 0b111, 0b000]]], dtype=torch.int32)
    truth, valid = targets(bits, torch.tensor([[True, False]]))
    assert truth.tolist() == [[[[1, 0, 1, 0]], [[0, 1, 1, 0]]]]
    assert valid.tolist() == [[[[1, 1, 0, 1]], [[0, 0, 0, 0]]]]


@pytest.mark.parametrize(("schedule", "middle", "end"), [("constant", 1, 1), ("linear", 0.5, 0), ("cosine", 0.5, 0)])
def test_the_learning_rate_rises_then_follows_its_schedule(schedule, middle, end):
    share = rate_curve(Network(**{**NETWORK, "schedule": schedule, "warmup": 0.1}), 110)
    assert [share(step) for step in range(11)] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert share(11 + 99 // 2) == pytest.approx(middle, abs=0.01)
    assert share(110) == pytest.approx(end, abs=1e-9)
