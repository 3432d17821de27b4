"""Progress of long work: a bar on a terminal, a plain line every 30 seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

INTERVAL = 30.0
Item = TypeVar("Item")


def note(message: str) -> None:
    """Write a line to the log (standard error)."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and show how far the work is.

    Args:
        items: what is worked through.
        what: a few words for the line, such as "predict slide B12".
        total: number of items, when ``items`` has no length.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, leave=False)
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    started = shown = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - shown >= INTERVAL:
            shown = now
            left = f", about {(now - started) / done * (total - done):.0f} s left" if total and done else ""
            note(f"{what}: {done} of {total or '?'} after {now - started:.0f} s{left}")
        yield item
