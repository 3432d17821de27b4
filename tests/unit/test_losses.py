import math
from typing import get_args

import pytest
import torch

from tilewright.config import LossName
from tilewright.training.losses import LOSSES, bce, dice, focal, lovasz, tversky, weighted_loss

TRUTH = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
PROBABILITY = torch.tensor([0.9, 0.4, 0.2, 0.5]).view(1, 1, 2, 2)
LOGITS = torch.logit(PROBABILITY)
ONES = torch.ones_like(TRUTH)
EACH = pytest.mark.parametrize("name", get_args(LossName))


def test_the_registry_knows_the_names_of_the_config_and_no_others():
    assert set(LOSSES) == set(get_args(LossName))


def test_bce_is_the_mean_of_minus_the_logarithms():
    expected = -sum(math.log(p) for p in (0.9, 0.4, 0.8, 0.5)) / 4
    assert bce(LOGITS, TRUTH, ONES).item() == pytest.approx(expected, abs=1e-6)


def test_focal_weighs_each_pixel_by_how_wrong_it_is():
    expected = -sum((1 - p) ** 2 * math.log(p) for p in (0.9, 0.4, 0.8, 0.5)) / 4
    assert focal(LOGITS, TRUTH, ONES).item() == pytest.approx(expected, abs=1e-6)


def test_dice_is_that_of_the_sums():
    assert dice(LOGITS, TRUTH, ONES).item() == pytest.approx(1 - (2 * 1.3 + 1) / (2 + 2 + 1), abs=1e-6)


def test_tversky_weighs_both_kinds_of_error():
    false_positive, false_negative = 0.7, 0.7
    expected = 1 - (1.3 + 1) / (1.3 + 0.3 * false_positive + 0.7 * false_negative + 1)
    assert tversky(LOGITS, TRUTH, ONES, alpha=0.3, beta=0.7).item() == pytest.approx(expected, abs=1e-6)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    logits = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 2, 2)
    assert lovasz(logits, TRUTH, ONES).item() == pytest.approx(2 * (1 - 1 / 3))


@EACH
def test_a_perfect_prediction_costs_nothing(name):
    assert LOSSES[name](100 * (2 * TRUTH - 1), TRUTH, ONES).item() == pytest.approx(0, abs=1e-3)


@EACH
@pytest.mark.parametrize(("truth", "valid"), [(0, 1), (1, 1), (1, 0)])
@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_every_loss_and_its_gradient_are_finite_without_positives_or_without_valid_pixels(name, truth, valid, logit):
    logits = torch.full((2, 3, 4, 4), logit, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((2, 3, 4, 4), float(truth)), torch.full((2, 3, 4, 4), float(valid)))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert valid or loss.item() == 0


@EACH
def test_pixels_that_do_not_count_have_no_gradient_and_change_nothing(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 8, 8, generator=generator).requires_grad_()
    truth = (torch.rand(2, 2, 8, 8, generator=generator) > 0.5).float()
    valid = (torch.rand(2, 2, 8, 8, generator=generator) > 0.3).float()
    loss = LOSSES[name](logits, truth, valid)
    loss.backward()
    assert (logits.grad[valid == 0] == 0).all()
    assert (logits.grad[valid == 1] != 0).any()
    other = torch.where(valid == 0, torch.tensor(7.0), logits.detach())
    assert LOSSES[name](other, torch.where(valid == 0, 1 - truth, truth), valid).item() == pytest.approx(loss.item())


def test_terms_add_up_by_their_weights():
    both = weighted_loss({"bce": 2.0, "dice": 0.5})(LOGITS, TRUTH, ONES)
    assert both.item() == pytest.approx(2 * bce(LOGITS, TRUTH, ONES).item() + 0.5 * dice(LOGITS, TRUTH, ONES).item())
