"""Trainings on all slides, by what fabricated folds tell."""

import io
import json
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load

from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.training.architectures import spelt_out
from tilewright.training.loaders import read_tiles
from tilewright.training.refit import refit
from tilewright.training.state import TrainingState

CLASSES = ["gland", "vessel"]


def fold(folder, network, epochs, weights="raw", tiles=16, rates=None):
    """What a trained fold tells of its training."""
    folder.mkdir(parents=True)
    told = {"best_epoch": epochs - 1, "best_weights": weights, "epoch_tiles": tiles}
    write_document(folder / "model.json", {**told, "network": spelt_out(network).model_dump(mode="json")})
    rates = rates or [0.1] * epochs
    pd.DataFrame({"epoch": range(len(rates)), "learning_rate": rates}).to_csv(folder / "history.csv", index=False)
    return folder


@pytest.fixture
def refitted(trained, tmp_path):
    """The files of a training on all slides, by name."""

    def run(out, folds, **options):
        network = trained.order(**options).network
        fitted = [fold(tmp_path / f"{out}-fold{number}", network, *each) for number, each in enumerate(folds)]
        places = {name: place for name, place in trained.places().items() if name != "folds"}
        refit(trained.order(**options), model="tiny", fitted=fitted, **places, out=tmp_path / out)
        return {path.name: path.read_bytes() for path in (tmp_path / out).iterdir() if path.is_file()}

    return run


def rates(files):
    return pd.read_csv(io.BytesIO(files["history.csv"]))["learning_rate"].tolist()


@pytest.mark.slow
def test_all_slides_are_trained_on_for_as_long_as_the_folds_say(refitted, trained, capsys):
    found = refitted("out", [(1,), (2,), (5,)], epochs=5)
    every = len(read_tiles(trained.shards(), [], CLASSES).training)
    said = capsys.readouterr().err
    assert f"tiny, all training slides: {every} tiles to train on\n" in said
    assert "epoch 2/2: loss " in said
    card, history = json.loads(found["model.json"]), pd.read_csv(io.BytesIO(found["history.csv"]))
    assert set(history.columns) == {"epoch", "learning_rate", "train_loss", "train_dice", "train_iou"}
    assert (card["fold"], card["best_epoch"], card["best_weights"], card["epoch_tiles"]) == (None, 1, "raw", every)
    assert not {"best_dice", "best_val_loss"} & set(card)
    assert {"curves.png", "batch.jpg", "model.safetensors"} < set(found)


@pytest.mark.slow
def test_the_rate_falls_as_in_the_folds_and_an_epoch_has_their_steps(refitted, trained, tmp_path):
    """Though there are more tiles: 16 in batches of 8 are two steps."""
    folds = trained(tmp_path / "fold", epochs=3, tiles_per_epoch=16)
    assert json.loads(folds["model.json"])["epoch_tiles"] == 16
    assert rates(refitted("out", [(2,)], epochs=3)) == rates(folds)[:2]
    plateau = {"schedule": "plateau", "warmup": 0, "epochs": 9, "learning_rate": 0.01}
    given = (0.01, 0.01, 0.001, 0.0001)
    assert rates(refitted("lowered", [(4, "raw", 16, given)], **plateau)) == pytest.approx(given)


@pytest.mark.slow
def test_the_weights_are_of_the_kind_that_folds_kept(refitted):
    options = {"ema": 0.9, "epochs": 2}
    raw, ema = (load(refitted(kind, [(2, kind)], **options)["model.safetensors"]) for kind in ("raw", "ema"))
    assert any(not torch.equal(raw[name], ema[name]) for name in raw)
    alone = load(refitted("alone", [(2, "raw")], epochs=2)["model.safetensors"])
    assert all(torch.equal(raw[name], alone[name]) for name in raw)
    swa = json.loads(refitted("swa", [(1, "raw"), (2, "swa"), (1, "swa")], epochs=2, swa=0.5)["model.json"])
    assert (swa["best_weights"], swa["best_epoch"]) == ("swa", 1), "the average begins in the second epoch"


@pytest.mark.slow
def test_an_interrupted_one_gives_the_same_to_the_bit(refitted, tmp_path, monkeypatch):
    options = {"ema": 0.9, "epochs": 4}
    whole = refitted("whole", [(3, "ema")], **options)
    finish = TrainingState.on_train_epoch_end

    def fail(state, trainer, module):
        finish(state, trainer, module)
        if trainer.current_epoch == 0:
            raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "on_train_epoch_end", fail)
        with pytest.raises(ZeroDivisionError):
            refitted("killed", [(3, "ema")], **options)
    for place in tmp_path.glob("killed-*"):
        shutil.rmtree(place)
    assert refitted("killed", [(3, "ema")], **options) == whole


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "model.json").write_text("{}"), r"fold0"),
        (lambda folder: (folder / "history.csv").unlink(), r"history\.csv: cannot be used"),
        (lambda folder: (folder / "history.csv").write_text(""), r"history\.csv: cannot be used"),
        (lambda folder: (folder / "history.csv").write_text("epoch,learning_rate\n0,0.1\n1,"), "ends before the best"),
        (lambda folder: (folder / "history.csv").write_text("epoch,learning_rate\n0,0.1\n"), "ends before the best"),
    ],
)
def test_a_fold_that_is_damaged_is_named(trained, tmp_path, damage, says):
    order = trained.order()
    folder = fold(tmp_path / "fold0", order.network, 2)
    damage(folder)
    with pytest.raises(DataError, match=says):
        refit(order, model="tiny", fitted=[folder], tiles=tmp_path, pseudo=tmp_path, out=tmp_path / "out")


def test_a_fold_of_another_training_is_refused(trained, tmp_path):
    folder = fold(tmp_path / "fold0", trained.order(learning_rate=0.5, epochs=9).network, 2)
    with pytest.raises(DataError, match=r"fold0: was trained in another way: learning_rate, epochs\."):
        refit(trained.order(), model="tiny", fitted=[folder], tiles=tmp_path, pseudo=tmp_path, out=tmp_path / "out")


@pytest.mark.slow
def test_files_of_others_beside_the_events_stay(refitted, tmp_path):
    mine = tmp_path / "out" / "events" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    refitted("out", [(1,)], epochs=1)
    assert mine.read_text() == "mine"
    assert len(list(mine.parent.glob("*tfevents*"))) == 1
