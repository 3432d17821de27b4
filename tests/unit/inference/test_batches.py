import time

import numpy as np
import pytest
import torch

from tilewright.inference.batches import fitting_size, in_batches, read_ahead
from tilewright.runtime.errors import UserError
from tilewright.runtime.gpu import is_out_of_memory


def limited(most, error, sizes):
    def compute(batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise error
        return [2 * item for item in batch]

    return compute


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("can't allocate memory: 9"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(error, capsys):
    sizes = []
    found = list(in_batches(iter(range(20)), limited(3, error, sizes), 8))
    assert found == [(item, 2 * item) for item in range(20)]
    assert sizes == [8, 4, *[2] * 10]
    assert "8 windows at a time do not fit into memory; going on with 4" in capsys.readouterr().err


def test_what_does_not_even_fit_alone_is_the_users_to_change():
    compute = limited(0, torch.OutOfMemoryError(), [])
    with pytest.raises(UserError, match=r"not even one window fits(.|\n)*smaller window"):
        list(in_batches(iter(range(3)), compute, 2))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(in_batches(iter(range(3)), limited(0, RuntimeError("size mismatch"), []), 2))


def test_torch_says_on_a_processor_that_memory_is_out_as_expected():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)


def test_items_keep_their_order_and_are_read_ahead():
    read = []
    ahead = read_ahead(range(10), lambda item: (read.append(item), item * item)[1], 4)
    assert next(ahead) == (0, 0)
    time.sleep(0.1)
    assert read == list(range(5))
    assert list(ahead) == [(item, item * item) for item in range(1, 10)]


def test_an_error_while_reading_ahead_is_raised():
    def fail(item):
        raise OSError(f"item {item}")

    with pytest.raises(OSError, match="item 0"):
        list(read_ahead(range(3), fail, 2))


def test_a_processor_takes_the_same_number_always():
    assert fitting_size(lambda batch: batch, np.zeros(3), torch.device("cpu")) == 4


def test_a_gpu_takes_what_fits_by_the_measure_of_one(monkeypatch):
    """A fake GPU with 10 GB free, on which an item takes 1 GB."""
    gigabyte = 1 << 30
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * gigabyte)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * gigabyte)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10 * gigabyte, 80 * gigabyte))
    assert fitting_size(lambda batch: batch, 0, torch.device("cuda")) == 8
