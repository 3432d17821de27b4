import re

import cv2
import numpy as np
import pytest
import pyvips
import rasterio.features
from ordering import order_of
from shapely import Point

from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import Scale, Tissue
from tilewright.project.orders import DownscaleOrder
from tilewright.runtime.errors import SlideError
from tilewright.runtime.hashed import file_print
from tilewright.scales import downscale as downscale_module
from tilewright.scales.downscale import downscale, downscale_image, downscale_mask, passes, scale_factor
from tilewright.scales.tissue import find_tissue
from tilewright.slides import open_slide


def pixels(path):
    with open_raster(path) as raster:
        return raster.read(), raster.tags


def scaled(tmp_path, save_image, image, factor):
    """The image (rows x columns x 3) at a lower scale."""
    save_image(tmp_path / "in.png", image)
    with open_slide(tmp_path / "in.png") as slide:
        frame = slide.frame.scaled(factor)
        downscale_image(slide, {tmp_path / "out.tif": frame})
    result, tags = pixels(tmp_path / "out.tif")
    return np.moveaxis(result, 0, -1), tags, frame


def plain_mean(image, factor):
    """Each cell as the mean of the pixels under it, weighed by the area that lies in the cell."""

    def weights(length):
        edges = np.arange(-(-length // factor) + 1) * factor
        pixel = np.arange(length)
        overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
        overlap = np.clip(overlap, 0, None)
        return overlap / overlap.sum(1, keepdims=True)

    return np.einsum(
        "ir,jc,rcb->ijb", weights(image.shape[0]), weights(image.shape[1]), image.astype(float), optimize=True
    )


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 1.5, 2.7])
@pytest.mark.parametrize("size", [(512, 640), (37, 50), (8, 8), (1, 1)])
def test_the_streamed_mean_is_the_plain_mean(tmp_path, save_image, factor, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found, _, _ = scaled(tmp_path, save_image, image, factor)
    expected = plain_mean(image, factor)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 0.501


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("factors", [(2, 4), (2, 3, 6), (1, 2, 2.5), (4, 4)])
def test_one_pass_for_several_scales_gives_each_as_if_alone(tmp_path, monkeypatch, factors, suffix):
    """From files stored by rows (PNG) and by tiles (TIFF), in many pieces."""
    monkeypatch.setattr("tilewright.scales.downscale.BLOCK", 16)
    monkeypatch.setattr("tilewright.scales.downscale.READ", 40)
    image = np.random.default_rng(0).integers(0, 256, (203, 177, 3), np.uint8)
    path = tmp_path / f"in.{suffix}"
    layout = {"tile": True, "tile_width": 16, "tile_height": 16} if suffix == "tif" else {}
    pyvips.Image.new_from_memory(image, 177, 203, 3, "uchar").write_to_file(str(path), **layout)
    with open_slide(path) as slide:
        outs = {tmp_path / f"{place}.tif": slide.frame.scaled(factor) for place, factor in enumerate(factors)}
        downscale_image(slide, outs)
    for out, factor in zip(outs, factors, strict=True):
        found = np.moveaxis(pixels(out)[0], 0, -1)
        assert np.abs(found - plain_mean(image, factor)).max() <= 0.501


@pytest.mark.parametrize("factors", [(2,), (1, 2.5)])
def test_a_scaled_image_tells_which_file_it_is_of(tmp_path, save_image, factors):
    save_image(tmp_path / "in.png", np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8))
    with open_slide(tmp_path / "in.png") as slide:
        outs = {tmp_path / f"{factor}.tif": slide.frame.scaled(factor) for factor in factors}
        downscale_image(slide, outs)
    assert {pixels(out)[1]["file"] for out in outs} == {file_print(tmp_path / "in.png")}


def test_whole_factors_share_a_pass_and_others_do_not():
    assert passes([4, 2, 1, 8]) == [[1, 2, 4, 8]]
    assert passes([2, 2.5, 3, 4]) == [[2, 3, 4], [2.5]]
    assert passes([2, 31]) == [[2], [31]], "31 x 512 x 2 pixels are too many to hold"


@pytest.mark.parametrize("factor", [1.5, 2.7, 3.000001])
def test_a_fractional_factor_rounds_the_size_up_and_keeps_the_place(tmp_path, save_image, factor):
    y, x = np.mgrid[:301, :203]
    image = np.repeat((x * 0.5 + y * 0.4)[..., None], 3, axis=2).astype(np.uint8)
    found, _, frame = scaled(tmp_path, save_image, image, factor)
    assert found.shape == (int(np.ceil(301 / factor)), int(np.ceil(203 / factor)), 3)
    assert frame.size == found.shape[1::-1]
    rows, columns = ((np.arange(count) + 0.5) * factor - 0.5 for count in found.shape[:2])
    expected = columns[None] * 0.5 + rows[:, None] * 0.4
    assert np.abs(found[2:-2, 2:-2, 0] - expected[2:-2, 2:-2]).max() < 2


def test_the_scaled_image_says_where_it_lies(tmp_path, save_image):
    _, tags, frame = scaled(tmp_path, save_image, np.zeros((30, 40, 3), np.uint8), 2)
    with open_raster(tmp_path / "out.tif") as raster:
        assert Frame.of(raster) == frame == Frame(0, 0, 40, 30, Size(40, 30), 2)
    assert "frame" in tags


CLASSES = ("a", "b")


def masked(tmp_path, mask, factor):
    height, width = mask.shape
    frame = Frame(0, 0, width, height, Size(width, height))
    with create_raster(tmp_path / "m.tif", frame.size, dtype=mask.dtype, tags=frame.tags(CLASSES)) as raster:
        raster.write(mask, 0, 0)
    downscale_mask(tmp_path / "m.tif", frame.scaled(factor), tmp_path / "s.tif", CLASSES)
    return pixels(tmp_path / "s.tif")[0][0]


@pytest.mark.parametrize("factor", [2, 3, 4, 2.5, 7.3])
def test_the_area_of_a_mask_is_kept_within_a_hundredth(tmp_path, factor):
    shapes = [Point(200, 300).buffer(150), Point(500, 200).buffer(120), Point(480, 480).buffer(90)]
    outside = rasterio.features.geometry_mask(shapes, (600, 700), rasterio.Affine.identity())
    mask = (~outside).astype(np.uint8)
    found = masked(tmp_path, mask, factor)
    assert int(found.sum()) * factor**2 == pytest.approx(int(mask.sum()), rel=0.01)


@pytest.mark.parametrize("factor", [2, 4, 8, 5.5])
def test_thin_objects_keep_their_area(tmp_path, factor):
    """Lines of three pixels in all directions, most of which no cell of a coarse scale has in its greater part."""
    y, x = np.mgrid[:1500, :1500]
    mask = np.zeros((1500, 1500), np.uint8)
    for angle in np.linspace(0.1, 3, 9):
        mask |= (np.abs((x * np.cos(angle) + y * np.sin(angle)) % 300 - 150) < 1.5).astype(np.uint8)
    found = masked(tmp_path, mask, factor)
    assert int(found.sum()) * factor**2 == pytest.approx(int(mask.sum()), rel=0.02)


def test_each_bit_is_that_of_the_pixel_in_the_centre(tmp_path):
    mask = np.arange(36, dtype=np.uint16).reshape(6, 6) * 100
    assert masked(tmp_path, mask, 3).tolist() == mask[1::3, 1::3].tolist()
    assert masked(tmp_path, mask, 2).tolist() == mask[1::2, 1::2].tolist()
    assert masked(tmp_path, mask, 1).tolist() == mask.tolist()


@pytest.mark.parametrize("factor", [2, 3.3, 40])
def test_blocks_of_a_large_mask_join_without_a_seam(tmp_path, monkeypatch, factor):
    monkeypatch.setattr("tilewright.scales.downscale.READ", 700)
    mask = np.random.default_rng(0).integers(0, 4, (1300, 1400), np.uint8)
    found = masked(tmp_path, mask, factor)
    rows, columns = (
        np.minimum(((np.arange(np.ceil(length / factor)) + 0.5) * factor).astype(int), length - 1)
        for length in mask.shape
    )
    np.testing.assert_array_equal(found, mask[rows][:, columns])


def tissue(tmp_path, save_image, image, **options):
    _, _, frame = scaled(tmp_path, save_image, image, 1)
    find_tissue(tmp_path / "out.tif", frame, Tissue(**options), tmp_path / "t.tif")
    return pixels(tmp_path / "t.tif")[0][0]


@pytest.mark.parametrize(
    ("color", "found"),
    [((236, 214, 230), 1), ((120, 60, 140), 1), ((150, 150, 150), 1), ((250, 250, 249), 0), ((0, 0, 0), 0)],
    ids=["pale tissue", "dark tissue", "grey tissue", "background", "black border"],
)
def test_tissue_is_what_is_stained_however_pale(tmp_path, save_image, color, found):
    image = np.full((64, 64, 3), 248, np.uint8)
    image[16:48, 16:48] = color
    result = tissue(tmp_path, save_image, image)
    assert result[24:40, 24:40].min() == result[24:40, 24:40].max() == found
    assert result[:8].max() == 0
    assert set(np.unique(result)) <= {0, 1}


def test_without_a_method_the_whole_slide_is_tissue(tmp_path, save_image):
    assert (tissue(tmp_path, save_image, np.full((20, 30, 3), 255, np.uint8), method="none") == 1).all()


def test_a_slide_without_tissue_is_told_of_and_no_other(tmp_path, project, capsys):
    options = {"scales": {"half": Scale(factor=2)}, "masks": False, "classes": ["gland", "vessel"]}
    for most, told in ((1.0, 0), (0.0, 1)):
        tissue = Tissue(min_chroma=1, max_brightness=most, min_brightness=0)
        order = order_of(DownscaleOrder, project.sheet, "t", tissue=tissue, **options)
        downscale(order, masks=tmp_path, out=[tmp_path / f"half{told}"])
        found = re.findall(r"t1: 0 of \d+ pixels are tissue, so nothing is predicted there", capsys.readouterr().err)
        assert len(found) == told


@pytest.mark.parametrize(("mpp", "factor"), [(0.5, 4), (2.0, 1), (2.0005, 1)])
def test_a_scale_in_micrometres_is_a_factor_of_the_slides_pixel(tmp_path, save_image, mpp, factor):
    save_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with open_slide(tmp_path / "a.png", mpp=mpp) as slide:
        assert scale_factor(Scale(mpp=2.0), slide) == factor


def test_a_pixel_size_written_with_six_digits_gives_the_whole_factor_that_it_came_from(tmp_path, save_image):
    """A bundle of a model that worked at half the slide must read the same windows as that did."""
    own = 0.25269999
    save_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with open_slide(tmp_path / "a.png", mpp=own) as slide:
        assert round(2 * own, 6) / own != 2
        assert scale_factor(Scale(mpp=round(2 * own, 6)), slide) == 2
        assert scale_factor(Scale(mpp=2.001 * own), slide) == pytest.approx(2.001, rel=1e-9)


@pytest.mark.parametrize(("mpp", "says"), [(None, "its pixel size is unknown"), (4.0, "coarser than the scale's 2.0")])
def test_a_scale_that_the_slide_cannot_give_is_refused(tmp_path, save_image, mpp, says):
    save_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with open_slide(tmp_path / "a.png", mpp=mpp) as slide, pytest.raises(SlideError, match=says):
        scale_factor(Scale(mpp=2.0), slide)


def test_a_slide_damaged_in_the_middle_is_refused(tmp_path, save_image):
    path = tmp_path / "a.tif"
    save_image(path, np.random.default_rng(0).integers(0, 256, (900, 64, 3), np.uint8), compress="deflate")
    content = bytearray(path.read_bytes())
    content[60_000:70_000] = bytes(10_000)
    path.write_bytes(content)
    with open_slide(path) as slide, pytest.raises(SlideError, match="damaged at x 0, y 0"):
        downscale_image(slide, {tmp_path / "out.tif": slide.frame.scaled(2)})
    assert not (tmp_path / "out.tif").exists()


def test_the_same_slide_gives_the_same_bytes(tmp_path, save_image):
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    scaled(tmp_path, save_image, image, 2)
    first = (tmp_path / "out.tif").read_bytes()
    scaled(tmp_path, save_image, image, 2)
    assert (tmp_path / "out.tif").read_bytes() == first


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 2.5])
@pytest.mark.parametrize("size", [(120, 180), (60, 2400)])
def test_bicubic_scales_are_those_of_opencv(tmp_path, save_image, monkeypatch, factor, size):
    """Read in pieces, of an image with sharp edges, where interpolation overshoots."""
    monkeypatch.setattr(downscale_module, "READ", 64)
    generator = np.random.default_rng(0)
    image = (generator.random((*size, 3)) < 0.5).astype(np.uint8) * generator.integers(100, 256, 3).astype(np.uint8)
    save_image(tmp_path / "i.png", image)
    height, width = size
    with open_slide(tmp_path / "i.png") as slide:
        out, frame = tmp_path / "o.tif", slide.frame.scaled(factor)
        downscale_image(slide, {out: frame}, resample="bicubic")
    with open_raster(out) as raster:
        found = np.moveaxis(raster.read(), 0, -1).astype(int)
    expected = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_CUBIC)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
    if factor > 1:
        area = cv2.resize(image, expected.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(found - area).max() > 20


def test_scales_of_both_kinds_are_made_of_one_slide(tmp_path, project):
    row_scales = {"half": Scale(factor=2), "sharp": Scale(factor=2, resample="bicubic")}
    order = order_of(
        DownscaleOrder, project.sheet, "t", scales=row_scales, tissue=Tissue(), masks=False, classes=["gland", "vessel"]
    )
    downscale(order, masks=tmp_path, out=[tmp_path / "half", tmp_path / "sharp"])
    found = []
    for name in row_scales:
        with open_raster(tmp_path / name / "t1.image.tif") as raster:
            found.append(raster.read().astype(int))
    assert found[0].shape == found[1].shape
    assert 0 < np.abs(found[0] - found[1]).mean() < 5
