import pytest
import torch
from torch import nn

from tilewright.project.config import Network
from tilewright.runtime.errors import UserError
from tilewright.training.optimizers import check_optimizer, optimizer, peak_rate


def network(**options):
    return Network(tiles="any", **options)


@pytest.mark.parametrize(("devices", "rate"), [(1, 4e-4), (2, 8e-4), (4, 8e-4)])
def test_several_devices_may_learn_at_another_rate(devices, rate):
    given = network(learning_rate=4e-4, shared_rate=2, devices=devices)
    assert optimizer(given, nn.Linear(1, 1).parameters()).defaults["lr"] == pytest.approx(rate)
    assert peak_rate(network(learning_rate=4e-4, devices=devices)) == 4e-4


NAMES = [
    "asgd", "adadelta", "adafactor", "adagrad", "adam", "adamw", "adamax", "nadam", "radam", "rmsprop", "rprop", "sgd",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_of_pytorch_takes_a_step_down(name):
    weight = nn.Parameter(torch.full((2, 2, 1, 1), 3.0))
    check_optimizer(network(optimizer=name))
    made = optimizer(network(optimizer=name, learning_rate=0.1), [weight])
    for _ in range(3):
        made.zero_grad()
        weight.square().sum().backward()
        made.step()
    assert (weight < 3).all()


def test_options_reach_the_optimiser():
    given = {"optimizer": "SGD", "optimizer_options": {"momentum": 0.9, "nesterov": True}, "weight_decay": 1e-4}
    made = optimizer(network(**given), nn.Linear(1, 1).parameters())
    assert {name: made.defaults[name] for name in ("momentum", "nesterov", "weight_decay")} == {
        "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4,
    }  # fmt: skip
    made = optimizer(network(optimizer_options={"betas": [0.8, 0.9]}), nn.Linear(1, 1).parameters())
    assert made.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("options", "what", "remedy"),
    [
        ({"optimizer": "rmsprob"}, 'optimizer "rmsprob" is unknown', 'Did you mean "rmsprop"?'),
        ({"optimizer": "Optimizer"}, 'optimizer "Optimizer" is unknown', ""),
        (
            {"optimizer": "lbfgs"},
            "lbfgs cannot be used: it computes the loss of a batch many times",
            "Known: asgd, adadelta",
        ),
        ({"optimizer": "SparseAdam"}, "sparseadam cannot be used: it takes sparse gradients", "Known: asgd, adadelta"),
        ({"optimizer": "muon"}, "muon cannot be used: it takes matrices", "Known: asgd, adadelta"),
        ({"optimizer": "rmsprop", "amsgrad": True}, "amsgrad: rmsprop has no such variant", "Leave it out."),
        ({"optimizer": "rprop", "weight_decay": 0.5}, "weight_decay: rprop has none", "Leave it out."),
        (
            {"optimizer": "sgd", "optimizer_options": {"momentun": 0.9}},
            'optimizer_options: "momentun" is unknown to sgd',
            "It takes momentum, dampening, nesterov.",
        ),
        ({"optimizer_options": {"lr": 0.9}}, "lr is the key learning_rate of the model", "Give it there."),
        ({"optimizer_options": {"maximize": True}}, '"maximize" is unknown to adamw', "It takes betas, eps."),
        (
            {"optimizer": "sgd", "optimizer_options": {"nesterov": True}},
            "sgd cannot be used with nesterov: True (Nesterov momentum requires a momentum and zero dampening)",
            "Correct optimizer_options.",
        ),
        ({"optimizer_options": {"betas": 0.9}}, "adamw cannot be used with betas: ", "Correct optimizer_options."),
        ({"optimizer_options": {"betas": [0.9]}}, "adamw cannot be used with betas: ", "Correct optimizer_options."),
        (
            {"optimizer": "sgd", "optimizer_options": {"momentum": 0.9, "dampening": [1]}},
            "sgd cannot be used with momentum: 0.9, dampening: [1",
            "Correct optimizer_options.",
        ),
        (
            {"optimizer": "rprop", "optimizer_options": {"step_sizes": [1]}},
            "rprop cannot be used with step_sizes: [1",
            "Correct optimizer_options.",
        ),
        (
            {"optimizer": "rmsprop", "optimizer_options": {"alpha": 2}},
            "rmsprop cannot be used with alpha: 2 (a step gives no numbers)",
            "Correct optimizer_options.",
        ),
    ],
)
def test_what_an_optimiser_does_not_take_is_told_with_what_it_takes(options, what, remedy):
    with pytest.raises(UserError) as caught:
        check_optimizer(network(**options))
    (problem,) = caught.value.problems
    assert what in problem.what
    assert remedy in problem.remedy
