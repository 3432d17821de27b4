import pandas as pd
import pytest
import torch
from torch import nn

from tilewright.project.config import Network
from tilewright.training.averaging import Average
from tilewright.training.optimizers import optimizer
from tilewright.training.schedules import lulls, rate_curve, smoothed
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask


def network(**options):
    return Network(tiles="any", **options)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("constant", 1, 1), ("plateau", 1, 1), ("linear", 0.5, 0), ("cosine", 0.5, 0)]
)
def test_the_learning_rate_rises_then_follows_its_schedule(schedule, middle, end):
    share = rate_curve(network(schedule=schedule, warmup=0.1), 110)
    assert [share(step) for step in range(11)] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert share(11 + 99 // 2) == pytest.approx(middle, abs=0.01)
    assert share(110) == pytest.approx(end, abs=1e-9)


def test_a_rate_may_start_and_end_above_zero():
    share = rate_curve(network(schedule="cosine", warmup=0.2, first_rate=0.025, last_rate=0.0375), 1000)
    assert share(0) == pytest.approx(0.025, abs=0.01)
    assert share(199) == 1
    assert share(1000) == pytest.approx(0.0375)


def test_without_warm_up_the_first_step_has_the_peak():
    assert rate_curve(network(warmup=0), 10)(0) == 1


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"optimizer": "adam"}, torch.optim.Adam),
        ({"optimizer": "adamw", "amsgrad": True}, torch.optim.AdamW),
        ({"optimizer": "rmsprop"}, torch.optim.RMSprop),
    ],
)
def test_optimisers_have_what_the_config_says(options, kind):
    made = optimizer(network(**options, learning_rate=0.5, weight_decay=0.25), nn.Linear(1, 1).parameters())
    assert type(made) is kind
    assert (made.defaults["lr"], made.defaults["weight_decay"]) == (0.5, 0.25)
    assert made.defaults.get("amsgrad", False) == options.get("amsgrad", False)


def test_the_training_takes_the_beginning_of_the_average_from_the_config():
    states = []
    for options in ({}, {"ema_warmup": True}):
        segmenter = Segmenter(Point(), [0.5] * 3, [0.5] * 3)
        task = SegmentationTask(segmenter, network(ema=0.5, **options), ["gland"], steps=1)
        for place in (4, 8):
            segmenter.network.at(place)
            task.averages["ema"].update(segmenter)
        states.append(task.averages["ema"].weights["network.weight"].item())
    assert states == pytest.approx([6, 2 / 11 * 4 + 9 / 11 * 8])


def test_a_plateau_is_found_when_torch_finds_it():
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(60, generator=generator) * 0.2 + torch.linspace(0, 0.3, 60).sqrt()).tolist()
    made = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        made, "max", factor=0.5, patience=5, threshold=0.01, threshold_mode="abs"
    )
    for place, score in enumerate(scores, start=1):
        theirs.step(score)
        assert made.param_groups[0]["lr"] == 0.5 ** lulls(
            scores[:place], 6, 0.01
        )  # torch waits for one more than its patience
    assert made.param_groups[0]["lr"] < 1


@pytest.mark.parametrize(
    ("scores", "found"), [([1, 2, 3, 4], 0), ([1, 1], 0), ([1, 1, 1], 1), ([4, 3, 2, 1], 1), ([1] * 5, 2), ([], 0)]
)
def test_a_lull_is_as_many_validations_without_improvement_as_the_patience(scores, found):
    assert lulls(scores, patience=2, min_delta=0) == found


class Point(nn.Module):
    """A network of one weight and one count."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def at(self, place):
        self.weight.data[:] = place
        self.count[:] = place
        return self


def test_an_average_without_decay_is_the_mean():
    average, point = Average(None), Point()
    for place in (1, 2, 6):
        average.update(point.at(place))
    assert average.weights["weight"].item() == pytest.approx(3)
    assert average.weights["count"].item() == 6


@pytest.mark.parametrize("warmup", [False, True])
def test_an_exponential_average_has_its_decay_from_the_first_update_or_reaches_it(warmup):
    average, point = Average(0.5, warmup), Point()
    expected = None
    for number, place in enumerate((4, 8, 2, 6, 1)):
        average.update(point.at(place))
        decay = min(0.5, (1 + number) / (10 + number)) if warmup else 0.5
        expected = place if expected is None else decay * expected + (1 - decay) * place
        assert average.weights["weight"].item() == pytest.approx(expected)


def test_a_moving_average_forgets_its_beginning_as_it_forgets_all_else():
    scores = [0.1, 0.9, 0.8, 0.6, 0.3]
    expected = pd.Series(scores).ewm(alpha=0.3).mean()
    found = [smoothed([{"raw": score} for score in scores[:count]], 0.7)["raw"] for count in range(1, 6)]
    assert found == pytest.approx(expected.tolist())
    assert smoothed([{"raw": 1.0}, {"raw": 0.25}], 0) == {"raw": 0.25}
    assert smoothed([], 0.7) == {}


def test_what_begins_later_begins_where_the_best_of_the_others_stands():
    found = smoothed([{"raw": 0.4, "ema": 0.6}, {"raw": 0.4, "ema": 0.6, "swa": 1.2}], 0.5)
    assert found == {"raw": pytest.approx(0.4), "ema": pytest.approx(0.6), "swa": pytest.approx((0.3 + 1.2) / 1.5)}
