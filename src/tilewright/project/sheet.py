"""Write the slide sheet of a folder with a known layout (``layouts``)."""

import csv
import io
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tilewright.project.config import Config, LayoutUse
from tilewright.project.folders import UNLABELLED, Layout, Record
from tilewright.project.layouts import READERS, fill_shards
from tilewright.project.merging import merge
from tilewright.project.places import folds_beside
from tilewright.project.rows import COLUMNS
from tilewright.project.unused import Unused
from tilewright.project.vasculature import group_by_tile
from tilewright.runtime.atomic import write_new, write_text
from tilewright.runtime.errors import Problem, UserError, listed, raise_all
from tilewright.runtime.progress import note


def sheet(
    layout: Layout,
    folder: Path,
    *,
    out: Path,
    per_shard: int | None = None,
    test_unlabelled: bool = False,
    group: Literal["tile"] | None = None,
    update: bool = False,
) -> None:
    """Write the slide sheet of a folder with a known layout, and say what of the folder it does not use.

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
        update: add the slides that a sheet lacks to it. Its rows and columns stay as they are; slides whose images are
            gone are named. Default: a sheet that is there and says something else is not touched.

    Raises:
        UserError: the folder does not have the layout; names what was looked for. Or an option that the layout does
            not have; or there is another sheet.
    """
    use = LayoutUse(name=layout, per_shard=per_shard, test_unlabelled=test_unlabelled, group=group)
    if update and out.exists():
        _update(use, folder, out)
    else:
        _write(use, folder, out, _write_if_new)
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
    records = _read(use, folder)
    folds: dict[str, int] = {}
    if use.group:
        records, folds = group_by_tile(records, folder)
    if use.per_shard is not None:
        _share(records, use.per_shard)
    if folds:
        _write_folds(folds, folds_beside(out), write)
    write(out, _csv(records, out))
    _summarise(records, folder, out)


def _read(use: LayoutUse, folder: Path) -> list[Record]:
    """The slides of a folder by its layout."""
    if not folder.is_dir():
        raise UserError(Problem(str(folder), "is not a folder.", "Name the folder that holds the data set."))
    _check_options(use)
    records = _with_roles(READERS[use.name](folder), test_unlabelled=use.test_unlabelled)
    _check_names(records, folder)
    if use.per_shard is not None and (use.per_shard < 1 or any("shard" in record for record in records)):
        few = f"{use.per_shard} slides a shard are too few."
        what = few if use.per_shard < 1 else f"the layout {use.name} has shards of its own."
        raise UserError(Problem("per_shard", what, "Leave it out, or give the number for kidney or qupath."))
    return records


def _write_if_new(out: Path, text: str) -> None:
    """Write a file, unless it would replace one that says something else."""
    if out.exists() and out.read_bytes() != text.encode():
        remedy = "Keep it and add what it lacks by --update, name another file by --out, or delete it."
        raise UserError(Problem(str(out), "is there and says something else; it was not touched.", remedy))
    write_text(out, text)


def _update(use: LayoutUse, folder: Path, out: Path) -> None:
    """Add the slides that a sheet lacks, and name those whose images are gone."""
    if use.group:
        what = "tiles that are divided at random are divided anew when there are more of them."
        raise UserError(Problem("update", what, "Leave out --update, and name another file by --out."))
    merged = merge(out, _read(use, folder), folder)
    if use.per_shard is not None:
        fresh = [record for record in merged.added if not record.get("shard")]
        _share(fresh, use.per_shard, [row.get("shard", "") for row in merged.kept])
    records = [*merged.kept, *merged.added]
    if merged.added:
        write_text(out, _csv(records, out, list(merged.kept[0]) if merged.kept else ()))
    for what, slides in (
        ("added", [record["slide"] for record in merged.added]),
        ("in the sheet, but their images are gone", merged.vanished),
        ("in the sheet without annotations, though there are some by now; enter them by hand", merged.offered),
    ):
        if slides:
            note(f"{out}: slides {what} ({len(slides)}): {listed(slides)}")
    _summarise(records, folder, out)


def _summarise(records: Sequence[Record], folder: Path, out: Path) -> None:
    """Say how many slides there are, and what of the folder they do not use."""
    outlined = sum(bool(record.get("annotations")) for record in records)
    note(f"{out}: {len(records)} slide(s), {outlined} with outlines")
    for line in Unused.of(folder, records, (folder, out.parent, Path())).told():
        note(f"{folder}: {line}")


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


def _csv(records: Sequence[Record], out: Path, header: Sequence[str] = ()) -> str:
    """The sheet as text; columns that it has come first, then those that every sheet may have."""
    used = dict.fromkeys(column for record in records for column in record)
    columns = dict.fromkeys([*header, *(column for column in COLUMNS if column in used), *used])
    stream = io.StringIO()
    delimiter = "\t" if out.suffix == ".tsv" else ","
    writer = csv.DictWriter(stream, columns, restval="", delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _share(records: list[Record], size: int, taken: Collection[str] = ()) -> None:
    """Put slides into shards of at most ``size``, by names that are not taken.

    A group stays undivided. One with slides of both roles becomes a group with shards of both, so that the link is
    kept.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.get("group", "") or record["slide"], []).append(record)
    roles = {name: sorted({record["role"] for record in members}) for name, members in groups.items()}
    fill_shards({("_".join(roles[name]), name): members for name, members in groups.items()}, size, taken)
    for name, members in groups.items():
        if len(roles[name]) > 1:
            for record in members:
                record["shard"] = f"{record['group']}_{record['role']}"
