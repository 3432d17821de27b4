import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import pyvips
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp

from tilewright.pixels.grid import Size, Window
from tilewright.project.rows import Region
from tilewright.runtime.errors import SlideError
from tilewright.slides import open_slide

HEIGHT, WIDTH = 40, 60
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALL = Window(0, 0, WIDTH, HEIGHT)


def pixels(path, window=ALL, **options):
    with open_slide(path, **options) as slide:
        return slide.read(window)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colour_is_read_as_it_is(tmp_path, save_image, name):
    save_image(tmp_path / name, RGB)
    assert (pixels(tmp_path / name) == RGB).all()


def test_planar_and_tiled_files_are_read_alike(tmp_path, save_image):
    save_image(tmp_path / "a.tif", RGB, interleave="band", tiled=True, blockxsize=16, blockysize=16, compress="lzw")
    assert (pixels(tmp_path / "a.tif") == RGB).all()


def test_three_pages_of_one_band_are_one_colour_image(tmp_path, save_image):
    path = tmp_path / "a.tif"
    for band in range(3):
        save_image(path, RGB[..., band : band + 1], APPEND_SUBDATASET="YES" if band else "NO")
    assert (pixels(path) == RGB).all()


def test_grey_is_repeated(tmp_path, save_image):
    save_image(tmp_path / "a.png", RGB[..., :1])
    assert (pixels(tmp_path / "a.png") == RGB[..., :1]).all()


def test_palettes_are_looked_up(tmp_path):
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    colors = {0: (255, 0, 0, 255), 1: (0, 255, 0, 255), 2: (10, 20, 30, 255)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=1, dtype="uint8",
            photometric="palette",
        ) as file:  # fmt: skip
            file.write(indices, 1)
            file.write_colormap(1, colors)
    lookup = np.array([colors[index][:3] for index in range(3)], np.uint8)
    assert (pixels(tmp_path / "a.tif") == lookup[indices]).all()


def test_alpha_is_laid_on_white(tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, :20], alpha[:, 20:40] = 255, 51
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=4, dtype="uint8"
        ) as file:
            file.write(np.dstack([RGB, alpha]).transpose(2, 0, 1))
            file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    found = pixels(tmp_path / "a.tif")
    assert (found[:, :20] == RGB[:, :20]).all()
    assert np.abs(found[:, 20:40] - (255 - 0.2 * (255.0 - RGB[:, 20:40]))).max() <= 0.5
    assert (found[:, 40:] == 255).all()


def test_16_bits_become_8_by_their_range(tmp_path, save_image):
    deep = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH, 1)
    save_image(tmp_path / "a.tif", deep)
    found = pixels(tmp_path / "a.tif")
    assert np.abs(found.astype(float) - deep * (255 / 65535)).max() <= 0.51
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize(("bands", "kind"), [(5, np.uint8), (1, np.float32), (3, np.int16)])
def test_bands_that_are_neither_grey_nor_colour_are_refused(tmp_path, save_image, bands, kind):
    save_image(tmp_path / "a.tif", np.zeros((8, 8, bands), kind))
    with pytest.raises(SlideError, match="neither grey nor colour"):
        pixels(tmp_path / "a.tif")


def test_a_region_counts_from_its_corner(tmp_path, save_image):
    save_image(tmp_path / "a.png", RGB)
    with open_slide(tmp_path / "a.png", region=Region(10, 5, 20, 30)) as slide:
        assert slide.size == Size(20, 30)
        assert slide.frame.image == Size(WIDTH, HEIGHT)
        assert (slide.read(Window(2, 3, 4, 5)) == RGB[8:13, 12:16]).all()


def test_what_lies_outside_the_region_is_white(tmp_path, save_image):
    save_image(tmp_path / "a.png", RGB)
    with open_slide(tmp_path / "a.png", region=Region(10, 5, 20, 30)) as slide:
        found = slide.read(Window(-2, -2, 24, 34))
    assert (found[2:-2, 2:-2] == RGB[5:35, 10:30]).all()
    found[2:-2, 2:-2] = 255
    assert (found == 255).all()


def test_a_region_beyond_the_image_is_refused(tmp_path, save_image):
    save_image(tmp_path / "a.png", RGB)
    with pytest.raises(SlideError, match="the region 50,0,20,30 reaches beyond the image of 60 x 40"):
        pixels(tmp_path / "a.png", region=Region(50, 0, 20, 30))


def test_an_image_larger_than_allowed_is_refused_before_it_is_read(tmp_path, save_image):
    save_image(tmp_path / "a.png", RGB)
    with pytest.raises(SlideError, match=r"limits\.max_pixels"):
        pixels(tmp_path / "a.png", max_pixels=WIDTH * HEIGHT - 1)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path, save_image, name, share):
    path = tmp_path / name
    save_image(path, np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SlideError, match=name):
        pixels(path, Window(0, 0, 200, 300))


@pytest.mark.parametrize("name", ["a.bmp", "a.webp", "a.jp2", "a.ppm", "a.jpg", "a.png"])
@pytest.mark.parametrize("share", [1.0, 0.9, 0.3])
def test_other_pictures_are_read_whole_or_refused(tmp_path, name, share):
    path = tmp_path / name
    smooth = cv2.resize(RGB, (200, 300))
    options = {"a.webp": {"lossless": True}, "a.jpg": {"progressive": True, "quality": 95, "subsampling": 0}}
    Image.fromarray(smooth).save(path, **options.get(name, {}))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    if share == 1:
        assert np.abs(pixels(path, Window(0, 0, 200, 300)).astype(int) - smooth).max() <= (16 if name == "a.jpg" else 0)
    else:
        with pytest.raises(SlideError, match=name):
            pixels(path, Window(0, 0, 200, 300))


@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("tiled", [False, True])
def test_a_tiff_that_is_cut_short_is_refused_before_it_is_read(tmp_path, save_image, compress, tiled):
    path = tmp_path / "a.tif"
    options = {"blockxsize": 64, "blockysize": 64} if tiled else {"blockysize": 16}
    save_image(path, cv2.resize(RGB, (200, 300)), compress=compress, tiled=tiled, **options)
    content = path.read_bytes()
    for missing in (1, len(content) // 2):
        path.write_bytes(content[:-missing])
        with pytest.raises(SlideError, match=r"a\.tif: cannot be read: cut short: of \d+ (tiles|strips) of page 1"):
            pixels(path)


@pytest.mark.parametrize(
    ("was", "name"), [("a.png", "b.tif"), ("a.tif", "b.svs"), ("a.tif", "b.png"), ("a.png", "b.svs")]
)
def test_a_file_with_another_formats_name_is_read(tmp_path, save_image, was, name):
    save_image(tmp_path / was, RGB)
    (tmp_path / was).rename(tmp_path / name)
    assert (pixels(tmp_path / name) == RGB).all()


def test_a_jpeg_with_another_formats_name_is_read(tmp_path, save_image):
    save_image(tmp_path / "a.jpg", RGB)
    expected = pixels(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "b.png")
    assert (pixels(tmp_path / "b.png") == expected).all()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.svs", b"some text", "it looks like text"),
        ("a.tif", b"PK\x03\x04 and more", "it looks like a ZIP archive"),
        ("a.png", b"<html>Not found</html>", "it looks like XML or HTML"),
        ("a.tif", b"<VRTDataset><SourceFilename>/etc/passwd</SourceFilename></VRTDataset>", "it looks like XML"),
        ("a.geojson", b'{"type": "FeatureCollection"}', "it looks like JSON"),
        ("a.czi", b"ZISRAWFILE\0\0", "a Zeiss CZI slide"),
        ("a.jpg", bytes(100), "it looks like nothing known"),
        ("a.ndpi", b"", "the file is empty"),
        ("a.tif", b"II*\0", "damaged or cut short"),
        ("a.tif", b"MM\0+" + bytes(12), "damaged or cut short"),
    ],
)
def test_a_file_that_is_no_image_is_called_what_it_is(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SlideError) as caught:
        pixels(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be read")
    assert says in str(caught.value)


def test_a_directory_and_a_missing_file_are_no_images(tmp_path):
    with pytest.raises(SlideError, match="is a directory, not an image file"):
        pixels(tmp_path)
    with pytest.raises(SlideError, match="there is no such file"):
        pixels(tmp_path / "a.tif")


def png(width, height, rows=b""):
    """A PNG that says it is so large, with compressed rows."""
    chunks = [
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(1_000_000, 1_000_000))
    with pytest.raises(SlideError, match=r"1000000 x 1000000 pixels are more than limits\.max_pixels"):
        pixels(path)
    path.write_bytes(png(100_000, 100_000, bytes(300_001)))
    with pytest.raises(SlideError, match="damaged at x 0, y 0"):
        pixels(path)


def test_files_beside_an_image_do_not_change_it(tmp_path, save_image):
    save_image(tmp_path / "a.tif", RGB)
    aux = "<PAMDataset><PAMRasterBand band='3'><ColorInterp>Alpha</ColorInterp></PAMRasterBand></PAMDataset>"
    (tmp_path / "a.tif.aux.xml").write_text(aux)
    assert (pixels(tmp_path / "a.tif") == RGB).all()


@pytest.mark.parametrize("name", ["a.png", "a.svs"])
def test_a_file_that_is_no_image_is_named(tmp_path, name):
    (tmp_path / name).write_text("no image")
    with pytest.raises(SlideError, match=name):
        pixels(tmp_path / name)


@pytest.mark.parametrize(
    ("per_millimetre", "unit", "mpp"),
    [(2000, "cm", 0.5), (2000, "inch", 0.5), (72 / 25.4, "inch", None), (1, "cm", None)],
)
def test_the_pixel_size_comes_from_the_resolution_unless_it_is_a_screens(tmp_path, per_millimetre, unit, mpp):
    path = tmp_path / "a.tif"
    pyvips.Image.black(8, 8, bands=3).tiffsave(str(path), xres=per_millimetre, yres=per_millimetre, resunit=unit)
    with open_slide(path) as slide:
        assert slide.frame.mpp == (pytest.approx(mpp) if mpp else None)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.frame.mpp == 0.25
