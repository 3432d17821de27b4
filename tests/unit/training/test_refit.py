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
from tilewright.training.loaders import read_tiles
from tilewright.training.refit import refit
from tilewright.training.state import TrainingState

CLASSES = ["gland", "vessel"]


def fold(folder, epochs, weights="raw", tiles=16, rates=(0.1,)):
    """What a trained fold tells of its training."""
    folder.mkdir(parents=True)
    write_document(folder / "model.json", {"best_epoch": epochs - 1, "best_weights": weights, "epoch_tiles": tiles})
    pd.DataFrame({"epoch": range(len(rates)), "learning_rate": rates}).to_csv(folder / "history.csv", index=False)
    return folder


@pytest.fixture
def refitted(trained, tmp_path):
    """The files of a training on all slides, by name."""

    def run(out, folds, **options):
        fitted = [fold(tmp_path / f"{out}-fold{number}", *each) for number, each in enumerate(folds)]
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
    swa = refitted("swa", [(1, "swa")], epochs=2, swa=0.5)
    assert json.loads(swa["model.json"])["best_weights"] == "raw", "the average begins in the second epoch"


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


def test_a_fold_that_is_damaged_is_named(refitted, tmp_path):
    fold(tmp_path / "broken", 2)
    (tmp_path / "broken" / "model.json").write_text("{}")
    with pytest.raises(DataError, match="broken"):
        refit(None, model="tiny", fitted=[tmp_path / "broken"], tiles=tmp_path, pseudo=tmp_path, out=tmp_path / "out")
