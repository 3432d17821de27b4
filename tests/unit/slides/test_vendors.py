"""Slides that OpenSlide reads: small files of two vendors' formats, written here and read by the real library."""

import json
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
import rasterio
from shapely import box
from shapely.geometry import mapping

from tilewright.masks.rasterize import rasterize
from tilewright.pixels.grid import Size, Window
from tilewright.pixels.rasters import open_raster
from tilewright.project.config import Annotations
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.project.rows import Region
from tilewright.runtime.errors import SlideError
from tilewright.scales.downscale import downscale_image
from tilewright.scales.levels import planes_of
from tilewright.slides import open_slide
from tilewright.slides.tiff import Tiff

SCAN = Size(400, 300)
WHOLE = Size(640, 480)
CORNER = (100, 70)
PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8), SCAN)
CLICKS = 250  # Leica's unit of length; this many to a pixel
JPEG = 16  # the most that a pixel changes here


def add_page(path, pixels, *, first, **tags):
    """A page of JPEG tiles in a BigTIFF."""
    height, width, _ = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", tiled=True, blockxsize=64,
            blockysize=64, compress="jpeg", photometric="ycbcr", jpeg_quality=95, bigtiff="yes",
            append_subdataset="no" if first else "yes",
        ) as file:  # fmt: skip
            file.write(np.moveaxis(pixels, -1, 0))
            file.update_tags(**{f"TIFFTAG_{name.upper()}": value for name, value in tags.items()})


def leica_image(page, width, height, view, corner, level=""):
    sizes = f'sizeX="{width}" sizeY="{height}"'
    place = f'sizeX="{view[0] * CLICKS}" sizeY="{view[1] * CLICKS}"'
    return (
        f'<image name="{page}"><device model="none"/>'
        f'<pixels {sizes}><dimension {sizes} r="0" ifd="{page}"/>{level}</pixels>'
        f'<view {place} offsetX="{corner[0] * CLICKS}" offsetY="{corner[1] * CLICKS}"/><scanSettings>'
        "<objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )


def leica(path, pixels=PIXELS, level=None):
    """A Leica SCN: an overview of the whole glass, then the part that was scanned, perhaps with a coarser level."""
    coarse = "" if level is None else f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="1" ifd="2"/>'
    collection = f'sizeX="{WHOLE.width * CLICKS}" sizeY="{WHOLE.height * CLICKS}"'
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="a" '
        f"{collection}><barcode/>{leica_image(0, 64, 48, WHOLE, (0, 0))}{leica_image(1, *SCAN, SCAN, CORNER, coarse)}"
        "</collection></scn>"
    )
    add_page(path, np.full((48, 64, 3), 200, np.uint8), first=True, imagedescription=xml)
    add_page(path, pixels, first=False, xresolution="20000", yresolution="20000", resolutionunit="3")
    if level is not None:
        add_page(path, level, first=False, xresolution="5000", yresolution="5000", resolutionunit="3")
    return path


def aperio(path, level=None):
    """An Aperio SVS of one level, or two."""
    text = "Aperio Image Library v11.2.1 \r\n400x300 (64x64) JPEG/RGB Q=95|AppMag = 20|MPP = 0.4990"
    add_page(path, PIXELS, first=True, imagedescription=text)
    if level is not None:
        add_page(path, level, first=False, imagedescription=text)
    return path


QUARTER = cv2.resize(PIXELS, (100, 75), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("region", [None, Region(37, 42, 200, 150)])
@pytest.mark.parametrize(("write", "most"), [(aperio, 0.5), (leica, 1.1)])
def test_a_level_of_a_vendor_lies_where_the_scanned_part_does(tmp_path, write, most, region):
    """The scanned part of the Leica begins in the middle of a pixel of the level, where OpenSlide puts a whole one."""
    write(tmp_path / "a", level=QUARTER)
    with open_slide(tmp_path / "a", region=region) as slide:
        assert [plane.factor for plane, _ in planes_of(slide, [4])] == [4]
        found = {}
        for levels in (True, False):
            out = tmp_path / f"{levels}.tif"
            downscale_image(slide, {out: slide.frame.scaled(4)}, levels=levels)
            with open_raster(out) as raster:
                found[levels] = raster.read()[:, 1:-1, 1:-1].astype(int)
    here, *moved = (
        np.abs(np.roll(found[True], (down, right), (1, 2)) - found[False])[:, 1:-1, 1:-1].mean()
        for down, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    )
    assert here < most * min(moved)


def read(path, **options):
    with open_slide(path, **options) as slide:
        return slide.read(Window(0, 0, *slide.size))


def close(found, expected):
    return np.abs(found.astype(int) - expected).max() <= JPEG


def test_a_slide_is_the_part_that_was_scanned(tmp_path):
    with open_slide(leica(tmp_path / "a.scn")) as slide:
        assert slide.size == slide.frame.image == SCAN
        assert (slide.frame.x, slide.frame.y) == (0, 0)
        assert slide.frame.mpp == 0.5
        assert close(slide.read(Window(0, 0, *SCAN)), PIXELS)
        assert close(slide.read(Window(350, 250, 50, 50)), PIXELS[250:, 350:])


def test_the_whole_slide_is_read_where_it_is_asked_for(tmp_path):
    with open_slide(leica(tmp_path / "a.scn"), crop_to_bounds=False) as slide:
        assert slide.size == slide.frame.image == WHOLE
        found = slide.read(Window(0, 0, *WHOLE))
    place = Window(*CORNER, *SCAN).slices
    assert close(found[place], PIXELS)
    found[place] = 255
    assert (found == 255).all()


def test_a_region_counts_from_the_corner_of_the_scanned_part(tmp_path):
    path = leica(tmp_path / "a.scn")
    assert close(read(path, region=Region(30, 20, 100, 50)), PIXELS[20:70, 30:130])
    with pytest.raises(SlideError, match="reaches beyond the image of 400 x 300"):
        read(path, region=Region(0, 0, *WHOLE))
    assert read(path, region=Region(0, 0, *WHOLE), crop_to_bounds=False).shape == (WHOLE.height, WHOLE.width, 3)


@pytest.mark.parametrize("crop", [True, False])
def test_outlines_lie_where_they_were_drawn(tmp_path, crop):
    """QuPath counts from the corner of the scanned part, other programs from that of the whole slide."""
    pixels = np.full((SCAN.height, SCAN.width, 3), 230, np.uint8)
    pixels[80:208, 144:240] = 40  # edges between the blocks of JPEG, so that none is blurred
    path = leica(tmp_path / "a.scn", pixels)
    left, top = (0, 0) if crop else CORNER
    shape = box(left + 144, top + 80, left + 240, top + 208)
    outline = {"type": "Feature", "geometry": mapping(shape), "properties": {"classification": {"name": "dark"}}}
    (tmp_path / "a.geojson").write_text(json.dumps(outline))
    order = RasterizeOrder(
        rows=[RasterizeRow(slide="a", image=path, annotations=tmp_path / "a.geojson")],
        classes={"dark": ["dark"]},
        annotations=Annotations(),
        crop_to_bounds=crop,
    )
    rasterize(order, out=tmp_path / "out")
    with open_raster(tmp_path / "out" / "a.tif") as raster:
        mask = raster.read()[0]
    assert ((read(path, crop_to_bounds=crop) < 128).all(axis=2) == (mask == 1)).all()
    assert mask.sum() == 96 * 128


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.png"])
def test_an_aperio_slide_is_known_by_its_content(tmp_path, name):
    with open_slide(aperio(tmp_path / name)) as slide:
        assert slide.size == SCAN
        assert slide.frame.mpp == 0.499
        assert close(slide.read(Window(0, 0, *SCAN)), PIXELS)


@pytest.mark.parametrize("make", [leica, aperio])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_vendors_slide_that_is_cut_short_is_refused(tmp_path, make, share):
    path = make(tmp_path / "a.svs")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SlideError, match="cut short"):
        read(path)


def test_a_damaged_tile_is_an_error_where_it_is_read(tmp_path):
    path = aperio(tmp_path / "a.svs")
    tiff = Tiff(path)
    start, length = (int(numbers[-1]) for numbers in tiff.blocks(tiff.pages[0]))
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with open_slide(path) as slide:
        assert close(slide.read(Window(0, 0, 64, 64)), PIXELS[:64, :64])
        with pytest.raises(SlideError, match="damaged at x 0, y 0"):
            slide.read(Window(0, 0, *SCAN))


def test_a_mirax_file_without_its_folder_is_no_picture(tmp_path, save_image):
    save_image(tmp_path / "a.jpg", PIXELS)
    (tmp_path / "a.jpg").rename(tmp_path / "a.mrxs")
    with pytest.raises(SlideError, match=r"a MIRAX slide without the folder of its pixels(.|\n)*folder a "):
        read(tmp_path / "a.mrxs")


def test_pictures_are_read_without_openslide(tmp_path, save_image):
    for name in ("a.png", "a.jpg"):
        save_image(tmp_path / name, PIXELS)
        code = (
            "import sys; from pathlib import Path; from tilewright.slides import open_slide\n"
            "with open_slide(Path(sys.argv[1])) as slide: assert slide.size == (400, 300)\n"
            "assert 'openslide' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
