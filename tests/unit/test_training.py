import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from tilewright.archives import TrainingShard, read_table
from tilewright.config import Annotations, Limits, Network, Scale, TileSet, Tissue
from tilewright.folds import read_folds, split
from tilewright.inference.predict import load_model
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
from tilewright.training.augment import Augmentation, Cropping
from tilewright.training.averaging import Average
from tilewright.training.data import TileDataset, targets
from tilewright.training.fit import train
from tilewright.training.sampling import EachOnce, sampler
from tilewright.training.state import TrainingState
from tilewright.training.task import SegmentationTask

CLASSES = ["gland", "vessel"]
SHARDS = ("a", "b", "x1")
NETWORK = {
    "tiles": "small",
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
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


def places(tiled):
    sheet = tiled / "slides" / "slides.csv"
    return {
        "folds": tiled / "folds.csv", "tiles": tiled / "t", "sheet": sheet, "data": sheet.parent, "pseudo": tiled / "pseudo",
    }  # fmt: skip


def trained(tiled, out, fold=0, workers=0, **options):
    network = Network(**{**NETWORK, **options})
    settings = TrainSettings(network=network, classes=CLASSES, scale=Scale(factor=1))
    train("tiny", fold=fold, **places(tiled), settings=settings, out=out, workers=workers)
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


EVERYTHING = {
    "ema": 0.9,
    "swa": 0.5,
    "accumulate": 2,
    "clip": 1.0,
    "deep_supervision": 1,
    "image_loss": 0.1,
    "mixing": {"kind": "mixup", "probability": 0.5},
    "sampling": {"rates": {"source": "equal"}},
    "schedule": "plateau",
    "plateau": {"patience": 1},
    "warmup": 0,
    "optimizer": "adam",
    "amsgrad": True,
    "monitor": "val_loss",
    "validate_every": 2,
    "loss": {"bce": 1, "tversky": {"alpha": 0.3, "beta": 0.7}},
}


@pytest.mark.slow
def test_with_every_option_too_an_interruption_changes_nothing(tiled, tmp_path, monkeypatch):
    uninterrupted = trained(tiled, tmp_path / "whole", **EVERYTHING, epochs=5)
    for epochs in (1, 2, 4):
        with monkeypatch.context() as patch:
            interrupt_after(patch, epochs)
            with pytest.raises(KilledError):
                trained(tiled, tmp_path / "killed", **EVERYTHING, epochs=5)
    assert trained(tiled, tmp_path / "killed", **EVERYTHING, epochs=5) == uninterrupted
    history = pd.read_csv(io.BytesIO(uninterrupted["history.csv"]))
    assert history["val_loss"].notna().tolist() == [False, True, False, True, True]
    assert history["ema_dice"].notna().tolist() == [False, True, False, True, True]
    assert history["swa_dice"].notna().tolist() == [False, False, False, True, True]
    assert (history["learning_rate"].diff().dropna() <= 0).all()
    assert json.loads(uninterrupted["model.json"])["best_weights"] in ("raw", "ema", "swa")


@pytest.mark.slow
def test_training_ends_when_nothing_improves_and_stays_ended(tiled, tmp_path, monkeypatch):
    options = {"stopping": {"patience": 2, "min_delta": 1.0}, "epochs": 9}
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KilledError):
            trained(tiled, tmp_path / "killed", **options)
    stopped = trained(tiled, tmp_path / "killed", **options)
    assert len(pd.read_csv(io.BytesIO(stopped["history.csv"]))) == 3
    assert stopped == trained(tiled, tmp_path / "whole", **options)


@pytest.mark.slow
def test_the_better_of_weights_and_average_is_kept(tiled, tmp_path, monkeypatch):
    monkeypatch.setattr(
        SegmentationTask, "on_validation_epoch_end", lambda task: task.log_dict({"dice": 0.1, "ema_dice": 0.9})
    )
    seen = []
    update = Average.update
    monkeypatch.setattr(Average, "update", lambda average, net: (update(average, net), seen.append(average)))
    found = trained(tiled, tmp_path, epochs=1, ema=0.9)
    kept = load(found["model.safetensors"])
    assert json.loads(found["model.json"])["best_weights"] == "ema"
    assert all(torch.equal(kept[name], value) for name, value in seen[-1].weights.items())


@pytest.mark.slow
def test_two_processes_share_an_epoch(tiled, tmp_path):
    """The Dice they log is that of all validation tiles, each counted once, with the weights that are kept."""
    network = Network(**{**NETWORK, "devices": 2, "epochs": 2, "batch_size": 4})
    settings = TrainSettings(network=network, classes=CLASSES, scale=Scale(factor=1))
    command = ["train", "tiny", "--fold", "0"]
    for name, path in places(tiled).items():
        command += [f"--{name}", path]
    command += ["--settings", settings.model_dump_json(), "--out", tmp_path / "two"]
    done = subprocess.run([sys.executable, "-m", "tilewright", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("tiles to train on") == 1
    history = pd.read_csv(tmp_path / "two" / "history.csv")
    assert history["val_loss"].notna().all()
    # the same weights, judged by one process on all tiles
    card = json.loads((tmp_path / "two" / "model.json").read_text())
    segmenter, _ = load_model(tmp_path / "two")
    validation = [
        TrainingShard(tiled / "t" / f"{one.shard}.h5") for one in read_folds(tiled / "folds.csv") if one.fold == 0
    ]
    table = read_table(validation)
    table = table.select(table.kind != "object")
    dataset = TileDataset([shard.archive for shard in validation], table, None)
    task = SegmentationTask(segmenter, network, CLASSES, steps=1)
    logged = {}
    task.log, task.log_dict = (lambda name, value, **_: logged.update({name: float(value)})), logged.update
    with torch.no_grad():
        for batch in DataLoader(dataset, 2, sampler=EachOnce(len(table))):
            task.validation_step(batch, 0)
    task.on_validation_epoch_end()
    assert logged["dice"] == pytest.approx(card["best_dice"], abs=1e-6)


@pytest.mark.slow
def test_a_training_that_diverges_says_so(tiled, tmp_path):
    with pytest.raises(DataError, match=r"the training diverged in epoch 1: .*\n  Lower learning_rate"):
        trained(tiled, tmp_path, learning_rate=1e30, warmup=0, optimizer="adam")


@pytest.mark.slow
def test_the_epoch_of_least_loss_is_kept_if_that_is_monitored(tiled, tmp_path):
    found = trained(tiled, tmp_path, monitor="val_loss", epochs=4)
    history = pd.read_csv(io.BytesIO(found["history.csv"]))
    content = json.loads(found["model.json"])
    assert content["best_epoch"] == history["val_loss"].idxmin()
    assert content["best_val_loss"] == pytest.approx(history["val_loss"].min(), rel=1e-5)


@pytest.mark.slow
def test_a_state_of_another_division_of_the_same_shards_is_not_gone_on_from(tiled, tmp_path, monkeypatch):
    """Else weights that have seen a slide would be validated on it."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tiled, tmp_path)
    (state,) = (tmp_path / "state").glob("fingerprint")
    before = state.read_text()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tiled, tmp_path, fold=1)
    assert state.read_text() != before


def test_half_of_16_bits_on_a_processor_is_refused(tiled, tmp_path):
    with pytest.raises(UserError, match="precision 16 needs a GPU"):
        trained(tiled, tmp_path, precision="16")


@pytest.mark.slow
def test_half_precision_trains(tiled, tmp_path):
    found = trained(tiled, tmp_path, precision="bf16", epochs=1)
    assert all(torch.isfinite(value).all() for value in load(found["model.safetensors"]).values())


@pytest.mark.slow
def test_a_compiled_network_trains_and_its_weights_have_their_usual_names(tiled, whole, tmp_path, monkeypatch):
    compiled = []

    def count(module):
        call = module.forward
        module.forward = lambda images: (compiled.append(module.training), call(images))[1]

    monkeypatch.setattr(torch.nn.Module, "compile", count)
    found = trained(tiled, tmp_path, compile=True)
    assert {True, False} <= set(compiled)  # what is compiled is what is trained and validated
    assert found["model.safetensors"] == whole["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "used"), [("t", True), ("a", False), ("b", False)])
def test_pseudo_labelled_tiles_are_trained_on_unless_their_group_is_validated(tiled, tmp_path, capsys, group, used):
    rows = (tiled / "slides" / "slides.csv").read_text().replace(",test,t,t,", f",test,{group},t,")
    sheet = tiled / "slides" / f"{tmp_path.name}.csv"
    sheet.write_text(rows)
    network = Network(**{**NETWORK, "epochs": 1, "pseudo": {"from": "first", "rate": 0.5}})
    settings = TrainSettings(network=network, classes=CLASSES, scale=Scale(factor=1))
    (tmp_path / "pseudo").mkdir()
    shutil.copy(tiled / "t" / "x1.h5", tmp_path / "pseudo" / "t.h5")
    given = {**places(tiled), "sheet": sheet, "pseudo": tmp_path / "pseudo"}
    fold = next(one.fold for one in read_folds(tiled / "folds.csv") if one.group == ("a" if group == "t" else group))
    train("tiny", fold=fold, **given, settings=settings, out=tmp_path / "one")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "to train on" in line]
    trained_on = [
        TrainingShard(tiled / "t" / f"{one.shard}.h5") for one in read_folds(tiled / "folds.csv") if one.fold != fold
    ]
    extra = len(read_table([TrainingShard(tmp_path / "pseudo" / "t.h5")])) if used else 0
    assert int(line.split(": ")[1].split()[0]) == len(read_table(trained_on)) + extra


@pytest.mark.slow
def test_tensorboard_shows_validation_tiles(tiled, whole, tmp_path):
    trained(tiled, tmp_path, epochs=1)
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == ["validation/gland", "validation/vessel"]
    assert {"train_loss", "val_loss", "dice"} <= set(events.Tags()["scalars"])
    (shown,) = events.Images("validation/gland")
    assert (shown.width, shown.height) == (4 * 64, 2 * 64)


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
    assert content["best_dice"] == pytest.approx(history["dice"].max(), abs=1e-5)
    assert content["network"]["mean"] == content["network"]["std"] == [0.5, 0.5, 0.5]
    assert content["mpp"] is None
    assert content["scale"] == {"factor": 1, "mpp": None}
    assert {"tilewright", "torch", "lightning"} <= content["versions"].keys()
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
        train("tiny", fold=0, **places(tiled), settings=settings, out=tmp_path)


def shards(tiled):
    return [TrainingShard(tiled / "t" / f"{shard}.h5") for shard in SHARDS]


def draws(table, epoch=0, **options):
    drawn = sampler(table, [], Network(**{**NETWORK, **options}), CLASSES)
    drawn.set_epoch(epoch)
    return [draw for draw in drawn if draw.counts]


def test_an_epoch_draws_every_tile_once_in_an_order_of_its_own(tiled):
    table = read_table(shards(tiled))
    first, second = draws(table), draws(table, 1)
    assert sorted(draw.row for draw in first) == sorted(draw.row for draw in second) == list(range(len(table)))
    assert first != second
    assert draws(table) == first
    assert draws(table, seed=1) != first


def test_what_a_sample_looks_like_does_not_depend_on_workers(tiled):
    archives = [shard.archive for shard in shards(tiled)]
    table = read_table(shards(tiled))
    network = Network(**NETWORK)

    def batches(workers):
        dataset = TileDataset(archives, table, Augmentation("strong", Cropping(32)))
        return list(DataLoader(dataset, 4, sampler=sampler(table, archives, network, CLASSES), num_workers=workers))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_image_and_mask_are_augmented_alike():
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 5:50] = 1
    image = np.where(mask[..., None] == 1, 200, 20).repeat(3, axis=2).astype(np.uint8)
    augmentation = Augmentation("flips", Cropping(48))
    for seed in range(10):
        changed, bits = augmentation(image, mask, seed)
        assert changed.shape == (48, 48, 3)
        assert ((changed[..., 0] == 200) == (bits == 1)).all()


def test_ignored_pixels_and_unlabelled_classes_do_not_count():
    bits = torch.tensor([[[0b001, 0b010, 0b111, 0b000]]], dtype=torch.int32)
    truth, valid = targets(bits, torch.tensor([[True, False]]))
    assert truth.tolist() == [[[[1, 0, 1, 0]], [[0, 1, 1, 0]]]]
    assert valid.tolist() == [[[[1, 1, 0, 1]], [[0, 0, 0, 0]]]]
