"""The process of one measurement: runs a function of a module in this folder and reports time and memory.

In, as JSON on standard input: module, function, arguments, and the file to report to. The function is a generator whose
stops divide it: it imports, yields; makes its inputs, yields; does the work that is measured, yields; and may at last
yield facts about its output. Imports nothing heavy itself, so that the memory is that of the function.
"""

import importlib
import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

STAGES = ("import", "prepare", "work", "describe")


def main():
    order = json.load(sys.stdin)
    report = {"stage": STAGES[0]}
    try:
        function = getattr(importlib.import_module(order["module"]), order["function"])
        _measure(function(**order["arguments"]), report)
    except MemoryError:
        report["error"] = "out of memory"
    except Exception as error:  # whatever a library raises is the result of the measurement
        report["error"] = f"{type(error).__name__}: {error}"
    Path(order["report"]).write_text(json.dumps(report))


def _measure(stages, report):
    next(stages)
    report |= {"stage": STAGES[1], "imported": _status("VmRSS")}
    next(stages)
    report |= {"stage": STAGES[2], "prepared": _status("VmRSS")}
    _forget_peak()
    begin, used = time.perf_counter(), time.process_time()
    next(stages)
    report |= {"seconds": time.perf_counter() - begin, "processor": time.process_time() - used}
    report |= {"peak": _status("VmHWM"), "stage": STAGES[3]}
    report["facts"] = next(stages, {})


def _forget_peak():
    """Let the peak start from what is held now; where the system cannot, the peak is that of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field):
    """Bytes of a field of the process's status; elsewhere than on Linux, the peak of the process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
