import warnings

import numpy as np
import pytest
import pyvips
import rasterio
from rasterio.enums import ColorInterp

from tilewright.rasters import Size, Window
from tilewright.runtime.errors import SlideError
from tilewright.sheet import Region
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
