"""A sheet that somebody has corrected, and the slides that its folder holds by now."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilewright.project.folders import Record
from tilewright.project.naming import composed, unique_names
from tilewright.project.sheetfile import read_records
from tilewright.project.storage import expanded


@dataclass(frozen=True)
class Merged:
    """A sheet with what its folder holds by now.

    Attributes:
        kept: the rows of the sheet as they are.
        added: those of slides that it lacked.
        vanished: slides of the sheet whose images are not there, with the images.
        offered: slides of the sheet without annotations for which the folder holds some, with these.
    """

    kept: list[Record]
    added: list[Record]
    vanished: list[str]
    offered: list[str]


def merge(path: Path, records: Sequence[Record], folder: Path) -> Merged:
    """The rows of a sheet, none changed, and those of slides of its folder that it lacks.

    A slide is known by its image. A slide that is added has a name of its own; it lies in the group of a slide that the
    layout gives the same group, and in a shard of its own kind.

    Args:
        path: the sheet.
        records: the slides of the folder.
        folder: the folder, which files are named from.

    Raises:
        UserError: the sheet cannot be read.
    """
    old = read_records(path)
    roots = (folder, path.parent, Path())
    places = {place: row for row in old for place in _places(row["image"], roots)}
    known = [(record, places.get(_place(folder / record["image"]))) for record in records]
    kin: dict[str, Record] = {}
    for record, row in known:
        if row is not None and record.get("group"):
            kin.setdefault(record["group"], row)
    added = _named([record for record, row in known if row is None], old)
    shards = {row["shard"]: row for row in old if row.get("shard")}
    return Merged(
        kept=old,
        added=[_placed(record, kin.get(record.get("group", "")), shards) for record in added],
        vanished=[f"{row['slide']} ({row['image']})" for row in old if not _places(row["image"], roots)],
        offered=[
            f"{row['slide']} ({record['annotations']})"
            for record, row in known
            if row is not None and record.get("annotations") and not row.get("annotations")
        ],
    )


def _places(image: str, roots: Sequence[Path]) -> list[str]:
    """Where an image of the sheet lies; none: it is not there."""
    if "://" in image:
        return [image]
    image = expanded(image)
    return [_place(root / image) for root in roots if (root / image).exists()][:1]


def _place(path: Path) -> str:
    return composed(os.path.realpath(path))


def _named(added: Sequence[Record], old: Sequence[Record]) -> list[Record]:
    """The slides that are added, by names that no slide has."""
    taken = {row["slide"].lower() for row in old}
    alike = [record for record in added if record["slide"].lower() in taken]
    others = [*taken, *(record["slide"] for record in added if record not in alike)]
    names = iter(unique_names([Path(record["image"]) for record in alike], others))
    return [record | {"slide": next(names)} if record in alike else record for record in added]


def _placed(record: Record, kin: Record | None, shards: dict[str, Record]) -> Record:
    """A slide that is added, in the group of its kin and in a shard whose slides have its group and role."""
    if kin is not None:
        record = record | {"group": kin.get("group") or kin["slide"]}
        if kin.get("shard"):
            record = record | {"shard": kin["shard"]}
    shard, number = record.get("shard", ""), 1
    while (other := shards.get(shard)) and (other.get("group"), _role(other)) != (record.get("group"), record["role"]):
        number += 1
        shard = f"{record['shard']}_{number}"
    if shard:
        shards.setdefault(shard, record)
        record = record | {"shard": shard}
    return record


def _role(row: Record) -> str:
    return row.get("role") or "train"
