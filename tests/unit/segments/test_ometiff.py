import numpy as np
import pytest
import pyvips
import tifffile

from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.runs import Runs
from tilewright.segments.mask import mask_writer
from tilewright.segments.ometiff import halved, write_ome_tiff

COLORS = {"gland": "#ff8000", "vessel": "#0000ff"}


def saved(tmp_path, height=1300, width=1100, mpp=0.25):
    """Two sparse classes that overlap; their masks and the file."""
    draw = np.random.default_rng(0)
    masks = np.zeros((2, height, width), bool)
    for mask in masks:
        for x, y in draw.integers(0, (width, height), (20, 2)):
            mask[y : y + 90, x : x + 70] = True
    frame = Frame(0, 0, width, height, Size(width, height), 1.0, mpp)
    with mask_writer(tmp_path / "m.tif", frame, list(COLORS)) as writer:
        for bit, mask in enumerate(masks):
            writer.add(bit, Runs.from_mask(mask))
    write_ome_tiff(tmp_path / "m.tif", COLORS, tmp_path / "m.ome.tif")
    return masks, tmp_path / "m.ome.tif"


def coarser(masks):
    height, width = masks.shape[1:]
    even = np.pad(masks, ((0, 0), (0, height % 2), (0, width % 2)))
    return even.reshape(2, even.shape[1] // 2, 2, even.shape[2] // 2, 2).any(axis=(2, 4))


def test_every_level_holds_every_class_as_a_channel(tmp_path):
    masks, path = saved(tmp_path)
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        assert (file.is_ome, series.axes, len(series.levels)) == (True, "CYX", 3)
        for level in series.levels:
            assert (level.asarray() == masks * np.uint8(255)).all()
            masks = coarser(masks)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.ome.tif", "m.tif"]


def test_names_colours_and_pixel_size_are_those_that_viewers_read(tmp_path):
    _, path = saved(tmp_path)
    with tifffile.TiffFile(path) as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.25, "µm")
    first, second = pixels["Channel"]
    assert (first["Name"], second["Name"]) == ("gland", "vessel")
    assert [each["Color"] & 0xFFFFFFFF for each in (first, second)] == [0xFF8000FF, 0x0000FFFF]
    image = pyvips.Image.new_from_file(str(path))
    assert (image.width, image.height, image.get("n-pages"), image.get("n-subifds")) == (1100, 1300, 2, 2)
    assert image.xres * 0.00025 == pytest.approx(1)


def test_the_same_mask_gives_the_same_bytes(tmp_path):
    first = saved(tmp_path)[1].read_bytes()
    assert saved(tmp_path)[1].read_bytes() == first


def test_without_a_pixel_size_none_is_written_and_a_small_mask_has_one_level(tmp_path):
    _, path = saved(tmp_path, 200, 512, mpp=None)
    with tifffile.TiffFile(path) as file:
        assert len(file.series[0].levels) == 1
        assert "PhysicalSize" not in file.ome_metadata


@pytest.mark.parametrize(("height", "width"), [(1025, 1027), (1, 700), (513, 2)])
def test_half_the_size_keeps_every_pixel_that_is_set(tmp_path, height, width):
    mask = np.random.default_rng(1).random((height, width)) < 0.05
    frame = Frame(0, 0, width, height, Size(width, height))
    with mask_writer(tmp_path / "m.tif", frame, ["a"]) as writer:
        writer.add(0, Runs.from_mask(mask))
    with open_raster(halved(tmp_path / "m.tif", tmp_path / "h.tif")) as raster:
        assert (raster.read()[0] == coarser(np.stack([mask, mask]))[0]).all()
