"""Steps of a run by Snakemake's events, and how far each is by its log."""

import os
import time

import pytest

from snakemake_logger_plugin_tilewright.run import Failure, Run, Step, doing, duration
from tilewright.runtime import progress

NOW = 1000.0


def event(number, rule="predict", log="log", **wildcards):
    return {"jobid": number, "rule_name": rule, "wildcards": wildcards, "log": [str(log)], "output": ["made"]}


def failing(number, log, **values):
    return {**event(number, log=log), "rule_msg": None, **values}


def test_steps_start_finish_fail_and_are_tried_again(tmp_path):
    run = Run(NOW, total=3)
    for number in range(3):
        run.start(event(number, "train", tmp_path / "log", model="unet", fold=str(number)), NOW)
    assert [step.name for step in run.running.values()] == [f"train unet fold {number}" for number in range(3)]
    run.finish(0)
    (tmp_path / "log").write_text("s1: torn.\ntilewright: ended with code 3, for the reason in the last 1 lines\n")
    failed = run.fail(failing(1, tmp_path / "log"), NOW)
    assert failed.step.name == "train unet fold 1"
    assert failed.reason == "s1: torn."
    assert run.fail(failing(1, tmp_path / "log"), NOW) is None, "Snakemake tells it twice"
    assert (run.done, list(run.running), list(run.failed)) == (1, [2], [1])
    run.start(event(1, "train", tmp_path / "log"), NOW)
    assert (list(run.failed), sorted(run.running)) == ([], [1, 2])


@pytest.mark.parametrize(
    ("log", "told", "reason", "summary"),
    [
        (
            "s1: torn.\n  Copy it.\ntilewright: ended with code 3, for the reason in the last 2 lines\n", "",
            "s1: torn.\n  Copy it.", "s1: torn.",
        ),
        (
            "Traceback (most recent call last):\n  here\nValueError: odd\n"
            "tilewright: ended with code 1, for the reason in the last 3 lines\n", "",
            "Traceback (most recent call last):\n  here\nValueError: odd", "ValueError: odd",
        ),
        (
            "epoch 1\n", "", "it was killed, as systems do where memory runs out.\nGive it more (mem_mb on a cluster), "
            'or run fewer at once (--cores). The last line of its log: "epoch 1"',
            "it was killed, as systems do where memory runs out.",
        ),
        (
            "epoch 1\n", "SLURM status: TIMEOUT", 'SLURM status: TIMEOUT\nThe last line of its log: "epoch 1"',
            "SLURM status: TIMEOUT",
        ),
        (None, "sbatch failed", "sbatch failed\nIts log is empty.", "sbatch failed"),
    ],
    ids=["a message", "a mistake", "killed", "by a cluster", "never started"],
)  # fmt: skip
def test_the_reason_is_what_the_step_said_or_what_is_said_of_it(tmp_path, log, told, reason, summary):
    if log is not None:
        (tmp_path / "log").write_text(log)
    failed = Failure.of(Step.of(event(1, log=tmp_path / "log"), NOW), told)
    assert failed.reason == reason
    assert failed.summary == summary


def test_the_log_of_an_attempt_before_is_no_reason(tmp_path):
    (tmp_path / "log").write_text("s1: torn.\ntilewright: ended with code 3, for the reason in the last 1 lines\n")
    os.utime(tmp_path / "log", (NOW - 50, NOW - 50))
    failed = Failure.of(Step.of(event(1, log=tmp_path / "log"), NOW), "sbatch failed")
    assert failed.reason == "sbatch failed\nIts log is empty."


def test_of_steps_in_one_job_the_first_without_results_failed(tmp_path):
    run, members = Run(NOW), []
    for number in range(3):
        (tmp_path / f"log{number}").write_text("killed in the middle\n")
        members.append({**failing(number, tmp_path / f"log{number}"), "output": [str(tmp_path / f"out{number}")]})
        run.start(members[-1], NOW)
    (tmp_path / "out0").mkdir()
    failed = run.fail_one(members, NOW)
    assert failed.step.log == tmp_path / "log1"
    assert run.running == {}
    assert list(run.failed) == [1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "epoch 3/8: loss 0.8035, validation loss 0.8944, Dice 0.4960, ema 0.4988, 8.5 s",
            "epoch 3 of 8, Dice 0.4960, about 42 s left",
        ),
        ("epoch 1/30: loss 0.8035, 120 s", "epoch 1 of 30, about 58 min 0 s left"),
        ("loading the network", ""),
    ],
)
def test_how_far_a_training_is(tmp_path, line, told):
    (tmp_path / "log").write_text(f"something\n{line}\n")
    assert doing(Step.of(event(1, log=tmp_path / "log"), NOW)) == told


def test_how_far_a_step_with_a_bar_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    for number in progress.track(range(4), "predict slide B12: windows"):
        time.sleep(0.01)
        if number == 2:
            break
    (tmp_path / "log").write_text(capsys.readouterr().err)
    assert doing(Step.of(event(1, log=tmp_path / "log"), NOW)) == "2 of 4, about 0 s left"
    assert doing(Step.of(event(1, log=tmp_path / "none"), NOW)) == ""


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (3600, "1 h 0 min")]
)
def test_durations_as_one_says_them(seconds, told):
    assert duration(seconds) == told
