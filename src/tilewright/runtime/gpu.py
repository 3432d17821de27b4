"""Choice of a device: one process on each GPU of a machine, unless the scheduler has chosen already."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilewright.runtime.progress import note


def visible_gpus() -> list[str]:
    """Indices of the NVIDIA GPUs of this machine, as their device files show them."""
    names = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted(name for name in names if name.isdigit())


@contextmanager
def claimed_gpu() -> Iterator[None]:
    """Hold one GPU and show it alone to CUDA; do nothing without a GPU or where CUDA_VISIBLE_DEVICES is set.

    The lock is the system's, so that of a dead process is free at once.
    """
    gpus = visible_gpus()
    if not gpus or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield
        return
    waited = False
    while True:
        for gpu in gpus:
            path = Path(tempfile.gettempdir()) / f"tilewright-gpu{gpu}.lock"
            with path.open("a") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                try:
                    yield
                finally:
                    del os.environ["CUDA_VISIBLE_DEVICES"]
                return
        if not waited:
            note(f"all {len(gpus)} GPUs are in use; waiting for one")
            waited = True
        time.sleep(2)
