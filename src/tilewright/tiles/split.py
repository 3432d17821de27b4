"""Folds: groups divided for cross-validation. Plain Python, because the graph needs the folds when it is built.

``folds.csv`` holds one row for each shard that is trained on: shard, group, fold. The fold of an external shard is the
word ``external``: it is trained on in every fold and never validated on.
"""

import csv
import io
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tilewright.project.config import Folds
from tilewright.project.orders import SplitOrder, SplitRow
from tilewright.project.project import Assignment
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem, UserError, raise_all
from tilewright.runtime.tables import read_table

EXTERNAL = "external"
FEW_GROUPS = "Lower folds.count, or give slides of different patients other groups."
ONE_GROUP = (
    "Cross-validation needs two groups at least. Divide the slide: several rows with its image, each with a region "
    "(x,y,width,height) and a group of its own; scores are then of parts of one slide and too good for new ones. "
    "Or outline a second slide."
)
"""What helps where the training slides are of too few groups."""


def split(order: SplitOrder, *, out: Path, extend: Path | None = None) -> None:
    """Divide the training shards into folds and write ``folds.csv``.

    Args:
        order: the slides; number of folds, seed, stratification.
        out: the csv to write.
        extend: an earlier ``folds.csv`` whose assignments are kept; only new groups are placed.

    Raises:
        UserError: fewer groups than folds, or a file of folds that does not fit.
    """
    kept = read_folds(extend) if extend else []
    assignments = assign_folds(order.rows, order.folds, kept)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["shard", "group", "fold"])
    writer.writerows((one.shard, one.group, EXTERNAL if one.fold is None else one.fold) for one in assignments)
    write_text(out, text.getvalue())


def assign_folds(rows: Sequence[SplitRow], folds: Folds, kept: Sequence[Assignment] = ()) -> list[Assignment]:
    """Give each training group a fold, evenly in slides and in the values of ``folds.stratify``.

    Groups are taken from the largest to the smallest, in an order that the seed decides among equals; each goes to the
    fold where it makes the counts of slides by stratum least uneven.

    Args:
        rows: the slides with the role train or external.
        folds: number of folds and seed, or a file to read instead.
        kept: assignments that stay as they are.

    Returns:
        One assignment for each shard with the role train or external, in the order of the sheet.

    Raises:
        UserError: fewer groups than folds, or a file that does not fit the sheet.
    """
    trained = [row for row in rows if row.role == "train"]
    if folds.file:
        placed = _folds_of_file(Path(folds.file), trained, folds.count)
    else:
        _check_groups(trained, folds)
        groups = _place(trained, folds, {one.group: one.fold for one in kept if one.fold is not None})
        placed = {row.shard: groups[row.group] for row in trained}
    shards = {row.shard: row for row in rows}
    return [Assignment(shard=shard, group=row.group, fold=placed.get(shard)) for shard, row in shards.items()]


def read_folds(path: Path) -> list[Assignment]:
    """Read a ``folds.csv``.

    Raises:
        UserError: the file is missing or a row cannot be read; names every such row.
    """
    if not path.is_file():
        remedy = (
            "Name one that exists, or leave folds.file out. That of a layout with group: tile lies beside its sheet "
            "(NAME.folds.csv): delete the sheet, and both are written anew."
        )
        raise UserError(Problem(str(path), "the file of folds does not exist.", remedy))
    table = read_table(path)
    if missing := {"shard", "group", "fold"} - set(table.header):
        remedy = f"Columns found: {', '.join(table.header)}."
        raise UserError(Problem(f"{path}, header", f"columns are missing: {', '.join(sorted(missing))}.", remedy))
    records = [(record.line, record.values) for record in table.records]
    problems = [
        Problem(f"{path}, row {number}", f'fold "{record["fold"]}" is no number.', f'Use 0, 1, ... or "{EXTERNAL}".')
        for number, record in records
        if record["fold"] != EXTERNAL and not record["fold"].isdecimal()
    ]
    raise_all(UserError, problems)
    return [
        Assignment(
            shard=record["shard"],
            group=record["group"],
            fold=None if record["fold"] == EXTERNAL else int(record["fold"]),
        )
        for _, record in records
    ]


def require_folds(path: Path, folds: Sequence[Assignment]) -> None:
    """Make sure that a ``folds.csv`` holds the folds which sheet and config give.

    The graph has every slide predicted by the fold that these give it. With other folds in the file, somebody wants
    what does not happen.

    Raises:
        DataError: the file holds other folds: it was edited, damaged, or is older than the sheet.
        UserError: as of ``read_folds``.
    """
    given = {one.shard: one for one in folds}
    found = {one.shard: one for one in read_folds(path)}
    if differing := [shard for shard in dict.fromkeys((*given, *found)) if found.get(shard) != given.get(shard)]:
        shard = differing[0]
        what = (
            f"{len(differing)} shard(s) have other folds than sheet and config give, by which predictions are planned; "
            f"{shard}: {_told(found.get(shard))} in place of {_told(given.get(shard))}."
        )
        remedy = "Delete the file and run again. For folds of your own, name a csv by the key folds.file."
        raise DataError(Problem(str(path), what, remedy))


def _told(one: Assignment | None) -> str:
    if one is None:
        return "nothing"
    return f"{EXTERNAL if one.fold is None else f'fold {one.fold}'} (group {one.group})"


def _check_groups(trained: Sequence[SplitRow], folds: Folds) -> None:
    groups = {row.group for row in trained}
    if len(groups) < folds.count:
        what = f"folds.count is {folds.count}, but the training slides form {len(groups)} group(s)."
        raise UserError(Problem("config", what, ONE_GROUP if len(groups) == 1 else FEW_GROUPS))


def _place(trained: Sequence[SplitRow], folds: Folds, fixed: Mapping[str, int]) -> dict[str, int]:
    groups: dict[str, Counter[str]] = {}
    for row in trained:
        groups.setdefault(row.group, Counter())[row.stratum] += 1
    totals = sum(groups.values(), Counter[str]())
    counts = [Counter[str]() for _ in range(folds.count)]
    placed = {group: fold for group, fold in fixed.items() if group in groups and fold < folds.count}
    for group, fold in placed.items():
        counts[fold] += groups[group]
    order = sorted(set(groups) - set(placed))
    random.Random(folds.seed).shuffle(order)  # noqa: S311 - no secret depends on it
    order.sort(key=lambda group: -groups[group].total())
    for group in order:
        costs = [
            (
                sum(((count[stratum] + size) / totals[stratum]) ** 2 - (count[stratum] / totals[stratum]) ** 2
                    for stratum, size in groups[group].items()),
                count.total(),
            )
            for count in counts
        ]  # fmt: skip
        fold = min(range(folds.count), key=lambda index: (*costs[index], index))
        placed[group] = fold
        counts[fold] += groups[group]
    return placed


def _folds_of_file(path: Path, trained: Sequence[SplitRow], count: int) -> dict[str, int]:
    """The fold of each shard; a group may be divided, of which ``check`` speaks."""
    given = {one.shard: one.fold for one in read_folds(path)}
    problems: list[Problem] = []
    placed: dict[str, int] = {}
    for row in trained:
        fold = given.get(row.shard)
        if fold is None or fold >= count:
            what = f'shard "{row.shard}" has no fold.' if fold is None else f"fold {fold} of {row.shard} is too high."
            problems.append(Problem(str(path), what, f"Give it a fold from 0 to {count - 1}."))
        else:
            placed[row.shard] = fold
    empty = sorted(set(range(count)) - set(placed.values()))
    if empty and not problems:
        what = f"no training shard has the fold {' or '.join(map(str, empty))}."
        problems.append(
            Problem(str(path), what, f"Give each fold from 0 to {count - 1} a shard, or lower folds.count.")
        )
    raise_all(UserError, list(dict.fromkeys(problems)))
    return placed
