"""How a step ends: with an exit code, and with a line in its log by which the next attempt knows why.

A log without that line is of a step that was killed, as systems do that run out of memory.
"""

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOMEM
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tilewright.runtime.errors import OUT_OF_MEMORY, DataError, Problem, TilewrightError
from tilewright.runtime.failures import MISSING, failure_of
from tilewright.runtime.progress import note

INTERRUPTED = 75
"""Exit code where a signal stopped the step; the same command goes on."""
_LINE = re.compile(r"tilewright: ended with code (\d+)(?:, for the reason in the last (\d+) lines)?")


def exit_code(work: Callable[[], object]) -> int:
    """Run a step; errors become messages. 0, 1 (a mistake of this program), or the code of the error.

    SIGTERM and Ctrl-C let the step tidy up first: private files are removed, a training keeps its last epoch.
    """
    try:
        with _stopped_by_signals():
            work()
    except TilewrightError as error:
        return _ended(error.exit_code, str(error))
    except _Stopped as stopped:
        remedy = "Run the same command again: what is finished stays."
        return _ended(INTERRUPTED, str(Problem("", f"Stopped by {stopped}.", remedy)))
    except MemoryError:
        remedy = "Give the step more (mem_mb on a cluster), or run fewer at once (--cores)."
        return _ended(OUT_OF_MEMORY, str(Problem("", "The memory did not suffice.", remedy)))
    except SystemExit as done:  # of the command line, which has said why
        return _ended(done.code) if isinstance(done.code, int) and done.code else 0
    except Exception as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    """The end by an error that no step foresees: of the system, such as too many open files, or of this program."""
    failure = failure_of(error) if isinstance(error, OSError) else None
    if failure is None or failure.code in MISSING:
        return _ended(1, traceback.format_exc())
    where = str(error.filename or "") if isinstance(error, OSError) else ""
    code = OUT_OF_MEMORY if failure.code == ENOMEM else DataError.exit_code
    return _ended(code, str(Problem(where, f"{failure.why}.", failure.remedy)))


def last_code(log: Path) -> int | None:
    """The exit code that a log ends with; None if its step was killed, -1 if there is no log."""
    return last_words(log).code


class LastWords(NamedTuple):
    """How a step ended, by its log.

    Attributes:
        code: its exit code; None if it was killed, -1 if there is no log.
        message: what it said of the reason; of a step that was killed, the last line of its log.
    """

    code: int | None
    message: str


def last_words(log: Path) -> LastWords:
    """How a step that failed has ended."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return LastWords(-1, "")
    last = lines[-1] if lines else ""
    if found := _LINE.fullmatch(last):
        code, count = int(found[1]), int(found[2] or 0)
        return LastWords(code, "\n".join(lines[max(0, len(lines) - 1 - count) : -1]))
    return LastWords(None, last)


def _ended(code: int, message: str = "") -> int:
    if message:
        note(message)
    if not sys.stderr.isatty():
        lines = len(message.splitlines())
        note(f"tilewright: ended with code {code}" + (f", for the reason in the last {lines} lines" if lines else ""))
    return code


class _Stopped(BaseException):
    """A signal has asked to stop; no error, so that nothing that handles errors takes it for one."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    process = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:  # a worker; whoever started it is told too
            os._exit(INTERRUPTED)
        raise _Stopped("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
