"""Windows, grids and frames, by numbers that can be counted on fingers."""

from types import SimpleNamespace

import numpy as np
import pytest

from tilewright.pixels.grid import Corner, Frame, Size, Window, blocks, grid, mask_dtype, step_of


@pytest.mark.parametrize(
    ("window", "inside"),
    [
        (Window(-2, -3, 5, 7), Window(0, 0, 3, 4)),
        (Window(6, 4, 9, 9), Window(6, 4, 4, 4)),
        (Window(2, 3, 4, 5), Window(2, 3, 4, 5)),
        (Window(20, 30, 4, 5), Window(20, 30, 0, 0)),
        (Window(-9, -9, 4, 5), Window(0, 0, 0, 0)),
    ],
)
def test_what_of_a_window_lies_inside(window, inside):
    assert window.clipped(Size(10, 8)) == inside


def test_blocks_cover_an_image_by_rows_and_the_last_are_smaller():
    assert list(blocks(Size(5, 3), 2)) == [
        Window(0, 0, 2, 2), Window(2, 0, 2, 2), Window(4, 0, 1, 2),
        Window(0, 2, 2, 1), Window(2, 2, 2, 1), Window(4, 2, 1, 1),
    ]  # fmt: skip
    assert list(blocks(Size(5, 3), (4, 3))) == [Window(0, 0, 4, 3), Window(4, 0, 1, 3)]


def test_steps_are_what_the_overlap_leaves_and_never_nothing():
    assert [step_of(8, overlap) for overlap in (0, 0.25, 0.5, 0.99)] == [8, 6, 4, 1]
    assert step_of(1, 0.9) == 1


def test_a_grid_pushes_its_last_windows_inside_and_may_be_moved():
    assert grid(Size(10, 4), 4, 0) == [Corner(0, 0), Corner(4, 0), Corner(6, 0)]
    assert grid(Size(10, 4), 4, 0.5) == [Corner(0, 0), Corner(2, 0), Corner(4, 0), Corner(6, 0)]
    assert grid(Size(11, 4), 4, 0, shift=1) == [Corner(0, 0), Corner(3, 0), Corner(7, 0)]
    assert grid(Size(3, 9), 4, 0) == [Corner(0, 0), Corner(0, 4), Corner(0, 5)]


def test_a_frame_is_read_from_the_tags_that_it_gives():
    frame = Frame(3, 4, 50, 61, Size(100, 200), factor=2.5, mpp=0.25)
    assert Frame.of(SimpleNamespace(tags=frame.tags())) == frame
    assert frame.tags(["a", "b"])["classes"] == '["a", "b"]'
    assert set(frame.tags()) == {"frame"}
    assert frame.scaled(4) == Frame(3, 4, 50, 61, Size(100, 200), factor=4, mpp=0.25)


@pytest.mark.parametrize(
    ("width", "factor", "pixels"),
    [(50, 1, 50), (50, 4, 13), (48, 4, 12), (1, 4, 1), (0, 4, 1), (3, 0.1, 30), (7, 6.9, 2)],
)
def test_a_last_partial_pixel_counts_but_not_a_rounding_error(width, factor, pixels):
    assert Frame(0, 0, width, 8, Size(100, 100), factor).size.width == pixels


def test_a_mask_has_a_bit_for_each_class_and_one_for_what_is_ignored():
    assert [mask_dtype(classes) for classes in (1, 7, 8, 15, 16, 31)] == [
        np.uint8, np.uint8, np.uint16, np.uint16, np.uint32, np.uint32,
    ]  # fmt: skip
