"""What is told of a run."""

from pathlib import Path

from snakemake_logger_plugin_tilewright import texts
from snakemake_logger_plugin_tilewright.run import Failure, Run, Step


def step(rule, about, began=100.0):
    return Step(rule, about, Path(f"logs/{rule}.log"), (), began)


def test_a_line_names_trainings_first_and_says_how_many_more_there_are():
    run = Run(100.0, total=40, done=12)
    run.running = dict(enumerate([step("predict", f"s{one}", 100.0 + one) for one in range(4)]))
    run.running[9] = step("train", "unet fold 0", 150.0)
    told = texts.line(run, 165.0)
    assert told == (
        "12 of 40 steps done after 1 min 5 s, 5 running: train unet fold 0; predict s0; predict s1; and 2 more"
    )
    assert texts.line(Run(100.0, total=3, done=3), 101.0) == "3 of 3 steps done after 1 s"


def test_rows_fit_the_terminal():
    run = Run(100.0)
    run.running = dict(enumerate([step("predict", f"s{one}") for one in range(4)]))
    assert list(texts.rows(run, 130.0, 2)) == [
        ("predict s0", "30 s", ""), ("predict s1", "30 s", ""), ("and 2 more", "", ""),
    ]  # fmt: skip
    assert len(list(texts.rows(run, 130.0, 4))) == 4


def test_a_failure_says_step_slide_reason_and_log():
    told = texts.failure(Failure(step("segment", "both s7"), "s7: torn.\n  Copy it again."))
    assert told == "FAILED segment both s7\n  s7: torn.\n    Copy it again.\n  log: logs/segment.log"


def test_the_end_of_a_run():
    run = Run(100.0, total=9, done=9)
    assert texts.ending(run, 160.0) == "9 of 9 steps done in 1 min 0 s."
    run.done = 5
    run.failed = {1: Failure(step("rasterize", "s7"), "s7: torn.\n  Copy it again.")}
    assert texts.ending(run, 160.0) == "5 of 9 steps done in 1 min 0 s, 1 failed, 3 not done."
    run.failed[2] = Failure(step("train", "unet fold 1"), "x" * 300)
    first, empty, header, *rows = texts.ending(run, 160.0).splitlines()
    assert first == "5 of 9 steps done in 1 min 0 s, 2 failed, 2 not done."
    assert empty == ""
    assert header.split() == ["step", "of", "reason", "log"]
    assert rows[0].split("  ")[:2] == ["rasterize", "s7"]
    assert rows[0].endswith("logs/rasterize.log")
    assert "s7: torn." in rows[0]
    assert "x" * 97 + "...  logs/train.log" in rows[1]
    assert [row.index("logs/") for row in rows] == [header.index("log")] * 2
