"""Locks of files, which end with the process that holds them; a state folder has one writer at a time."""

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.progress import note

TRIES = 100
_HELD: set[int] = set()
"""Open files whose locks this process holds."""


@contextmanager
def kept_from_children(handle: int) -> Iterator[None]:
    """Keep a lock from processes that this one forks, such as those that load tiles.

    They would hold it too, and seconds longer where this process is killed.

    Args:
        handle: the number of the open file that is locked.
    """
    _HELD.add(handle)
    try:
        yield
    finally:
        _HELD.discard(handle)


def _let_go() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for handle in _HELD:
        os.dup2(null, handle)  # not closed: its number would be another file's
    os.close(null)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)


def take(handle: int) -> None:
    """Lock an open file, without waiting.

    Python's own ``flock`` would try again for ever on a drive that answers EINTR each time.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the drive gives no locks.
    """
    flock, code = ctypes.CDLL(None, use_errno=True).flock, 0
    for _ in range(TRIES):
        if flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0:
            return
        code = ctypes.get_errno()
        if code != errno.EINTR:
            break
    raise OSError(code, os.strerror(code))  # Python makes a BlockingIOError of EAGAIN


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system releases it when the process ends, however it ends.

    Raises:
        UserError: another process holds it; names that process.
    """
    remedy = "Wait for that process, or stop it, then run again."
    with held(folder / "lock", remedy=remedy, unlocked="let no other process train here meanwhile"):
        yield


@contextmanager
def held(path: Path, *, remedy: str, unlocked: str, by: str = "") -> Iterator[None]:
    """Hold a lock of a folder, by a file in it; the system releases it when the process ends, however it ends.

    Args:
        path: the file.
        remedy: what is said to whoever does not get it.
        unlocked: what is asked of the user where the drive gives no locks.
        by: for whom it is held, beside the number of the process.

    Raises:
        UserError: another process holds it; names that process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            take(stream.fileno())
        except BlockingIOError as error:
            stream.seek(0)
            what = f"is in use by {stream.read().strip() or 'another process'}."
            raise UserError(Problem(str(path.parent), what, remedy)) from error
        except OSError as error:
            note(f"{path.parent}: the drive gives no locks ({error.strerror}); {unlocked}")
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}{by and f' ({by})'}")
        stream.flush()
        with kept_from_children(stream.fileno()):
            yield
