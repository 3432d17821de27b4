"""What the rows of a sheet, each right in itself, make doubtful together."""

import os
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from tilewright.project.rows import Region, Row, Sheet, other_name_of
from tilewright.runtime.errors import Problem

MANY_SHARDS = 1000
"""From here on a dry run takes more than half a minute (docs/clusters.md)."""


def sheet_warnings(sheet: Sheet) -> Iterator[Problem]:
    """Warn of leaks between slides, of columns that mean nothing, and of a graph that takes long to plan."""
    yield from _unused_columns(sheet)
    yield from _divided_groups(sheet)
    yield from _shown_twice(sheet)
    shards = len(sheet.shards())
    if shards > MANY_SHARDS:
        what = f"there are {shards:,} shards; each makes ten jobs or more, which Snakemake plans at every start."
        remedy = (
            "Give slides that may be worked on together one shard: `tilewright sheet ... --per-shard 10`, or by hand."
        )
        yield Problem(str(sheet.path), what, remedy)


def _unused_columns(sheet: Sheet) -> Iterator[Problem]:
    for name in sheet.columns:
        if (column := other_name_of(name)) and column not in sheet.columns:
            what = f'the column "{name}" means nothing here, and there is no column {column}.'
            yield Problem(f"{sheet.path}, header", what, f"Rename it to {column}, if that is what it says.")


def _divided_groups(sheet: Sheet) -> Iterator[Problem]:
    """Groups on both sides of a comparison; a slide without outlines is compared with nothing."""
    roles: dict[str, dict[str, Row]] = {}
    for row in (row for row in sheet if row.annotations):
        roles.setdefault(row.group, {}).setdefault(row.role, row)
    for group, first in roles.items():
        for other in ("test", "external"):
            if other in first and "train" in first:
                what = f'group "{group}" has slides with the roles train (such as {first["train"].slide}) and {other}.'
                remedy = "Slides of one patient on both sides make scores too good; give them one role."
                yield Problem(sheet.where(first[other]), what, remedy)


def _shown_twice(sheet: Sheet) -> Iterator[Problem]:
    """Slides that show the same pixels and may lie on both sides of a comparison."""
    images: dict[str, list[Row]] = defaultdict(list)
    for row in sheet:
        images[os.path.realpath(row.image)].append(row)
    for rows in images.values():
        for first, second in combinations(rows, 2):
            same_side = first.group == second.group and first.role == second.role
            if not same_side and "train" in (first.role, second.role) and _overlap(first.region, second.region):
                told = f"{first.role} in the group {first.group}"
                what = f"it shows pixels of {second.image} that the slide {first.slide} ({told}) shows too."
                remedy = "That makes scores too good: take one out, give both one group and role, or regions apart."
                yield Problem(sheet.where(second), what, remedy)


def _overlap(one: Region | None, other: Region | None) -> bool:
    """Whether two parts of an image share pixels; None is all of it."""
    if one is None or other is None:
        return True
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )
