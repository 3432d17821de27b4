import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from tilewright.pixels import rle
from tilewright.pixels.rle import decode_coco_counts, encode_coco_counts
from tilewright.pixels.runs import Runs
from tilewright.runtime.errors import DataError

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
DIALECTS = ["column_major", "row_major", "coco", "coco_counts"]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(mask=MASKS)
def test_any_mask_survives(dialect, mask):
    runs = Runs.from_mask(mask)
    text = getattr(rle, f"encode_{dialect}")(runs)
    assert getattr(rle, f"decode_{dialect}")(text, *mask.shape) == runs


@given(MASKS)
def test_coco_counts_are_those_of_pycocotools(mask):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert encode_coco_counts(Runs.from_mask(mask)) == theirs


@given(st.lists(st.integers(1, 10**5), min_size=1, max_size=20))
def test_pycocotools_reads_the_same_counts(lengths):
    height, width = sum(lengths), 1
    runs = decode_coco_counts(lengths, height, width)
    theirs = coco.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    assert encode_coco_counts(runs) == theirs["counts"].decode()
    assert runs.area() == coco.area(theirs)


@given(MASKS)
def test_pairs_are_those_of_the_plain_encoder(mask):
    pixels = np.concatenate([[0], mask.T.ravel(), [0]])
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    ends[1::2] -= ends[::2]
    assert rle.encode_column_major(Runs.from_mask(mask)) == " ".join(map(str, ends))


@pytest.mark.parametrize("dialect", DIALECTS)
@given(text=st.text(max_size=30))
def test_any_text_gives_a_mask_or_a_message(dialect, text):
    try:
        runs = getattr(rle, f"decode_{dialect}")(text, 4, 3)
    except DataError:
        return
    assert 0 <= runs.area() <= 12
