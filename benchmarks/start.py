"""What a step costs besides its work: from the start of Python until the function of the verb would be called.

``python benchmarks/start.py --verbs rasterize split`` takes the commands of the rules on the demo. The peer, in the
same run and in turn, is a Python that imports the packages which that command has loaded and nothing else: what no
program that uses them can be faster than.
"""

import argparse
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PARSE = """
import os, sys
plain = {*sys.modules}
sys.modules["boto3"] = None
from tilewright.cli import app
command, _, _ = app.parse_args(sys.argv[1:])
assert callable(command), command
"""
LIST = """
names = [name for name, module in sys.modules.items() if name not in plain and getattr(module, "__spec__", None)]
print(*(name for name in names if name.partition(".")[0] not in {"tilewright", *sys.stdlib_module_names}))
"""
IMPORT = """
import importlib, os, sys
sys.modules["boto3"] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
LEAVE = "os._exit(0)"
"""The end of a process is not its start: libraries take up to a quarter of a second for it."""


def main():
    """Measure each verb of the demo's graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--verbs", nargs="+", help="only these")
    options = parser.parse_args()
    print("| verb | start s | its packages alone s |\n| --- | --- | --- |")
    for verb, arguments in commands():
        if options.verbs and verb not in options.verbs:
            continue
        names = run(PARSE + LIST, *arguments).split()
        ours, alone = [], []
        for _ in range(options.repeats):
            ours.append(seconds(PARSE + LEAVE, *arguments))
            alone.append(seconds(IMPORT + LEAVE, *names))
        print(f"| {verb} | {min(ours):.2f} | {min(alone):.2f} |", flush=True)


def commands():
    """The first command of each verb in the demo's graph."""
    program = Path(sys.executable).parent / "snakemake"
    done = subprocess.run(
        [program, "-n", "-p", "--forceall", "--cores", "2"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found = {}
    for command in re.findall(r"\btilewright ([a-z]+ .+?) 2> ", done.stdout.replace(" --job JOB", "")):
        words = shlex.split(command)
        found.setdefault(words[0], words)
    return found.items()


def run(code, *arguments):
    """What a Python prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def seconds(code, *arguments):
    """How long a Python takes to run some code."""
    begin = time.perf_counter()
    run(code, *arguments)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
