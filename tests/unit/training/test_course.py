import pandas as pd
import pytest

from tilewright.project.config import Network
from tilewright.training.course import course_of


def card(epoch, weights="ema", tiles=96):
    return {"best_epoch": epoch - 1, "best_weights": weights, "epoch_tiles": tiles}


def history(*rates):
    return pd.DataFrame({"epoch": range(len(rates)), "learning_rate": rates})


def course(cards, histories=None, **options):
    return course_of(cards, histories or [history(0.1)] * len(cards), Network(tiles="any", **options))


def test_it_lasts_as_many_epochs_and_tiles_as_the_folds_in_the_median():
    found = course([card(9, tiles=100), card(2, tiles=120), card(12, tiles=130)])
    assert (found.epochs, found.tiles) == (9, 120)
    assert course([card(4), card(9)]).epochs == 7, "half an epoch is one more"
    assert [course([card(one), card(one + 1)]).epochs for one in (1, 2)] == [2, 3]
    assert course([card(1)]).epochs == 1


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [(["raw", "ema", "raw"], "raw"), (["ema", "raw"], "ema"), (["swa", "raw", "swa"], "swa"), (["raw", "swa"], "swa")],
)
def test_weights_are_of_the_kind_that_most_folds_kept(kinds, kept):
    assert course([card(3, kind) for kind in kinds], swa=0.5).weights == kept


def test_weights_of_swa_last_until_there_are_some():
    """Of ten epochs with three of them averaged, the first average is that of the eighth."""
    found = course([card(10, "swa"), card(1, "raw")], swa=0.3, epochs=10)
    assert (found.weights, found.epochs) == ("swa", 8)
    assert course([card(10, "swa"), card(9, "swa")], swa=0.3, epochs=10).epochs == 10


def test_plateaus_come_where_they_came_in_the_folds():
    histories = [history(0.1, 0.1, 0.01), history(0.1, 0.1, 0.1, 0.01, 0.01), history(0.1, 0.1, 0.01, 0.01, 0.001)]
    found = course([card(3), card(5), card(5)], histories, schedule="plateau", warmup=0)
    assert found.reductions == pytest.approx([1, 1, 0.1, 0.1, 0.055])


def test_a_warm_up_is_no_plateau_and_other_schedules_have_none():
    rising = history(0.05, 0.1, 0.1, 0.01)
    assert course([card(4)], [rising], schedule="plateau", warmup=0.2, epochs=10).reductions == pytest.approx(
        [1, 1, 1, 0.1]
    )
    assert course([card(4)], [history(0.1, 0.07, 0.03, 0)], schedule="cosine").reductions == [1, 1, 1, 1]
