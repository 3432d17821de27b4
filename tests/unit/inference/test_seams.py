import numpy as np
import pytest
import torch
from torch import nn

from tilewright.inference.seams import Part, ends, kinds, measure_seam, operations, richest
from tilewright.pixels.grid import Size, Window, grid
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import Inference

NOISE = np.random.default_rng(0)


class Pixelwise(nn.Module):
    """Gives each pixel its mean over the channels; ``slope`` adds what depends on the place in the window."""

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images):
        place = torch.linspace(-1, 1, images.shape[-1]).abs()
        return images.float().mean(1, keepdim=True) / 128 - 1 + self.slope * place


@pytest.fixture
def part(tmp_path):
    with create_raster(tmp_path / "i.tif", Size(300, 260), bands=3) as raster:
        raster.write(NOISE.integers(0, 256, (3, 260, 300), np.uint8), 0, 0)
    with open_raster(tmp_path / "i.tif") as raster:
        yield Part(raster, Window(20, 10, 256, 224))


def test_a_network_that_looks_at_single_pixels_has_no_seams(part):
    with torch.inference_mode():
        found = measure_seam(Pixelwise(), part, Inference(window=64, overlap=0.25), 1)
    assert found.seam == found.difference == 0
    assert found.cost == pytest.approx(5 * 5 * 64 * 64 / (256 * 224), abs=1e-3)


def test_seams_are_where_windows_end_and_overlap_lowers_them(part):
    with torch.inference_mode():
        bare, half = (
            measure_seam(Pixelwise(2.0), part, Inference(window=64, overlap=overlap), 1) for overlap in (0, 0.5)
        )
    assert bare.seam > 1.5 * bare.difference
    assert bare.seam > half.seam > 0


def test_the_ends_are_those_of_the_windows_inside_the_image():
    near = ends(Size(128, 10), grid(Size(128, 10), 64, 0.0), 64)
    assert np.flatnonzero(near[0]).tolist() == [62, 63, 64, 65]
    assert not ends(Size(64, 64), grid(Size(64, 64), 64, 0.5), 64).any()


def test_a_part_is_read_in_its_own_coordinates(tmp_path, part):
    with open_raster(tmp_path / "i.tif") as raster:
        found = np.empty((raster.bands, 30, 20), np.uint8)
        part.read_into(found, Window(3, 4, 20, 30))
        assert (found == raster.read(Window(23, 14, 20, 30))).all()


def test_the_part_is_the_square_with_the_most_tissue(tmp_path):
    tissue = np.zeros((1, 300, 500), np.uint8)
    tissue[0, 120:290, 310:480] = 1
    with create_raster(tmp_path / "t.tif", Size(500, 300)) as raster:
        raster.write(tissue, 0, 0)
    with open_raster(tmp_path / "t.tif") as raster:
        found = richest(raster, 200)
    assert (found.x, found.y, found.width, found.height) == (300, 100, 200, 200)


def test_the_own_windows_come_first_and_each_kind_once():
    own = Inference(window=64, overlap=0.25, blend="pyramid", tta="d4")
    found = kinds(own, [0.0, 0.25], ["pyramid", "mean"])
    assert found[0] == own
    assert [(each.overlap, each.blend) for each in found[1:]] == [(0.0, "pyramid"), (0.0, "mean"), (0.25, "mean")]
    assert all(each.tta == "d4" for each in found)
    assert kinds(own, [], []) == [own]


@pytest.mark.parametrize("shift", [0, 17, 32])
def test_a_moved_grid_covers_the_image_too(shift):
    for length in (1, 63, 64, 65, 300):
        covered = np.zeros(max(length, 64), int)
        for x, _ in grid(Size(length, 1), 64, 0.25, shift):
            assert 0 <= x <= max(length - 64, 0)
            covered[x : x + 64] += 1
        assert covered[:length].min() >= 1


def test_operations_are_those_of_the_convolutions_in_all_views():
    """Nine products of 3 channels for 4 channels: 2 * 9 * 3 * 4 for each pixel."""
    network = nn.Conv2d(3, 4, 3, padding=1)
    with torch.inference_mode():
        assert operations(network, Inference(window=64)) == 0.216
        assert operations(network, Inference(window=64, tta="d4")) == pytest.approx(8 * 0.216)
        assert operations(network, Inference(window=64, tta_scales=[1, 0.5])) == pytest.approx(1.25 * 0.216)
