import math
from functools import partial
from inspect import signature
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import elu

from tilewright.project.config import Network
from tilewright.project.config.training import LOSS_PARAMETERS, LossName
from tilewright.training.losses import LOSSES, TargetLoss, WeightedLoss

TRUTH = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
PROBABILITY = torch.tensor([0.9, 0.4, 0.2, 0.5]).view(1, 1, 2, 2)
LOGITS = torch.logit(PROBABILITY)
ONES = torch.ones_like(TRUTH)
EACH = pytest.mark.parametrize("name", get_args(LossName))
RIGHT = (0.9, 0.4, 0.8, 0.5)
"""Probability that each pixel has for what is true of it."""


def loss_of(name, **given):
    return partial(LOSSES[name], **{**LOSS_PARAMETERS[name], **given})


def value(name, logits=LOGITS, truth=TRUTH, valid=ONES, **given):
    found = loss_of(name, **given)(logits, truth, valid)
    assert found.shape == (logits.shape[1],)
    return found.sum().item()


def random_batch(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 2, 8, 8, generator=generator, dtype=dtype)
    truth = (torch.rand(2, 2, 8, 8, generator=generator) > 0.5).to(dtype)
    return logits, truth, (torch.rand(2, 2, 8, 8, generator=generator) > 0.3).to(dtype)


def test_the_registry_knows_the_names_and_parameters_of_the_config_and_no_others():
    assert set(LOSSES) == set(LOSS_PARAMETERS) == set(get_args(LossName))
    for name, loss in LOSSES.items():
        assert list(signature(loss).parameters) == ["logits", "truth", "valid", *LOSS_PARAMETERS[name]]


def test_bce_is_the_mean_of_minus_the_logarithms():
    assert value("bce") == pytest.approx(-sum(map(math.log, RIGHT)) / 4, abs=1e-6)


def test_soft_bce_expects_a_little_less_than_certainty():
    expected = -sum(0.9 * math.log(p) + 0.1 * math.log(1 - p) for p in RIGHT) / 4
    assert value("soft_bce", smoothing=0.1) == pytest.approx(expected, abs=1e-6)


def test_balanced_bce_is_a_mean_over_positives_and_thrice_one_over_negatives():
    expected = -(math.log(0.9) + math.log(0.4)) / 2 - 3 * (math.log(0.8) + math.log(0.5)) / 2
    assert value("balanced_bce") == pytest.approx(expected, abs=1e-6)


def test_focal_weighs_each_pixel_by_how_wrong_it_is():
    assert value("focal") == pytest.approx(-sum((1 - p) ** 2 * math.log(p) for p in RIGHT) / 4, abs=1e-6)


def test_dice_is_that_of_the_sums():
    assert value("dice") == pytest.approx(1 - (2 * 1.3 + 1) / (2 + 2 + 1), abs=1e-6)


def test_dice_of_squares_is_that_of_the_sums_of_squares():
    squares = 0.81 + 0.16 + 0.04 + 0.25
    assert value("dice", power=2) == pytest.approx(1 - (2 * 1.3 + 1) / (2 + squares + 1), abs=1e-6)


def test_tversky_weighs_both_kinds_of_error():
    false_positive, false_negative = 0.7, 0.7
    expected = 1 - (1.3 + 1) / (1.3 + 0.3 * false_positive + 0.7 * false_negative + 1)
    assert value("tversky", alpha=0.3, beta=0.7) == pytest.approx(expected, abs=1e-6)
    assert value("tversky", smooth=1e-6) == pytest.approx(1 - 1.3 / 2, abs=1e-5)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    logits = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 2, 2)
    assert value("lovasz", logits) == pytest.approx(2 * (1 - 1 / 3))


def test_symmetric_lovasz_is_the_mean_of_class_and_background_with_a_smooth_hinge():
    logits = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 2, 2)
    # errors of 2, 2, 0, 0 become 3, 3, 1, 1; the two wrong pixels have a Jaccard loss of 2/3, for class and background
    expected = 3 * 2 / 3 + 1 * 1 / 3
    assert value("symmetric_lovasz", logits) == pytest.approx(expected, abs=1e-6)
    assert value("symmetric_lovasz", -logits, 1 - TRUTH) == pytest.approx(expected, abs=1e-6)


def plain_lovasz(logits, truth, activation):
    errors, order = torch.sort(1 - logits * (2 * truth - 1), descending=True)
    jaccard = [1 - truth[order[count:]].sum() / (truth.sum() + (1 - truth[order[:count]]).sum())
               for count in range(1, len(order) + 1)]  # fmt: skip
    gradient = torch.stack(jaccard).diff(prepend=torch.zeros(1))
    return (activation(errors) * gradient).sum()


def test_both_lovasz_are_those_of_the_pixels_that_count_alone():
    logits, truth, valid = random_batch()
    for place in range(2):
        own = [each[:, place][valid[:, place] > 0] for each in (logits, truth)]
        hinge = plain_lovasz(*own, torch.relu)
        assert loss_of("lovasz")(logits, truth, valid)[place].item() == pytest.approx(hinge.item(), abs=1e-6)
        sides = [plain_lovasz(sign * own[0], (sign * (2 * own[1] - 1) + 1) / 2, lambda errors: elu(errors) + 1)
                 for sign in (1, -1)]  # fmt: skip
        both = loss_of("symmetric_lovasz")(logits, truth, valid)[place]
        assert both.item() == pytest.approx((sum(sides) / 2).item(), abs=1e-6)


def test_edge_sees_a_moved_edge_and_not_a_constant_error():
    truth = torch.zeros(1, 1, 64, 64)
    truth[..., 32:] = 1
    moved = torch.roll(truth, 2, dims=-1)[..., 8:-8, 8:-8]
    inner, ones = truth[..., 8:-8, 8:-8], torch.ones(1, 1, 48, 48)
    assert value("edge", 200 * (moved - 0.5), inner, ones) > 0.01
    # of a constant error only the padding at the borders of the tile is an edge
    wide = loss_of("edge")(torch.zeros(1, 1, 256, 256), torch.zeros(1, 1, 256, 256), torch.ones(1, 1, 256, 256))
    assert wide.item() < value("edge", torch.zeros(1, 1, 48, 48), torch.zeros(1, 1, 48, 48), ones) / 4


@pytest.mark.parametrize("place", [(15, 15), (0, 0), (2, 29), (30, 16), (16, 1)])
def test_edge_is_the_mean_response_to_a_difference_of_gaussians_around_each_pixel(place):
    """Of a single wrong pixel, also near each border, where a kernel that lies elsewhere would be cut otherwise."""
    logits, truth = torch.full((1, 1, 31, 31), -100.0), torch.zeros(1, 1, 31, 31)
    truth[0, 0, *place] = 1
    reach = np.arange(-7, 8)
    narrow, wide = (np.exp(-(reach**2) / (2 * sigma**2)) for sigma in (1.5, 2.4))
    kernel = np.outer(narrow, narrow) / narrow.sum() ** 2 - np.outer(wide, wide) / wide.sum() ** 2
    response = ndimage.correlate(truth[0, 0].numpy().astype(float), kernel, mode="constant")
    assert value("edge", logits, truth, torch.ones_like(truth)) == pytest.approx(np.abs(response).mean(), rel=1e-5)


@pytest.mark.parametrize("positive", [True, False])
def test_one_pixel_that_counts_has_the_loss_of_its_formula(positive):
    logits, truth, valid = LOGITS, torch.full_like(TRUTH, float(positive)), torch.zeros_like(ONES)
    valid[..., 1, 1] = 1
    logits = torch.full_like(LOGITS, math.log(0.4 / 0.6))
    right = 0.4 if positive else 0.6
    expected = {
        "bce": -math.log(right),
        "balanced_bce": -math.log(right) * (1 if positive else 3),
        "focal": -math.log(right) * (1 - right) ** 2,
        "dice": 1 - (1.8 if positive else 1) / (2.4 if positive else 1.4),
        "tversky": 1 - 1.4 / 1.7 if positive else 1 - 1 / 1.2,
        "lovasz": 1 - (1 if positive else -1) * math.log(0.4 / 0.6),
    }
    for name, each in expected.items():
        assert value(name, logits, truth, valid) == pytest.approx(each, abs=1e-6), name
        assert WeightedLoss(terms(**{name: 1}), torch.ones(1))(logits, truth, valid).item() == pytest.approx(each)


@EACH
def test_gradients_are_those_of_finite_differences(name):
    logits, truth, valid = random_batch(dtype=torch.float64)
    loss = loss_of(name)

    # losses compute in 32 bits, so that differences are taken over a wide step
    def total(values):
        return loss(values.float(), truth.float(), valid.float()).double().sum()

    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(total(logits), logits)
    generator, step = torch.Generator().manual_seed(1), 2e-3
    for _ in range(5):
        direction = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            difference = (total(logits + step * direction) - total(logits - step * direction)) / (2 * step)
        assert difference.item() == pytest.approx((gradient * direction).sum().item(), rel=0.05, abs=0.01)


@pytest.mark.parametrize("name", sorted({*get_args(LossName)} - {"soft_bce"}))
def test_a_perfect_prediction_costs_nothing(name):
    assert value(name, 100 * (2 * TRUTH - 1)) == pytest.approx(0, abs=1e-3)


def test_soft_bce_is_least_where_it_expects():
    assert value("soft_bce", math.log(9) * (2 * TRUTH - 1)) < value("soft_bce", 100 * (2 * TRUTH - 1))


@EACH
@pytest.mark.parametrize(("truth", "valid"), [(0, 1), (1, 1), (1, 0)])
@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_every_loss_and_its_gradient_are_finite_without_positives_or_without_valid_pixels(name, truth, valid, logit):
    logits = torch.full((2, 3, 4, 4), logit, requires_grad=True)
    loss = loss_of(name)(logits, torch.full((2, 3, 4, 4), float(truth)), torch.full((2, 3, 4, 4), float(valid)))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()
    assert valid or loss.tolist() == [0, 0, 0]


@EACH
def test_pixels_that_do_not_count_have_no_gradient_and_change_nothing(name):
    logits, truth, valid = random_batch()
    logits.requires_grad_()
    loss = loss_of(name)(logits, truth, valid).sum()
    loss.backward()
    assert (logits.grad[valid == 0] == 0).all()
    assert (logits.grad[valid == 1] != 0).any()
    other = torch.where(valid == 0, torch.tensor(7.0), logits.detach())
    changed = loss_of(name)(other, torch.where(valid == 0, 1 - truth, truth), valid).sum()
    assert changed.item() == pytest.approx(loss.item())


@EACH
def test_a_class_has_the_loss_that_it_has_alone(name):
    logits, truth, valid = random_batch()
    alone = [loss_of(name)(logits[:, [k]], truth[:, [k]], valid[:, [k]]).item() for k in range(2)]
    assert loss_of(name)(logits, truth, valid).tolist() == pytest.approx(alone, rel=1e-5)


def terms(**loss):
    return Network(tiles="any", loss=loss).loss


def test_terms_add_up_by_their_weights():
    both = WeightedLoss(terms(bce=2, dice={"weight": 0.5, "power": 2}), torch.ones(1))(LOGITS, TRUTH, ONES)
    assert both.item() == pytest.approx(2 * value("bce") + 0.5 * value("dice", power=2))


def test_a_term_may_be_its_weight_alone_or_some_of_its_parameters():
    numbers = WeightedLoss({"bce": 2.0, "dice": {"power": 2.0}}, torch.ones(1))
    assert numbers(LOGITS, TRUTH, ONES).item() == pytest.approx(2 * value("bce") + value("dice", power=2))
    assert not numbers.state_dict()  # no part of what is trained


def test_classes_count_by_their_weights_and_only_where_they_are_labelled():
    logits, truth, valid = random_batch()
    loss = WeightedLoss(terms(bce=1), torch.tensor([1.0, 0.2]))
    healthy, unhealthy = loss_of("bce")(logits, truth, valid).tolist()
    assert loss(logits, truth, valid).item() == pytest.approx((healthy + 0.2 * unhealthy) / 1.2, rel=1e-5)
    valid[:, 1] = 0
    assert loss(logits, truth, valid).item() == pytest.approx(healthy, rel=1e-5)
    valid[:] = 0
    assert loss(logits, truth, valid).item() == 0


def test_an_unknown_parameter_of_a_loss_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="tversky has no parameter gamma; it has weight, alpha, beta, smooth"):
        terms(tversky={"gamma": 2})


def test_l1_is_the_mean_difference_of_numbers_between_too():
    logits = torch.tensor([[[[0.0, 2.0, -30.0]]]])
    truth, valid = torch.tensor([[[[0.25, 1.0, 1.0]]]]), torch.tensor([[[[1.0, 1.0, 0.0]]]])
    expected = (0.25 + 1 - torch.sigmoid(torch.tensor(2.0))) / 2
    assert LOSSES["l1"](logits, truth, valid).tolist() == pytest.approx([float(expected)])


def test_each_target_has_its_own_loss_on_its_own_bands():
    generator = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(2, 4, 5, 6, generator=generator), torch.rand(2, 4, 5, 6, generator=generator)
    valid = (torch.rand(2, 4, 5, 6, generator=generator) > 0.3).float()
    weights = torch.tensor([1.0, 3.0])
    loss = TargetLoss({"mask": {"bce": 1.0, "dice": 0.5}, "distance": {"l1": 2.0}}, weights)
    mask = WeightedLoss({"bce": 1.0, "dice": 0.5}, weights)(logits[:, :2], truth[:, :2], valid[:, :2])
    distance = WeightedLoss({"l1": 2.0}, weights)(logits[:, 2:], truth[:, 2:], valid[:, 2:])
    assert loss.parts(logits, truth, valid).tolist() == [mask, distance]
    assert loss(logits, truth, valid) == mask + distance
