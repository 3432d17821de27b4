"""Scales that are averaged from the levels of a slide: pyramids as several programs write them."""

import cv2
import numpy as np
import pytest
import pyvips
import rasterio

from tilewright.pixels.grid import Size, Window
from tilewright.pixels.rasters import open_raster, quiet
from tilewright.project.rows import Region
from tilewright.scales.downscale import downscale_image
from tilewright.scales.levels import Difference, planes_of
from tilewright.slides import open_slide
from tilewright.slides.source import level_factor
from tilewright.slides.tiff import Tiff

DEMO = "config/demo/hgsc_nest.jpg"
LAYOUT = {"tile": True, "tile_width": 128, "tile_height": 128, "compression": "deflate"}


@pytest.fixture(scope="module")
def picture():
    """Real H&E, of a size that no level divides."""
    return cv2.cvtColor(cv2.imread(DEMO), cv2.COLOR_BGR2RGB)[:1203, :1401]


def vips(pixels):
    return pyvips.Image.new_from_array(pixels)


def averaged(pixels, factor):
    height, width = (length // factor for length in pixels.shape[:2])
    return cv2.resize(pixels[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)


def below(path, pixels, subifd):
    """A pyramid as libvips writes it: pages beside the first one, or below it (OME-TIFF, QuPath, Bio-Formats)."""
    vips(pixels).tiffsave(str(path), pyramid=True, subifd=subifd, **LAYOUT)
    return path


def with_level(path, pixels, level, **options):
    """A file whose second page is any picture."""
    vips(pixels).tiffsave(str(path), **LAYOUT)
    return add_page(path, level, **options)


def add_page(path, level, **more):
    height, width, _ = level.shape
    options = {"append_subdataset": "yes", "photometric": "rgb", "tiled": True, "blockxsize": 128, "blockysize": 128}
    options |= more
    with (
        quiet(),
        rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", **options) as file,
    ):
        file.write(np.moveaxis(level, -1, 0))
    return path


def scaled(tmp_path, slide, factor, *, use=True):
    downscale_image(slide, {tmp_path / f"{use}.tif": slide.frame.scaled(factor)}, levels=use)
    with open_raster(tmp_path / f"{use}.tif") as raster:
        return np.moveaxis(raster.read(), 0, -1).astype(int)


def used(slide, factor):
    """The factors of what scales are averaged from."""
    return [plane.factor for plane, _ in planes_of(slide, [factor])]


@pytest.mark.parametrize("subifd", [False, True])
@pytest.mark.parametrize(("factor", "expected"), [(1, 1), (1.9, 1), (2, 2), (3, 2), (4, 4), (7.9, 4), (8, 8)])
def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path, picture, subifd, factor, expected):
    with open_slide(below(tmp_path / "a.tif", picture, subifd)) as slide:
        assert used(slide, factor) == [expected]
        found, plain = scaled(tmp_path, slide, factor), scaled(tmp_path, slide, factor, use=False)
    assert found.shape == plain.shape
    difference = np.abs(found - plain)
    assert difference.mean() < (3 if expected > 1 else 1e-9)
    assert max(difference[-1].mean(), difference[:, -1].mean()) < 30, "of the last cells, levels may hold no pixel"


@pytest.mark.parametrize(
    "region", [Region(400, 200, 640, 480), Region(401, 203, 641, 479), Region(1000, 900, 401, 303)]
)
@pytest.mark.parametrize("factor", [4, 8, 5.3])
def test_a_region_is_that_of_the_level_wherever_it_begins(tmp_path, picture, region, factor):
    with open_slide(below(tmp_path / "a.tif", picture, subifd=True), region=region) as slide:
        found, plain = scaled(tmp_path, slide, factor), scaled(tmp_path, slide, factor, use=False)
        assert used(slide, factor) == [4 if factor < 8 else 8]
    assert found.shape == plain.shape
    inside = np.s_[1:-1, 1:-1]
    here = np.abs(found - plain)[inside].mean()
    moved = [np.abs(np.roll(found, step, axis) - plain)[inside].mean() for step in (-1, 1) for axis in (0, 1)]
    assert here < 0.5 * min(moved)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_pixel_of_a_level(tmp_path, picture, threads):
    path = below(tmp_path / "a.tif", picture, subifd=True)
    with open_slide(path) as one, open_slide(path, threads=threads) as several:
        assert (scaled(tmp_path, several, 4) == scaled(tmp_path, one, 4)).all()
        level, same = (slide.levels()[1].open() for slide in (one, several))
        for window in (Window(3, 5, 200, 290), Window(0, 0, 10, 1), Window(100, 120, 150, 140)):
            assert (level.read(window) == same.read(window)).all()


def test_scales_of_one_pass_are_each_from_its_own_level(tmp_path, picture):
    with open_slide(below(tmp_path / "a.tif", picture, subifd=False)) as slide:
        frames = {tmp_path / f"{factor}.tif": slide.frame.scaled(factor) for factor in (1, 2, 6, 8)}
        downscale_image(slide, frames)
        alone = {factor: scaled(tmp_path, slide, factor) for factor in (1, 2, 6, 8)}
    for factor, expected in alone.items():
        with open_raster(tmp_path / f"{factor}.tif") as raster:
            assert (np.moveaxis(raster.read(), 0, -1) == expected).all()


def test_a_slide_without_levels_and_one_of_which_they_are_not_wanted_are_read_at_level_0(tmp_path, picture):
    vips(picture).tiffsave(str(tmp_path / "a.tif"), **LAYOUT)
    with open_slide(tmp_path / "a.tif") as slide:
        assert used(slide, 4) == [1]
    with open_slide(below(tmp_path / "b.tif", picture, subifd=True)) as slide:
        assert [plane.factor for plane, _ in planes_of(slide, [4], levels=False)] == [1]


def test_a_page_with_a_smaller_copy_is_a_level_though_nothing_says_so(tmp_path, picture):
    with open_slide(with_level(tmp_path / "a.tif", picture, averaged(picture, 4))) as slide:
        assert used(slide, 4) == [4]


WRONG = {
    "blank": lambda good: np.full_like(good, 255),
    "inverted": lambda good: 255 - good,
    "mirrored": lambda good: good[:, ::-1],
    "turned": lambda good: good[::-1, ::-1],
    "of swapped colours": lambda good: good[..., ::-1],
    "moved": lambda good: np.roll(good, 2, axis=1),
    "moved down": lambda good: np.roll(good, 2, axis=0),
    "darker": lambda good: (good * 0.85).astype(np.uint8),
    "of a part": lambda good: cv2.resize(good[20:-20, 20:-20], good.shape[1::-1]),
    "half written": lambda good: np.concatenate([good[:150], np.full_like(good[150:], 255)]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_level_of_another_picture_is_noticed_and_not_taken(tmp_path, picture, capsys, kind):
    path = with_level(tmp_path / "a.tif", picture, np.ascontiguousarray(WRONG[kind](averaged(picture, 4))))
    with open_slide(path) as slide:
        assert len(slide.levels()) == 1
        found, plain = scaled(tmp_path, slide, 4), scaled(tmp_path, slide, 4, use=False)
    assert (found == plain).all()
    assert "a.tif: the level of 4 shows another picture" in capsys.readouterr().err


def test_a_level_that_cannot_be_read_is_noticed_and_level_0_is_read(tmp_path, picture, capsys):
    path = with_level(tmp_path / "a.tif", picture, averaged(picture, 4), compress="deflate")
    tiff = Tiff(path)
    places, lengths = tiff.blocks(tiff.pages[1])
    with path.open("r+b") as file:
        for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
            file.seek(place)
            file.write(bytes(length))
    with open_slide(path) as slide:
        assert used(slide, 4) == [1]
    assert "a.tif: the level of 4 is not used (cannot be read: damaged at its level of 4" in capsys.readouterr().err


def test_a_damaged_coarse_level_does_not_keep_a_finer_one_from_being_read(tmp_path, picture):
    path = with_level(tmp_path / "a.tif", picture, averaged(picture, 2))
    add_page(path, np.full((75, 87, 3), 255, np.uint8))
    with open_slide(path) as slide:
        assert [level.factor for level in slide.levels()] == [2, 16]
        assert used(slide, 16) == [2]


def test_a_level_of_a_few_pixels_is_too_small_to_be_compared(tmp_path, picture):
    small = picture[:60, :60]
    with open_slide(with_level(tmp_path / "a.tif", small, averaged(small, 15))) as slide:
        assert len(slide.levels()) == 1
        assert used(slide, 16) == [1]


def test_levels_are_opened_where_they_are_asked_for(tmp_path, picture, monkeypatch):
    opened = []
    real = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda name, **options: (opened.append(name), real(name, **options))[1])
    with open_slide(below(tmp_path / "a.tif", picture, subifd=True)) as slide:
        count = len(slide.levels())
        assert len(opened) == 1
        planes_of(slide, [4])
    assert count > 2
    assert len(opened) == 1 + 2, "the level, and the coarsest one"


@pytest.mark.parametrize("quality", [95, 60, 30])
def test_a_level_that_was_compressed_again_is_the_same_picture(tmp_path, picture, quality):
    _, code = cv2.imencode(
        ".jpg", cv2.cvtColor(averaged(picture, 4), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    level = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    with open_slide(with_level(tmp_path / "a.tif", picture, level)) as slide:
        assert used(slide, 4) == [4]


@pytest.mark.parametrize(
    ("image", "copy", "expected"),
    [
        ((11952, 10249), (2988, 2562), 4), ((46000, 32914), (2875, 2057), 16), ((1401, 1203), (700, 601), 2),
        ((1401, 1203), (701, 602), 2), ((1000, 800), (333, 266), 3), ((1000, 800), (400, 320), 2.5),
        ((1000, 800), (1000, 800), None), ((1000, 800), (574, 768), None), ((1000, 800), (2000, 1600), None),
        ((100, 100), (0, 0), None),
    ],
)  # fmt: skip
def test_sizes_that_scanners_round_tell_the_factor(image, copy, expected):
    assert level_factor(Size(*image), Size(*copy)) == expected


def test_a_level_moved_by_one_pixel_is_noticed_where_the_picture_is_smooth(tmp_path, picture):
    smooth = cv2.GaussianBlur(picture, (0, 0), 12)
    for name, level in (("right", averaged(smooth, 4)), ("wrong", np.roll(averaged(smooth, 4), 1, axis=0))):
        with open_slide(with_level(tmp_path / f"{name}.tif", smooth, level)) as slide:
            assert used(slide, 4) == [4 if name == "right" else 1]


@pytest.mark.parametrize(
    ("difference", "same"),
    [
        (Difference(mean=14, contrast=30, color=1, moved=15), True),
        (Difference(mean=20, contrast=30, color=1, moved=21), False),
        (Difference(mean=14, contrast=30, color=1, moved=10), False),
        (Difference(mean=14, contrast=30, color=13, moved=15), False),
        (Difference(mean=5, contrast=2, color=1, moved=4.9), True),
    ],
)
def test_what_makes_two_pictures_the_same(difference, same):
    assert difference.same == same
