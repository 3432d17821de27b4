"""The folder of the HuBMAP vasculature competition: tiles, tables of tiles and whole slides, outlines as JSON lines."""

import re
from pathlib import Path

from tilewright.project.folders import UNLABELLED, Record, name_of, refuse, relative, rows_of, train_and_test

FILES_OF_OUTLINES = {
    "polygons.jsonl": "",
    "polygons_blood_vessel_only.jsonl": "blood_vessel",
    "polygons_vessel_or_unsure_merged.jsonl": "blood_vessel",
}
"""What each file of outlines annotates completely; the most complete file first."""
DONORS = ("age", "sex", "race", "height", "weight", "bmi")
"""Columns of ``wsi_meta.csv``: of whom a whole slide is."""
IDENTITY = re.compile(rb'"id"\s*:\s*"([^"]+)"')


def vasculature(folder: Path) -> list[Record]:
    """``train/`` and ``test/`` tiles with ``tile_meta.csv``, ``wsi_meta.csv`` and ``polygons*.jsonl``.

    One shard and group for a whole slide.

    A tile that is completely annotated in one of the files is for training, whichever folder it lies in; the most
    complete file wins. Other tiles of ``test/`` are for testing, other tiles of ``train/`` are unlabelled; both lie in
    shards of their own. The source is ``dataset{d}_wsi{w}``; for a tile that the table does not list (the public test
    tile), "unlisted". What ``wsi_meta.csv`` says of the donor stands in columns of the same names.
    """
    meta = {row["id"]: row for row in rows_of(folder / "tile_meta.csv")}
    images = train_and_test(folder, "vasculature", ".tif")
    if not meta or not any((folder / name).is_file() for name in FILES_OF_OUTLINES):
        looked = "tile_meta.csv with the columns id, source_wsi, dataset, i, j, and polygons.jsonl"
        refuse(folder, "vasculature", looked)
    outlines = outlined_tiles(folder)
    donors = {row.pop("source_wsi", ""): row for row in rows_of(folder / "wsi_meta.csv")}
    known = [name for name in DONORS if any(name in donor for donor in donors.values())]
    records = []
    for place, image in images:
        tile = meta.get(name := name_of(image), {})
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
