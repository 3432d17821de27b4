import os
import signal

import pytest

from tilewright.runtime import gpu
from tilewright.runtime.errors import UserError
from tilewright.runtime.gpu import Gpu
from tilewright.runtime.locks import state_lock


@pytest.fixture
def forked():
    """Forks processes that live on until the test ends."""
    processes = []

    def start():
        ready, tell = os.pipe()
        process = os.fork()
        if process == 0:
            os.write(tell, b".")
            signal.pause()
            os._exit(0)
        processes.append(process)
        assert os.read(ready, 1)
        os.close(ready)
        os.close(tell)

    yield start
    for process in processes:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_a_state_has_one_writer(tmp_path):
    with state_lock(tmp_path), pytest.raises(UserError, match=f"in use by process {os.getpid()}"), state_lock(tmp_path):
        pass


FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # has threads of other tests


@FORKS
def test_processes_that_load_tiles_do_not_hold_a_state_longer_than_their_training(tmp_path, forked):
    with state_lock(tmp_path):
        forked()
    with state_lock(tmp_path):
        pass


@FORKS
def test_nor_its_gpu(tmp_path, monkeypatch, forked):
    monkeypatch.setattr(gpu, "_gpus", lambda: [Gpu("GPU-a", "GPU-a")])
    monkeypatch.setattr(gpu, "require_usable", lambda _count: None)
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpu.time, "sleep", lambda _seconds: pytest.fail("it waits for a process that has ended"))
    for _ in range(2):
        with gpu.claimed_gpus():
            forked()
