"""The folder of the HuBMAP vasculature competition: tiles, tables of tiles and whole slides, outlines as JSON lines."""

import re
from collections.abc import Sequence
from pathlib import Path

from tilewright.project.folders import (
    SHARD,
    UNLABELLED,
    Record,
    refuse,
    relative,
    rows_of,
    train_and_test,
)
from tilewright.project.naming import bare_name
from tilewright.runtime.errors import Problem, UserError

FILES_OF_OUTLINES = {
    "polygons.jsonl": "",
    "polygons_blood_vessel_only.jsonl": "blood_vessel",
    "polygons_vessel_or_unsure_merged.jsonl": "blood_vessel",
}
"""What each file of outlines annotates completely; the most complete file first."""
DONORS = ("age", "sex", "race", "height", "weight", "bmi")
"""Columns of ``wsi_meta.csv``: of whom a whole slide is."""
TRAINED, SEED = 0.8, 1
"""Share of the tiles trained on, and the seed of NumPy that chooses them, where tiles are divided at random."""
IDENTITY = re.compile(rb'"id"\s*:\s*"([^"]+)"')


def vasculature(folder: Path) -> list[Record]:
    """``train/`` and ``test/`` tiles with ``tile_meta.csv``, ``wsi_meta.csv`` and ``polygons*.jsonl``.

    One shard and group for a whole slide.

    A tile that is completely annotated in one of the files is for training, whichever folder it lies in; the most
    complete file wins. Other tiles of ``test/`` are for testing, other tiles of ``train/`` are unlabelled; both lie in
    shards of their own. The source is ``dataset{d}_wsi{w}``; for a tile that the table does not list (the public test
    tile), "unlisted". What ``wsi_meta.csv`` says of the donor stands in columns of the same names.
    """
    meta = {row["id"]: row for row in rows_of(folder / "tile_meta.csv", "id", "source_wsi", "dataset")}
    images = train_and_test(folder, "vasculature", ".tif")
    if not meta or not any((folder / name).is_file() for name in FILES_OF_OUTLINES):
        looked = "tile_meta.csv with the columns id, source_wsi, dataset, i, j, and polygons.jsonl"
        refuse(folder, "vasculature", looked)
    outlines = outlined_tiles(folder)
    donors = {row.pop("source_wsi"): row for row in rows_of(folder / "wsi_meta.csv", "source_wsi")}
    known = [name for name in DONORS if any(name in donor for donor in donors.values())]
    records = []
    for place, image in images:
        tile = meta.get(name := bare_name(image.name), {})
        wsi = f"wsi{tile['source_wsi']}" if tile else "unlisted"
        role = "train" if name in outlines else UNLABELLED if place == "train" else "test"
        donor = donors.get(tile.get("source_wsi", ""), {})
        records.append({
            "slide": name, "image": relative(image, folder), "annotations": outlines.get(name, ""), "role": role,
            "group": wsi, "shard": wsi if role == "train" else f"{wsi}_test",
            "source": f"dataset{tile['dataset']}_{wsi}" if tile else wsi,
            "labelled": FILES_OF_OUTLINES.get(outlines.get(name, ""), "none"),
            **{key: tile.get(key, "") for key in ("dataset", "source_wsi", "i", "j")},
            **{key: donor.get(key, "") for key in known},
        })  # fmt: skip
    return records


def outlined_tiles(folder: Path) -> dict[str, str]:
    """The tiles that are completely annotated, with the most complete file each; in the order of the files' lines."""
    found: dict[str, str] = {}
    for file in FILES_OF_OUTLINES:
        if (folder / file).is_file():
            with (folder / file).open("rb") as lines:
                for line in lines:
                    if name := IDENTITY.search(line):
                        found.setdefault(name[1].decode(), file)
    return found


def divide_tiles(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide tiles at random: four in five to train on, the others to validate.

    As ``np.random.seed(1); np.random.shuffle(names)`` orders them, the first ``int(0.8 * n)`` are trained on.

    Args:
        names: of the tiles, in the order of the lines of ``polygons.jsonl``.

    Returns:
        Those to train on and those to validate.
    """
    import numpy as np  # one layout with one option needs it

    order = np.random.RandomState(SEED).permutation(len(names))
    count = int(TRAINED * len(names))
    shuffled = [names[place] for place in order]
    return shuffled[:count], shuffled[count:]


def group_by_tile(records: Sequence[Record], folder: Path) -> tuple[list[Record], dict[str, int]]:
    """Divide the tiles for training at random, whatever whole slide they are of, in shards of at most 32 tiles.

    Args:
        records: those of ``vasculature``.
        folder: the folder that they are of.

    Returns:
        The records, each shard of tiles for training a group of its own; and the folds of these shards: 0 validates
        on one tile in five, 1 on the others.

    Raises:
        UserError: there are fewer than two tiles to divide.
    """
    trained = {record["slide"] for record in records if record["role"] == "train"}
    if len(trained) < 2:
        what = f"tiles for training: {len(trained)}; at least two can be divided."
        raise UserError(Problem(str(folder), what, "Leave --group out, or add tiles."))
    sides = divide_tiles([name for name in outlined_tiles(folder) if name in trained])
    named = (("train", 1, sides[0]), ("validation", 0, sides[1]))
    placed = {
        name: (f"{side}_{place // SHARD:03}", fold) for side, fold, names in named for place, name in enumerate(names)
    }
    grouped = [
        record | {"group": placed[name][0], "shard": placed[name][0]} if (name := record["slide"]) in placed else record
        for record in records
    ]
    return grouped, dict(placed.values())
