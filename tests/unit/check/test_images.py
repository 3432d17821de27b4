"""What `check` says of slides that can be read and that a person would not work with."""

import re
import struct

import cv2
import numpy as np
import pytest
from checking import config_of
from pages import Writer, ome
from PIL import Image

from tilewright.check.check import check
from tilewright.check.images import ALIKE_SHOWN
from tilewright.check.looks import EDGE, FEW, MANY, windows
from tilewright.pixels.grid import Size
from tilewright.runtime.errors import UserError

CONFIG = config_of("tumor: {}")
TISSUE = np.full((48, 64, 3), (180, 90, 160), np.uint8)
SQUARE = '{"type": "Polygon", "coordinates": [[[4, 4], [9, 4], [9, 9], [4, 9], [4, 4]]]}'
OUTLINE = f'[{{"type": "Feature", "geometry": {SQUARE}, "properties": {{"classification": {{"name": "tumor"}}}}}}]'


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys, save_image):
    """What is said of images in the rows of a sheet, beside two sound slides to train on."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        save_image(tmp_path / f"{name}.png", TISSUE)
        (tmp_path / f"{name}.geojson").write_text(OUTLINE)

    def say(*rows, config=CONFIG):
        (tmp_path / "config.yaml").write_text(config)
        header = "slide,image,annotations,role,mpp,white,region"
        sound = [f"{name},{name}.png,{name}.geojson,train,,," for name in ("a", "b")]
        (tmp_path / "slides.csv").write_text("\n".join([header, *sound, *rows]) + "\n")
        try:
            check(config=tmp_path / "config.yaml")
        except UserError as error:
            return capsys.readouterr().out + str(error)
        return capsys.readouterr().out

    return say


def test_dark_pixels_of_16_bits_are_warned_of_with_their_values(tmp_path, checked):
    pixels = np.full((48, 64, 3), 3000, np.uint16)
    pixels[7, 50, 2] = 3200
    Writer().add(pixels).save(tmp_path / "x.tif")
    found = checked("x,x.tif,,test,,,")
    assert "16 bit, largest value 3200 of 65535 in the part that was read: dark." in found
    assert "Give its value of white, such as 4095, in the column white of the sheet" in found
    assert found.endswith("0 errors, 1 warning; 3 slides readable.\n")
    assert checked("x,x.tif,,test,,4095,").startswith("0 errors, 0 warnings")
    Writer().add(pixels, {270: ome(samples=3, pixels=' SignificantBits="12"')}).save(tmp_path / "x.tif")
    assert checked("x,x.tif,,test,,,").startswith("0 errors, 0 warnings")


def test_neither_a_scale_bar_nor_hot_pixels_make_a_dark_image_bright(tmp_path, checked):
    pixels = np.full((192, 256, 3), 3000, np.uint16)
    pixels[180:184, 200:250] = 65_535
    pixels[3, 5] = 65_535
    Writer().add(pixels).save(tmp_path / "x.tif")
    assert "16 bit, 99 of 100 values up to 3000 of 65535 in the part that was read: dark." in checked(
        "x,x.tif,,test,,,"
    )
    pixels[3:40] = 65_535
    Writer().add(pixels).save(tmp_path / "x.tif")
    assert "dark" not in checked("x,x.tif,,test,,,"), "a part of it is bright"


def test_few_bright_cells_on_black_of_8_bits_are_not_dark(tmp_path, checked, save_image):
    pixels = np.full((192, 256, 3), 20, np.uint8)
    pixels[10:20, 10:20] = 200
    save_image(tmp_path / "x.png", pixels)
    assert "dark" not in checked("x,x.png,,test,,,")


def test_a_white_that_much_of_the_image_exceeds_is_warned_of(tmp_path, checked):
    pixels = np.full((48, 64, 3), 9000, np.uint16)
    Writer().add(pixels, {270: ome(samples=3, pixels=' SignificantBits="12"')}).save(tmp_path / "x.tif")
    found = checked("x,x.tif,,test,,,")
    assert "values up to 9000, above its white of 4095: all that is brighter becomes white." in found
    assert "above" not in checked("x,x.tif,,test,,16383,")


@pytest.mark.parametrize(("largest", "dark"), [(1023, True), (16_383, True), (32_767, True), (40_000, False)])
def test_pixels_of_16_bits_are_dark_where_half_of_them_is_not_used(tmp_path, checked, largest, dark):
    Writer().add(np.full((48, 64, 3), largest, np.uint16)).save(tmp_path / "x.tif")
    assert ("dark" in checked("x,x.tif,,test,,,")) == dark


def test_black_pixels_of_8_bits_are_dark(tmp_path, checked, save_image):
    save_image(tmp_path / "x.png", TISSUE // 6)
    assert "8 bit, largest value 30 of 255 in the part that was read: dark." in checked("x,x.png,,test,,,")
    assert "0 warnings" in checked("x,x.png,,test,,40,")
    assert "(slide y): 8 bit, largest" in checked("x,x.png,,test,,40,", "y,x.png,,test,,,")


def test_a_wrong_white_is_an_error_that_names_the_column(checked):
    assert "white 4095 is more than its pixels of 8 bits can hold" in checked("x,a.png,,test,,4095,")
    assert 'white "bright" is no value of a pixel' in checked("x,a.png,,test,,bright,")


def test_alpha_of_0_everywhere_is_warned_of(tmp_path, checked, save_image):
    for name, alpha in (("x", np.zeros(TISSUE.shape[:2])), ("y", np.arange(64) * np.ones((48, 1)) * 4)):
        save_image(tmp_path / f"{name}.png", np.dstack([TISSUE, alpha.astype(np.uint8)]))
    found = checked("x,x.png,,test,,,", "y,y.png,,test,,,")
    assert "x.png (slide x): alpha is 0 in the part that was read: the slide is white" in found
    assert "slide y" not in found


def test_a_slide_without_tissue_is_warned_of(tmp_path, checked, save_image):
    pale = np.full((128, 160, 3), 235, np.uint8)
    cv2.circle(pale, (80, 60), 20, (225, 225, 225))
    save_image(tmp_path / "z.png", pale)
    found = checked("z,z.png,,test,,,")
    assert "z.png (slide z): 0 of 20480 pixels that were read are tissue" in found
    assert "See tissue.method: none and inference.skip_background: false" in found
    assert "0 warnings" in checked("z,z.png,,test,,,", config=CONFIG + "tissue: {method: none}\n")


def test_a_little_tissue_on_a_large_slide_is_found(tmp_path, checked, save_image):
    large = np.full((3000, 4000, 3), 245, np.uint8)
    large[2330:2390, 1630:1690] = TISSUE[0, 0]
    save_image(tmp_path / "x.png", large)
    assert "0 warnings" in checked("x,x.png,,test,,,")
    save_image(tmp_path / "x.png", large[:2000])
    assert "pixels that were read are tissue" in checked("x,x.png,,test,,,")


def test_tissue_between_all_windows_is_found_in_a_coarse_level(tmp_path, checked):
    """Five windows lie between two that are looked at; a pyramid shows the whole."""
    large = np.full((1200, 20_000, 3), 245, np.uint8)
    starts = [window.x for window in windows(Size(20_000, 1200), MANY)]
    left = next(start for start in starts if start + 3 * EDGE not in starts and start + 2 * EDGE not in starts) + EDGE
    large[300:500, left + EDGE : left + 3 * EDGE] = TISSUE[0, 0]
    Writer().add(large).save(tmp_path / "x.tif")
    assert "pixels that were read are tissue" in checked("x,x.tif,,test,,,")
    Writer().add(large).add(large[::16, ::16], {254: 1}).save(tmp_path / "x.tif")
    assert "0 warnings" in checked("x,x.tif,,test,,,")


def test_the_region_of_a_slide_is_looked_at_alone(tmp_path, checked, save_image):
    save_image(tmp_path / "x.png", np.hstack([TISSUE, np.full_like(TISSUE, 250)]))
    found = checked('x,x.png,,test,,,"0,0,64,48"', 'y,x.png,,test,,,"64,0,64,48"')
    assert "x.png (slide y): 0 of 3072 pixels" in found
    assert "slide x)" not in found


@pytest.mark.parametrize(("mpp", "odd"), [(0.0025, True), (250, True), (0.25, False), (8, False)])
def test_a_pixel_size_beyond_belief_is_warned_of(tmp_path, checked, mpp, odd):
    text = ome(samples=3, pixels=f' PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}"')
    Writer().add(TISSUE, {270: text}).save(tmp_path / "x.ome.tif")
    assert (f"its pixels of {mpp} um are beyond belief" in checked("x,x.ome.tif,,test,,,")) == odd
    assert "0 warnings" in checked("x,x.ome.tif,,test,0.25,,")
    assert ("beyond belief" in checked("x,a.png,,test,50,,")) is True


def test_pixels_that_are_not_square_are_an_error(tmp_path, checked):
    tags = {282: (40_000, 1), 283: (20_000, 1), 296: 3}
    Writer().add(TISSUE, tags).save(tmp_path / "x.tif")
    assert "x.tif (slide x): its pixels of 0.25 x 0.5 um are not square" in checked("x,x.tif,,test,,,")
    assert "0 errors, 0 warnings" in checked("x,x.tif,,test,0.25,,")


def test_pictures_that_other_programs_turn_are_warned_of(tmp_path, checked):
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 3, 0, 0)
    Image.fromarray(TISSUE).save(tmp_path / "x.jpg", exif=exif)
    Writer().add(TISSUE, {274: 4}).save(tmp_path / "y.tif")
    found = checked("x,x.jpg,,test,,,", "y,y.tif,,test,,,")
    assert "x.jpg (slide x): is stored with orientation 3 (turned by 180 degrees) and is read as stored." in found
    assert "y.tif (slide y): is stored with orientation 4 (mirrored from top to bottom)" in found
    assert "Outlines of QuPath fit; those of CVAT, labelme, VIA and others that turn it do not." in found


def test_label_images_that_other_programs_turn_are_warned_of(tmp_path, checked):
    Writer().add(np.eye(48, 64, dtype=np.uint8), {274: 6}).save(tmp_path / "x.labels.tif")
    found = checked("x,a.png,x.labels.tif,train,,,")
    assert "x.labels.tif (slide x): is stored with orientation 6 (turned by 90 degrees)" in found


def test_many_slides_of_one_kind_are_counted(tmp_path, checked, save_image):
    for number in range(ALIKE_SHOWN + 3):
        save_image(tmp_path / f"x{number}.png", TISSUE // 6)
    found = checked(*(f"x{number},x{number}.png,,test,,," for number in range(ALIKE_SHOWN + 3)))
    assert len(re.findall("in the part that was read: dark", found)) == ALIKE_SHOWN
    assert "slides.csv: 3 more slides are dark." in found


@pytest.mark.parametrize("size", [Size(1, 1), Size(64, 65), Size(700, 40), Size(5000, 100), Size(100_000, 90_000)])
def test_windows_lie_all_over_an_image_and_never_in_two_tiles(size):
    found = list(windows(size, FEW))
    assert len(found) == len(set(found)) <= FEW * FEW
    assert all(window.x % EDGE == window.y % EDGE == 0 and window.width and window.height for window in found)
    assert max(window.x + window.width for window in found) == size.width
    assert max(window.y + window.height for window in found) == size.height
    if max(size) <= FEW * EDGE:
        assert sum(window.width * window.height for window in found) == size.width * size.height
