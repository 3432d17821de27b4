"""How a step ends, what its log says of it, and what the next attempt gets for it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tilewright.runtime.attempts import CAUSES, growing, grown
from tilewright.runtime.ending import INTERRUPTED, exit_code, last_code, last_words
from tilewright.runtime.errors import OUT_OF_MEMORY, DataError, Problem

STEP = """
import sys, time
from pathlib import Path
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.ending import exit_code
def work():
    with atomic_path(Path(sys.argv[1])) as private:
        private.write_text("half")
        print("writing", flush=True)
        time.sleep(60)
sys.exit(exit_code(work))
"""


class Wildcards(dict):
    """As Snakemake passes them to a resource function."""


def fails(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError(Problem("slide a", "is torn.", "Copy it again.")), 3, "slide a: is torn.\n  Copy it again."),
        (MemoryError(), OUT_OF_MEMORY, "The memory did not suffice."),
        (ZeroDivisionError("of this program"), 1, "ZeroDivisionError: of this program"),
    ],
)
def test_an_error_is_said_and_ends_the_log(tmp_path, capsys, error, code, says):
    assert exit_code(fails(error)) == code

    said = capsys.readouterr().err
    assert says in said
    (tmp_path / "log").write_text(f"progress of before\n{said}")
    assert last_code(tmp_path / "log") == code
    words = last_words(tmp_path / "log")
    assert words.code == code
    assert says in words.message
    assert "progress" not in words.message
    assert "ended with" not in words.message


def test_a_step_that_ends_well_says_nothing(capsys):
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_stops_a_step_which_tidies_up(tmp_path, number, name):
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-c", STEP, tmp_path / "out" / "mask.tif"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            process.stdout.readline()
            process.send_signal(number)
            assert process.wait(20) == INTERRUPTED

    assert not list((tmp_path / "out").iterdir())
    assert f"Stopped by {name}." in (tmp_path / "log").read_text()
    assert last_code(tmp_path / "log") == INTERRUPTED


def test_handlers_of_signals_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    exit_code(lambda: None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_killed_step_leaves_no_last_line(tmp_path):
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-c", STEP, tmp_path / "a"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
            process.stdout.readline()
            process.kill()

    assert last_code(tmp_path / "log") is None
    assert last_words(tmp_path / "nothing") == (-1, "")
    (tmp_path / "log").write_text("epoch 1\nepoch 2\n")
    assert last_words(tmp_path / "log") == (None, "epoch 2")


def resources(folder, endings):
    """Memory and time of each attempt, where each attempt but the last ends with one of the lines."""
    log = folder / "b.log"
    log.unlink(missing_ok=True)
    grown = {name: growing(100, f"{folder}/{{shard,a|b}}.log", causes) for name, causes in CAUSES.items()}
    found = []
    for attempt, ending in enumerate([*endings, ""], 1):
        asked = [{name: resource(Wildcards(shard="b"), attempt) for name, resource in grown.items()} for _ in "ab"]
        assert asked[0] == asked[1]
        found.append((asked[0]["mem_mb"], asked[0]["runtime"]))
        log.write_text(f"some progress\n{ending}")
        later = {name: resource(Wildcards(shard="b"), attempt) for name, resource in grown.items()}
        assert later == asked[0], "the log of an attempt that runs changes nothing for it"
    return found


def ended(code):
    return f"why\ntilewright: ended with code {code}, for the reason in the last 1 lines\n"


@pytest.mark.parametrize(
    ("endings", "expected"),
    [
        (["half a line of progr", ""], [(100, 100), (200, 100), (400, 100)]),
        ([ended(OUT_OF_MEMORY)], [(100, 100), (200, 100)]),
        ([ended(INTERRUPTED), ended(INTERRUPTED)], [(100, 100), (100, 200), (100, 400)]),
        (["", ended(INTERRUPTED)], [(100, 100), (200, 100), (200, 200)]),
        ([ended(2), ended(3), ended(1)], [(100, 100)] * 4),
    ],
    ids=["killed twice", "memory", "time twice", "memory, then time", "errors"],
)
def test_an_attempt_gets_more_of_what_the_last_one_lacked(tmp_path, endings, expected):
    assert resources(tmp_path, endings) == expected


def test_memory_that_follows_from_a_job_grows_too_where_it_was_killed(tmp_path):
    log = f"{tmp_path}/{{shard}}.log"
    by_threads = grown(lambda wildcards, threads: 10 * threads + len(wildcards["shard"]), log)
    plain = grown(lambda wildcards: len(wildcards["shard"]), log)
    job = Wildcards(shard="b")
    assert (by_threads(job, 3, 1), plain(job, 1)) == (31, 1)
    (tmp_path / "b.log").write_text("killed in the middle of")
    assert (by_threads(job, 3, 2), plain(job, 2)) == (62, 2)
    (tmp_path / "b.log").write_text(ended(3))
    assert (by_threads(job, 3, 3), plain(job, 3)) == (62, 2)


def test_the_command_line_ends_with_the_code_in_the_log(tmp_path):
    program = Path(sys.executable).parent / "tilewright"
    done = subprocess.run([program, "check", tmp_path / "none.yaml"], capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "tilewright: ended with code 2, for the reason in the last 2 lines"
