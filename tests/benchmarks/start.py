"""What a step costs besides its work: from the start of Python until the function of the verb would be called.

``python tests/benchmarks/start.py --verbs rasterize split`` takes the commands of the rules on the demo. The peer, in the
same run and in turn, is a Python that imports the packages which that command has loaded and nothing else: what no program
that uses them can be faster than.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PARSE = """
import json, sys
sys.modules["boto3"] = None
from tilewright.cli import app
command, bound, _ = app.parse_args(sys.argv[2:])
assert callable(command), command
if sys.argv[1] == "list":
    print(json.dumps([name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]))
"""
IMPORT = """
import importlib, sys
sys.modules["boto3"] = None
for name in sys.argv[1].split():
    importlib.import_module(name)
"""


def main() -> None:
    """Measure each verb of the demo's graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--verbs", nargs="+", help="only these")
    options = parser.parse_args()
    print("| verb | start s | its packages alone s | packages |\n| --- | --- | --- | --- |")
    for verb, arguments in commands():
        if options.verbs and verb not in options.verbs:
            continue
        names = packages(loaded(arguments))
        ours, alone = [], []
        for _ in range(options.repeats):
            ours.append(seconds(PARSE, "time", *arguments))
            alone.append(seconds(IMPORT, " ".join(names)))
        tops = sorted({name.partition(".")[0] for name in names if not name.startswith("_")})
        print(f"| {verb} | {min(ours):.2f} | {min(alone):.2f} | {len(tops)} |", flush=True)


def commands() -> Iterator[tuple[str, list[str]]]:
    """The first command of each verb in the demo's graph."""
    program = Path(sys.executable).parent / "snakemake"
    done = subprocess.run(
        [program, "-n", "-p", "--forceall", "--cores", "2"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = {}
    for command in re.findall(r"\btilewright ([a-z]+ .+?) 2> ", done.stdout):
        words = shlex.split(command)
        found.setdefault(words[0], words)
    yield from found.items()


def loaded(arguments: Sequence[str]) -> list[str]:
    """The modules that a command has loaded when its function would be called, in the order of loading."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, "list", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(done.stdout)
    return modules


def packages(modules: Sequence[str]) -> list[str]:
    """Those that are neither of this project nor of Python."""
    own = {"tilewright", "__main__", *sys.stdlib_module_names, *plain()}
    return [name for name in modules if name.partition(".")[0] not in own]


def plain() -> list[str]:
    """What a Python has loaded that was asked for nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def seconds(code: str, *arguments: str) -> float:
    """How long a Python takes to run some code."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
