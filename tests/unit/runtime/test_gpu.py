import os
import subprocess
import sys
import threading

import pytest

from tilewright.runtime import gpu
from tilewright.runtime.errors import UserError
from tilewright.runtime.gpu import claimed_gpus


@pytest.fixture(autouse=True)
def three_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "visible_gpus", lambda: ["0", "1", "2"])
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def shown():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_claim_has_gpus_of_its_own_and_gives_them_back():
    with claimed_gpus():
        assert shown() == "0"
        first = os.environ.pop("CUDA_VISIBLE_DEVICES")  # another process would not see it
        with claimed_gpus(2):
            assert shown() == "1,2"
        os.environ["CUDA_VISIBLE_DEVICES"] = first
    assert shown() is None
    with claimed_gpus(3):
        assert shown() == "0,1,2"


def test_what_the_scheduler_has_chosen_is_left_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    with claimed_gpus(2):
        assert shown() == "7,8"
    with pytest.raises(UserError, match="devices: 3, but there are 2 GPUs for it"), claimed_gpus(3):
        pass


def test_more_gpus_than_there_are_is_an_error():
    with pytest.raises(UserError, match="devices: 4, but there are 3 GPUs for it"), claimed_gpus(4):
        pass


def test_a_claim_that_must_wait_holds_nothing_meanwhile(monkeypatch, capsys):
    """Two claims of two GPUs of three would else wait for each other, each holding one."""
    waiting, go_on = threading.Event(), threading.Event()

    def pause(_seconds):
        waiting.set()
        go_on.wait(10)

    monkeypatch.setattr(gpu.time, "sleep", pause)
    found = []

    def claim():
        with claimed_gpus(2):
            found.append(shown())

    with claimed_gpus(2):
        del os.environ["CUDA_VISIBLE_DEVICES"]
        thread = threading.Thread(target=claim)
        thread.start()
        assert waiting.wait(10)
        with claimed_gpus(1):
            assert shown() == "2"
        os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
    go_on.set()
    thread.join(10)
    assert found == ["0,1"]
    assert "fewer than 2 are free; waiting" in capsys.readouterr().err


HOLDER = """
import sys, time
from pathlib import Path
from tilewright.runtime import gpu
gpu.visible_gpus = lambda: ["0"]
gpu.tempfile.gettempdir = lambda: sys.argv[1]
with gpu.claimed_gpus():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_gpu_of_a_killed_process_is_free_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "visible_gpus", lambda: ["0"])
    monkeypatch.setattr(gpu.time, "sleep", lambda _seconds: pytest.fail("it waits for a dead process"))
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        process.kill()

    with claimed_gpus():
        assert shown() == "0"


def test_a_lock_of_another_user_can_be_taken(tmp_path):
    if os.geteuid():
        pytest.skip("needs root, to be two users")
    with claimed_gpus():
        pass
    tmp_path.chmod(0o1777)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    other = HOLDER.replace("with gpu", "import os; os.setuid(65534)\nwith gpu").replace("time.sleep(60)", "pass")

    done = subprocess.run([sys.executable, "-c", other, tmp_path], capture_output=True, text=True)

    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr
