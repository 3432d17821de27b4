"""Folders in the layouts of competitions, and the sheets that are written of them."""

import json
import warnings

import numpy as np
import pytest
import rasterio

from tilewright.project.sheet import sheet
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.errors import UserError

CLASSES = ("blood_vessel", "glomerulus", "unsure")


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        driver = "PNG" if path.suffix == ".png" else "GTiff"
        with rasterio.open(path, "w", driver=driver, width=4, height=4, count=1, dtype="uint8") as file:
            file.write(np.zeros((1, 4, 4), np.uint8))


def rows_of(layout, folder, **options):
    """The slides of a sheet that is written anew."""
    (folder / "slides.csv").unlink(missing_ok=True)
    sheet(layout, folder, out=folder / "slides.csv", **options)
    return {row.slide: row for row in read_sheet(folder / "slides.csv", [folder], CLASSES)}


def refusal(layout, folder, **options):
    with pytest.raises(UserError) as caught:
        sheet(layout, folder, out=folder / "slides.csv", **options)
    assert not (folder / "slides.csv").exists()
    return str(caught.value)


def kidney_folder(tmp_path):
    """Two slides to train on and one to test."""
    for name in ("train/aaa.tiff", "train/bbb.tiff", "test/ccc.tiff"):
        image(tmp_path / name)
    for name in ("aaa", "bbb", "aaa-anatomical-structure"):
        (tmp_path / f"train/{name}.json").write_text("[]")
    (tmp_path / "HuBMAP-20-dataset_information.csv").write_text(
        "image_file,patient_number\naaa.tiff,67347\nccc.tiff,67347\n"
    )
    return tmp_path


def vasculature_folder(tmp_path):
    """Tiles of three whole slides, with outlines of every kind of file."""
    tiles = {"t1": "1", "t2": "1", "t3": "2", "t4": "1", "t5": "1", "hidden": ""}
    for name in tiles:
        image(tmp_path / ("test" if name in ("t5", "hidden") else "train") / f"{name}.tif")
    listed = [f"{name},{wsi},2,{512 * int(wsi)},7" for name, wsi in tiles.items() if wsi]
    (tmp_path / "tile_meta.csv").write_text("\n".join(["id,source_wsi,dataset,i,j", *listed]) + "\n")
    files = {
        "polygons": ["t1"],
        "polygons_blood_vessel_only": ["t1", "t2"],
        "polygons_vessel_or_unsure_merged": ["t3"],
        "polygons_partial": ["t4"],
    }
    for name, ids in files.items():
        lines = [json.dumps({"id": tile, "annotations": []}) for tile in ids]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path
