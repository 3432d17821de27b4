"""Job files: what a job takes and gives, for steps to look up whether it was made before (``runtime.kept``)."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeAlias

from tilewright.project.orders import make_order, settings_digest, wildcards_of, write_named
from tilewright.project.places import Places
from tilewright.project.project import Project
from tilewright.project.storage import url_of
from tilewright.runtime.digests import Digests
from tilewright.runtime.kept import job_text

Glance: TypeAlias = Callable[[str], Sequence[int | str]]
"""By what a file is told from others."""
NAMED: Mapping[str, Sequence[str]] = {"train": ("model", "fold"), "refit": ("model",)}
"""Wildcards that the command of a rule names, besides its paths."""


@dataclass(frozen=True)
class Step:
    """What a rule runs.

    Attributes:
        rule: its name.
        verb: the step.
        code: hash of its code.
    """

    rule: str
    verb: str
    code: str


@dataclass(frozen=True)
class Deferred:
    """A text that is made when a job that runs asks for it: a dry run formats the commands of all.

    Attributes:
        made: makes it.
        is_dry: whether the run is a dry one.
    """

    made: Callable[[], str]
    is_dry: Callable[[], bool]

    def __str__(self) -> str:
        return "JOB" if self.is_dry() else self._text

    @cached_property
    def _text(self) -> str:
        return self.made()


def store_of(project: Project, places: Places) -> str:
    """Where results are kept; empty: nowhere."""
    kept = project.config.kept
    return kept if isinstance(kept, str) else places.kept() if kept else ""


def write_job(
    project: Project,
    places: Places,
    step: Step,
    *,
    wildcards: Mapping[str, str],
    inputs: Collection[str],
    outputs: Sequence[str],
) -> str:
    """Write the file of a job, if there is none like it, and return its path.

    Args:
        project: config, sheet and folds.
        places: where results lie.
        step: what the rule of the job runs.
        wildcards: those of the job.
        inputs: files and folders that it takes.
        outputs: files and folders that it gives.

    Raises:
        DataError: it cannot be written.
    """
    order = make_order(project, step.rule, **{name: wildcards[name] for name in wildcards_of(step.rule)})
    named = {name: wildcards[name] for name in NAMED.get(step.rule, ())}
    text = job_text(
        results=places.results,
        store=store_of(project, places),
        shared=isinstance(project.config.kept, str),
        any_code=not project.config.rerun_on_code_change,
        verb=step.verb,
        code=step.code,
        told=settings_digest(order, named, inputs),
        inputs=[path for each in inputs for path in _with_companions(each)],
        outputs=list(outputs),
    )
    return write_named(text, lambda digest: places.job(step.rule, digest))


def seen_files(inputs: Iterable[str], places: Places, glance: Glance) -> str:
    """What each file of a user among the inputs of a job is, as JSON; nothing of results and of storage.

    Snakemake makes a result anew of inputs that are newer than it. As a parameter of the job, this tells those too that
    are older and others: a copy that was put back, two files that changed names. A small file is told by its content,
    as a newer one of equal content is no reason to Snakemake either; a large one by its size and time.

    Args:
        inputs: files.
        places: where results lie.
        glance: tells one, as ``Digests.glance`` does.
    """
    results = os.path.join(os.path.abspath(places.results), "")  # noqa: PTH100, PTH118 - links are not followed
    users = (path for path in inputs if not (os.path.abspath(path).startswith(results) or url_of(path)))  # noqa: PTH100
    return json.dumps({path: glance(path) for path in users})


def glancing(places: Places) -> Glance:
    """What looks at files of users, at each once, as it was when a run was planned."""
    digests = Digests(Path(places.results))

    @cache
    def glance(path: str) -> Sequence[int | str]:
        try:
            return digests.glance(Path(path))
        except OSError:  # the job of its slide says so
            return ()

    return glance


def _with_companions(path: str) -> Iterator[str]:
    """A file, and the folder that holds the rest of its slide in formats of many files."""
    yield path
    file = Path(path)
    if file.suffix.lower() == ".mrxs" and file.with_suffix("").is_dir():
        yield str(file.with_suffix(""))
    elif file.suffix.lower() in (".dcm", ".vms", ".vmu"):
        yield str(file.parent)
