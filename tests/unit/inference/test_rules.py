import numpy as np
import pytest

from tilewright.inference.rules import RULES, fitted_threshold, threshold_interval
from tilewright.pixels.histograms import Histogram, best_bin, bin_threshold, dice_curve


def slide(best, seed=0, pixels=4000):
    """Probabilities of a slide whose Dice is best near a bin."""
    draw = np.random.default_rng(seed)
    positive = np.clip(draw.normal(best + 30, 25, pixels), 0, 255).astype(int)
    negative = np.clip(draw.normal(best - 40, 25, 4 * pixels), 0, 255).astype(int)
    return Histogram(np.bincount(positive, minlength=256), np.bincount(negative, minlength=256))


def groups(*bests):
    return [[slide(best, seed)] for seed, best in enumerate(bests)]


def best_of(found, aim="pooled"):
    return best_bin(dice_curve([one for group in found for one in group], aim))


@pytest.mark.parametrize("aim", ["pooled", "slide"])
def test_the_best_is_that_of_all_slides_whatever_their_groups(aim):
    found = groups(60, 90, 140)
    assert fitted_threshold(found, aim, "best") == bin_threshold(best_of(found, aim))
    together = [[one for group in found for one in group]]
    assert fitted_threshold(together, aim, "best") == fitted_threshold(found, aim, "best")


def test_one_half_counts_as_two_groups():
    alike = [[slide(50, 0)]] * 12
    best = best_of(alike)
    for count, share in ((1, 1 / 3), (2, 0.5), (6, 0.75)):
        expected = share * best + (1 - share) * 128
        assert fitted_threshold(alike[:count], "pooled", "shrunk") == bin_threshold(round(expected))
    several = [[slide(50, seed) for seed in range(12)]]
    assert fitted_threshold(several, "pooled", "shrunk") == bin_threshold(round(best_of(several) / 3 + 128 * 2 / 3))


def test_one_standard_error_goes_as_near_to_one_half_as_the_groups_leave_open():
    unsure = fitted_threshold(groups(30, 128), "pooled", "one_se")
    assert unsure == bin_threshold(128)
    certain = [[slide(50, seed, 40_000)] for seed in range(12)]
    found = fitted_threshold(certain, "pooled", "one_se")
    assert bin_threshold(best_of(certain)) <= found < bin_threshold(best_of(certain) + 12)


def test_groups_that_are_harder_than_others_make_no_threshold_unsure():
    """Of some most pixels are missed at any threshold: what differs between draws is the Dice, not where it is best."""
    found = [[slide(50, seed, 40_000)] for seed in range(6)]
    for seed in range(6, 12):
        hard = slide(50, seed, 40_000)
        found.append([Histogram(hard.positive + 200_000 * (np.arange(256) == 0), hard.negative)])
    threshold = fitted_threshold(found, "pooled", "one_se")
    assert bin_threshold(best_of(found)) <= threshold < bin_threshold(best_of(found) + 12)


@pytest.mark.parametrize("aim", ["pooled", "slide"])
def test_the_bootstrap_is_that_of_drawn_groups(aim):
    """With two groups, of four draws one has the first twice, one the second twice, and two have both."""
    found = groups(40, 160)
    alone = [best_bin(dice_curve(group, aim)) for group in found]
    exact = (alone[0] + alone[1] + 2 * best_of(found, aim)) / 4
    assert 255 * fitted_threshold(found, aim, "bootstrap") + 0.5 == pytest.approx(exact, abs=8)
    low, high = threshold_interval(found, aim)
    assert (low, high) == (bin_threshold(min(alone)), bin_threshold(max(alone)))


def test_a_group_counts_by_its_slides_in_the_mean_over_slides():
    many, one = [slide(60, seed) for seed in range(9)], [slide(160, 9)]
    low, high = threshold_interval([many, many, one], "slide")
    assert low == bin_threshold(best_bin(dice_curve(many, "slide")))
    assert high < bin_threshold(best_bin(dice_curve(one, "slide")))


def test_groups_that_agree_leave_a_narrow_interval():
    low, high = threshold_interval([[slide(70, seed, 40_000)] for seed in range(10)], "pooled")
    assert low <= high < low + 0.03


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_takes_one_group_and_slides_without_the_class(rule):
    nothing = Histogram(np.zeros(256, np.int64), np.bincount([0, 0, 7], minlength=256))
    for found in (groups(90), [[nothing], [nothing]]):
        assert 0 < fitted_threshold(found, "pooled", rule) < 1
