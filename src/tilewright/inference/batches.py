"""Batches that fit into memory, and inputs that are read ahead of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.gpu import is_out_of_memory
from tilewright.runtime.progress import note

Item = TypeVar("Item")
Result = TypeVar("Result")
ON_CPU, MOST = 4, 64
SHARE = 0.8


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result], depth: int) -> Iterator[tuple[Item, Result]]:
    """Each item with what is read for it, by a thread that is up to ``depth`` items ahead."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > depth:
                first, result = waiting.popleft()
                yield first, result.result()
        for first, result in waiting:
            yield first, result.result()


def write_behind(items: Iterable[Item], write: Callable[[Item], None], depth: int) -> None:
    """Write each item, by a thread that is up to ``depth`` items behind."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[None]] = deque()
        for item in items:
            waiting.append(pool.submit(write, item))
            if len(waiting) > depth:
                waiting.popleft().result()
        for each in waiting:
            each.result()


def in_batches(
    items: Iterator[Item], compute: Callable[[Sequence[Item]], Sequence[Result]], size: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result; a batch that does not fit into memory is halved, and so are those that follow.

    Args:
        items: what is computed.
        compute: gives the results of a batch.
        size: items of a batch at first.

    Raises:
        UserError: not even one item fits.
    """
    while batch := list(islice(items, size)):
        while batch:
            part = batch[:size]
            results = _results(compute, part)
            if results is None:
                size = len(part) // 2
                note(f"{len(part)} windows at a time do not fit into memory; going on with {size}")
                continue
            yield from zip(part, results, strict=True)
            batch = batch[len(part) :]


def fitting_size(compute: Callable[[Sequence[Item]], object], item: Item, device: torch.device) -> int:
    """How many items fit into the memory of a GPU, by what one of them takes; on a processor always the same number.

    Args:
        compute: computes a batch.
        item: an item like all others.
        device: where the computation runs.
    """
    if device.type != "cuda":
        return ON_CPU
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    compute([item])
    each = max(1, torch.cuda.max_memory_allocated(device) - before)
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST, int(SHARE * free / each)))


def band_memory(device: torch.device) -> int:
    """Bytes that rows of pixels and sums may take: half of what is free on a GPU, 1 GiB on a processor."""
    if device.type != "cuda":
        return 2**30
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2


def _results(compute: Callable[[Sequence[Item]], Sequence[Result]], batch: Sequence[Item]) -> Sequence[Result] | None:
    """The results of a batch; None: it does not fit into memory, which is free again."""
    try:
        return compute(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            what = "not even one window fits into memory."
            raise UserError(Problem("config, models, inference", what, "Give a smaller window.")) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
