"""Tiles whose JPEG is of other colours than the file around it says."""

import io
import struct

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image
from reading import read_slide, slide_refusal

from tilewright.slides.jpegs import JpegHead, jpeg_head

EDGE = 128
GREY, TISSUE = (240, 240, 240), (180, 90, 160)
PIXELS = np.full((EDGE, EDGE, 3), GREY, np.uint8)
PIXELS[64:, 64:] = TISSUE
CLOSE = 3
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
VL_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def jpeg(kind="JFIF", **options):
    """The picture as a JPEG of YCbCr, with the marker of JFIF, or without any."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", quality=98, **{"subsampling": 0, **options})
    data = stream.getvalue()
    assert data[2:4] == b"\xff\xe0"
    return data if kind == "JFIF" else data[:2] + data[4 + struct.unpack(">H", data[4:6])[0] :]


def adobe(data, transform):
    return data[:2] + struct.pack(">BBH5sHHHB", 0xFF, 0xEE, 14, b"Adobe", 100, 0, 0, transform) + data[2:]


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (jpeg(), JpegHead("YCbCr", marked=True)),
        (jpeg("bare"), JpegHead("YCbCr")),
        (jpeg(subsampling=2), JpegHead("YCbCr", sampled=True, marked=True)),
        (adobe(jpeg("bare"), 0), JpegHead("RGB", marked=True)),
        (adobe(jpeg("bare"), 1), JpegHead("YCbCr", marked=True)),
        (jpeg(progressive=True), JpegHead("YCbCr", marked=True)),
        (jpeg()[:100], JpegHead()),
        (b"\xff\xd8\xff", JpegHead()),
        (b"", JpegHead()),
        (b"no jpeg", JpegHead()),
    ],
)
def test_a_jpeg_is_of_the_colours_that_its_markers_say_or_the_numbers_of_its_bands(data, head):
    assert jpeg_head(data) == head


def tiff(path, data, photometric, text=""):
    """A TIFF of one tile: rasterio writes another one, whose JPEG is replaced."""
    with rasterio.open(
        path, "w", driver="GTiff", width=EDGE, height=EDGE, count=3, dtype="uint8", tiled=True, blockxsize=EDGE,
        blockysize=EDGE, photometric=photometric, compress="jpeg", JPEGTABLESMODE=0,
    ) as file:  # fmt: skip
        file.write(np.random.default_rng(0).integers(0, 256, (3, EDGE, EDGE), np.uint8))
        if text:
            file.update_tags(TIFFTAG_IMAGEDESCRIPTION=text)
    content = bytearray(path.read_bytes())
    for tag, value in ((324, len(content)), (325, len(data))):
        place = content.rindex(struct.pack("<HHI", tag, 4, 1))
        struct.pack_into("<I", content, place + 8, value)
    path.write_bytes(bytes(content) + data)
    return path


@pytest.mark.parametrize("kind", ["JFIF", "bare"])
def test_tiles_of_a_tiff_that_are_ycbcr_and_called_rgb_have_their_own_colours(tmp_path, kind):
    found = read_slide(tiff(tmp_path / "a.tif", jpeg(kind), "rgb")).astype(int)
    assert np.abs(found[::127, ::127] - PIXELS[::127, ::127]).max() <= CLOSE


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_tiles_of_a_tiff_that_are_what_it_says_stay_so(tmp_path, save_image, photometric):
    path = tmp_path / "a.tif"
    save_image(path, PIXELS, compress="jpeg", photometric=photometric, jpeg_quality=98)
    assert np.abs(read_slide(path).astype(int)[::39, ::59] - PIXELS[::39, ::59]).max() <= CLOSE


def test_tiles_of_a_tiff_whose_colours_cannot_be_told_apart_are_refused(tmp_path):
    found = slide_refusal(tiff(tmp_path / "a.tif", jpeg(subsampling=2), "rgb"))
    assert "its tiles are YCbCr with fewer colours than pixels" in found
    assert "it says RGB" in found
    found = slide_refusal(tiff(tmp_path / "b.tif", adobe(jpeg("bare"), 0), "ycbcr"))
    assert "its tiles are RGB (by the head of their JPEG), and it says YCbCr" in found
    assert "Export the image again" in found


@pytest.mark.parametrize(("kind", "own"), [("JFIF", True), ("bare", False)])
def test_tiles_of_a_scanner_are_what_it_says_unless_a_marker_says_otherwise(tmp_path, kind, own):
    """Scanners of Aperio write RGB with the numbers of YCbCr and without any marker."""
    text = "Aperio Image Library v11.2.1 \r\n128x128 (128x128) JPEG/RGB Q=98|AppMag = 20|MPP = 0.4990"
    found = read_slide(tiff(tmp_path / "a.svs", jpeg(kind), "rgb", text)).astype(int)
    assert (np.abs(found[::127, ::127] - PIXELS[::127, ::127]).max() <= CLOSE) == own


def element(group, number, kind, value):
    if kind in ("US", "UL", "FL"):
        value = struct.pack("<" + {"US": "H", "UL": "I", "FL": "f"}[kind], value)
    elif isinstance(value, str):
        value = value.encode() + (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in ("OB", "SQ") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + length + value


def sequence(group, number, content):
    return element(group, number, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)


def dicom(path, data, photometric, spacing="0.0005\\0.0005"):
    """A slide of one tile, as programs for microscopes write it."""
    syntax = [element(2, 1, "OB", b"\0\1"), element(2, 2, "UI", VL_SLIDE), element(2, 3, "UI", "1.2.3"),
              element(2, 16, "UI", "1.2.840.10008.1.2.4.50"), element(2, 18, "UI", "1.2.4")]  # fmt: skip
    measures = sequence(0x28, 0x9110, element(0x18, 0x50, "DS", "0.001") + element(0x28, 0x30, "DS", spacing))
    texts = [
        (8, 8, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"), (8, 0x16, "UI", VL_SLIDE), (8, 0x18, "UI", "1.2.3"),
        (8, 0x60, "CS", "SM"), (0x20, 0xD, "UI", "1.2.5"), (0x20, 0xE, "UI", "1.2.6"),
        (0x20, 0x9311, "CS", "TILED_FULL"), (0x28, 2, "US", 3), (0x28, 4, "CS", photometric), (0x28, 6, "US", 0),
        (0x28, 8, "IS", "1"), (0x28, 0x10, "US", EDGE), (0x28, 0x11, "US", EDGE), (0x28, 0x100, "US", 8),
        (0x28, 0x101, "US", 8), (0x28, 0x102, "US", 7), (0x28, 0x103, "US", 0), (0x48, 1, "FL", 1.0),
        (0x48, 2, "FL", 1.0), (0x48, 3, "FL", 0.001), (0x48, 6, "UL", EDGE), (0x48, 7, "UL", EDGE),
        (0x48, 0x302, "UL", 1), (0x48, 0x303, "UL", 1),
    ]  # fmt: skip
    body = b"".join(element(*each) for each in texts) + sequence(0x5200, 0x9229, measures)
    parts = [b"", data + b"\0" * (len(data) % 2)]
    pixels = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in parts)
    pixels = (
        struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    head = b"".join(syntax)
    path.write_bytes(bytes(128) + b"DICM" + element(2, 0, "UL", len(head)) + head + body + pixels)
    return path


@pytest.mark.parametrize(("photometric", "kind"), [("RGB", "JFIF"), ("RGB", "bare"), ("YBR_FULL_422", "JFIF")])
def test_tiles_of_a_dicom_have_their_own_colours_whatever_it_says(tmp_path, photometric, kind):
    found = read_slide(dicom(tmp_path / "a.dcm", jpeg(kind), photometric)).astype(int)
    assert np.abs(found[::127, ::127] - PIXELS[::127, ::127]).max() <= CLOSE


def test_tiles_of_a_dicom_that_are_rgb_stay_so_and_are_refused_where_it_says_otherwise(tmp_path):
    swapped = cv2.cvtColor(PIXELS, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    found = read_slide(dicom(tmp_path / "a.dcm", adobe(jpeg("bare"), 0), "RGB")).astype(int)
    assert np.abs(found[::127, ::127] - swapped[::127, ::127]).max() <= CLOSE
    found = slide_refusal(dicom(tmp_path / "b.dcm", adobe(jpeg("bare"), 0), "YBR_FULL_422"))
    assert "its tiles are RGB (by the head of their JPEG), and it says YBR_FULL_422" in found


def test_pixels_of_a_dicom_that_are_not_square_are_refused(tmp_path):
    found = slide_refusal(dicom(tmp_path / "a.dcm", jpeg(), "YBR_FULL_422", spacing="0.0005\\0.00025"))
    assert "its pixels of 0.25 x 0.5 um are not square" in found
