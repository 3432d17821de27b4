"""Measurements: each in a process of its own, ours and the peers' in turn.

Times are seconds of the work alone, that pass or that the processor spends; memory is the largest resident size while
it ran, in bytes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHONS = {
    "ours": Path(sys.executable),
    "peers": ROOT / ".venv-bench" / "bin" / "python",
    "tiatoolbox": ROOT / ".venv-bench-tiatoolbox" / "bin" / "python",
}
FLOOR = 3 << 29
TIMEOUT = 3600


class Unavailable(Exception):
    """Why something cannot be measured here."""


class Failed(Unavailable):
    """How a process went wrong."""


@dataclass(frozen=True)
class Call:
    """A function to measure.

    Attributes:
        function: its name in its module.
        arguments: what it gets, as JSON can hold it; a key "out" is the file or folder that it writes.
        environment: ours, peers or tiatoolbox: whose Python runs it.
        name: what the table calls it.
        module: the file that it is in; empty: ours or peers, by the environment.
        units: how many pixels, outlines or tiles it works on, and the name of one.
    """

    function: str
    arguments: dict
    environment: str = "ours"
    name: str = "tilewright"
    module: str = ""
    units: tuple[int, str] = (0, "")

    @property
    def out(self):
        return Path(self.arguments["out"]) if "out" in self.arguments else None


@dataclass(frozen=True)
class Peer:
    """What is compared with.

    Attributes:
        call: the function of the peer.
        check: compares the outputs, given call and facts of both; returns (agree or None for information, text).
        speed: goal: its seconds over ours, at least.
        memory: goal: our peak over its peak, at most.
    """

    call: Call
    check: Callable | None = None
    speed: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Case:
    """One line of a row: a function of ours, its peers and goals.

    Attributes:
        title: what is worked on.
        ours: our function.
        peers: what it is compared with.
        peak: goal: our peak in bytes, at most.
        before: makes what the calls need, just before they run.
        repeats: most repetitions; None: as many as asked for.
        clock: what its seconds are: "seconds" that pass, or those of the "processor", all threads together.
    """

    title: str
    ours: Call
    peers: tuple[Peer, ...] = ()
    peak: float | None = None
    before: Callable[[], None] | None = None
    repeats: int | None = None
    clock: str = "seconds"


@dataclass
class Series:
    """The measurements of one call, and which of its times are its seconds."""

    call: Call
    clock: str = "seconds"
    runs: list[dict] = field(default_factory=list)
    failure: str = ""

    def median(self, key):
        """The median over the repetitions; None after a failure."""
        key = self.clock if key == "seconds" else key
        return None if self.failure or not self.runs else statistics.median(run[key] for run in self.runs)

    @property
    def facts(self):
        return self.runs[-1]["facts"] if self.runs else {}


def measure_case(case, repeats, *, settle, say=print):
    """Measure a case: ours and each peer in turn, and again.

    Args:
        case: what to measure.
        repeats: how often.
        settle: first write to the disk what is still to be written, so that it is not written meanwhile.
        say: gets a line before each measurement.

    Returns:
        Our series and those of the peers.
    """
    series = [Series(call, case.clock) for call in (case.ours, *(peer.call for peer in case.peers))]
    if case.before:
        case.before()
    _warm(case)
    for repeat in range(min(repeats, case.repeats or repeats)):
        for one in series:
            if not one.failure:
                say(f"  {case.title}: {one.call.name}, run {repeat + 1}")
                if settle:
                    os.sync()
                _add(one)
    return series[0], series[1:]


def _warm(case):
    """Read the input files once, so that the first measurement does not wait for the disk alone."""
    for value in case.ours.arguments.values():
        if isinstance(value, str) and Path(value).is_file() and Path(value) != case.ours.out:
            with Path(value).open("rb") as stream:
                while stream.read(1 << 24):
                    pass


def _add(series):
    try:
        series.runs.append(run(series.call))
    except Unavailable as error:
        series.failure = str(error)


def run(call):
    """Run a call in a fresh process and return its report: seconds, imported, prepared, peak, facts.

    Raises:
        Unavailable: the environment is missing.
        Failed: the function failed; says how.
    """
    python = PYTHONS[call.environment]
    if not python.exists():
        raise Unavailable("not installed (make bench installs it)")
    module = call.module or ("ours" if call.environment == "ours" else "peers")
    if call.out:
        call.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "report.json"), Path(folder, "log")
        order = {"module": module, "function": call.function, "arguments": call.arguments, "report": str(report)}
        outcome = _wait(python, order, log)
        found = json.loads(report.read_text()) if report.exists() else {"error": outcome or _last_line(log)}
    if outcome or "error" in found:
        raise Failed(_failure(found, outcome))
    return found


def _wait(python, order, log):
    """Run the child to its end; returns why it was ended, if it was."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src") if python == PYTHONS["ours"] else "")
    with log.open("wb") as stream:
        command = [python, HERE / "child.py"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, env=environment)
        child.stdin.write(json.dumps(order).encode())
        child.stdin.close()
        begin = time.monotonic()
        while child.poll() is None:
            why = f"stopped at {_resident(child.pid)}: memory ran out" if _available() < FLOOR else ""
            why = why or ("took more than an hour" if time.monotonic() - begin > TIMEOUT else "")
            if why:
                child.kill()
                child.wait()
                return why
            time.sleep(0.02)
    return "" if child.returncode == 0 else f"ended with {child.returncode}: {_last_line(log)}"


def _failure(found, outcome):
    if outcome:
        return outcome
    verb = "cannot be imported" if found.get("stage") == "import" else f"failed to {found.get('stage', 'start')}"
    return f"{verb} ({' '.join(found['error'].split())[:200]})"


def _last_line(log):
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _resident(process):
    """What a process holds, for a message."""
    status = Path(f"/proc/{process}/status").read_text()
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), "0")
    return f"{int(held) / 1e6:.1f} GB"


def _available():
    """Bytes of memory that a process could still get."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return FLOOR
    line = next(line for line in info.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024
