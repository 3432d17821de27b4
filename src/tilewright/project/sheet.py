"""Write the slide sheet of a folder with a known layout (``layouts``)."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tilewright.project.folders import UNLABELLED, Layout, Record
from tilewright.project.layouts import READERS, fill_shards
from tilewright.project.rows import COLUMNS
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.progress import note


def sheet(
    layout: Layout, folder: Path, *, out: Path, per_shard: int | None = None, test_unlabelled: bool = False
) -> None:
    """Write the slide sheet of a folder with a known layout.

    Args:
        layout: kidney (HuBMAP kidney competition), vasculature (HuBMAP vasculature competition), sartorius (Sartorius
            cell competition), dsb2018 (nuclei of the Data Science Bowl, a label image each) or qupath (images with
            ``NAME.geojson`` or ``NAME.json`` beside them or in ``annotations/``).
        folder: the folder; files are named from it.
        out: the csv to write.
        per_shard: for kidney and qupath, how many slides one job may work on: whole groups fill shards of at most so
            many slides, and each shard becomes a group. Thousands of slides make a graph that is planned in seconds
            then; a damaged slide stops its shard. Default: one slide a shard.
        test_unlabelled: for vasculature, test slides are also made of the tiles of ``train/`` that have no complete
            outlines. Default: they are left out, and counted in the log.

    Raises:
        UserError: the folder does not have the layout; names what was looked for. Or an option that the layout does
            not have.
    """
    if not folder.is_dir():
        raise UserError(Problem(str(folder), "is not a folder.", "Name the folder that holds the data set."))
    if test_unlabelled and layout != "vasculature":
        what = f"the layout {layout} has no images that it leaves out."
        raise UserError(Problem("--test-unlabelled", what, "Leave it out; it is for vasculature."))
    records = _with_roles(READERS[layout](folder), test_unlabelled=test_unlabelled)
    if per_shard is not None:
        _share(records, layout, per_shard)
    write_text(out, _csv(records))


def _with_roles(records: Sequence[Record], *, test_unlabelled: bool) -> list[Record]:
    """The records that stay; those that are unlabelled become test slides, or are left out."""
    if test_unlabelled:
        return [record | {"role": "test"} if record["role"] == UNLABELLED else record for record in records]
    kept = [record for record in records if record["role"] != UNLABELLED]
    if left := len(records) - len(kept):
        note(f"{left} image(s) of train/ without complete outlines are left out; --test-unlabelled makes them tests.")
    return kept


def _csv(records: Sequence[Record]) -> str:
    """The sheet as text; columns that it knows come first."""
    known = [column for column in COLUMNS if any(column in record for record in records)]
    extra = [column for record in records for column in record if column not in known]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*known, *dict.fromkeys(extra)], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _share(records: list[Record], layout: Layout, size: int) -> None:
    """Put slides into shards of at most ``size``.

    A group stays undivided. One with slides of both roles becomes a group with shards of both, so that the link is
    kept.
    """
    if size < 1 or any("shard" in record for record in records):
        what = f"{size} slides a shard are too few." if size < 1 else f"the layout {layout} has shards of its own."
        raise UserError(Problem("--per-shard", what, "Leave it out, or give the number for kidney or qupath."))
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.get("group", "") or record["slide"], []).append(record)
    roles = {name: sorted({record["role"] for record in members}) for name, members in groups.items()}
    fill_shards({("_".join(roles[name]), name): members for name, members in groups.items()}, size)
    for name, members in groups.items():
        if len(roles[name]) > 1:
            for record in members:
                record["shard"] = f"{record['group']}_{record['role']}"
