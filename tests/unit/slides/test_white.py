"""The value of white: cameras store 10, 12 or 14 bits in pixels of 16."""

import numpy as np
import pytest
from pages import HEIGHT, WIDTH, Writer, ome
from reading import read_slide

from tilewright.pixels.grid import Window
from tilewright.runtime.errors import SlideError
from tilewright.slides import open_slide

TISSUE, EIGHT = (2880, 1440, 2560), (179, 90, 159)
CAMERA = np.full((HEIGHT, WIDTH, 3), 4000, np.uint16)
CAMERA[:, 20:] = TISSUE


def save(path, pixels=CAMERA, text="", **tags):
    codes = {"largest": 281}
    return Writer().add(pixels, {270: text, **{codes[name]: value for name, value in tags.items()}}).save(path)


def ome_of(bits):
    return ome(samples=3, pixels=f' SignificantBits="{bits}"').replace("uint8", "uint16")


@pytest.mark.parametrize(
    "text",
    [
        ome_of(12),
        "ImageJ=1.53\nimages=1\nmin=0.0\nmax=4095.0\n",
        "ImageJ=1.53\nmax=4095\n",
    ],
)
def test_white_is_what_the_file_says(tmp_path, text):
    found = read_slide(save(tmp_path / "a.tif", text=text))
    assert found[0, 30].tolist() == list(EIGHT)
    assert found[0, 0].tolist() == [249] * 3


@pytest.mark.parametrize(("bits", "white"), [(10, 1023), (14, 16_383), (8, 255)])
def test_other_numbers_of_bits_count_too(tmp_path, bits, white):
    pixels = (CAMERA.astype(float) * white / 4095).round().astype(np.uint16)
    found = read_slide(save(tmp_path / "a.tif", pixels, ome_of(bits)))
    assert np.abs(found[0, 30].astype(int) - EIGHT).max() <= 1


NO_WHITE = [
    *map(ome_of, (16, 0, 32, "twelve")),
    *(f"ImageJ=1.53\nmax={text}\n" for text in ("NaN", 65535.0, "", -3, 3017.0)),
]


@pytest.mark.parametrize("text", NO_WHITE)
def test_a_white_that_is_none_is_the_largest_number(tmp_path, text):
    assert read_slide(save(tmp_path / "a.tif", text=text))[0, 30].tolist() == [11, 6, 10]


@pytest.mark.parametrize(("largest", "value"), [(4095, 179), (3017, 11)])
def test_the_largest_sample_of_a_tiff_counts_where_it_is_that_of_some_bits(tmp_path, largest, value):
    assert read_slide(save(tmp_path / "a.tif", largest=largest))[0, 30, 0] == value


def test_white_of_grey_is_read_too_and_what_is_above_it_is_white(tmp_path):
    grey = np.full((HEIGHT, WIDTH), 5000, np.uint16)
    grey[:, 20:] = 2048
    path = save(tmp_path / "a.tif", grey, "ImageJ=1.53\nmax=4095.0\n")
    assert read_slide(path)[0, [0, 30]].tolist() == [[255] * 3, [128] * 3]


def test_pixels_of_8_bits_have_white_at_255_whatever_a_text_says(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    for text in (ome(samples=3, pixels=' SignificantBits="12"'), "ImageJ=1.53\nmax=120.0\n"):
        assert (read_slide(save(tmp_path / "a.tif", pixels, text)) == 100).all()


def test_white_of_the_sheet_counts_before_that_of_the_file(tmp_path, save_image):
    path = save(tmp_path / "a.tif", text=ome_of(14))
    assert read_slide(path, white=4095)[0, 30].tolist() == list(EIGHT)
    save_image(tmp_path / "a.png", np.full((8, 8, 3), 20, np.uint8))
    assert (read_slide(tmp_path / "a.png", white=40) == 128).all()
    with pytest.raises(SlideError, match=r"white 4095 is more than its pixels of 8 bits can hold.*\n.*at most 255"):
        read_slide(tmp_path / "a.png", white=4095)


@pytest.mark.parametrize(
    ("text", "white", "known", "told"),
    [(ome_of(12), None, 4095, True), ("", None, 65_535, False), ("", 9000, 9000, True)],
)
def test_what_is_stored_is_told_beside_the_pixels(tmp_path, text, white, known, told):
    with open_slide(save(tmp_path / "a.tif", text=text), white=white) as slide:
        assert (slide.white, slide.is_white_told) == (known, told)
        stored = slide.stored(Window(20, 0, 4, 4))
        assert (stored.bright.max(), stored.opaque) == (2880, 1.0)
        assert (stored.rgb == slide.read(Window(20, 0, 4, 4))).all()


@pytest.mark.parametrize("alpha", [0, 51])
def test_the_largest_alpha_is_a_share(tmp_path, save_image, alpha):
    pixels = np.dstack([np.full((8, 8, 3), 90, np.uint8), np.full((8, 8), alpha, np.uint8)])
    save_image(tmp_path / "a.png", pixels)
    with open_slide(tmp_path / "a.png") as slide:
        stored = slide.stored(Window(0, 0, 8, 8))
    assert (stored.bright.max(), stored.opaque) == (90, alpha / 255)
