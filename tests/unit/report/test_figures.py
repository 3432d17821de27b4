import math

import pandas as pd
import pytest

from tilewright.report.figures import Kept

HISTORY = pd.DataFrame(
    {"epoch": [0, 1, 2, 3], "dice": [0.5, None, 0.7, 0.6], "ema_dice": [0.4, None, 0.55, 0.8], "train_loss": [1] * 4}
)


@pytest.mark.parametrize(
    ("epoch", "weights", "dice"), [(2, "raw", 0.7), (3, "ema", 0.8), (3, "raw", 0.6), (0, "ema", 0.4)]
)
def test_what_is_kept_is_what_the_training_says_and_not_the_highest_point_of_the_curve(epoch, weights, dice):
    """It may have been chosen by its loss, or be an average."""
    found = Kept.of({"best_epoch": epoch, "best_weights": weights}, HISTORY)
    assert found == Kept(epoch + 1, weights, dice)


def test_an_epoch_without_a_score_has_none():
    assert math.isnan(Kept.of({"best_epoch": 1, "best_weights": "raw"}, HISTORY).dice)
