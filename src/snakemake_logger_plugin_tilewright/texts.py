"""What is told of a run: one line of how far it is, each failure, and all failures at the end."""

from collections.abc import Iterator

from snakemake_logger_plugin_tilewright.run import Failure, Run, Step, doing, duration

NAMED = 3
"""Running steps that a line of a log names."""
WIDEST = 100
"""Characters of a reason in the table of failures."""


def headline(run: Run, now: float) -> str:
    """How many steps are done, running and failed."""
    parts = [f"{run.done} of {run.total or '?'} steps done after {duration(now - run.began)}"]
    if run.running:
        parts.append(f"{len(run.running)} running")
    if run.failed:
        parts.append(f"{len(run.failed)} failed")
    return ", ".join(parts)


def line(run: Run, now: float) -> str:
    """How far a run is, in one line: trainings first, as they take longest."""
    steps = list(in_order(run))
    named = [f"{step.name} ({told})" if (told := doing(step)) else step.name for step in steps[:NAMED]]
    more = [f"and {len(steps) - NAMED} more"] if len(steps) > NAMED else []
    return f"{headline(run, now)}: {'; '.join([*named, *more])}" if steps else headline(run, now)


def rows(run: Run, now: float, most: int) -> Iterator[tuple[str, str, str]]:
    """Name, time and progress of the running steps, at most so many; the last row says how many more there are."""
    steps = list(in_order(run))
    for step in steps[:most]:
        yield step.name, duration(now - step.began), doing(step)
    if len(steps) > most:
        yield f"and {len(steps) - most} more", "", ""


def in_order(run: Run) -> list[Step]:
    """The running steps: trainings first, then the oldest."""
    return sorted(run.running.values(), key=lambda step: (step.rule not in ("train", "refit"), step.began))


def failure(failed: Failure) -> str:
    """Step, slide, reason and log of a failure."""
    reason = failed.reason.replace("\n", "\n  ")
    log = f"\n  log: {failed.step.log}" if failed.step.log else ""
    return f"FAILED {failed.step.name}\n  {reason}{log}"


def ending(run: Run, now: float) -> str:
    """How a run ended: with all steps done, or with a table of those that failed."""
    text = f"{run.done} of {run.total} steps done in {duration(now - run.began)}"
    if not run.failed:
        return f"{text}."
    left = run.total - run.done - len(run.failed)
    text += f", {len(run.failed)} failed" + (f", {left} not done." if left > 0 else ".")
    if len(run.failed) == 1:
        return text
    entries = [("step", "of", "reason", "log"), *(_entry(each) for each in run.failed.values())]
    widths = [max(map(len, column)) for column in zip(*entries, strict=True)]
    table = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in entries)
    return "\n".join([text, "", *table])


def _entry(failed: Failure) -> tuple[str, str, str, str]:
    reason = failed.summary
    short = reason if len(reason) <= WIDEST else f"{reason[: WIDEST - 3]}..."
    return failed.step.rule, failed.step.about, short, str(failed.step.log or "")
