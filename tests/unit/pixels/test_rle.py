import base64
import zlib

import numpy as np
import pytest

from tilewright.pixels.rle import (
    DECODERS,
    ENCODERS,
    decode_coco,
    decode_coco_counts,
    decode_column_major,
    decode_rle,
    decode_row_major,
    encode_coco,
    encode_coco_counts,
    encode_column_major,
    encode_rle,
    encode_row_major,
)
from tilewright.pixels.runs import Runs
from tilewright.runtime.errors import DataError, UserError

# 4 x 3 pixels; its first and last pixel are set.
MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1]], np.bool_)


def test_column_major_keeps_first_and_last_pixel():
    assert encode_column_major(Runs.from_mask(MASK)) == "1 2 5 1 8 1 11 2"


def test_row_major_keeps_first_and_last_pixel():
    assert encode_row_major(Runs.from_mask(MASK)) == "1 2 4 1 9 1 11 2"


def test_runs_that_go_on_in_the_next_line_are_one_run():
    assert encode_column_major(Runs.from_mask(np.ones((3, 4), np.bool_))) == "1 12"
    assert encode_row_major(Runs.from_mask(np.ones((3, 4), np.bool_))) == "1 12"


def test_an_empty_mask_is_an_empty_text():
    assert encode_column_major(Runs.empty(3, 4)) == encode_row_major(Runs.empty(3, 4)) == ""
    assert decode_column_major(" ", 3, 4) == decode_row_major("", 3, 4) == Runs.empty(3, 4)


def test_runs_that_touch_are_joined_when_read():
    assert decode_row_major("1 2 3 2", 1, 8) == Runs.of([0], [0], [4], 1, 8)


def test_the_wrong_order_is_detected_or_gives_another_mask():
    text = encode_column_major(Runs.from_mask(MASK))
    assert decode_row_major(text, 4, 3) != Runs.from_mask(MASK)
    with pytest.raises(DataError, match="no whole number"):
        decode_column_major(encode_coco(Runs.from_mask(MASK)), 4, 3)
    with pytest.raises(DataError, match="not base64"):
        decode_coco(text, 4, 3)


def test_coco_counts_start_with_background():
    assert decode_coco_counts([0, 2, 2, 1, 2, 1, 2, 2], 4, 3) == Runs.from_mask(MASK)
    assert decode_coco_counts([12], 4, 3) == Runs.empty(4, 3)


def test_coco_text_is_zlib_at_level_9_in_base64():
    runs = Runs.from_mask(MASK)
    packed = base64.b64decode(encode_coco(runs))
    assert packed[:2] == b"\x78\xda"
    assert zlib.decompress(packed).decode() == encode_coco_counts(runs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", r"odd count of numbers \(3\)"),
        ("0 2", "run 1 starts at 0"),
        ("-3 2", "run 1 starts at -3"),
        ("1 0", "run 1 has the length 0"),
        ("1 2 12 2", r"run 2 \(12 2\) goes beyond the 3 x 4 = 12 pixels"),
        ("13 1", "goes beyond"),
        ("1 99999999999999999999", "goes beyond"),
        ("99999999999999999999 1", "goes beyond"),
        ("1 3 3 2", "run 2 starts at 3, before run 1 ends"),
        ("5 1 1 2", "run 2 starts at 1, before run 1 ends"),
        ("1 2 4 2 5 1", "run 3 starts at 5, before run 2 ends"),
        ("1 2 4 4 5 1", "run 3 starts at 5, before run 2 ends"),
        ("1 2.5", '"2.5" is no whole number'),
        ("nan", '"nan" is no whole number'),
        ("b'1 2'", "bytes literal"),
    ],
)
@pytest.mark.parametrize("decode", [decode_column_major, decode_row_major])
def test_malformed_pairs_are_named(decode, text, message):
    with pytest.raises(DataError, match=message):
        decode(text, 4, 3)


def packed(counts: str) -> str:
    return base64.b64encode(zlib.compress(counts.encode("latin-1"))).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b'eNoLCDA='", "bytes literal"),
        ("eNo*", "not base64"),
        ("äöü", "not base64"),
        ("!" + encode_coco(Runs.from_mask(MASK)), "not base64"),
        ("AAAA", "no zlib data"),
        (encode_coco(Runs.from_mask(MASK))[:12], "cut off"),
        (packed("0" * 100_000), "too long"),
        (packed("é"), "not ASCII"),
        (packed("P"), "end within a number"),
        (packed("0!0"), 'character "!" does not occur'),
        (packed("0p0"), 'character "p" does not occur'),
        (packed("PPPPPPPPPPPPPPPP0"), "too large"),
        (packed("P" * 12 + "0"), "too large"),
        (packed("5"), "add up to 5, but 3 x 4 pixels are 12"),
        (packed(""), "add up to 0"),
        (packed("M"), "a count of -3 is impossible"),
    ],
)
def test_malformed_coco_is_named(text, message):
    with pytest.raises(DataError, match=message):
        decode_coco(text, 4, 3)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 5), (5, 1)])
@pytest.mark.parametrize("dialect", ["column_major", "row_major", "coco_counts", "coco"])
def test_runs_come_back_as_they_were_where_they_end_at_ends_of_lines(shape, dialect):
    for seed in range(20):
        runs = Runs.from_mask(np.random.default_rng(seed).random(shape) < 0.6)
        assert DECODERS[dialect](ENCODERS[dialect](runs), *shape) == runs


def test_counts_may_end_with_none_of_the_background():
    assert encode_coco_counts(Runs.from_mask(np.ones((2, 2), bool))) == "04"
    assert encode_coco_counts(Runs.from_mask(np.zeros((2, 2), bool))) == "4"
    assert decode_coco_counts([0, 4, 0], 2, 2) == decode_coco_counts([0, 4], 2, 2)


def test_an_unknown_dialect_is_told_with_the_nearest():
    for call in (lambda: encode_rle(MASK, "row_mayor"), lambda: decode_rle("", 2, 2, "row_mayor")):
        with pytest.raises(UserError, match=r'run lengths: there is no dialect "row_mayor".*\n.*"row_major"'):
            call()
    assert decode_rle(encode_rle(MASK), *MASK.shape).tolist() == MASK.tolist()
    assert encode_rle(MASK) == encode_column_major(Runs.from_mask(MASK))


def test_the_message_names_the_place():
    with pytest.raises(DataError, match=r"a.csv, row 7: an odd count"):
        decode_row_major("1", 4, 3, where="a.csv, row 7")


def test_a_list_of_counts_is_checked():
    with pytest.raises(DataError, match="add up to 11"):
        decode_coco_counts([5, 6], 4, 3)
    with pytest.raises(DataError, match="no list of whole numbers"):
        decode_coco_counts([5, "x"], 4, 3)  # type: ignore[list-item]


def test_large_masks_count_beyond_32_bits():
    runs = Runs.of([99_999], [99_990], [100_000], 100_000, 100_000)
    for encode, decode in ((encode_column_major, decode_column_major), (encode_coco, decode_coco)):
        assert decode(encode(runs), 100_000, 100_000) == runs
