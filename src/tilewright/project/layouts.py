"""Folders whose layout is known: those of three competitions, and QuPath's.

In: a folder. Out: the records of a slide sheet, by column, whose files are named from that folder (the config's
    ``data``).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from tilewright.project.folders import (
    SHARD,
    Layout,
    OutlineFiles,
    Record,
    images_in,
    refuse,
    relative,
    rows_of,
    safe_name,
    train_and_test,
)
from tilewright.project.naming import IMAGE_SUFFIXES, bare_name, unique_names
from tilewright.project.vasculature import vasculature
from tilewright.runtime.errors import Problem, UserError, raise_all

EVERY, FOLDS = 6, 5


def _kidney(folder: Path) -> list[Record]:
    """``train/``, ``test/`` and, where it is there, ``extra/`` with slides of other sources. One slide a shard.

    Outlines are ``ID.json`` or ``ID.geojson`` beside the slide, else the first table of run lengths that lists it:
    ``train.csv``, ``train_*.csv``, ``extra/*.csv``. A slide of ``test/`` with outlines is for training; one of
    ``extra/`` is external, of the source "extra". Cortex and medulla are taken from ``ID-anatomical-structure.json``
    beside the slide.

    Group and source are the patient's number from ``HuBMAP-20-dataset_information.csv``, where the slide is listed.
    """
    listed = rows_of(folder / "HuBMAP-20-dataset_information.csv", "image_file", "patient_number")
    information = {bare_name(row["image_file"]): row for row in listed}
    tables = [folder / "train.csv", *sorted(folder.glob("train_*.csv")), *sorted((folder / "extra").glob("[!.]*.csv"))]
    encoded: dict[str, str] = {}
    for table in tables:
        needed = ["id"] if table.parent == folder else []  # extra/ may hold tables of other things
        for row in rows_of(table, *needed):
            encoded.setdefault(row.get("id", ""), relative(table, folder))
    records = []
    extra = [("extra", image) for image in images_in(folder / "extra")]
    beside_of = {place: OutlineFiles(folder / place) for place in ("train", "test", "extra")}
    for place, image in [*train_and_test(folder, "kidney", ".tiff"), *extra]:
        name = bare_name(image.name)
        beside = beside_of[place].of(image)
        outlines = relative(beside, folder) if beside else encoded.get(name, "")
        role = "external" if place == "extra" else "train" if place == "train" or outlines else "test"
        patient = information.get(name, {}).get("patient_number", "")
        known = {"group": patient, "source": patient} if patient else {"source": "extra"} if place == "extra" else {}
        anatomy = image.parent / f"{name}-anatomical-structure.json"
        records.append({
            "slide": safe_name(name), "image": relative(image, folder), "role": role, "annotations": outlines, **known,
            **({"anatomy": relative(anatomy, folder)} if anatomy.is_file() else {}),
        })  # fmt: skip
    bare = [record["slide"] for record in records if record["role"] != "test" and not record["annotations"]]
    if bare:
        what = f"slides without outlines in train/ or extra/: {', '.join(bare[:5])} ({len(bare)} in all)."
        remedy = "Add ID.json beside the slide, or a table that lists it; or move them to test/."
        raise UserError(Problem(str(folder), what, remedy))
    return records


def _sartorius(folder: Path) -> list[Record]:
    """``train.csv`` (row-major run lengths: set ``annotations.rle_order: row_major``), ``train/*.png``, ``test/*.png``.

    Images of one sample (``sample_id``) look alike and stay together: whole samples of one cell type fill a shard of
    about 32 images, and a shard is a group. Images without rows are for testing. The source is the cell type.
    """
    table = rows_of(folder / "train.csv")
    if not table or not {"id", "annotation"} <= set(table[0]):
        refuse(folder, "sartorius", "train.csv with the columns id and annotation")
    cells = {row["id"]: row for row in table}
    images = train_and_test(folder, "sartorius", ".png")
    records = []
    samples: dict[tuple[str, str], list[Record]] = {}
    for _, image in images:
        cell = cells.get(name := bare_name(image.name), {})
        role, kind = ("train", cell.get("cell_type", "") or "all") if cell else ("test", "unknown")
        record = {"slide": name, "image": relative(image, folder), "role": role, "source": kind}
        record["annotations"] = "train.csv" if cell else ""
        samples.setdefault((kind if cell else "test", cell.get("sample_id", "") or name), []).append(record)
        records.append(record)
    fill_shards(samples, SHARD)
    return records


def _dsb2018(folder: Path) -> list[Record]:
    """``images/ID.png`` with ``labels/ID.png``, an object a value, and ``meta.csv``.

    ``meta.csv`` has the columns id and group: what an image looks like.

    The source is the look. Of each look every sixth image is for testing; the others are dealt to at most five
    shards, each a group, so that five folds can share every look.
    """
    images = list(images_in(folder / "images"))
    if not images or not (folder / "labels").is_dir():
        refuse(folder, "dsb2018", "images/*.png and labels/*.png")
    looks: dict[str, list[Path]] = {}
    group_of = {row["id"]: row["group"] for row in rows_of(folder / "meta.csv", "id", "group")}
    for image in images:
        looks.setdefault(safe_name(group_of.get(bare_name(image.name), "all")), []).append(image)
    records = []
    for look, members in sorted(looks.items()):
        trained = 0
        for number, image in enumerate(members, start=1):
            label = folder / "labels" / image.name
            test = number % EVERY == 0 or not label.is_file()
            shard = f"{look}_test" if test else f"{look}_{trained % FOLDS}"
            trained += not test
            records.append({
                "slide": safe_name(bare_name(image.name)), "image": relative(image, folder), "source": look,
                "annotations": relative(label, folder) if label.is_file() else "",
                "role": "test" if test else "train", "group": shard, "shard": shard,
            })  # fmt: skip
    return records


def fill_shards(samples: Mapping[tuple[str, str], list[Record]], size: int, taken: Collection[str] = ()) -> None:
    """Name shards, which are groups as well, for samples of several kinds.

    For each kind whole samples fill a shard up to ``size`` slides; a larger sample has a shard of its own.

    Args:
        samples: slides that stay together, by their kind and name.
        size: most slides in a shard.
        taken: names of other shards, after which these are counted.
    """
    counted = [name.rpartition("_") for name in taken]
    shards: dict[str, list[list[Record]]] = {}
    for (kind, _), members in sorted(samples.items()):
        filled = shards.setdefault(kind, [[]])
        if filled[-1] and len(filled[-1]) + len(members) > size:
            filled.append([])
        filled[-1] += members
        name = safe_name(kind)
        first = max(
            (int(number) + 1 for start, _, number in counted if start == name and number.isdecimal()), default=0
        )
        for record in members:
            record["group"] = record["shard"] = f"{name}_{first + len(filled) - 1:03}"


def _qupath(folder: Path) -> list[Record]:
    """Images and, beside them or in ``annotations/``, outlines as ``NAME.geojson`` or ``NAME.json``, packed or not.

    Slides without outlines are for testing. One slide a shard.
    """
    records = []
    images = [*images_in(folder), *images_in(folder / "images")]
    if not images:
        refuse(folder, "qupath", f"images ({', '.join(IMAGE_SUFFIXES)}) in the folder itself or in images/")
    named = [image.relative_to(folder) for image in images]
    outlines = _outlines_of(images, folder)
    for image, place, slide in zip(images, named, unique_names(named), strict=True):
        records.append({
            "slide": slide, "image": place.as_posix(), "role": "train" if image in outlines else "test",
            "annotations": relative(outlines[image], folder) if image in outlines else "",
        })  # fmt: skip
    return records


def _outlines_of(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """The file of outlines of each image that has one, in the first of some folders that has it.

    Raises:
        UserError: a file has the name of several images; names them.
    """
    listed: dict[Path, OutlineFiles] = {}
    found: dict[Path, Path] = {}
    for image in images:
        places = dict.fromkeys((image.parent, folder, folder / "annotations", image.parent / "annotations"))
        listed |= {place: OutlineFiles(place) for place in places if place not in listed}
        if file := next((file for place in places if (file := listed[place].of(image))), None):
            found[image] = file
    owners: dict[Path, list[str]] = {}
    for image, file in found.items():
        owners.setdefault(file, []).append(relative(image, folder))
    raise_all(UserError, [
        Problem(str(file), f"has the name of {' and '.join(several)}.",
                f"Rename it after one, as {Path(several[0]).name}.geojson, or move the others away.")
        for file, several in owners.items() if len(several) > 1
    ])  # fmt: skip
    return found


READERS: Mapping[Layout, Callable[[Path], list[Record]]] = {
    "kidney": _kidney,
    "vasculature": vasculature,
    "sartorius": _sartorius,
    "dsb2018": _dsb2018,
    "qupath": _qupath,
}
"""The reader of each layout. It gives the records of a folder, or a ``UserError`` that names what was looked for."""
