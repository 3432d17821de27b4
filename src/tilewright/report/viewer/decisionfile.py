"""The file of decisions about the outlines of a slide, as the viewer reads and writes it.

What another program has changed since is told, never overwritten.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tilewright.annotations.decisions import Corrections, Decision, read_decisions, write_decisions
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.hashed import file_hash


class Changed(UserError):
    """What is decided about is not any more what was seen."""


@dataclass(frozen=True)
class State:
    """Decisions about a slide, and what they lead to.

    Attributes:
        decisions: all, in their order.
    """

    decisions: tuple[Decision, ...]

    @cached_property
    def _led_to(self) -> Corrections:
        return Corrections.of(self.decisions)

    @cached_property
    def outlines(self) -> dict[str, Decision]:
        """The decisions that hold, by the hash of the outline that they gave, took out, or brought back."""
        holding = (*self._led_to.changes.values(), *self._led_to.added)
        return {one.replaces_hash: one for one in self._back} | {
            one.result or one.replaces_hash: one for one in holding
        }

    @cached_property
    def _accepted(self) -> dict[str, Decision]:
        """The decisions by which outlines are right, by their hashes, as far as none came after."""
        found: dict[str, Decision] = {}
        for one in self.decisions:
            found.pop(one.replaces_hash, None)
            if one.kind == "accept":
                found[one.replaces_hash] = one
        return found

    @cached_property
    def _back(self) -> list[Decision]:
        """Those of outlines that had been changed: tables of a run in between do not have them."""
        changed = {one.replaces_hash for one in self.decisions if one.kind != "accept"}
        return [one for known, one in self._accepted.items() if known in changed and known not in self._led_to.changes]

    @cached_property
    def made(self) -> set[str]:
        """Hashes of outlines that decisions have made."""
        return {one.result for one in self.decisions if one.kind != "accept"} - {""}

    @cached_property
    def hidden(self) -> set[str]:
        """Hashes of outlines in the tables that are others now, or none; and of those that ``outlines`` has."""
        return {*self._led_to.changes, *self.made, *self.outlines}

    @cached_property
    def lasting(self) -> set[str]:
        """The ids of decisions that no later one has replaced."""
        return {one.id for one in (*self._accepted.values(), *self.outlines.values())}

    @cached_property
    def _replaced(self) -> set[str]:
        return {one.replaces_hash for one in self.decisions if one.replaces_hash}

    def about(self, known: str) -> Decision | None:
        """The last decision about an outline, and about what earlier ones have made of it."""
        if known not in self._replaced:
            return None
        last: Decision | None = None
        for one in self.decisions:
            if one.replaces_hash == known:
                last, known = one, one.result or known
        return last

    @cached_property
    def _drawn(self) -> dict[str, Decision]:
        return {one.replaces_id: one for one in self.decisions if one.replaces_id and not one.replaces_hash}

    def drawn_for(self, identity: str) -> Decision | None:
        """The last decision about what was drawn where nobody had outlined anything."""
        one = self._drawn.get(identity)
        return one and (self.about(one.result) or one)


class DecisionFile:
    """The decisions of a slide: what the file held when it was read last.

    Args:
        path: the file, there or not.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.RLock()
        self._state: State | None = None
        self._print = ""

    def read(self) -> State:
        """What the file holds now.

        Raises:
            AnnotationError: it is no file of decisions.
        """
        with self._lock:
            now = self._now()
            if self._state is None or now != self._print:
                self._state = None  # as long as it cannot be read, nothing is known of it
                self._state, self._print = State(tuple(read_decisions(self.path))), now
            return self._state

    def peek(self) -> State:
        """What the file holds now, without a word of it to the page; errors as of ``read``."""
        with self._lock:
            if self._state is None or self._now() != self._print:
                return State(tuple(read_decisions(self.path)))
            return self._state

    def seen(self) -> State:
        """What the file held when it was read last, which it still does.

        Raises:
            Changed: it does not; it is read anew when it is asked for next.
            AnnotationError: it is no file of decisions.
        """
        with self._lock:
            if self._state is None:
                return self.read()
            if self._now() != self._print:
                what = "was changed by another program since it was read; nothing was written."
                raise Changed(Problem(str(self.path), what, "The page shows now what is in it; decide again."))
            return self._state

    def write(self, decisions: Sequence[Decision]) -> State:
        """Replace what was ``seen``, whole or not at all; errors as of ``seen``.

        Raises:
            DataError: it cannot be written.
        """
        with self._lock:
            self.seen()
            write_decisions(self.path, decisions)
            self._state, self._print = State(tuple(decisions)), self._now()
            return self._state

    def _now(self) -> str:
        return file_hash(self.path) if self.path.is_file() else ""
