"""Parts in processes of their own: nothing of one reaches another, and one that takes too long is ended."""

import os
import signal
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

from parts import PARTS
from parts.processes import ended, started
from parts.setting import LeftOut

PAUSE = 0.05
KEPT = 1500
"""Characters of the messages of a part that failed."""


def run(name, setting, seconds):
    """Run a part for so many seconds at most: its state, why, how long it took, and what it found."""
    begin = time.monotonic()
    log = setting.folder / f"{name}.log"
    code = _waited(started(partial(_begin, name, setting), log), begin + seconds)
    found = {"state": "done", "why": "", "seconds": round(time.monotonic() - begin, 1), "rows": setting.rows(name)}
    if code is None:
        return {**found, "state": "cut off", "why": f"its {seconds:.0f} s were over"}
    if why := setting.why_left_out(name):
        return {**found, "state": "left out", "why": why}
    said = log.read_text(errors="replace")[-KEPT:] if log.is_file() else ""
    return found if code == 0 else {**found, "state": "failed", "why": said or f"exit code {code}"}


def left_out(why):
    """A part that was not begun."""
    return {"state": "left out", "why": why, "seconds": 0, "rows": []}


def work(name, setting):
    """Do a part in this process."""
    module, _, function = PARTS[name].function.partition(":")
    if setting.small and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # threads cost small numbers more than they give
    try:
        getattr(import_module(module), function)(setting.of(name))
    except ImportError as error:
        setting.leave_out(name, f"no package {error.name or error}")
    except LeftOut as error:
        setting.leave_out(name, str(error))


def _begin(name, setting):
    """Do a part in this new process, or, where an import has spoilt that, in a program of its own."""
    if _is_spoilt():
        main = Path(__file__).with_name("__main__.py")
        options = ["--device", setting.device, *(["--small"] if setting.small else [])]
        os.execv(sys.executable, [sys.executable, main, *options, "--inside", name, "--folder", setting.folder])
    work(name, setting)


def _is_spoilt():
    """Whether an import has asked CUDA for its devices, after which a forked process cannot use them."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda._is_in_bad_fork()


def _waited(process, end):
    """The exit code of a process; None: its time is over, and it was killed with those that it has started."""
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(PAUSE)
    os.killpg(process, signal.SIGKILL)
    ended(process)
    return None
