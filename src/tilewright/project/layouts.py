"""Folders whose layout is known: those of three competitions, and QuPath's.

In: a folder. Out: the records of a slide sheet, by column, whose files are named from that folder (the config's
    ``data``).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NoReturn, cast

from tilewright.project.rows import IMAGE_SUFFIXES
from tilewright.runtime.errors import Problem, UserError

Layout = Literal["kidney", "vasculature", "sartorius", "dsb2018", "qupath"]
Record = dict[str, str]
OUTLINES = (".geojson", ".json", ".geojson.gz", ".json.gz")
SHARD = 32
EVERY, FOLDS = 6, 5


def _kidney(folder: Path) -> list[Record]:
    """``train/`` with outlines as ``ID.json``, else in ``train.csv`` as run lengths; ``test/``. One slide a shard.

    Cortex and medulla are taken from ``ID-anatomical-structure.json`` beside the slide.

    Group and source are the patient's number from ``HuBMAP-20-dataset_information.csv``, where the slide is listed.
    """
    information = {Path(row["image_file"]).stem: row for row in _table(folder / "HuBMAP-20-dataset_information.csv")}
    encoded = {row["id"] for row in _table(folder / "train.csv") if "id" in row}
    records = []
    for role, image in _train_and_test(folder, "kidney", ".tiff"):
        name = _name(image)
        record = {"slide": name, "image": _relative(image, folder), "role": role}
        if role == "train":
            outlines = image.parent / f"{name}.json"
            table = "train.csv" if name in encoded else ""
            record["annotations"] = _relative(outlines, folder) if outlines.is_file() else table
        anatomy = image.parent / f"{name}-anatomical-structure.json"
        if anatomy.is_file():
            record["anatomy"] = _relative(anatomy, folder)
        patient = information.get(name, {}).get("patient_number", "")
        records.append(record | ({"group": patient, "source": patient} if patient else {}))
    bare = [record["slide"] for record in records if record["role"] == "train" and not record["annotations"]]
    if bare:
        what = f"slides without outlines in train/: {', '.join(bare[:5])} ({len(bare)} in all)."
        raise UserError(Problem(str(folder), what, "Add train/ID.json or train.csv, or move them to test/."))
    return records


# What each file of outlines annotates completely, by the first name that it starts with; the most complete file first.
_VASCULATURE_LABELLED = {
    "polygons.jsonl": "",
    "polygons_blood_vessel_only.jsonl": "blood_vessel",
    "polygons_vessel_or_unsure_merged.jsonl": "blood_vessel",
}


def _vasculature(folder: Path) -> list[Record]:
    """``train/`` and ``test/`` tiles with ``tile_meta.csv`` and ``polygons*.jsonl``.

    One shard and group for a whole slide.

    A tile that is completely annotated in one of the files is for training, whichever folder it lies in; the most
    complete file wins. Tiles without outlines, or in ``polygons_partial.jsonl`` only, are for testing, in shards of
    their own. The source is ``dataset{d}_wsi{w}``; for a tile that the table does not list (the public test tile),
    "unlisted".
    """
    meta = {row["id"]: row for row in _table(folder / "tile_meta.csv")}
    found = [name for name in _VASCULATURE_LABELLED if (folder / name).is_file()]
    images = _train_and_test(folder, "vasculature", ".tif")
    if not meta or not found:
        _refuse(
            folder, "vasculature", "tile_meta.csv with the columns id, source_wsi, dataset, i, j, and polygons.jsonl"
        )
    holds = {name: (folder / name).read_bytes() for name in found}
    records = []
    for _, image in images:
        tile = meta.get(name := _name(image))
        wsi = f"wsi{tile['source_wsi']}" if tile else "unlisted"
        outlines = next((file for file in found if f'"id":"{name}"'.encode() in holds[file].replace(b" ", b"")), "")
        role, place = ("train", "") if outlines else ("test", "_test")
        records.append({
            "slide": name, "image": _relative(image, folder), "annotations": outlines, "role": role,
            "group": wsi, "shard": f"{wsi}{place}", "source": f"dataset{tile['dataset']}_{wsi}" if tile else wsi,
            "labelled": _VASCULATURE_LABELLED.get(outlines, "none"),
            **{key: tile[key] if tile else "" for key in ("dataset", "source_wsi", "i", "j")},
        })  # fmt: skip
    return records


def _sartorius(folder: Path) -> list[Record]:
    """``train.csv`` (row-major run lengths: set ``annotations.rle_order: row_major``), ``train/*.png``, ``test/*.png``.

    Images of one sample (``sample_id``) look alike and stay together: whole samples of one cell type fill a shard of
    about 32 images, and a shard is a group. Images without rows are for testing. The source is the cell type.
    """
    table = _table(folder / "train.csv")
    if not table or not {"id", "annotation"} <= set(table[0]):
        _refuse(folder, "sartorius", "train.csv with the columns id and annotation")
    cells = {row["id"]: row for row in table}
    images = _train_and_test(folder, "sartorius", ".png")
    records = []
    samples: dict[tuple[str, str], list[Record]] = {}
    for _, image in images:
        cell = cells.get(name := _name(image), {})
        role, kind = ("train", cell.get("cell_type", "") or "all") if cell else ("test", "unknown")
        record = {"slide": name, "image": _relative(image, folder), "role": role, "source": kind}
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
        _refuse(folder, "dsb2018", "images/*.png and labels/*.png")
    looks: dict[str, list[Path]] = {}
    group_of = {row["id"]: row["group"] for row in _table(folder / "meta.csv") if {"id", "group"} <= set(row)}
    for image in images:
        looks.setdefault(valid_name(group_of.get(_name(image), "all")), []).append(image)
    records = []
    for look, members in sorted(looks.items()):
        trained = 0
        for number, image in enumerate(members, start=1):
            label = folder / "labels" / image.name
            test = number % EVERY == 0 or not label.is_file()
            shard = f"{look}_test" if test else f"{look}_{trained % FOLDS}"
            trained += not test
            records.append({
                "slide": valid_name(_name(image)), "image": _relative(image, folder), "source": look,
                "annotations": _relative(label, folder) if label.is_file() else "",
                "role": "test" if test else "train", "group": shard, "shard": shard,
            })  # fmt: skip
    return records


def fill_shards(samples: Mapping[tuple[str, str], list[Record]], size: int) -> None:
    """Name shards, which are groups as well, for samples of several kinds.

    For each kind whole samples fill a shard up to ``size`` slides; a larger sample has a shard of its own.

    Args:
        samples: slides that stay together, by their kind and name.
        size: most slides in a shard.
    """
    shards: dict[str, list[list[Record]]] = {}
    for (kind, _), members in sorted(samples.items()):
        filled = shards.setdefault(kind, [[]])
        if filled[-1] and len(filled[-1]) + len(members) > size:
            filled.append([])
        filled[-1] += members
        for record in members:
            record["group"] = record["shard"] = f"{valid_name(kind)}_{len(filled) - 1:03}"


def _qupath(folder: Path) -> list[Record]:
    """Images and, beside them or in ``annotations/``, outlines as ``NAME.geojson`` or ``NAME.json``, also gzipped.

    Slides without outlines are for testing. One slide a shard.
    """
    records = []
    images = [*images_in(folder), *images_in(folder / "images")]
    if not images:
        _refuse(folder, "qupath", f"images ({', '.join(IMAGE_SUFFIXES)}) in the folder itself or in images/")
    for image in images:
        places = (image.parent, folder, folder / "annotations", image.parent / "annotations")
        names = dict.fromkeys((image.name, _name(image)))
        files = (place / f"{name}{suffix}" for place in places for name in names for suffix in OUTLINES)
        outlines = next((file for file in files if file.is_file()), None)
        records.append({
            "slide": valid_name(_name(image)), "image": _relative(image, folder),
            "role": "train" if outlines else "test",
            "annotations": _relative(outlines, folder) if outlines else "",
        })  # fmt: skip
    return records


def _train_and_test(folder: Path, layout: Layout, suffix: str) -> list[tuple[str, Path]]:
    """The images of the folders ``train`` and ``test``, with the folder's name."""
    found = [(role, image) for role in ("train", "test") for image in images_in(folder / role)]
    if not found:
        _refuse(folder, layout, f"train/*{suffix} and test/*{suffix}")
    return found


def images_in(folder: Path) -> Iterable[Path]:
    """The images in a folder, by how their names end, in the order of their names; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file())


def _name(image: Path) -> str:
    return image.name.removesuffix(image.suffix)


def valid_name(name: str) -> str:
    """A name that the sheet takes, with underscores for what it does not."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_.-") or "unnamed"


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _table(path: Path) -> list[Record]:
    """Rows of a csv; none where there is no file."""
    if not path.is_file():
        return []
    import pandas as pd  # takes longer to load than most tables take to read; some layouts have none

    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return cast(list[Record], table.to_dict("records"))


def _refuse(folder: Path, layout: str, looked: str) -> NoReturn:
    what = f"does not have the layout {layout}: not found: {looked}."
    raise UserError(Problem(str(folder), what, "Name the folder that holds these, or another layout."))


READERS: Mapping[Layout, Callable[[Path], list[Record]]] = {
    "kidney": _kidney,
    "vasculature": _vasculature,
    "sartorius": _sartorius,
    "dsb2018": _dsb2018,
    "qupath": _qupath,
}
"""The reader of each layout. It gives the records of a folder, or a ``UserError`` that names what was looked for."""
