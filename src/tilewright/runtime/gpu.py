"""Choice of devices: one process on each GPU of a machine, unless the scheduler has chosen already."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.progress import note

OUT_OF_MEMORY = re.compile("out of memory|ALLOC_FAILED|ALLOCATION_FAILED|can't allocate memory|not enough memory")
"""What PyTorch, CUDA, cuDNN and cuBLAS say where they get no memory."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch could not get memory, on a GPU or a processor."""
    return type(error).__name__ == "OutOfMemoryError" or bool(OUT_OF_MEMORY.search(str(error)))


def visible_gpus() -> list[str]:
    """Indices of the NVIDIA GPUs of this machine, as their device files show them."""
    names = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted(name for name in names if name.isdigit())


@contextmanager
def claimed_gpus(count: int = 1) -> Iterator[None]:
    """Hold GPUs and show them alone to CUDA; do nothing without a GPU or where CUDA_VISIBLE_DEVICES is set.

    The locks are the system's, so that those of a dead process are free at once. All are taken or none, so that two
    processes never wait for each other.

    Raises:
        UserError: the machine has fewer.
    """
    gpus, given = visible_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    usable = gpus if given is None else [name for name in given.split(",") if name]
    if gpus and count > len(usable):
        what = f"devices: {count}, but there are {len(usable)} GPUs for it."
        raise UserError(Problem("config, models", what, "Lower it, or ask the scheduler for more."))
    if not gpus or given is not None:
        yield
        return
    waited = False
    while True:
        with ExitStack() as held:
            free = _free(gpus, count, held)
            if len(free) == count:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(free)
                note(f"on GPU {', '.join(free)}")
                try:
                    yield
                finally:
                    del os.environ["CUDA_VISIBLE_DEVICES"]
                return
        if not waited:
            note(f"of {len(gpus)} GPUs fewer than {count} are free; waiting")
            waited = True
        time.sleep(2)


def _free(gpus: list[str], count: int, held: ExitStack) -> list[str]:
    """Lock at most ``count`` GPUs that are free."""
    free: list[str] = []
    for gpu in gpus:
        handle = _opened(Path(tempfile.gettempdir()) / f"tilewright-gpu{gpu}.lock")
        held.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        free.append(gpu)
        if len(free) == count:
            break
    return free


def _opened(path: Path) -> int:
    """Open a lock file for reading, which suffices: it may belong to another user, who may not let it be written."""
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(FileExistsError), path.open("x"):
                path.chmod(0o644)
