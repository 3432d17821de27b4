"""Kinds of pixels and their compression, each read as RGB."""

import warnings

import cv2
import numpy as np
import pytest
import pyvips
import rasterio
from rasterio.enums import ColorInterp
from reading import read_slide, slide_refusal

from tilewright.pixels.grid import Window
from tilewright.slides import open_slide

HEIGHT, WIDTH = 24, 40
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
PLANES = [np.ascontiguousarray(RGB[..., band]) for band in range(3)]
OTHER = np.full((HEIGHT, WIDTH), 77, np.uint8)


def save_bands(path, pixels, kinds=None, **options):
    """Rows x columns x bands through GDAL, with colour interpretations."""
    height, width, bands = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=bands, dtype=pixels.dtype, **options
        ) as file:
            file.write(np.moveaxis(pixels, -1, 0))
            if kinds:
                file.colorinterp = [ColorInterp[kind] for kind in kinds.split()]
    return path


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((8, 8, 7), np.uint8), "7 bands of uint8"),
        (np.zeros((8, 8, 2), np.uint8), "2 bands of uint8"),
        (np.zeros((8, 8, 4), np.uint8), "4 bands of uint8"),
        (np.zeros((8, 8, 3), np.float32), "3 bands of float32"),
        (np.zeros((8, 8, 1), np.complex64), "1 bands of complex64"),
        (np.zeros((8, 8, 1), np.int16), "1 bands of int16"),
        (np.zeros((8, 8, 1), np.uint32), "1 bands of uint32"),
    ],
)
def test_other_pixels_than_grey_and_colour_are_refused(tmp_path, pixels, says):
    found = slide_refusal(save_bands(tmp_path / "a.tif", pixels, photometric="minisblack"))
    assert says in found
    assert "Export the image as RGB" in found


def test_a_fourth_band_that_is_no_alpha_is_ignored(tmp_path):
    four = np.dstack([RGB, OTHER])
    path = save_bands(tmp_path / "a.tif", four, photometric="rgb", alpha="no")
    assert (read_slide(path) == RGB).all()


def test_grey_with_alpha_is_laid_on_white(tmp_path):
    alpha = np.where(np.arange(WIDTH) < 20, 255, 0) * np.ones((HEIGHT, 1))
    path = save_bands(tmp_path / "a.tif", np.dstack([PLANES[0], alpha]).astype(np.uint8), alpha="yes")
    found = read_slide(path)
    assert (found[:, :20] == PLANES[0][:, :20, None]).all()
    assert (found[:, 20:] == 255).all()


def test_colours_multiplied_by_alpha_are_not_multiplied_again(tmp_path):
    alpha = np.full((HEIGHT, WIDTH), 51, np.uint8)
    path = save_bands(tmp_path / "a.tif", np.dstack([RGB // 5, alpha]), photometric="rgb", alpha="premultiplied")
    assert (read_slide(path) == RGB // 5 + 204).all()


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_one_bit_is_black_and_white(tmp_path, name):
    bits = PLANES[0] > 127
    cv2.imwrite(str(tmp_path / name), bits.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    if name == "a.tif":
        save_bands(tmp_path / name, bits.astype(np.uint8)[..., None], nbits=1)
    assert (read_slide(tmp_path / name) == bits[..., None] * np.uint8(255)).all()


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_may_be_zero(tmp_path, bits):
    largest = 2**bits - 1
    grey = (PLANES[0] >> max(0, 8 - bits)).astype(np.uint16 if bits == 16 else np.uint8)
    grey = grey * 257 if bits == 16 else grey
    save_bands(tmp_path / "a.tif", (largest - grey)[..., None], photometric="miniswhite", nbits=bits)
    assert (read_slide(tmp_path / "a.tif") == (grey * (255 / largest)).round().astype(np.uint8)[..., None]).all()


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_16_bit_colours_become_8_by_their_range(tmp_path, name):
    deep = np.random.default_rng(1).integers(0, 65536, RGB.shape, np.uint16)
    cv2.imwrite(str(tmp_path / name), deep[..., ::-1])
    assert np.abs(read_slide(tmp_path / name) - deep * (255 / 65535)).max() <= 0.51


def test_transparent_colours_of_a_palette_are_white(tmp_path):
    from PIL import Image

    image = Image.fromarray((PLANES[0] % 3).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=1)
    expected = np.array([(255, 0, 0), (255, 255, 255), (10, 20, 30)], np.uint8)[PLANES[0] % 3]
    assert (read_slide(tmp_path / "a.png") == expected).all()


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_printing_colours_are_converted(tmp_path, name):
    from PIL import Image

    flat = np.full((HEIGHT, WIDTH, 3), (200, 120, 40), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / name)
    assert np.abs(read_slide(tmp_path / name).astype(int) - flat).max() <= 4


def test_lab_colours_are_refused(tmp_path):
    from PIL import Image

    Image.fromarray(RGB).convert("LAB").save(tmp_path / "a.tif")
    assert "CIELAB" in slide_refusal(tmp_path / "a.tif")


PLAIN = [
    *({"compress": name, "tiled": tiled} for name in ("none", "lzw", "deflate", "packbits") for tiled in (False, True)),
    {"compress": "jpeg", "photometric": "rgb"},
    {"compress": "jpeg", "photometric": "rgb", "tiled": True},
    {"interleave": "band"},
    {"BIGTIFF": "YES"},
    {"predictor": 2, "compress": "lzw"},
]


@pytest.mark.parametrize("options", PLAIN)
@pytest.mark.parametrize("bands", [1, 3])
def test_libvips_reads_the_same_pixels(tmp_path, options, bands):
    if bands == 1:
        options = {key: value for key, value in options.items() if key != "photometric"}
    pixels = cv2.resize(RGB, (300, 200))[..., :bands]
    edges = {"blockxsize": 64, "blockysize": 64} if options.get("tiled") else {}
    path = save_bands(tmp_path / "a.tif", pixels, **options, **edges)
    with open_slide(path) as slide:
        found = slide.read(Window(0, 0, *slide.size))
    assert (pyvips.Image.tiffload(str(path)).numpy().reshape(200, 300, bands) == found[..., :bands]).all()
