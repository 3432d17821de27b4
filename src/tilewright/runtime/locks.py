"""A state folder has one writer at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilewright.runtime.errors import Problem, UserError


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system releases it when the process ends, however it ends.

    Raises:
        UserError: another process holds it; names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            what = f"is in use by {stream.read().strip() or 'another process'}."
            raise UserError(Problem(str(folder), what, "Wait for that process, or stop it, then run again.")) from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield
