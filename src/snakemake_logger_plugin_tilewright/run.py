"""Which steps of a run are done, running and failed, as Snakemake's events tell it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tilewright.runtime.ending import LastWords, last_words

EPOCH = re.compile(r"epoch (\d+)/(\d+): loss [^,]+(?:, validation loss [^,]+, (Dice [^,]+))?(?:, \w+ [^,]+)*, (\S+) s")
"""A line of the log of a training, as ``training.state`` writes it."""
TRACK = re.compile(r".*: (\d+ of (?:\d+|\?)) after \d+ s(?:, (about \d+ s left))?")
"""A line of ``runtime.progress.track``."""


TAIL = 4096
"""Bytes at the end of a log that are read for its last line."""


@dataclass(frozen=True)
class Step:
    """A step of the graph that was started.

    Attributes:
        rule: its rule.
        about: what it is about: shard, model, fold and the like.
        log: its log; None: it has none.
        outputs: what it gives.
        began: when it was started, in seconds since 1970.
    """

    rule: str
    about: str
    log: Path | None
    outputs: tuple[str, ...]
    began: float

    @classmethod
    def of(cls, event: Mapping[str, object], now: float) -> "Step":
        """A step from what Snakemake tells of its job."""
        wildcards = event["wildcards"]
        assert isinstance(wildcards, Mapping)
        about = " ".join(f"fold {value}" if name == "fold" else str(value) for name, value in wildcards.items())
        logs, outputs = _texts(event["log"]), _texts(event["output"])
        return cls(str(event["rule_name"]), about, Path(logs[0]) if logs else None, outputs, now)

    @property
    def name(self) -> str:
        """Rule and what it is about."""
        return f"{self.rule} {self.about}".rstrip()


@dataclass(frozen=True)
class Failure:
    """A step that failed.

    Attributes:
        step: the step.
        reason: what it said, whole.
    """

    step: Step
    reason: str

    @classmethod
    def of(cls, step: Step, told: str = "") -> "Failure":
        """The failure of a step by its log.

        Args:
            step: the step.
            told: what Snakemake or a batch system says of it, which is the reason where the step says none.
        """
        words = last_words(step.log) if step.log and _is_of(step.log, step) else LastWords(-1, "")
        if words.code is not None and words.code != -1:
            return cls(step, words.message)
        said = f'The last line of its log: "{words.message}"' if words.message else "Its log is empty."
        if not told:
            told = "it was killed, as systems do where memory runs out."
            said = f"Give it more (mem_mb on a cluster), or run fewer at once (--cores). {said}"
        return cls(step, f"{told}\n{said}")

    @property
    def summary(self) -> str:
        """The first line of the reason; of a traceback, the last."""
        lines = self.reason.splitlines() or ["it said nothing."]
        return lines[-1] if lines[0].startswith("Traceback") else lines[0]


@dataclass
class Run:
    """A run of the graph.

    Attributes:
        began: when it began, in seconds since 1970.
        total: steps to do; 0 until it is known.
        done: steps that are finished.
        running: steps that were started, by the number of their job.
        failed: those that failed, by the number of their job.
    """

    began: float
    total: int = 0
    done: int = 0
    running: dict[int, Step] = field(default_factory=dict)
    failed: dict[int, Failure] = field(default_factory=dict)

    def start(self, event: Mapping[str, object], now: float) -> None:
        """A job was started, maybe once more."""
        number = _number(event["jobid"])
        self.failed.pop(number, None)
        self.running[number] = Step.of(event, now)

    def finish(self, number: int) -> None:
        """A job is done."""
        self.running.pop(number, None)
        self.done += 1

    def fail(self, event: Mapping[str, object], now: float, told: str = "") -> Failure | None:
        """A job failed; what is new of it, as Snakemake tells some failures twice; ``told`` as of ``Failure.of``."""
        number = _number(event["jobid"])
        if number in self.failed:
            return None
        step = self.running.pop(number, None) or Step.of({"wildcards": {}, **event}, now)
        return self.failed.setdefault(number, Failure.of(step, str(event["rule_msg"] or told)))

    def fail_one(self, events: Iterable[Mapping[str, object]], now: float) -> Failure | None:
        """A job of several steps in a row failed: at the first of them whose results are not all there."""
        steps = list(events)
        for event in steps:
            if not all(Path(output).exists() for output in _texts(event["output"])):
                for other in steps:
                    if other is not event:
                        self.running.pop(_number(other["jobid"]), None)
                return self.fail(event, now)
        return None


def doing(step: Step) -> str:
    """How far a running step is, by the last line of its log; empty: it does not say."""
    line = last_line(step.log) if step.log else ""
    if found := EPOCH.fullmatch(line):
        epoch, epochs, dice, seconds = found.groups()
        left = duration((int(epochs) - int(epoch)) * float(seconds))
        return ", ".join(part for part in (f"epoch {epoch} of {epochs}", dice, f"about {left} left") if part)
    if found := TRACK.fullmatch(line):
        return ", ".join(part for part in found.groups() if part)
    return ""


def last_line(log: Path) -> str:
    """The last line of a log that a step writes to; empty: there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


def duration(seconds: float) -> str:
    """A span of time as one says it: "42 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _is_of(log: Path, step: Step) -> bool:
    """Whether a log was written by this start of a step, and not by one before."""
    return log.exists() and log.stat().st_mtime >= int(step.began)


def _texts(values: object) -> tuple[str, ...]:
    assert isinstance(values, Sequence)
    return tuple(map(str, values))


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
