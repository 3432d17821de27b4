"""Snakemake's events as one live view on a terminal, as sparse lines elsewhere, and each failure once.

What Snakemake itself would print of an execution stands in its own log, under ``.snakemake/log``. A dry run, and a run
that is asked to be quiet or verbose, is told as Snakemake tells it.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_tilewright import texts
from snakemake_logger_plugin_tilewright.asked import Asked, asked_table
from snakemake_logger_plugin_tilewright.run import Failure, Run

INTERVAL = 60.0
"""Seconds between two lines of a run that has just begun; later a twentieth of the time that it has taken."""
USUAL = re.compile(
    r"Assuming unrestricted|host:|Building DAG|Using shell|Provided |Rules claiming|Select jobs|Execute \d|"
    r"Singularity |Conda env|Group jobs|Shutting down|Exiting because a job|Trying to restart|Removing temporary|"
    r"Job \d+ has been submitted|Complete log|Elapsed time|Storing output|"
    r"(WorkflowError:\s+)?At least one job did not"
)
"""What Snakemake says of each run, or what is told here in other words."""
STEP_FAILED = "CalledProcessError"
"""In an error of Snakemake that only says that a command failed, which its own log tells better."""
SIGNALS = 128
"""Exit statuses of a shell from here on are of commands that a signal ended."""
FAILURES = (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
EVENTS = (
    *FAILURES, LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.GROUP_INFO, LogEvent.PROGRESS,
    LogEvent.SHELLCMD, LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.RULEGRAPH,
)  # fmt: skip
"""Events that this handler tells in its own words, or not at all."""


class LogHandler(LogHandlerBase):
    """The handler that ``--logger tilewright`` asks for."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Decide who tells: this handler, or Snakemake's own."""
        asked = self.common_settings
        stream = sys.stdout if asked.stdout else sys.stderr
        self.plain: logging.Handler | None = None
        self.asked: list[Asked] = []
        if asked.dryrun or asked.quiet or asked.verbose or asked.debug_dag:
            formatter = DefaultFormatter(asked.quiet, asked.show_failed_logs)
            self.plain = ColorizingTextHandler(asked.nocolor, stream, formatter)
            self.plain.addFilter(
                DefaultFilter(asked.quiet, asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds)
            )
        self.run = Run(time.time())
        self.console = Console(file=stream, no_color=asked.nocolor, highlight=False)
        self.live: Live | None = None
        self.over = threading.Event()
        self.told = False
        self.cause = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what is new."""
        if self.plain:
            if self.plain.filter(record):
                self.plain.emit(record)
            if self.common_settings.dryrun and getattr(record, "event", None) == LogEvent.JOB_INFO:
                self.asked.append(Asked.of(vars(record)))
            return
        try:
            self._take(record)
        except Exception:  # the run goes on, whatever becomes of its display
            self.handleError(record)

    def close(self) -> None:
        """Tell how the run ended, unless that was told; of a dry run, what its jobs ask for."""
        if not self.plain:
            self._end()
        elif self.asked and not self.common_settings.quiet:
            self._print(asked_table(self.asked))
            self.asked = []
        super().close()

    def _take(self, record: logging.LogRecord) -> None:
        event, values = getattr(record, "event", None), vars(record)
        match event:
            case LogEvent.RUN_INFO:
                self.run.total = int(values["stats"].get("total", 0))
                self._begin()
            case LogEvent.JOB_INFO:
                self.run.start(values, time.time())
            case LogEvent.JOB_FINISHED:
                self.run.finish(values["job_id"])
                if self.run.done == self.run.total:
                    self._end()
            case LogEvent.ERROR:
                self.cause = _cause(str(record.msg))
        if event in FAILURES and (failed := self._failed(event, values)):
            self._print(texts.failure(failed), "red")
        elif event not in EVENTS and (text := self._worth_telling(record)):
            self._print(text, {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, ""))

    def _failed(self, event: LogEvent, values: Mapping[str, Any]) -> Failure | None:
        if event == LogEvent.JOB_ERROR:
            return self.run.fail(values, time.time(), self.cause)
        return self.run.fail_one(values["job_error_info"], time.time())

    def _worth_telling(self, record: logging.LogRecord) -> str:
        text = str(record.msg or "").strip()
        usual = USUAL.match(text) or STEP_FAILED in text or record.levelno < logging.INFO
        return "" if usual else text

    def _begin(self) -> None:
        """Show the live view, or write a line now and then."""
        if self.live or self.over.is_set():
            return
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._view, console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        else:
            threading.Thread(target=self._tell_now_and_then, daemon=True).start()

    def _view(self) -> Group:
        now = time.time()
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for row in texts.rows(self.run, now, max(1, self.console.height - 4)):
            table.add_row(*map(Text, row))
        return Group(Text(texts.headline(self.run, now), "bold"), table)

    def _tell_now_and_then(self) -> None:
        while not self.over.wait(max(INTERVAL, (time.time() - self.run.began) / 20)):
            self.acquire()
            self._print(texts.line(self.run, time.time()))
            self.release()

    def _end(self) -> None:
        self.over.set()
        if self.live:
            self.live.stop()
            self.live = None
        if self.run.total and not self.told:
            self.told = True
            self._print(texts.ending(self.run, time.time()), "red" if self.run.failed else "green")

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)


def _cause(text: str) -> str:
    """What an error of Snakemake says of a step that says nothing itself; empty: it was killed by a signal."""
    if STEP_FAILED not in text:
        return text.strip()
    status = re.search(r"exit status (\d+)", text)
    return f"its command ended with status {status[1]}." if status and int(status[1]) < SIGNALS else ""
