import ctypes
import errno
import os
import signal

import pytest

from tilewright.runtime import gpu, locks
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


@pytest.fixture
def lockless(monkeypatch):
    """Lets a drive answer each lock with an error of a number."""

    def refuse(code):
        class Library:
            def __init__(self, *_arguments, **_options):
                pass

            @staticmethod
            def flock(_handle, _operation):
                ctypes.set_errno(code)
                return -1

        monkeypatch.setattr(locks.ctypes, "CDLL", Library)

    return refuse


@pytest.mark.parametrize(
    "code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524, errno.EINTR, errno.EACCES, errno.EIO]
)
def test_a_drive_without_locks_is_told_of_and_used(tmp_path, capsys, lockless, code):
    lockless(code)
    with state_lock(tmp_path):
        pass
    found = capsys.readouterr().err
    assert f"{tmp_path}: the drive gives no locks (" in found
    assert "let no other process train here meanwhile" in found


def test_a_lock_that_is_held_is_no_missing_one(tmp_path, lockless):
    lockless(errno.EAGAIN)
    with pytest.raises(UserError, match="in use by another process"), state_lock(tmp_path):
        pass


def test_gpus_are_used_without_locks_too(tmp_path, monkeypatch, capsys, lockless):
    monkeypatch.setattr(gpu, "_gpus", lambda: [Gpu("GPU-a", "GPU-a")])
    monkeypatch.setattr(gpu, "require_usable", lambda _count: None)
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    lockless(errno.ENOLCK)
    with gpu.claimed_gpus():
        assert f"{tmp_path} gives no locks (" in capsys.readouterr().err
