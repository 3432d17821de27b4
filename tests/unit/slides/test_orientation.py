"""Tags by which other programs turn a picture."""

import struct

import numpy as np
import pytest
from pages import RGB, Writer
from PIL import Image, PngImagePlugin

from tilewright.slides.orientation import orientation_of

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {}</x:xmpmeta>'


def exif(turn, order="<"):
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return start + struct.pack(order + "HHHIHHI", 1, 274, 3, 1, turn, 0, 0)


def save(path, blob=b"", **options):
    Image.fromarray(RGB).save(path, **({"exif": blob} if blob else {}), **options)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_exif_of_pictures(tmp_path, name, order, turn):
    blob = exif(turn, order)
    assert orientation_of(save(tmp_path / name, (b"Exif\0\0" if name == "a.jpg" else b"") + blob)) == turn


@pytest.mark.parametrize("turn", range(1, 9))
def test_tag_of_a_tiff(tmp_path, turn):
    assert orientation_of(Writer().add(RGB, {274: turn}).save(tmp_path / "a.tif")) == turn


@pytest.mark.parametrize("text", ['tiff:Orientation="6"/>', "><tiff:Orientation>6</tiff:Orientation>"])
def test_xmp_of_pictures(tmp_path, text):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.format(text))
    assert orientation_of(save(tmp_path / "a.png", pnginfo=info)) == 6
    assert orientation_of(save(tmp_path / "a.jpg", xmp=XMP.format(text).encode())) == 6


@pytest.mark.parametrize("turn", [0, 9, 65_535])
def test_a_number_that_says_nothing_turns_nothing(tmp_path, turn):
    assert orientation_of(save(tmp_path / "a.png", exif(turn))) == 1
    assert orientation_of(Writer().add(RGB, {274: turn}).save(tmp_path / "a.tif")) == 1


def test_pictures_without_a_tag_and_damaged_ones_are_not_turned(tmp_path):
    whole = save(tmp_path / "a.jpg", b"Exif\0\0" + exif(6)).read_bytes()
    for length in (0, 3, 20, 30, 40, 44):
        (tmp_path / "b.jpg").write_bytes(whole[:length])
        assert orientation_of(tmp_path / "b.jpg") == 1
    for name in ("a.png", "a.webp", "a.bmp", "a.tif"):
        assert orientation_of(save(tmp_path / name)) == 1
    (tmp_path / "c.png").write_bytes(np.random.default_rng(0).bytes(5000))
    assert orientation_of(tmp_path / "c.png") == orientation_of(tmp_path / "none.png") == 1
