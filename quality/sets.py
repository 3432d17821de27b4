"""The real sets that recipes are compared on: for each a sheet, and the part of a config that is about the data.

In: the folder of real data. Out: a sheet whose slides are in groups, one of each source for a fold, and the config
    without models.
"""

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class DataSet:
    """A set as the graph takes it.

    Attributes:
        config: sheet, classes, scales, tiles, folds.
        target: the class whose Dice is compared; "any" stands for all together.
        validate_every: epochs from one validation to the next.
        crop: edge of the crops that are trained on; windows are twice as large.
        tta: views that predictions are the mean of.
    """

    config: dict[str, Any]
    target: str
    validate_every: int = 1
    crop: int = 128
    tta: str = "none"


def hgsc(_data: Path, _folder: Path) -> DataSet:
    """The bundled H&E regions: nuclei of three classes, the two halves of one region."""
    config = {
        "sheet": str(REPOSITORY / "config" / "demo" / "slides.csv"),
        "data": str(REPOSITORY / "config" / "demo"),
        "classes": {"inflammatory": {}, "connective": {}, "neoplastic": {}},
        "annotations": {"objects": ["detection"]},
        "scales": {"scale": {"factor": 2}},
        "tiles": {"tiles": {"scale": "scale", "size": 192, "overlap": 0.25}},
        "folds": {"count": 2},
    }
    return DataSet(config, "any")


def vasculature(data: Path, folder: Path) -> DataSet:
    """Annotated PAS kidney tiles: vessels, half of the tiles of each source against the other half."""
    return _vasculature(data, folder, by_slide=False)


def vasculature_slides(data: Path, folder: Path) -> DataSet:
    """The same tiles, whole slides against other slides."""
    return _vasculature(data, folder, by_slide=True)


def vasculature_full(data: Path, folder: Path) -> DataSet:
    """The same tiles in five parts, at full resolution and in all eight positions: what the default can do."""
    found = _vasculature(data, folder, by_slide=False, parts=5)
    config = {
        **found.config,
        "scales": {"scale": {"factor": 1}},
        "tiles": {"tiles": {"scale": "scale", "size": 512}},
        "folds": {**found.config["folds"], "count": 5},
    }
    return DataSet(config, found.target, crop=256, tta="d4")


def dsb2018(data: Path, folder: Path) -> DataSet:
    """Microscopy images of many kinds: nuclei as one class, half of the images of each look against the other half."""
    source = data / "dsb2018"
    rows = [
        {
            "slide": row["id"][:12], "image": f"images/{row['id']}.png", "annotations": f"labels/{row['id']}.png",
            "source": row["group"],
        }
        for row in read_sheet(source / "meta.csv")
    ]  # fmt: skip
    _divide(rows, 2)
    config = {
        "data": str(source),
        "sheet": write_sheet(folder / "dsb2018.csv", rows),
        "classes": {"nucleus": {}},
        "annotations": {"unlabelled": "nucleus"},
        "scales": {"scale": {"factor": 1}},
        "tissue": {"method": "none"},
        "tiles": {"tiles": {"scale": "scale", "size": 256, "overlap": 0.25}},
        "folds": {"count": 2, "stratify": "source"},
    }
    return DataSet(config, "nucleus", validate_every=4)


SETS = {
    "hgsc": hgsc,
    "vasculature": vasculature,
    "vasculature-slides": vasculature_slides,
    "vasculature-full": vasculature_full,
    "dsb2018": dsb2018,
}


def _vasculature(data: Path, folder: Path, *, by_slide: bool, parts: int = 2) -> DataSet:
    source, listed = data / "hubmap-vasculature", folder / "listed.csv"
    subprocess.run(["tilewright", "sheet", "vasculature", source, "--out", listed], check=True)
    rows = [row for row in read_sheet(listed) if row["role"] == "train"]
    for row in rows:
        row["labelled"] = ""
    if not by_slide:
        _divide(rows, parts)
    name = "vasculature-slides" if by_slide else "vasculature"
    config = {
        "data": str(source),
        "sheet": write_sheet(folder / f"{name}.csv", rows),
        "classes": {"blood_vessel": {"labels": ["blood_vessel", "blood_vessel_or_unsure"]}},
        "annotations": {"pixel_rule": "all_touched", "ignore": ["unsure"], "discard": ["glomerulus"]},
        "scales": {"scale": {"factor": 2}},
        "tissue": {"method": "none"},
        "tiles": {"tiles": {"scale": "scale", "size": 256}},
        "folds": {"count": 2, "stratify": "source"},
    }
    return DataSet(config, "blood_vessel")


def _divide(rows: list[dict[str, str]], parts: int) -> None:
    """Make some groups of the images of each source, by turns; each is a shard."""
    for source in {row["source"] for row in rows}:
        for number, row in enumerate(row for row in rows if row["source"] == source):
            row["group"] = row["shard"] = f"{source}-{number % parts}"


def read_sheet(path: Path) -> list[dict[str, str]]:
    """The rows of a sheet, or of another table."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def write_sheet(path: Path, rows: list[dict[str, str]]) -> str:
    """Write the rows of a sheet; its path."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)
