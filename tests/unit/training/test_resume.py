import io
import json

import pandas as pd
import pytest

from tilewright.runtime.errors import UserError
from tilewright.runtime.locks import state_lock
from tilewright.training.state import TrainingState


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
@pytest.mark.parametrize(("epochs", "workers"), [(1, 0), (2, 0), (1, 2)])
def test_an_interrupted_training_gives_the_weights_of_an_uninterrupted_one_to_the_bit(
    trained, whole, tmp_path, monkeypatch, epochs, workers
):
    with monkeypatch.context() as patch:
        interrupt_after(patch, epochs)
        with pytest.raises(KilledError):
            trained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    seen = []
    start = TrainingState.on_train_epoch_start
    monkeypatch.setattr(
        TrainingState, "on_train_epoch_start", lambda state, trainer, module: seen.append(trainer.current_epoch)
        or start(state, trainer, module)
    )  # fmt: skip
    assert trained(tmp_path, workers=workers) == whole
    assert seen == list(range(epochs, 3))


@pytest.mark.slow
def test_dropout_after_an_interruption_draws_what_it_would_have_drawn(trained, tmp_path, monkeypatch):
    options = {"architecture": "FPN", "options": {"decoder_dropout": 0.5}, "epochs": 2}
    uninterrupted = trained(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tmp_path / "killed", **options)
    assert trained(tmp_path / "killed", **options) == uninterrupted


EVERYTHING = {
    "targets": ["mask", "touching", "distance"],
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
def test_with_every_option_too_an_interruption_changes_nothing(trained, tmp_path, monkeypatch):
    uninterrupted = trained(tmp_path / "whole", **EVERYTHING, epochs=5)
    for epochs in (1, 2, 4):
        with monkeypatch.context() as patch:
            interrupt_after(patch, epochs)
            with pytest.raises(KilledError):
                trained(tmp_path / "killed", **EVERYTHING, epochs=5)
    assert trained(tmp_path / "killed", **EVERYTHING, epochs=5) == uninterrupted
    history = pd.read_csv(io.BytesIO(uninterrupted["history.csv"]))
    assert history["val_loss"].notna().tolist() == [False, True, False, True, True]
    assert history["ema_dice"].notna().tolist() == [False, True, False, True, True]
    assert history["swa_dice"].notna().tolist() == [False, False, False, True, True]
    assert (history["learning_rate"].diff().dropna() <= 0).all()
    assert json.loads(uninterrupted["model.json"])["best_weights"] in ("raw", "ema", "swa")


@pytest.mark.slow
def test_training_ends_when_nothing_improves_and_stays_ended(trained, tmp_path, monkeypatch):
    options = {"stopping": {"patience": 2, "min_delta": 1.0}, "epochs": 9}
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KilledError):
            trained(tmp_path / "killed", **options)
    stopped = trained(tmp_path / "killed", **options)
    assert len(pd.read_csv(io.BytesIO(stopped["history.csv"]))) == 3
    assert stopped == trained(tmp_path / "whole", **options)


@pytest.mark.slow
def test_a_state_of_another_division_of_the_same_shards_is_not_gone_on_from(trained, tmp_path, monkeypatch):
    """Else weights that have seen a slide would be validated on it."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tmp_path)
    (state,) = (tmp_path / "state").glob("fingerprint")
    before = state.read_text()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tmp_path, fold=1)
    assert state.read_text() != before


@pytest.mark.slow
def test_a_state_of_other_settings_is_not_gone_on_from(trained, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KilledError):
            trained(tmp_path / "one", learning_rate=0.1)
    assert trained(tmp_path / "one", epochs=1) == trained(tmp_path / "two", epochs=1)


def test_a_second_trainer_on_the_same_state_is_refused(trained, tmp_path):
    with state_lock(tmp_path / "state"), pytest.raises(UserError, match="is in use by process"):
        trained(tmp_path)
