import io
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from tilewright.inference.loading import load_model
from tilewright.runtime.errors import DataError, UserError
from tilewright.tiles.archive import TrainingShard, read_table
from tilewright.tiles.split import read_folds
from tilewright.training.averaging import Average
from tilewright.training.data import TileDataset, together
from tilewright.training.sampling import EachOnce
from tilewright.training.task import SegmentationTask
from tilewright.training.train import train


@pytest.mark.slow
def test_the_better_of_weights_and_average_is_kept(trained, tmp_path, monkeypatch):
    scores = {"val_loss": 1.0, "dice": 0.1, "ema_dice": 0.9}
    monkeypatch.setattr(SegmentationTask, "on_validation_epoch_end", lambda task: task.log_dict(scores))
    seen = []
    update = Average.update
    monkeypatch.setattr(Average, "update", lambda average, net: (update(average, net), seen.append(average)))
    found = trained(tmp_path, epochs=1, ema=0.9)
    kept = load(found["model.safetensors"])
    assert json.loads(found["model.json"])["best_weights"] == "ema"
    assert all(torch.equal(kept[name], value) for name, value in seen[-1].weights.items())


@pytest.mark.slow
def test_two_processes_share_an_epoch(trained, tmp_path):
    """The Dice they log is that of all validation tiles, each counted once, with the weights that are kept."""
    order = trained.order(devices=2, epochs=2, batch_size=4, ema=0.3)
    told = trained.by_command(order, tmp_path / "two")
    assert told.count("tiles to train on") == 1
    history = pd.read_csv(tmp_path / "two" / "history.csv")
    assert history["val_loss"].notna().all()
    # the same weights, judged by one process on all tiles
    card = json.loads((tmp_path / "two" / "model.json").read_text())
    segmenter, _ = load_model(tmp_path / "two")
    validation = [
        TrainingShard(trained.folder / "t" / f"{one.shard}.h5")
        for one in read_folds(trained.folder / "folds.csv")
        if one.fold == 0
    ]
    table = read_table(validation, order.classes)
    table = table.select(table.kind != "object")
    dataset = TileDataset([shard.archive for shard in validation], table, None)
    task = SegmentationTask(segmenter, order.network, order.classes, steps=1)
    logged = {}
    task.log, task.log_dict = (lambda name, value, **_: logged.update({name: float(value)})), logged.update
    with torch.no_grad():
        for batch in DataLoader(dataset, 4, sampler=EachOnce(len(table)), collate_fn=together):
            task.validation_step(batch, 0)
    task.on_validation_epoch_end()
    assert logged["dice"] == pytest.approx(card["best_dice"], abs=1e-6)
    prefix = "" if card["best_weights"] == "raw" else f"{card['best_weights']}_"
    expected = history[f"{prefix}val_loss"][card["best_epoch"]]
    assert logged["val_loss"] == pytest.approx(expected, rel=1e-5)


SHARED_AVERAGE = """
import sys, torch
from tilewright.project.config import Network
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask
rank = int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
segmenter = Segmenter(torch.nn.Conv2d(3, 1, 1), [0.5] * 3, [0.5] * 3)
task = SegmentationTask(segmenter, Network(tiles="any", ema=0.9), ["gland"], 1)
task.averages["ema"].weights = {"running_mean": torch.full((2,), 7.0 + rank)}
task.on_validation_epoch_start()
print(task.averages["ema"].weights["running_mean"].tolist())
"""


@pytest.mark.slow
def test_all_processes_validate_the_average_of_the_first(tmp_path):
    """Batch norms of processes have seen different tiles, and the first process writes the weights."""
    command = [sys.executable, "-c", SHARED_AVERAGE, tmp_path / "meeting"]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["[7.0, 7.0]"] * 2


@pytest.mark.slow
def test_a_training_that_diverges_says_so(trained, tmp_path):
    with pytest.raises(DataError, match=r"the training diverged in epoch 1: .*\n  Lower learning_rate"):
        trained(tmp_path, learning_rate=1e30, warmup=0, optimizer="adam")


@pytest.mark.slow
def test_the_epoch_of_least_loss_is_kept_if_that_is_monitored(trained, tmp_path):
    found = trained(tmp_path, monitor="val_loss", smoothing=0, epochs=4)
    history = pd.read_csv(io.BytesIO(found["history.csv"]))
    content = json.loads(found["model.json"])
    assert content["best_epoch"] == history["val_loss"].idxmin()
    assert content["best_val_loss"] == pytest.approx(history["val_loss"].min(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("smoothing", "kept"), [(0, (1, "raw")), (0.6, (3, "ema"))])
@pytest.mark.parametrize("monitor", ["dice", "val_loss"])
def test_one_lucky_epoch_is_not_kept_unless_nothing_is_smoothed(
    trained, tmp_path, monkeypatch, monitor, smoothing, kept
):
    lucky = {"raw": [0.2, 0.85, 0.3, 0.5, 0.4], "ema": [0.2, 0.5, 0.6, 0.8, 0.5]}
    sign = 1 if monitor == "dice" else -1

    def scripted(task):
        raw, ema = (values[task.current_epoch] for values in lucky.values())
        told = {"dice": raw, "ema_dice": ema, "val_loss": 1.0, monitor: sign * raw, f"ema_{monitor}": sign * ema}
        task.log_dict(told)

    monkeypatch.setattr(SegmentationTask, "on_validation_epoch_end", scripted)
    found = trained(tmp_path, monitor=monitor, smoothing=smoothing, epochs=5, ema=0.5)
    card = json.loads(found["model.json"])
    assert (card["best_epoch"], card["best_weights"]) == kept
    assert card[f"best_{monitor}"] == pytest.approx(lucky[kept[1]][kept[0]])


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_options_that_only_fail_when_they_are_used_are_refused(trained, tmp_path):
    options = {"encoder_depth": 3, "decoder_channels": [16, 8, 8], "decoder_attention_type": "scse"}
    with pytest.raises(
        UserError, match=r"Unet with .* takes no batch of \d tiles of 64 x 64 \(.*\)\.\n  Check options"
    ):
        trained(tmp_path, options=options)


def test_half_of_16_bits_on_a_processor_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match="precision 16 needs a GPU"):
        trained(tmp_path, precision="16")


@pytest.mark.slow
def test_half_precision_trains(trained, tmp_path):
    found = trained(tmp_path, precision="bf16", epochs=1)
    assert all(torch.isfinite(value).all() for value in load(found["model.safetensors"]).values())


@pytest.mark.slow
def test_a_compiled_network_trains_and_its_weights_have_their_usual_names(trained, whole, tmp_path, monkeypatch):
    compiled = []

    def count(module):
        call = module.forward
        module.forward = lambda images: (compiled.append(module.training), call(images))[1]

    monkeypatch.setattr(torch.nn.Module, "compile", count)
    found = trained(tmp_path, compile=True)
    assert {True, False} <= set(compiled)  # what is compiled is what is trained and validated
    assert found["model.safetensors"] == whole["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [["t"], []])
def test_pseudo_labelled_tiles_are_trained_on(trained, tmp_path, capsys, labelled):
    order = trained.order(labelled=labelled, epochs=1, pseudo={"from": "first", "rate": 0.5})
    (tmp_path / "pseudo").mkdir()
    shutil.copy(trained.folder / "t" / "x1.h5", tmp_path / "pseudo" / "t.h5")
    fold = 0
    places = {**trained.places(), "pseudo": tmp_path / "pseudo"}
    train(order, model="tiny", fold=fold, **places, out=tmp_path / "one")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "to train on" in line]
    trained_on = [
        TrainingShard(trained.folder / "t" / f"{one.shard}.h5")
        for one in read_folds(trained.folder / "folds.csv")
        if one.fold != fold
    ]
    extra = len(read_table([TrainingShard(tmp_path / "pseudo" / "t.h5")], order.classes)) if labelled else 0
    assert int(line.split(": ")[1].split()[0]) == len(read_table(trained_on, order.classes)) + extra


@pytest.mark.slow
def test_tensorboard_shows_validation_tiles(trained, whole, tmp_path):
    trained(tmp_path, epochs=1)
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == ["validation/gland", "validation/vessel"]
    assert {"train_loss", "train_dice", "train_iou", "val_loss", "dice"} <= set(events.Tags()["scalars"])
    (shown,) = events.Images("validation/gland")
    assert (shown.width, shown.height) == (4 * 64, 2 * 64)


@pytest.mark.slow
def test_workers_change_nothing(trained, whole, tmp_path):
    found = trained(tmp_path, workers=2)
    assert found["model.safetensors"] == whole["model.safetensors"]
    assert found["history.csv"] == whole["history.csv"]


@pytest.mark.slow
def test_another_seed_gives_other_weights(trained, whole, tmp_path):
    assert trained(tmp_path, seed=1, epochs=1)["model.safetensors"] != whole["model.safetensors"]


@pytest.mark.slow
def test_the_outputs_say_how_the_model_was_made(whole):
    assert whole.keys() == {"model.safetensors", "model.json", "history.csv", "curves.png", "batch.jpg"}
    content = json.loads(whole["model.json"])
    history = pd.read_csv(io.BytesIO(whole["history.csv"]))
    assert content["classes"] == ["gland", "vessel"]
    assert content["fold"] == 0
    assert content["best_dice"] == pytest.approx(history["dice"][content["best_epoch"]], abs=1e-5)
    assert content["network"]["mean"] == content["network"]["std"] == [0.5, 0.5, 0.5]
    assert content["mpp"] is None
    assert content["parameters"] == sum(value.numel() for name, value in load(whole["model.safetensors"]).items()
                                        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
                                        and name not in ("mean", "std"))  # fmt: skip
    assert content["scale"] == {"factor": 1, "mpp": None, "resample": "area"}
    assert {"tilewright", "torch", "lightning"} <= content["versions"].keys()
    assert {"epoch", "learning_rate", "train_loss", "val_loss", "dice_vessel", "iou_vessel"} <= set(history.columns)
    assert history["train_dice"].between(0.05, 1).all()
    assert (history["train_iou"] < history["train_dice"]).all()
    expected = history["dice_gland"] / (2 - history["dice_gland"])
    assert history["iou_gland"].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    for metric in ("dice", "iou"):
        means = history[[f"{metric}_gland", f"{metric}_vessel"]].mean(axis=1)
        assert history[metric].tolist() == pytest.approx(means.tolist(), rel=1e-5)


@pytest.mark.slow
def test_a_network_learns_what_is_easy(trained, tmp_path):
    found = trained(tmp_path, epochs=6, augmentation="flips", tiles_per_epoch=48)
    assert json.loads(found["model.json"])["best_dice"] > 0.7


def test_a_fold_without_shards_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match="no shard is validated in fold 7"):
        trained(tmp_path, fold=7)


def test_archives_of_other_classes_are_refused(trained, tmp_path):
    order = trained.order().model_copy(update={"classes": ["gland"]})
    with pytest.raises(DataError, match="holds the classes gland, vessel, not gland"):
        train(order, model="tiny", fold=0, **trained.places(), out=tmp_path)
