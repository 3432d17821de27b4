"""Write the slide sheet of a folder with a known layout (``layouts``)."""

import csv
import io
from pathlib import Path

from tilewright.project.layouts import READERS, Layout, Record, fill_shards
from tilewright.project.rows import COLUMNS
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import Problem, UserError


def sheet(layout: Layout, folder: Path, *, out: Path, per_shard: int | None = None) -> None:
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

    Raises:
        UserError: the folder does not have the layout; names what was looked for. Or a layout that has shards of its
            own.
    """
    if not folder.is_dir():
        raise UserError(Problem(str(folder), "is not a folder.", "Name the folder that holds the data set."))
    records = READERS[layout](folder)
    if per_shard is not None:
        _share(records, layout, per_shard)
    known = [column for column in COLUMNS if any(column in record for record in records)]
    extra = [column for record in records for column in record if column not in known]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*known, *dict.fromkeys(extra)], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(out, stream.getvalue())


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
