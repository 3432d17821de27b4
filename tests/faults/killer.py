"""Runs a step again and again in children of a process that has imported everything, with a fault in each.

``python killer.py ORDERS.json``: a list of {"argv": arguments of the program, "out": what it writes, "folder": the
results, "points": how many kills, "mount": an empty folder for small disks, or ""}. Prints a JSON list of what was
left.

Kills are spread over the file operations that Python makes in the folder (audit events) and over the time that the step
takes, for what libraries write. Disks are mounted with less space than the result needs.

``python killer.py -`` reads {"argv", "folder": where to run} from its input, one a line, and answers each with the
exit code and the messages of the step: many steps without the imports of each.
"""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tilewright.cli import VERBS, main

WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile")
SHARES = (0.0, 0.3, 0.6, 0.9)
"""What is free on a disk, of what the result needs."""
PAGE = 4096


def content(path):
    """A hash of a file, or of all files of a folder; "" where nothing is."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    found = False
    for file in files:
        if file.is_file() and not {"events", "state", ".snakemake_timestamp"} & set(file.parts):
            digest.update(f"{file.relative_to(path)}\0".encode() + file.read_bytes())
            found = True
    return digest.hexdigest() if found else ""


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def child(argv, folder="", *, point=0, seconds=0.0):
    """Run a step in a child that is killed at an event or after some seconds; its events, exit code and messages."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as made:
        process = os.fork()
        if process == 0:
            os.dup2(said.fileno(), 2)
            _run(argv, folder, point, made.fileno())
        if seconds:
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        said.seek(0)
        return os.fstat(made.fileno()).st_size, os.waitstatus_to_exitcode(status), said.read()


def _run(argv, folder, point, writing):
    made = 0

    def watch(event, arguments):
        nonlocal made
        if event in WATCHED and isinstance(arguments[0], (str, os.PathLike)) and folder in os.fspath(arguments[0]):
            made += 1
            os.write(writing, b".")
            if made == point:
                os.kill(os.getpid(), signal.SIGKILL)

    if folder:
        sys.addaudithook(watch)
    code = 0
    try:
        main(argv)
    except SystemExit as end:
        code = end.code
    os._exit(code)


def spread(count, most):
    """At most ``most`` numbers from 1 to ``count``, evenly."""
    return sorted({1 + round(place * (count - 1) / max(1, most - 1)) for place in range(min(most, count))})


def kill(argv, out, folder, points):
    """Kill a step at many points: what each left, and what the next run makes of it."""
    begin = time.monotonic()
    made, code, said = child(argv, folder)
    took = time.monotonic() - begin
    assert code == 0, f"{argv}: {said}"
    kills = [{"point": point} for point in spread(made, points - points // 4)]
    kills += [{"seconds": took * (place + 0.5) / (points // 4)} for place in range(points // 4)]
    left = []
    for number, where in enumerate(kills):
        if number % 2:  # over an earlier result, and where there is none
            remove(out)
        child(argv, folder, **where)
        left.append(content(out))
    _, code, _ = child(argv)
    return {"left": left, "code": code, "last": content(out)}


def fill(argv, out, mount):
    """Run a step on disks with too little space: exit code, messages and what is left, of each."""
    files = [path for path in (out.rglob("*") if out.is_dir() else [out]) if path.is_file()]
    need = sum(-(-path.stat().st_size // PAGE) for path in files)
    found = []
    for pages in sorted({int(share * need) for share in SHARES}):
        with disk(mount, (pages + 1) * PAGE):
            (mount / "other").write_bytes(bytes(PAGE))
            there = mount / out.name
            _, code, said = child([*(str(there) if each == str(out) else each for each in argv)])
            names = [path.name for path in mount.iterdir() if path.name != "other"]
            found.append({"code": code, "said": said, "names": names, "left": content(there)})
    return found


@contextlib.contextmanager
def disk(folder, size):
    """A disk of a size, mounted on a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def kill_fresh(argv, out, folder, points):
    """Kill a step at many points, each time from nothing, and let it end: what the ends are."""
    remove(out)
    made, code, said = child(argv, folder)
    assert code == 0, f"{argv}: {said}"
    ended = []
    for point in spread(made, points):
        remove(out)
        child(argv, folder, point=point)
        child(argv)
        ended.append(content(out))
    return {"ended": ended}


def answer(order):
    """Do what an order says."""
    out = Path(order["out"])
    if order.get("fresh"):
        return kill_fresh(order["argv"], out, order["folder"], order["points"])
    done = kill(order["argv"], out, order["folder"], order["points"])
    return {**done, "disks": fill(order["argv"], out, Path(order["mount"])) if order["mount"] else []}


def serve():
    """Run what the lines of the input ask for."""
    for line in sys.stdin:
        order = json.loads(line)
        os.chdir(order["folder"])
        _, code, said = child(order["argv"])
        print(json.dumps({"code": code, "said": said}), flush=True)


if __name__ == "__main__":
    for target, _ in VERBS.values():
        importlib.import_module(target.split(":")[0])
    if sys.argv[1] == "-":
        serve()
    else:
        print(json.dumps([answer(order) for order in json.loads(Path(sys.argv[1]).read_text())]))
