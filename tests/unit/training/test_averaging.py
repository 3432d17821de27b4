from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tilewright.training.averaging import Average


class Calls(TorchDispatchMode):
    """Counts the operations."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, given=(), options=None):
        self.counts[function.name().partition(".")[0]] += 1
        return function(*given, **(options or {}))


def network(layers):
    return torch.nn.Sequential(*(torch.nn.BatchNorm1d(3) for _ in range(layers)))


def test_an_average_is_that_of_each_value_and_takes_counters_as_they_are():
    average, norm, expected = Average(0.5), network(1), None
    for number in range(4):
        torch.nn.init.normal_(norm[0].weight, generator=torch.Generator().manual_seed(number))
        norm[0].num_batches_tracked += 1
        average.update(norm)
        now = norm[0].weight.detach()
        expected = now.clone() if expected is None else 0.5 * expected + 0.5 * now
    assert torch.allclose(average.weights["0.weight"], expected)
    assert average.weights["0.num_batches_tracked"] == 4


def test_a_network_without_counters_has_an_average_too():
    average, layer = Average(0.5), torch.nn.Linear(1, 1)
    for value in (1.0, 0.0):
        torch.nn.init.constant_(layer.weight, value)
        average.update(layer)
    assert average.weights["weight"].item() == 0.5


def test_an_update_takes_as_many_operations_for_many_layers_as_for_one():
    found = []
    for layers in (1, 20):
        average, norms = Average(0.9), network(layers)
        average.update(norms)
        with Calls() as calls:
            average.update(norms)
        found.append({name: count for name, count in calls.counts.items() if name != "aten::detach"})
    assert found[0] == found[1] == {"aten::_foreach_lerp_": 1, "aten::_foreach_copy_": 1}
