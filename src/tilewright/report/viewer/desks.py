"""Threads that hold files open: readers of slides and rasters may be used by the thread alone that opened them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 16
"""Desks that are kept; each holds what is open of a slide."""


class Desk:
    """A thread, and what is open in it. Only work that runs there may call ``open``."""

    def __init__(self) -> None:
        self._thread, self._stack = ThreadPoolExecutor(1), ExitStack()
        self._opened: dict[Hashable, Any] = {}

    def open(self, key: Hashable, opener: Callable[[], AbstractContextManager[T]]) -> T:
        """What is open under a key; opened if it is not. It stays open until the desk is cleared."""
        if key not in self._opened:
            self._opened[key] = self._stack.enter_context(opener())
        found: T = self._opened[key]
        return found

    def hold(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under a key; made if it was not."""
        if key not in self._opened:
            self._opened[key] = make()
        found: T = self._opened[key]
        return found

    def submit(self, work: Callable[["Desk"], T]) -> "Future[T]":
        """Do some work in the thread."""
        return self._thread.submit(work, self)

    def clear(self) -> None:
        """Close everything, after the work that waits."""
        self._thread.submit(self._stack.close)
        self._thread.shutdown(wait=False)


class Desks:
    """The desks of the slides that were looked at last."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._lock = most, Lock()
        self._desks: OrderedDict[Hashable, Desk] = OrderedDict()

    def run(self, key: Hashable, work: Callable[[Desk], T]) -> T:
        """Do some work at the desk of a key, and give what comes of it."""
        with self._lock:
            desk = self._desks[key] = self._desks.pop(key) if key in self._desks else Desk()
            while len(self._desks) > self._most:
                self._desks.popitem(last=False)[1].clear()
            future = desk.submit(work)
        return future.result()

    def clear(self) -> None:
        """Close everything."""
        with self._lock:
            while self._desks:
                self._desks.popitem()[1].clear()
