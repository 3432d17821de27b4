import numpy as np
import pytest
from scipy.signal import windows

from tilewright.inference.windows import blend_weights, kept_part
from tilewright.pixels.grid import Size, Window, grid


@pytest.mark.parametrize("edge", [32, 100, 1024])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("length", [1, 31, 800, 1025, 1280, 1281])
def test_windows_cover_every_pixel_and_never_start_outside(length, edge, overlap):
    corners = grid(Size(length, 1), edge, overlap)
    covered = np.zeros(max(length, edge), int)
    for x, y in corners:
        assert y == 0
        assert 0 <= x <= max(length - edge, 0)
        covered[x : x + edge] += 1
    assert covered[:length].min() >= 1
    assert len(set(corners)) == len(corners)


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.75])
def test_neighbours_have_at_least_the_overlap_in_common(overlap):
    starts = [x for x, _ in grid(Size(1281, 1), 128, overlap)]
    assert max(np.diff(starts)) <= 128 * (1 - overlap)


def test_windows_come_by_rows():
    corners = grid(Size(300, 200), 128, 0.25)
    assert corners == sorted(corners, key=lambda corner: corner[::-1])


@pytest.mark.parametrize("blend", ["mean", "pyramid", "hann", "gaussian", "discard", "minimum"])
@pytest.mark.parametrize("edge", [32, 33, 512])
def test_weights_are_positive_symmetric_and_largest_in_the_centre(blend, edge):
    weights = blend_weights(blend, edge)
    assert weights.shape == (edge, edge)
    assert weights.min() > 0
    assert weights.max() == weights[edge // 2, edge // 2] <= 1
    for turned in (weights[::-1], weights[:, ::-1], weights.T):
        np.testing.assert_allclose(turned, weights, rtol=1e-5)


def test_weights_are_those_of_their_formulas():
    near = np.array([0.25, 0.75, 0.75, 0.25])  # distance of a pixel's centre to the border, in half edges
    np.testing.assert_allclose(blend_weights("pyramid", 4), np.minimum.outer(near, near))
    cosine = 0.5 - 0.5 * np.cos(2 * np.pi * np.array([1, 3, 5, 7]) / 8)
    np.testing.assert_allclose(blend_weights("hann", 4), np.outer(cosine, cosine), rtol=1e-6)
    bell = windows.gaussian(16, std=2)
    np.testing.assert_allclose(blend_weights("gaussian", 16), np.maximum(np.outer(bell, bell), 0.001), rtol=1e-5)
    for blend in ("mean", "discard", "minimum"):
        assert (blend_weights(blend, 4) == 1).all()
    assert {blend_weights(blend, 4).dtype for blend in ("mean", "pyramid", "hann", "gaussian")} == {
        np.dtype(np.float32)
    }


def test_margins_are_kept_at_the_borders_alone():
    size = Size(40, 50)
    assert kept_part(0, 0, 16, size, 3) == Window(0, 0, 13, 13)
    assert kept_part(1, 10, 16, size, 3) == Window(3, 3, 10, 10)
    assert kept_part(24, 34, 16, size, 3) == Window(3, 3, 13, 13)
    assert kept_part(23, 33, 16, size, 3) == Window(3, 3, 10, 10)


def test_what_is_kept_of_windows_without_their_margins_covers_the_image_once():
    """The starts are multiples of the step, so that the windows do not overlap by more than their margins."""
    size = Size(64 + 3 * 48, 64 + 48)
    covered = np.zeros((size.height, size.width), int)
    for x, y in grid(size, 64, 0.25):
        part = kept_part(x, y, 64, size, 8)
        covered[y + part.y : y + part.y + part.height, x + part.x : x + part.x + part.width] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("blend", ["mean", "pyramid", "hann", "gaussian", "discard", "minimum"])
def test_weights_of_a_rectangle_are_those_of_its_edges(blend):
    weights, wide, high = (blend_weights(blend, edge) for edge in ((48, 33), 48, 33))
    assert weights.shape == (33, 48)
    np.testing.assert_allclose(weights[16] / weights[16].max(), wide[24] / wide[24].max(), rtol=0.05)
    np.testing.assert_allclose(weights[:, 24] / weights[:, 24].max(), high[:, 16] / high[:, 16].max(), rtol=0.05)


def test_an_image_of_the_size_of_a_window_is_one_window():
    assert grid(Size(704, 520), (704, 520), 0.25) == [(0, 0)]
    assert [y for _, y in grid(Size(704, 520), 512, 0.25)] == [0, 0, 8, 8]
