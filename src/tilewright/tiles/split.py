"""Folds: groups divided for cross-validation. Plain Python, because the graph needs the folds when it is built.

``folds.csv`` holds one row for each shard that is trained on: shard, group, fold. The fold of an external shard is the
word ``external``: it is trained on in every fold and never validated on.
"""

import csv
import io
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilewright.project.config import Folds
from tilewright.project.rows import Row, open_sheet
from tilewright.project.settings import SplitSettings
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem, UserError, raise_all

EXTERNAL = "external"


@dataclass(frozen=True)
class Assignment:
    """Where a shard stands in the cross-validation.

    Attributes:
        shard: name of the shard.
        group: its group.
        fold: the fold that validates on it; None: external.
    """

    shard: str
    group: str
    fold: int | None


def split(*, sheet: Path, data: Path, settings: SplitSettings, out: Path, extend: Path | None = None) -> None:
    """Divide the training shards into folds and write ``folds.csv``.

    Args:
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        settings: number of folds, seed, stratification.
        out: the csv to write.
        extend: an earlier ``folds.csv`` whose assignments are kept; only new groups are placed.

    Raises:
        UserError: fewer groups than folds, or a group on both sides of a fold.
    """
    rows = open_sheet(sheet, data).rows
    kept = read_folds(extend) if extend else []
    assignments = assign_folds(rows, settings.folds, kept)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["shard", "group", "fold"])
    writer.writerows((one.shard, one.group, EXTERNAL if one.fold is None else one.fold) for one in assignments)
    write_text(out, text.getvalue())


def assign_folds(rows: Iterable[Row], folds: Folds, kept: Sequence[Assignment] = ()) -> list[Assignment]:
    """Give each training group a fold, evenly in slides and in the values of ``folds.stratify``.

    Groups are taken from the largest to the smallest, in an order that the seed decides among equals; each goes to the
    fold where it makes the counts of slides by stratum least uneven.

    Args:
        rows: all rows of the sheet; test slides are left out.
        folds: number of folds, seed, column to stratify by, or a file to read instead.
        kept: assignments that stay as they are.

    Returns:
        One assignment for each shard with the role train or external, in the order of the sheet.

    Raises:
        UserError: fewer groups than folds, an unknown column, or a file that does not fit the sheet.
    """
    used = [row for row in rows if row.role != "test"]
    trained = [row for row in used if row.role == "train"]
    if folds.file:
        placed = _folds_of_file(Path(folds.file), trained, folds.count)
    else:
        _check_groups(trained, folds)
        placed = _place(trained, folds, {one.group: one.fold for one in kept if one.fold is not None})
    shards = {row.shard: row for row in used}
    return [
        Assignment(shard, row.group, placed[row.group] if row.role == "train" else None)
        for shard, row in shards.items()
    ]


def read_folds(path: Path) -> list[Assignment]:
    """Read a ``folds.csv``.

    Raises:
        UserError: the file is missing or a row cannot be read; names every such row.
    """
    if not path.is_file():
        raise UserError(Problem(str(path), "the file of folds does not exist.", "Write it with `tilewright split`."))
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if missing := {"shard", "group", "fold"} - set(reader.fieldnames or ()):
            raise UserError(Problem(f"{path}, header", f"columns are missing: {', '.join(sorted(missing))}."))
        records = [(reader.line_num, record) for record in reader]
    problems = [
        Problem(f"{path}, row {number}", f'fold "{record["fold"]}" is no number.', f'Use 0, 1, ... or "{EXTERNAL}".')
        for number, record in records
        if record["fold"] != EXTERNAL and not (record["fold"] or "").isdecimal()
    ]
    raise_all(UserError, problems)
    return [
        Assignment(record["shard"], record["group"], None if record["fold"] == EXTERNAL else int(record["fold"]))
        for _, record in records
    ]


def agreed_folds(path: Path, rows: Iterable[Row], folds: Folds) -> list[Assignment]:
    """Read a ``folds.csv`` that must hold the folds which sheet and config give.

    The graph has every slide predicted by the fold that these give it. With other folds in the file, a model would be judged on
    slides that it has seen.

    Raises:
        DataError: the file holds other folds: it was edited, damaged, or is older than the sheet.
        UserError: as of ``read_folds`` and ``assign_folds``.
    """
    given = {one.shard: one for one in assign_folds(rows, folds)}
    found = {one.shard: one for one in read_folds(path)}
    if differing := [shard for shard in dict.fromkeys((*given, *found)) if found.get(shard) != given.get(shard)]:
        shard = differing[0]
        what = (
            f"{len(differing)} shard(s) have other folds than sheet and config give, by which predictions are planned; "
            f"{shard}: {_told(found.get(shard))} in place of {_told(given.get(shard))}."
        )
        remedy = "Delete the file and run again. For folds of your own, name a csv by the key folds.file."
        raise DataError(Problem(str(path), what, remedy))
    return list(found.values())


def _told(one: Assignment | None) -> str:
    if one is None:
        return "nothing"
    return f"{EXTERNAL if one.fold is None else f'fold {one.fold}'} (group {one.group})"


def _check_groups(trained: Sequence[Row], folds: Folds) -> None:
    groups = {row.group for row in trained}
    if len(groups) < folds.count:
        what = f"folds.count is {folds.count}, but the training slides form {len(groups)} group(s)."
        raise UserError(
            Problem("config", what, "Lower folds.count, or give slides of different patients other groups.")
        )
    column = folds.stratify
    if column and trained and not hasattr(trained[0], column) and column not in trained[0].extra:
        raise UserError(Problem("config", f'folds.stratify: the sheet has no column "{column}".'))


def _place(trained: Sequence[Row], folds: Folds, fixed: Mapping[str, int]) -> dict[str, int]:
    groups: dict[str, Counter[str]] = {}
    for row in trained:
        groups.setdefault(row.group, Counter())[row.column(folds.stratify) if folds.stratify else ""] += 1
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


def _folds_of_file(path: Path, trained: Sequence[Row], count: int) -> dict[str, int]:
    given = {one.shard: one.fold for one in read_folds(path)}
    problems: list[Problem] = []
    placed: dict[str, int] = {}
    for row in trained:
        fold = given.get(row.shard)
        if fold is None or fold >= count:
            what = f'shard "{row.shard}" has no fold.' if fold is None else f"fold {fold} of {row.shard} is too high."
            problems.append(Problem(str(path), what, f"Give it a fold from 0 to {count - 1}."))
        elif placed.setdefault(row.group, fold) != fold:
            what = f'group "{row.group}" lies on both sides of a fold: {placed[row.group]} and {fold}.'
            problems.append(Problem(str(path), what, "Give all shards of a group the same fold."))
    raise_all(UserError, list(dict.fromkeys(problems)))
    return placed
