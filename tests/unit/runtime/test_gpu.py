import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from tilewright.runtime import gpu
from tilewright.runtime.errors import UserError
from tilewright.runtime.gpu import claimed_gpus, visible_gpus

FAKES = Path(__file__).parents[2] / "fakes"
CHECK = gpu.require_usable


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Gives the machine other devices than three idle ones."""

    def has(*devices):
        monkeypatch.setenv("FAKE_GPUS", json.dumps(devices))
        visible_gpus.cache_clear()

    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr(gpu, "require_usable", lambda _count: None)
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpu, "KFD", tmp_path / "kfd")
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # so that what a test sets does not stay
        monkeypatch.delenv(name)
    has(*({"uuid": f"GPU-{name}"} for name in "abc"))
    yield has
    sys.modules.pop("pynvml", None)
    visible_gpus.cache_clear()


def shown(name="CUDA_VISIBLE_DEVICES"):
    return os.environ.get(name)


def claimed(count=1):
    with claimed_gpus(count):
        return shown()


def test_each_claim_has_gpus_of_its_own_and_gives_them_back():
    with claimed_gpus():
        assert shown() == "GPU-a"
        first = os.environ.pop("CUDA_VISIBLE_DEVICES")  # another process would not see it
        with claimed_gpus(2):
            assert shown() == "GPU-b,GPU-c"
        os.environ["CUDA_VISIBLE_DEVICES"] = first
    assert shown() is None
    assert claimed(3) == "GPU-a,GPU-b,GPU-c"


def test_more_gpus_than_there_are_is_an_error():
    with pytest.raises(UserError, match="devices: 4, but there are 3 GPUs for it"):
        claimed(4)


def test_a_device_of_another_number_than_its_file_is_the_one_that_is_shown(machine):
    """In a container that shows /dev/nvidia3 alone CUDA would see nothing at 3."""
    machine(*({"uuid": f"GPU-{place}", "closed": place != 3} for place in range(4)))
    assert claimed() == "GPU-3"
    assert visible_gpus() == ["GPU-3"]


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_where_no_gpu_is_to_be_seen_none_is_claimed(monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr(gpu, "require_usable", lambda _count: pytest.fail("it is a run on the CPU"))
    assert claimed(2) == hidden
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("1,2", ["1", "2"]),
        ("GPU-c,GPU-a", ["GPU-c", "GPU-a"]),
        ("1,GPU-b,2", ["1"]),  # the same twice
        ("1,7,2", ["1"]),  # what CUDA does not know ends the list
    ],
)
def test_of_what_is_to_be_seen_each_claim_takes_one(monkeypatch, given, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names
    with claimed_gpus():
        assert shown() == names[0]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        if len(names) > 1:
            assert claimed() == names[1]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[0]
    assert shown() == given
    with pytest.raises(UserError, match=f"but there are {len(names)} GPUs .* in CUDA_VISIBLE_DEVICES={given}"):
        claimed(3)


def test_a_device_has_one_lock_however_it_is_named(monkeypatch, machine):
    with claimed_gpus():
        assert shown() == "GPU-a"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        assert claimed() == "1"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
        assert claimed() == "GPU-b"
        os.environ["CUDA_VISIBLE_DEVICES"] = "GPU-a"


def test_parts_of_a_device_are_claimed_one_by_one(monkeypatch, machine):
    machine({"uuid": "GPU-a", "mig": ["MIG-GPU-a/1/0", "MIG-2"]}, {"uuid": "GPU-b", "mig": []})
    assert visible_gpus() == ["MIG-GPU-a/1/0", "MIG-2", "GPU-b"]
    with claimed_gpus():
        assert shown() == "MIG-GPU-a/1/0"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-a/1/0,MIG-2")
        assert claimed() == "MIG-2"
        with pytest.raises(UserError, match=r"there are 0 GPUs(.|\n)*one part \(MIG\) of a device at most"):
            claimed(2)
        os.environ["CUDA_VISIBLE_DEVICES"] = "MIG-GPU-a/1/0"


def test_without_device_files_the_library_tells(machine):
    """As on WSL2; a device that shares the memory of the processor does not tell how much of it is free."""
    machine({"uuid": "GPU-w", "free": "shared"})
    assert claimed() == "GPU-w"


def test_rocm_is_shown_its_devices_in_its_own_way(monkeypatch, machine, tmp_path):
    monkeypatch.delenv("FAKE_GPUS")
    for node, text in enumerate(("simd_count 0", "simd_count 64\nunique_id 255", "simd_count 64\nunique_id 0")):
        (tmp_path / "kfd" / str(node)).mkdir(parents=True)
        (tmp_path / "kfd" / str(node) / "properties").write_text(text)
    (tmp_path / "kfd" / "3").mkdir()  # of another container
    assert visible_gpus() == ["GPU-00000000000000ff", "1"]
    with claimed_gpus(2):
        assert (shown("ROCR_VISIBLE_DEVICES"), shown()) == ("GPU-00000000000000ff,1", None)
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    asked = []
    monkeypatch.setattr(gpu, "require_usable", asked.append)
    assert claimed() is None  # what a scheduler chose stays, if it can be used
    assert asked == [1]


def test_devices_that_other_programs_use_least_come_first(machine):
    machine({"uuid": "GPU-a", "free": 0.1}, {"uuid": "GPU-b", "free": 0.6}, {"uuid": "GPU-c", "free": 0.9})
    assert claimed(2) == "GPU-c,GPU-b"


def test_a_device_that_another_program_fills_is_waited_for_and_then_an_error(machine, monkeypatch):
    machine({"uuid": "GPU-a", "free": 0.05})
    waited = []
    monkeypatch.setattr(gpu.time, "sleep", waited.append)
    with pytest.raises(UserError, match=r"other programs fill the memory of GPU-a \(5 % free\)"):
        claimed()
    assert 20 <= sum(waited) <= 60
    monkeypatch.setattr(gpu.time, "sleep", lambda _seconds: machine({"uuid": "GPU-a", "free": 0.9}))
    assert claimed() == "GPU-a"


def test_a_device_that_another_step_fills_is_waited_for_as_long_as_it_takes(machine, monkeypatch):
    machine({"uuid": "GPU-a", "free": 0.9})
    looks = []

    def pause(_seconds):
        looks.append(1)
        if len(looks) > 5 * gpu.PATIENCE:
            raise TimeoutError

    monkeypatch.setattr(gpu.time, "sleep", pause)
    with claimed_gpus():
        machine({"uuid": "GPU-a", "free": 0.05})
        with pytest.raises(TimeoutError):
            claimed()


@pytest.mark.parametrize("available", [False, True])
def test_a_claimed_gpu_that_pytorch_cannot_use_is_an_error(monkeypatch, available):
    """Else the step would run on the CPU for days, and say that it is on a GPU."""
    monkeypatch.setattr(gpu, "require_usable", CHECK)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def zeros(*_, device):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with")

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(UserError) as caught:
        claimed()
    said = str(caught.value)
    assert f"PyTorch {torch.__version__} cannot use the claimed GPUs with CUDA_VISIBLE_DEVICES=GPU-a" in said
    assert ("(CUDA error: no kernel image is available)." if available else "it sees 0 of 1") in said
    assert str(torch.version.cuda or "processors alone") in said
    assert "the driver is NVIDIA 575.57" in said
    assert shown() is None


def test_a_gpu_that_pytorch_uses_passes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    CHECK(2)
    with pytest.raises(UserError, match="it sees 2 of 3"):
        CHECK(3)


def test_a_number_of_no_device_is_an_error(monkeypatch):
    monkeypatch.setattr(gpu, "require_usable", CHECK)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UserError, match="with CUDA_VISIBLE_DEVICES=7"):
        claimed()


def test_a_claim_that_must_wait_holds_nothing_meanwhile(monkeypatch, capsys):
    """Two claims of two GPUs of three would else wait for each other, each holding one."""
    waiting, go_on = threading.Event(), threading.Event()

    def pause(_seconds):
        waiting.set()
        go_on.wait(10)

    monkeypatch.setattr(gpu.time, "sleep", pause)
    found = []
    with claimed_gpus(2):
        del os.environ["CUDA_VISIBLE_DEVICES"]
        thread = threading.Thread(target=lambda: found.append(claimed(2)))
        thread.start()
        assert waiting.wait(10)
        assert claimed() == "GPU-c"
        os.environ["CUDA_VISIBLE_DEVICES"] = "GPU-a,GPU-b"
    go_on.set()
    thread.join(10)
    assert found == ["GPU-a,GPU-b"]
    assert "fewer than 2 are free; waiting" in capsys.readouterr().err


HOLDER = """
import sys, time
from tilewright.runtime import gpu
gpu.require_usable = lambda count: None
gpu.tempfile.gettempdir = lambda: sys.argv[1]
with gpu.claimed_gpus():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def elsewhere(monkeypatch):
    """The environment of another process on the same machine."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKES), *filter(None, sys.path)])}


def test_the_gpu_of_a_killed_process_is_free_at_once(tmp_path, monkeypatch, elsewhere):
    monkeypatch.setattr(gpu.time, "sleep", lambda _seconds: pytest.fail("it waits for a dead process"))
    command = [sys.executable, "-c", HOLDER, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=elsewhere) as process:
        assert process.stdout.readline() == b"held\n"
        process.kill()

    assert claimed(3) == "GPU-a,GPU-b,GPU-c"


def test_a_lock_of_another_user_can_be_taken(tmp_path, elsewhere):
    if os.geteuid():
        pytest.skip("needs root, to be two users")
    assert claimed() == "GPU-a"
    tmp_path.chmod(0o1777)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    other = HOLDER.replace("with gpu", "import os; os.setuid(65534)\nwith gpu").replace("time.sleep(60)", "pass")

    done = subprocess.run([sys.executable, "-c", other, tmp_path], capture_output=True, text=True, env=elsewhere)

    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr


def test_the_graph_learns_of_gpus_without_loading_pytorch():
    script = "import sys, tilewright.graph\nfrom tilewright.runtime.gpu import visible_gpus\nvisible_gpus()\n"
    script += "print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
