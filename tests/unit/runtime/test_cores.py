import os

import pytest

from tilewright.runtime import cores
from tilewright.runtime.cores import loading_workers, training_threads


@pytest.fixture
def machine(monkeypatch):
    def made(processors, gpus):
        monkeypatch.setattr(cores, "cores", lambda: processors)
        monkeypatch.setattr(cores, "visible_gpus", lambda: [str(number) for number in range(gpus)])

    return made


@pytest.mark.parametrize(
    ("processors", "gpus", "threads", "devices", "workers"),
    [
        (16, 1, 1, 1, 8),  # no more than a GPU can use
        (16, 4, 1, 1, 3),  # its share of the cores
        (16, 4, 1, 4, 3),
        (16, 4, 2, 4, 2),
        (2, 1, 1, 1, 1),
        (8, 1, 1, 2, 3),
        (1, 1, 1, 1, 0),
        (4, 8, 1, 1, 0),
        (64, 0, 1, 1, 0),  # a processor's network takes so long that it loads by the way
        (64, 0, 1, 4, 0),
    ],
)
def test_auto_takes_what_is_left_of_the_share_of_a_gpu(machine, processors, gpus, threads, devices, workers):
    machine(processors, gpus)
    taken = training_threads("auto", threads, devices)
    assert taken == (threads + workers) * devices
    assert loading_workers("auto", threads, devices, taken) == workers


def test_a_job_that_is_given_fewer_threads_has_fewer_workers(machine):
    machine(16, 1)
    assert [loading_workers("auto", 2, 1, given) for given in (10, 3, 2, 1)] == [8, 1, 0, 0]
    assert [loading_workers("auto", 1, 2, given) for given in (8, 5, 2)] == [3, 1, 0]


def test_a_number_is_a_number_wherever(machine):
    for processors, gpus in ((1, 0), (16, 4)):
        machine(processors, gpus)
        assert training_threads(3, 2, 2) == 10
        assert loading_workers(3, 2, 2, 1) == 3


def test_cores_are_those_that_the_process_may_use():
    assert cores.cores() == len(os.sched_getaffinity(0))
