"""What the jobs of a dry run ask for: a line a rule, as an administrator or a user of a cluster wants to see it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COLUMNS = {
    "mem_mb": "mem_mb", "runtime": "minutes", "gpu": "gpu", "slurm_partition": "partition", "slurm_account": "account",
}  # fmt: skip
"""Resources of Snakemake that are told, and what they are called; one that no job asks for is left out."""


@dataclass(frozen=True)
class Asked:
    """What a job asks for.

    Attributes:
        rule: its rule.
        cpus: its threads.
        resources: the others, by the name that Snakemake gives them.
    """

    rule: str
    cpus: int
    resources: Mapping[str, Any]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Asked":
        """What Snakemake tells of a job."""
        return cls(str(event["rule_name"]), int(event["threads"]), dict(event["resources"]))


def asked_table(jobs: Iterable[Asked]) -> str:
    """A table with a line a rule: jobs, and the most that one of them asks for."""
    by_rule: dict[str, list[Asked]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    told = {name: title for name, title in COLUMNS.items() if any(_values(each, name) for each in by_rule.values())}
    rows = [["rule", "jobs", "cpus", *told.values()]]
    for rule, each in by_rule.items():
        cpus = max(job.cpus for job in each)
        rows.append([rule, str(len(each)), str(cpus), *(_most(_values(each, name)) for name in told)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows)
    return "\n".join(["Each job asks for at most:", *lines])


def _values(jobs: Iterable[Asked], name: str) -> list[Any]:
    return [job.resources[name] for job in jobs if job.resources.get(name) not in (None, "", 0)]


def _most(values: list[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) == len(values):
        return str(max(numbers, default=""))
    return ",".join(sorted({str(value) for value in values}))
