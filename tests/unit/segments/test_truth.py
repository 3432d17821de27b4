import csv
import sys

import numpy as np
import pytest

from tilewright.annotations import read_outlines
from tilewright.masks.rasterize import rasterize
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.rle import decode_rle
from tilewright.project.config import Annotations
from tilewright.project.orders import make_order
from tilewright.runtime.errors import UserError
from tilewright.scales.downscale import downscale
from tilewright.segments.truth import truth

csv.field_size_limit(sys.maxsize)


@pytest.fixture
def scaled(project, monkeypatch):
    """The folder of the scaled masks of a run, of the shards a and b at the scale half."""
    from tilewright.tiles.folding import read_project

    monkeypatch.chdir(project.folder)
    read = read_project(project.config_file)
    folder = project.folder / "scaled" / "half"
    for shard in ("a", "b", "x1", "t"):
        rasterize(make_order(read, "rasterize", shard=shard), out=project.folder / "masks" / shard)
        order = make_order(read, "downscale", shard=shard, scale="half")
        downscale(order, masks=project.folder / "masks" / shard, out=[folder / shard])
    return folder


def written(project, **options):
    out = project.folder / "truth.csv"
    truth(config=project.config_file, out=out, **options)
    with out.open(newline="") as stream:
        return list(csv.DictReader(stream))


def mask_of(scaled, slide, bit):
    (path,) = scaled.glob(f"*/{slide}.mask.tif")
    with open_raster(path) as raster:
        return (raster.read()[0] >> bit & 1).astype(bool)


@pytest.mark.parametrize("dialect", ["column_major", "row_major", "coco"])
@pytest.mark.parametrize("drawn", [True, False])
def test_the_table_says_what_the_scaled_masks_show(project, scaled, dialect, drawn):
    options = {} if drawn else {"scaled": scaled}
    rows = written(project, scale="half", dialect=dialect, **options)
    assert {(row["id"], row["class"]) for row in rows} == {
        *((slide, name) for slide in ("a1", "b1", "b2", "x1", "t1") for name in ("gland", "vessel")),
        ("a2", "gland"),
    }
    for row in rows:
        mask = mask_of(scaled, row["id"], ("gland", "vessel").index(row["class"]))
        assert mask.any()
        np.testing.assert_array_equal(decode_rle(row["encoding"], *mask.shape, dialect), mask)


@pytest.mark.parametrize("order", ["column_major", "row_major"])
def test_the_table_is_read_back_as_outlines(project, scaled, order):
    assert list(written(project, scale="half", classes=["vessel"], dialect=order)[0]) == ["id", "encoding"]
    mask = mask_of(scaled, "b1", 1)
    height, width = mask.shape
    options = Annotations(rle_order=order, unlabelled="vessel")
    outlines = read_outlines(project.folder / "truth.csv", "b1", (width, height), options)
    assert sum(outline.geometry.area for outline in outlines.annotations) == mask.sum()


def test_healthy_and_unhealthy_are_chosen_by_classes(project, scaled):
    config = project.config()
    config["classes"] = {"all": {"labels": ["gland", "vessel"]}, "some": {"labels": ["vessel"]}}
    project.write_config(config)
    for row in project.rows():
        assert row["labelled"] in ("", "gland")
    project.write_sheet([row | {"labelled": ""} for row in project.rows()])
    every, some = (
        {row["id"]: row["encoding"] for row in written(project, scale="half", classes=[name])}
        for name in ("all", "some")
    )
    for slide in every:
        glands, vessels = mask_of(scaled, slide, 0), mask_of(scaled, slide, 1)
        np.testing.assert_array_equal(decode_rle(some[slide], *vessels.shape), vessels)
        np.testing.assert_array_equal(decode_rle(every[slide], *vessels.shape), glands | vessels)


def test_slides_without_complete_outlines_have_no_row_and_are_counted(project, scaled, capsys):
    written(project, scale="half", classes=["vessel"])
    assert "2 slide(s) without outlines of vessel have no row" in capsys.readouterr().err


def test_names_that_the_config_does_not_have_are_told_at_once(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    with pytest.raises(UserError) as caught:
        written(project, scale="hlaf", classes=["glnd", "vessel"])
    assert '--scale: the config names no "hlaf".\n  Did you mean "half"?' in str(caught.value)
    assert '--classes: the config names no "glnd".\n  Did you mean "gland"?' in str(caught.value)


def test_no_outlines_at_all_and_masks_that_are_not_there_are_errors(project, scaled):
    with pytest.raises(UserError, match=r"has no masks of 6 of 6 slides, such as .*/a/a1\.mask\.tif"):
        written(project, scale="half", scaled=project.folder)
    project.write_sheet([row for row in project.rows() if row["slide"] == "t2"])
    with pytest.raises(UserError, match="no slide has complete outlines of gland"):
        written(project, scale="half", classes=["gland"])
    assert not (project.folder / "truth.csv").exists()
    assert not list(project.folder.glob(".*partial*"))


def test_a_class_that_is_named_twice_is_written_once(project, scaled):
    once = written(project, scale="half", scaled=scaled, classes=["gland"])
    assert written(project, scale="half", scaled=scaled, classes=["gland", "gland"]) == once


def test_a_folder_of_scaled_shards_that_is_not_there_is_told(project, scaled):
    with pytest.raises(UserError, match=r"--scaled, .*nowhere: has no masks of .*\n.*results/scaled/half"):
        written(project, scale="half", scaled=project.folder / "nowhere")
