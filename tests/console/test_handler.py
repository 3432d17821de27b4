"""Snakemake's events, told once and in few words."""

import io
import logging
import sys
import time
from dataclasses import dataclass, field

import pytest
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from snakemake_logger_plugin_tilewright import handler
from snakemake_logger_plugin_tilewright.handler import LogHandler


@dataclass
class Settings:
    """As Snakemake passes them."""

    printshellcmds: bool = True
    nocolor: bool = False
    quiet: set = field(default_factory=set)
    debug_dag: bool = False
    verbose: bool = False
    show_failed_logs: bool = True
    stdout: bool = False
    dryrun: bool = False


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def told(monkeypatch):
    """Makes a handler that writes to a stream, and tells it events; what was written is its value."""
    made = []

    def tell(stream, *records, **settings):
        monkeypatch.setattr(sys, "stderr", stream)
        one = LogHandler(Settings(**settings), None)
        made.append(one)
        for level, message, values in records:
            record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
            vars(record).update(values)
            one.handle(record)
        return one

    yield tell
    for one in made:
        one.close()


def info(message, **values):
    return logging.INFO, message, values


def started(number, rule, log, **wildcards):
    values = {"jobid": number, "rule_name": rule, "wildcards": wildcards, "log": [str(log)], "output": []}
    return info("rule", event=LogEvent.JOB_INFO, **values)


def failed(number, log):
    values = {"jobid": number, "rule_name": "segment", "log": [str(log)], "output": [], "rule_msg": None}
    return logging.ERROR, "Error in rule", {"event": LogEvent.JOB_ERROR, **values}


BEGIN = (
    info("Building DAG of jobs..."), info("Provided cores: 2"),
    info("Job stats: ...", event=LogEvent.RUN_INFO, stats={"total": 2}),
)  # fmt: skip
TORN = "s7: torn.\n  Copy it again.\ntilewright: ended with code 3, for the reason in the last 2 lines\n"


def test_the_plugin_is_found_by_its_name():
    assert LoggerPluginRegistry().get_plugin("tilewright").log_handler is LogHandler


def test_a_failure_is_told_once_with_its_reason_and_what_snakemake_adds_is_not(told, tmp_path):
    (tmp_path / "log").write_text(TORN)
    stream = io.StringIO()
    one = told(
        stream,
        *BEGIN,
        started(1, "segment", tmp_path / "log", shard="s7"),
        info("Execute 1 jobs...", event=LogEvent.JOB_STARTED, jobs=[1]),
        (logging.ERROR, "RuleException:\nCalledProcessError in file ...", {"event": LogEvent.ERROR}),
        failed(1, tmp_path / "log"),
        failed(1, tmp_path / "log"),
        (logging.ERROR, "Exiting because a job execution failed. Look above for error messages", {}),
        (logging.WARNING, "something of the system", {}),
    )
    one.close()
    assert stream.getvalue() == (
        f"Job stats: ...\nFAILED segment s7\n  s7: torn.\n    Copy it again.\n  log: {tmp_path}/log\n"
        "something of the system\n0 of 2 steps done in 0 s, 1 failed, 1 not done.\n"
    )


def test_an_error_of_snakemake_itself_is_the_reason(told, tmp_path):
    (tmp_path / "log").write_text("all is well\n")
    stream = io.StringIO()
    what = "MissingOutputException:\nJob completed successfully, but some output files are missing."
    told(
        stream, *BEGIN, started(1, "segment", tmp_path / "log", shard="s7"),
        (logging.ERROR, what, {"event": LogEvent.ERROR}), failed(1, tmp_path / "log"),
    )  # fmt: skip
    assert "FAILED segment s7\n  MissingOutputException:\n  Job completed" in stream.getvalue()
    assert "killed" not in stream.getvalue()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            "returned non-zero exit status 127.",
            'its command ended with status 127.\n  The last line of its log: "not found"',
        ),
        ("returned non-zero exit status 137.", "it was killed, as systems do where memory runs out."),
        ("died with <Signals.SIGKILL: 9>.", "it was killed, as systems do where memory runs out."),
    ],
)
def test_a_command_that_failed_is_not_called_killed(told, tmp_path, status, says):
    (tmp_path / "log").write_text("not found\n")
    stream = io.StringIO()
    text = f"RuleException:\nCalledProcessError in file x, line 1:\nCommand 'tilewright ...' {status}"
    told(
        stream, *BEGIN, started(1, "segment", tmp_path / "log", shard="s7"),
        (logging.ERROR, text, {"event": LogEvent.ERROR}), failed(1, tmp_path / "log"),
    )  # fmt: skip
    assert f"FAILED segment s7\n  {says}" in stream.getvalue()


def test_the_end_is_told_when_the_last_step_is_done(told, tmp_path):
    stream = io.StringIO()
    one = told(
        stream, *BEGIN, started(1, "segment", tmp_path / "log", shard="s7"),
        info("Finished jobid: 1", event=LogEvent.JOB_FINISHED, job_id=1),
        info(None, event=LogEvent.PROGRESS, done=1, total=28),
        info("Finished jobid: 0", event=LogEvent.JOB_FINISHED, job_id=0),
        info(None, event=LogEvent.PROGRESS, done=2, total=28),
        info("Open:\n  report  x"),
    )  # fmt: skip
    one.close()
    assert stream.getvalue() == "Job stats: ...\n2 of 2 steps done in 0 s.\nOpen:\n  report  x\n"


def test_a_run_of_nothing_tells_what_snakemake_tells(told):
    stream = io.StringIO()
    told(stream, info("Nothing to be done (all requested files are present and up to date).")).close()
    assert stream.getvalue() == "Nothing to be done (all requested files are present and up to date).\n"


def test_elsewhere_than_on_a_terminal_a_line_comes_now_and_then(told, tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "INTERVAL", 0.2)
    (tmp_path / "log").write_text("epoch 3/8: loss 0.8, validation loss 0.9, Dice 0.4960, ema 0.5, 8.5 s\n")
    stream = io.StringIO()
    one = told(stream, *BEGIN, started(1, "train", tmp_path / "log", model="unet", fold="1"))
    time.sleep(0.5)
    one.close()
    line = "0 of 2 steps done after 0 s, 1 running: train unet fold 1 (epoch 3 of 8, Dice 0.4960, about 42 s left)"
    assert stream.getvalue().splitlines()[1] == line
    assert stream.getvalue().count("steps done after") == 2
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_one_view_is_drawn_over_and_is_gone_at_the_end(told, tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "log").write_text("epoch 3/8: loss 0.8, validation loss 0.9, Dice 0.4960, ema 0.5, 8.5 s\n")
    stream = Terminal()
    one = told(stream, *BEGIN, started(1, "train", tmp_path / "log", model="unet", fold="1"))
    time.sleep(0.7)
    one.close()
    shown = stream.getvalue()
    assert "epoch 3 of 8, Dice 0.4960" in shown
    assert "\x1b[2K" in shown, "the view is erased"
    after = shown[shown.rindex("\x1b[2K") :]
    assert "running" not in after
    assert "0 of 2 steps done in" in after


@pytest.mark.parametrize(
    "settings", [{"dryrun": True}, {"verbose": True}, {"debug_dag": True}], ids=["dry", "verbose", "dag"]
)
def test_a_dry_run_and_what_asks_for_all_is_told_by_snakemake(told, settings):
    stream = io.StringIO()
    told(stream, *BEGIN, **settings).close()
    assert stream.getvalue() == "Building DAG of jobs...\nProvided cores: 2\nJob stats: ...\n"


def test_a_dry_run_ends_with_what_its_jobs_ask_for(told):
    stream = io.StringIO()
    job = started(1, "train", "log", model="unet", fold="1")
    job[2].update(
        threads=2, resources={"mem_mb": 4000, "runtime": 720, "gpu": 1, "slurm_partition": "a100"}, rule_msg="Train",
        reason="none", local=False, indent=False,
    )  # fmt: skip
    one = told(stream, *BEGIN, job, dryrun=True)
    one.close()
    one.close()
    assert stream.getvalue().count("Each job asks") == 1
    assert "Train" in stream.getvalue()
    assert stream.getvalue().splitlines()[-2:] == [
        "rule   jobs  cpus  mem_mb  minutes  gpu  partition", "train     1     2    4000      720    1       a100",
    ]  # fmt: skip
    quiet = io.StringIO()
    told(quiet, *BEGIN, job, dryrun=True, quiet={Quietness.RULES}).close()
    assert "train" not in quiet.getvalue()
