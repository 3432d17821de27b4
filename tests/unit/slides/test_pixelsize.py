"""Sizes of pixels: of squares, of others, and those that are no numbers; by every reader."""

import pytest
import rasterio
import rasterio.shutil
from pages import RGB, Writer, ome, save_pages
from reading import slide_refusal

from tilewright.runtime.errors import SlideError
from tilewright.slides import open_slide
from tilewright.slides.pixelsize import PixelSize

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def mpp_of(path, **options):
    with open_slide(path, **options) as slide:
        return slide.frame.mpp


def tagged(path, x, y):
    """A TIFF of pixels of x by y micrometres, by its tags."""
    tags = {282: (10_000_000, round(1000 * x)), 283: (10_000_000, round(1000 * y)), 296: 3}
    return Writer().add(RGB, tags).save(path)


def in_ome(path, x, y):
    return save_pages(path, [RGB], ome(samples=3, pixels=f' PhysicalSizeX="{x}" PhysicalSizeY="{y}"'))


def of_imagej(path, x, y):
    tags = {270: "ImageJ=1.53\nunit=micron\n", 282: (1000, round(1000 * x)), 283: (1000, round(1000 * y)), 296: 1}
    return Writer().add(RGB, tags).save(path)


def in_jpeg_2000(path, x, y):
    tags = {"XRESOLUTION": 10_000 / x, "YRESOLUTION": 10_000 / y, "RESOLUTIONUNIT": 3}
    with rasterio.open(path.with_suffix(".part"), "w", "GTiff", 60, 40, 3, dtype="uint8") as file:
        file.update_tags(**{f"TIFFTAG_{name}": value for name, value in tags.items()})
    rasterio.shutil.copy(path.with_suffix(".part"), path, "JP2OpenJPEG")
    return path


WRITERS = {"a.tif": tagged, "a.ome.tif": in_ome, "b.tif": of_imagej, "a.jp2": in_jpeg_2000}


@pytest.mark.parametrize("name", WRITERS)
def test_pixels_that_are_not_square_are_refused_by_both_their_sizes(tmp_path, name):
    path = WRITERS[name](tmp_path / name, 0.25, 0.5)
    found = slide_refusal(path)
    assert "its pixels of 0.25 x 0.5 um are not square" in found
    assert "give mpp in the sheet" in found
    assert mpp_of(path, mpp=0.25) == 0.25


@pytest.mark.parametrize("name", WRITERS)
def test_pixels_that_are_nearly_square_have_the_mean_of_their_edges(tmp_path, name):
    assert mpp_of(WRITERS[name](tmp_path / name, 0.5, 0.51)) == pytest.approx(0.505, rel=1e-3)
    with pytest.raises(SlideError, match="not square"):
        mpp_of(WRITERS[name](tmp_path / name, 0.5, 0.52))


@pytest.mark.parametrize(("x", "y", "mpp"), [(0.5, 0, 0.5), (0, 0.5, 0.5), (0, 0, None)])
def test_an_edge_that_is_not_known_is_that_of_a_square(tmp_path, x, y, mpp):
    assert PixelSize(x, y).edge(tmp_path) == mpp


def test_one_believable_edge_does_not_hide_another_that_is_not():
    assert PixelSize(0.5, 352.8).within(0.05, 20) == PixelSize(0.5, 352.8)
    assert PixelSize(264.6, 352.8).within(0.05, 20) == PixelSize()


@pytest.mark.parametrize("text", ["nan", "", "0.25 um", "0,25", "0", "-0.25", "inf", "-inf", "unknown", "1e999"])
def test_a_pixel_size_that_is_no_number_is_unknown_and_that_of_the_sheet_helps(tmp_path, text):
    path = in_ome(tmp_path / "a.ome.tif", text, text)
    assert mpp_of(path) is None
    assert mpp_of(path, mpp=0.25) == 0.25


def test_units_of_both_edges_count(tmp_path):
    text = ' PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.25" PhysicalSizeYUnit="µm"'
    assert mpp_of(save_pages(tmp_path / "a.ome.tif", [RGB], ome(samples=3, pixels=text))) == pytest.approx(0.25)


@pytest.mark.parametrize("pair", [(1, 0), (0, 1), (0, 0)])
def test_a_resolution_that_is_no_number_is_unknown(tmp_path, pair):
    assert mpp_of(Writer().add(RGB, {282: pair, 283: pair, 296: 3}).save(tmp_path / "a.tif")) is None
