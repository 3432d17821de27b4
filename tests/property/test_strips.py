"""What is computed strip by strip against the same on the whole array."""

import tempfile
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tilewright.pixels.components import ComponentTracker
from tilewright.pixels.grid import BLOCK, Frame, Size, Window
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.rle import encode_column_major, encode_row_major
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import Strip, strips_between, strips_of_bits
from tilewright.segments import rlestream
from tilewright.segments.mask import mask_writer
from tilewright.segments.rlestream import stream_column_major, stream_row_major

sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))


def corners(size):
    """Only the first and the last pixel."""
    mask = np.zeros(size, np.bool_)
    mask[0, 0] = mask[-1, -1] = True
    return mask


masks = sizes.flatmap(
    lambda size: (
        arrays(np.bool_, size)
        | st.just(np.ones(size, np.bool_))
        | st.just(np.zeros(size, np.bool_))
        | st.just(corners(size))
    )
)


@st.composite
def stripped(draw):
    """A mask (rows x columns) and the same as strips of any heights."""
    mask = draw(masks)
    cuts = draw(st.sets(st.integers(1, len(mask)), max_size=5)) | {0, len(mask)}
    runs = Runs.from_mask(mask)
    edges = sorted(cuts)
    return mask, [
        Strip(top, bottom, runs.take((runs.row >= top) & (runs.row < bottom))) for top, bottom in pairwise(edges)
    ]


@given(stripped())
def test_components_of_strips_are_those_of_the_whole_mask(case):
    mask, strips = case
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    tracker = ComponentTracker(*mask.shape, values=np.int64)
    found = np.zeros(mask.shape, np.int64)
    total = 0
    for strip in strips:
        closed = tracker.push(strip, strip.runs.row)
        assert (closed.values == closed.runs.row).all(), "values stay with their runs"
        assert np.unique(closed.owner).tolist() == list(range(int(closed.owner.max(initial=-1)) + 1))
        for row, start, stop, label in zip(
            closed.runs.row, closed.runs.start, closed.runs.stop, closed.owner, strict=True
        ):
            found[row, start:stop] = total + label + 1
        ends = [closed.runs.row[closed.owner == label].max() for label in np.unique(closed.owner)]
        assert strip.bottom == len(mask) or all(end < strip.bottom - 1 for end in ends)
        total += len(ends)
    assert total == count
    pairs = {(a, b) for a, b in zip(expected.ravel().tolist(), found.ravel().tolist(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "a one-to-one renaming"


@given(stripped(), st.data())
def test_strips_of_other_heights_are_the_same_masks(case, data):
    mask, strips = case
    edges = sorted(data.draw(st.sets(st.integers(1, len(mask)), max_size=5)) | {0, len(mask)})
    whole, found = Runs.from_mask(mask), list(strips_between(([each, each] for each in strips), edges))
    assert [(strip.top, strip.bottom) for _, strip in found] == list(pairwise(edges))
    for strip, other in found:
        assert strip.runs == other.runs == whole.clip(Window(0, strip.top, mask.shape[1], strip.bottom - strip.top))


@given(stripped(), st.integers(1, 30))
def test_small_components_that_are_still_open_are_known_by_their_first_row(case, area):
    mask, strips = case
    tracker = ComponentTracker(*mask.shape)
    for strip in strips[:-1]:
        tracker.push(strip)
        labels, _ = ndimage.label(mask[: strip.bottom], np.ones((3, 3)))
        open_ones = [label for label in np.unique(labels[-1]) if label and (labels == label).sum() < area]
        first = min((np.argwhere(labels == label)[0][0] for label in open_ones), default=-1)
        assert tracker.first_row_of_smaller(area) == first


@given(stripped(), st.integers(1, 6))
def test_row_major_text_of_strips_is_that_of_the_whole_mask(case, together):
    mask, strips = case
    with patch.object(rlestream, "TOGETHER", together):
        assert "".join(stream_row_major(strips)) == encode_row_major(Runs.from_mask(mask))


@given(stripped(), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_column_major_text_of_strips_is_that_of_the_whole_mask(case, together, columns, below, beside):
    """Also where the mask is the upper left part of a larger one."""
    mask, strips = case
    whole = np.pad(mask, ((0, below), (0, beside)))
    shifted = [strip._replace(runs=strip.runs.shift(0, 0, *whole.shape)) for strip in strips]
    with (
        patch.object(rlestream, "TOGETHER", together),
        patch.object(rlestream, "SLICE", columns),
        tempfile.TemporaryDirectory() as folder,
    ):
        text = "".join(stream_column_major(shifted, *whole.shape, Path(folder)))
    assert text == encode_column_major(Runs.from_mask(whole))


@given(arrays(np.bool_, st.tuples(st.just(2), st.sampled_from([1, 511, 512, 513, 1100]), st.integers(1, 6))), st.data())
def test_a_mask_written_in_pieces_and_partly_taken_back_is_read_as_it_was(layers, data):
    _, height, width = layers.shape
    frame = Frame(0, 0, width, height, Size(width, height))
    taken_back = layers & data.draw(arrays(np.bool_, layers.shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tif"
        with mask_writer(path, frame, ["a", "b"]) as writer:
            for top in range(0, height, 300):
                bottom = min(top + 300, height)
                for bit in range(2):
                    for act, pixels in ((writer.add, layers[bit]), (writer.remove, taken_back[bit])):
                        part = Runs.from_mask(pixels[top:bottom])
                        act(bit, part.shift(0, top, height, width))
                writer.write_until(data.draw(st.integers(0, bottom)))
        with open_raster(path) as raster:
            written = raster.read()[0]
        strips = list(strips_of_bits(path, [1, 0]))
    kept = layers & ~taken_back
    np.testing.assert_array_equal(written, kept[0] | kept[1] * np.uint8(2))
    assert [strip.top for strip, _ in strips] == list(range(0, height, 512))
    for strip, other in strips:
        expected = Runs.from_mask(kept[1]).clip(Window(0, strip.top, width, strip.bottom - strip.top))
        assert strip.runs == expected
        assert (other.top, other.bottom) == (strip.top, strip.bottom)


@pytest.mark.parametrize("height", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1])
@pytest.mark.parametrize("width", [1, BLOCK - 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("fill", ["random", "corners", "full", "empty"])
def test_a_mask_file_of_any_size_is_encoded_and_labelled_as_the_whole_array(tmp_path, height, width, fill):
    mask = {
        "random": lambda: ndimage.uniform_filter(np.random.default_rng(0).random((height, width)), 3) > 0.5,
        "corners": lambda: corners((height, width)),
        "full": lambda: np.ones((height, width), np.bool_),
        "empty": lambda: np.zeros((height, width), np.bool_),
    }[fill]()
    path = tmp_path / "m.tif"
    with create_raster(path, Size(width, height)) as raster:
        raster.write(mask.astype(np.uint8) << 2, 0, 0)
    strips = [strip for (strip,) in strips_of_bits(path, [2])]
    assert "".join(stream_row_major(strips)) == encode_row_major(Runs.from_mask(mask))
    assert "".join(stream_column_major(strips, height, width, tmp_path)) == encode_column_major(Runs.from_mask(mask))
    tracker = ComponentTracker(height, width)
    closed = [tracker.push(strip) for strip in strips]
    areas = [np.bincount(part.owner, part.runs.lengths()) for part in closed]
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    assert sorted(np.concatenate(areas).tolist()) == sorted(np.bincount(labels[mask])[1:].tolist())
