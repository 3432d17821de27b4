"""Write the slide sheet of a folder with a known layout (``layouts``)."""

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tilewright.project.config import Config, LayoutUse
from tilewright.project.folders import UNLABELLED, Layout, Record
from tilewright.project.layouts import READERS, fill_shards
from tilewright.project.places import folds_beside
from tilewright.project.rows import COLUMNS
from tilewright.project.vasculature import group_by_tile
from tilewright.runtime.atomic import write_new, write_text
from tilewright.runtime.errors import Problem, UserError, raise_all
from tilewright.runtime.progress import note


def sheet(
    layout: Layout,
    folder: Path,
    *,
    out: Path,
    per_shard: int | None = None,
    test_unlabelled: bool = False,
    group: Literal["tile"] | None = None,
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
        group: tile: for vasculature, tiles are divided at random, whatever whole slide they are of: the first
            ``int(0.8 * n)`` as NumPy's seed 1 shuffles the lines of ``polygons.jsonl`` are for training, the others for
            validation. Their folds are written beside the sheet (``NAME.folds.csv``), for the key ``folds.file``.
            Default: a whole slide is a group.

    Raises:
        UserError: the folder does not have the layout; names what was looked for. Or an option that the layout does
            not have.
    """
    use = LayoutUse(name=layout, per_shard=per_shard, test_unlabelled=test_unlabelled, group=group)
    _write(use, folder, out, write_text)
    told = " ".join(shlex.quote(str(part)) for part in ("--sheet", out, "--data", folder))
    note(f"{out} is written. Next: tilewright plan {told} --out CONFIG, or a config by hand")


def ensure_sheet(config: Config) -> None:
    """Write the slide sheet of a config that names a layout, unless it is there; also where nothing else will run.

    Raises:
        UserError: as of ``sheet``; or the config does not name the folder.
    """
    path = Path(config.sheet)
    if config.layout is None or path.exists():
        return
    if config.data is None:
        what = f"layout: the folder that {path} would be written from is not named."
        raise UserError(Problem("config", what, "Give data: FOLDER, or on the command line --config data=FOLDER."))
    # several programs may start at once: what they write is the same, and none writes over another's
    _write(config.layout, Path(config.data), path, write_new)
    note(f"{path} was not there: written from {config.data} (layout: {config.layout.name})")


def _write(use: LayoutUse, folder: Path, out: Path, write: Callable[[Path, str], None]) -> None:
    """Write the sheet, and before it the folds where the layout divides slides itself."""
    if not folder.is_dir():
        raise UserError(Problem(str(folder), "is not a folder.", "Name the folder that holds the data set."))
    _check_options(use)
    records = _with_roles(READERS[use.name](folder), test_unlabelled=use.test_unlabelled)
    _check_names(records, folder)
    folds: dict[str, int] = {}
    if use.group:
        records, folds = group_by_tile(records, folder)
    if use.per_shard is not None:
        _share(records, use.name, use.per_shard)
    if folds:
        _write_folds(folds, folds_beside(out), write)
    write(out, _csv(records))


def _write_folds(folds: Mapping[str, int], path: Path, write: Callable[[Path, str], None]) -> None:
    """Write the folds of a sheet that is written next.

    Raises:
        UserError: folds of another sheet are there, and would stay.
    """
    text = "shard,group,fold\n" + "".join(f"{shard},{shard},{fold}\n" for shard, fold in folds.items())
    write(path, text)
    if path.read_text(encoding="utf-8") != text:
        what = "holds other folds than the sheet would have that is to be written beside it."
        raise UserError(Problem(str(path), what, "Delete it, or rename it, and run again."))
    note(f"Folds in {path}. In the config: folds: {{count: 2, selected: [0], file: {path}}}")


def _check_options(use: LayoutUse) -> None:
    """Refuse what only the layout vasculature has."""
    given = {
        "test_unlabelled": (use.test_unlabelled, f"the layout {use.name} has no images that it leaves out."),
        "group": (use.group, f"the layout {use.name} has groups of its own."),
    }
    problems = [
        Problem(option, what, "Leave it out; it is for vasculature.") for option, (on, what) in given.items() if on
    ]
    raise_all(UserError, problems if use.name != "vasculature" else [])


def _check_names(records: Sequence[Record], folder: Path) -> None:
    """Refuse two images of one name, such as those of a folder for training and one for tests."""
    images: dict[str, list[str]] = {}
    for record in records:
        images.setdefault(record["slide"], []).append(record["image"])
    raise_all(UserError, [
        Problem(f"{folder}, slide {slide}", f"stands for {' and '.join(several)}.", "Rename or move one of them.")
        for slide, several in images.items() if len(several) > 1
    ])  # fmt: skip


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
        raise UserError(Problem("per_shard", what, "Leave it out, or give the number for kidney or qupath."))
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.get("group", "") or record["slide"], []).append(record)
    roles = {name: sorted({record["role"] for record in members}) for name, members in groups.items()}
    fill_shards({("_".join(roles[name]), name): members for name, members in groups.items()}, size)
    for name, members in groups.items():
        if len(roles[name]) > 1:
            for record in members:
                record["shard"] = f"{record['group']}_{record['role']}"
