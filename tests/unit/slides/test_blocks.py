"""Lists of strips and tiles: what is not named in them would come out black."""

import struct

import numpy as np
from pages import HEIGHT, WIDTH, Writer
from reading import read_slide, slide_refusal


def test_lists_of_strips_that_name_too_few_or_none_are_refused(tmp_path):
    """Readers take what is not named for black, or for what lies at the start of the file."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    row = WIDTH * 3
    starts = [8 + 6 * row * strip for strip in range(4)]
    whole = {278: 6, 273: starts, 279: [6 * row] * 4}
    assert (read_slide(Writer().add(pixels, whole).save(tmp_path / "a.tif")) == 90).all()
    for tags, says in (
        ({279: [0] * 4}, "4 of 4 strips of page 1 have a place and a length of 0"),
        ({279: [6 * row, 0, 6 * row, 0]}, "2 of 4 strips of page 1 have a place and a length of 0"),
        ({273: [0, *starts[1:]]}, "of 4 strips of page 1, 1 lie beyond its end or nowhere"),
        ({279: [6 * row, 10**9, 6 * row, 6 * row]}, "of 4 strips of page 1, 1 lie beyond its end or nowhere"),
        ({279: [6 * row]}, "the list of its strips is damaged or cut short"),
        ({273: starts[:3], 279: [6 * row] * 3}, "only 3 of 4 strips of page 1 are there"),
    ):
        assert says in slide_refusal(Writer().add(pixels, {**whole, **tags}).save(tmp_path / "a.tif"))


def test_a_tile_without_place_and_length_is_left_out_on_purpose(tmp_path):
    pixels = np.full((32, 32, 3), 90, np.uint8)
    size = 16 * 16 * 3
    tags = {322: 16, 323: 16, 324: [8, 0, 8, 8], 325: [size, 0, size, size]}
    found = read_slide(Writer().add(pixels, tags).save(tmp_path / "a.tif"))
    assert found[::16, ::16, 0].tolist() == [[90, 0], [90, 90]]
    tags[325] = [size, 0, size, 0]
    found = slide_refusal(Writer().add(pixels, tags).save(tmp_path / "a.tif"))
    assert "1 of 4 tiles of page 1 have a place and a length of 0" in found


def test_a_page_that_does_not_say_how_long_its_strips_are_is_refused(tmp_path):
    path = Writer().add(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(tmp_path / "a.tif")
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(struct.pack("<HH", 279, 4)), 280)
    path.write_bytes(content)
    assert "it does not say where its strips are, or how long" in slide_refusal(path)
