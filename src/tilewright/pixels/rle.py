"""Run-length encodings as text, in the dialects of competitions and tools.

- column-major: "start length start length ...", starts from 1, pixels counted down the columns (HuBMAP kidney, DSB
  2018);
- row-major: the same, pixels counted along the rows (Sartorius);
- COCO counts: lengths of alternating background and mask, down the columns, as a list or as COCO's compressed text
  (pycocotools, ``rleToString`` of maskApi.c);
- COCO: the compressed counts, zlib level 9, base64 (HuBMAP vasculature, Open Images).

Text is not trusted: what is wrong with it is a ``DataError`` that says so.
"""

import base64
import binascii
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.runs import Ints, Runs, spread
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean

Code = TypeVar("Code")
WHERE = "run-length encoding"
TEXT_NUMBERS = 1 << 20
_BYTES_LITERAL = re.compile(r"""^b(['"]).*\1?$""", re.DOTALL)
_COCO_DIGITS = 13  # of 5 bits, for any 64-bit number


def encode_rle(mask: NDArray[np.bool_], dialect: "RunLengths" = "column_major") -> str:
    """A mask as run lengths.

    Args:
        mask: bool[rows, columns].
        dialect: column_major, row_major, coco_counts or coco, as above.

    Raises:
        UserError: there is no such dialect.

    Examples:
        >>> mask = np.zeros((3, 4), bool)
        >>> mask[1:, 2] = True
        >>> encode_rle(mask), encode_rle(mask, "row_major"), encode_rle(mask, "coco_counts")
        ('8 2', '7 1 11 1', '723')
    """
    return _known(dialect, ENCODERS)(Runs.from_mask(mask))


def decode_rle(text: str, height: int, width: int, dialect: "RunLengths" = "column_major") -> NDArray[np.bool_]:
    """The mask of run lengths.

    Args:
        text: the run lengths; not trusted.
        height: rows of the mask.
        width: columns of the mask.
        dialect: as of ``encode_rle``.

    Returns:
        bool[height, width].

    Raises:
        DataError: the text is malformed, or does not fit the size.
        UserError: there is no such dialect.

    Examples:
        >>> decode_rle("8 2", height=3, width=4).astype(int)
        array([[0, 0, 0, 0],
               [0, 0, 1, 0],
               [0, 0, 1, 0]])
    """
    return _known(dialect, DECODERS)(text, height, width).to_mask()


def encode_row_major(runs: Runs) -> str:
    """Text "start length ..." with pixels counted along the rows from 1; empty for an empty mask."""
    starts, lengths = _flat(runs)
    return numbers_as_text(np.stack([starts + 1, lengths], axis=1).ravel())


def encode_column_major(runs: Runs) -> str:
    """Text "start length ..." with pixels counted down the columns from 1; empty for an empty mask."""
    return encode_row_major(runs.transpose())


def encode_coco_counts(runs: Runs) -> str:
    """COCO's compressed text of counts, as in the ``counts`` of pycocotools."""
    starts, lengths = _flat(runs.transpose())
    total = runs.height * runs.width
    ends = np.stack([starts, starts + lengths], axis=1).ravel()
    counts = np.diff(ends, prepend=0, append=total)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return _compress(counts)


def encode_coco(runs: Runs) -> str:
    """COCO's compressed counts, zlib level 9, base64: an object of a HuBMAP vasculature submission."""
    return base64.b64encode(zlib.compress(encode_coco_counts(runs).encode(), 9)).decode()


def decode_row_major(text: str, height: int, width: int, *, where: str = WHERE) -> Runs:
    """Read what ``encode_row_major`` writes; runs that touch are joined.

    Args:
        text: "start length ...", pixels counted along the rows from 1.
        height: rows of the mask.
        width: columns of the mask.
        where: named in the error: the file and row of the text.

    Raises:
        DataError: the text is malformed or does not fit the mask.
    """
    numbers = _numbers(text, where)
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    _check_pairs(starts, lengths, height, width, where)
    return _folded(starts, starts + lengths, height, width)


def decode_column_major(text: str, height: int, width: int, *, where: str = WHERE) -> Runs:
    """Read what ``encode_column_major`` writes; arguments and errors as of ``decode_row_major``."""
    numbers = _numbers(text, where)
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    _check_pairs(starts, lengths, height, width, where)
    return _folded(starts, starts + lengths, width, height).transpose()


def decode_coco_counts(counts: str | Sequence[int], height: int, width: int, *, where: str = WHERE) -> Runs:
    """Read COCO counts.

    Args:
        counts: the compressed text, or the lengths themselves.
        height: rows of the mask.
        width: columns of the mask.
        where: named in the error.

    Raises:
        DataError: the counts are malformed or do not add up to the pixels of the mask.
    """
    values = _decompress(counts, where) if isinstance(counts, str) else _counts(counts, where)
    total = height * width
    outside = values[(values < 0) | (values > total)]
    if outside.size:
        raise _error(where, f"a count of {outside[0]} is impossible in {total} pixels.", _SIZE)
    if (found := int(values.sum())) != total:
        raise _error(where, f"the counts add up to {found}, but {width} x {height} pixels are {total}.", _SIZE)
    ends = np.cumsum(values)
    stops = ends[1::2]
    starts = ends[0::2][: len(stops)]
    return _folded(starts, stops, width, height).transpose()


def decode_coco(text: str, height: int, width: int, *, where: str = WHERE) -> Runs:
    """Read what ``encode_coco`` writes; errors as of ``decode_coco_counts``."""
    text = text.strip()
    if _BYTES_LITERAL.match(text):
        raise _error(where, "the text is a Python bytes literal (b'...').", "Decode it to ASCII before it is written.")
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _error(where, f"the text is not base64 ({error}).") from error
    # A count of a mask takes at most 7 characters below 2**34 pixels; more is an attack or a mistake.
    limit = _COCO_DIGITS * (height * width + 1)
    unpacker = zlib.decompressobj()
    try:
        counts = unpacker.decompress(packed, limit)
    except zlib.error as error:
        raise _error(where, f"the base64 text holds no zlib data ({error}).") from error
    if not unpacker.eof:
        raise _error(where, "the zlib data is cut off or too long for the mask.", _SIZE)
    try:
        return decode_coco_counts(counts.decode("ascii"), height, width, where=where)
    except UnicodeDecodeError as error:
        raise _error(where, "the zlib data holds no COCO counts (it is not ASCII).") from error


RunLengths = Literal["column_major", "row_major", "coco_counts", "coco"]
ENCODERS: Mapping[RunLengths, Callable[[Runs], str]] = {
    "column_major": encode_column_major,
    "row_major": encode_row_major,
    "coco_counts": encode_coco_counts,
    "coco": encode_coco,
}
DECODERS: Mapping[RunLengths, Callable[[str, int, int], Runs]] = {
    "column_major": decode_column_major,
    "row_major": decode_row_major,
    "coco_counts": decode_coco_counts,
    "coco": decode_coco,
}


def _known(dialect: RunLengths, codes: Mapping[RunLengths, Code]) -> Code:
    if dialect in codes:
        return codes[dialect]
    raise UserError(Problem("run lengths", f'there is no dialect "{dialect}".', did_you_mean(dialect, codes)))


def numbers_as_text(numbers: Ints) -> str:
    """Whole numbers with spaces between them."""
    import pyarrow as pa  # takes a tenth of a second to load; most steps only read run lengths
    import pyarrow.compute as pc

    parts = []
    for first in range(0, len(numbers), TEXT_NUMBERS):
        texts = pa.array(numbers[first : first + TEXT_NUMBERS]).cast(pa.string())
        whole = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
        parts.append(pc.binary_join(whole, " ")[0].as_py())
    return " ".join(parts)


_SIZE = "Height and width must be those of the encoded image."


def _error(where: str, what: str, remedy: str = "") -> DataError:
    return DataError(Problem(where, what, remedy))


def _flat(runs: Runs) -> tuple[Ints, Ints]:
    """Starts and lengths of a mask's runs along its flattened rows; runs that go on in the next row are joined."""
    starts, stops = runs.row * runs.width + runs.start, runs.row * runs.width + runs.stop
    apart = starts[1:] != stops[:-1]
    starts = starts[np.concatenate([[True], apart])] if len(starts) else starts
    stops = stops[np.concatenate([apart, [True]])] if len(stops) else stops
    return starts, stops - starts


def _folded(starts: Ints, stops: Ints, height: int, width: int) -> Runs:
    """The mask of increasing intervals of its flattened rows, cut at the ends of rows."""
    if not height * width:
        return Runs.empty(height, width)
    first, last = starts // width, (stops - 1) // width
    row = spread(first, last + 1)
    repeats = last + 1 - first
    begin = np.maximum(np.repeat(starts, repeats), row * width) - row * width
    end = np.minimum(np.repeat(stops, repeats), (row + 1) * width) - row * width
    return Runs.of(row, begin, end, height, width)


def _numbers(text: str, where: str) -> Ints:
    """The whole numbers of a text, an even count of them."""
    if _BYTES_LITERAL.match(text.strip()):
        raise _error(where, "the text is a Python bytes literal (b'...').", 'Expected numbers: "start length ...".')
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's report of text that is no number
        try:
            numbers: NDArray[Any] = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)
        except (DeprecationWarning, ValueError) as error:
            bad = next((word for word in text.split() if not re.fullmatch(r"[+-]?\d+", word)), text)
            raise _error(where, f'"{bad[:40]}" is no whole number.', 'Expected: "start length ...".') from error
    if len(numbers) % 2:
        what = f"an odd count of numbers ({len(numbers)}): a start has no length."
        raise _error(where, what, "The text may have been cut off.")
    return numbers


def _check_pairs(starts: Ints, lengths: Ints, height: int, width: int, where: str) -> None:
    """Raise for the first run that cannot be one; ``starts`` count from 0."""
    total = height * width
    if (bad := np.flatnonzero(starts < 0)).size:
        raise _error(where, f"run {bad[0] + 1} starts at {starts[bad[0]] + 1}.", "Pixels are counted from 1.")
    if (bad := np.flatnonzero(lengths < 1)).size:
        raise _error(where, f"run {bad[0] + 1} has the length {lengths[bad[0]]}.", "A run has at least one pixel.")
    # Compared without adding them, because a huge number would wrap around.
    if (bad := np.flatnonzero((starts >= total) | (lengths > total - starts))).size:
        run = f"run {bad[0] + 1} ({starts[bad[0]] + 1} {lengths[bad[0]]})"
        raise _error(where, f"{run} goes beyond the {width} x {height} = {total} pixels of the image.", _SIZE)
    if (bad := np.flatnonzero(starts[1:] < starts[:-1] + lengths[:-1])).size:
        what = f"run {bad[0] + 2} starts at {starts[bad[0] + 1] + 1}, before run {bad[0] + 1} ends."
        raise _error(where, what, "Runs are sorted and do not overlap.")


def _counts(counts: Sequence[int], where: str) -> Ints:
    try:
        return np.array(counts, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _error(where, f"the counts are no list of whole numbers ({error}).") from error


def _compress(counts: Ints) -> str:
    """COCO's text of counts: from the fourth on the difference to the last but one, in digits of 5 bits, low first."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    most = int(np.abs(values).max(initial=0)).bit_length() // 5 + 1
    rest = values[:, np.newaxis] >> (5 * np.arange(most))
    digits = rest & 31
    following = rest >> 5
    more = np.where(digits & 16, following != -1, following != 0)
    used = np.concatenate(
        [np.ones((len(values), 1), np.bool_), np.logical_and.accumulate(more, axis=1)[:, :-1]], axis=1
    )
    characters = ((digits | (more << 5)) + 48)[used]
    return str(characters.astype(np.uint8).tobytes(), "ascii")


def _decompress(text: str, where: str) -> Ints:
    """The counts of COCO's text; the reverse of ``_compress``."""
    try:
        characters = np.frombuffer(text.strip().encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise _error(where, "the COCO counts are not ASCII.") from error
    if not characters.size:
        return np.empty(0, np.int64)
    if (bad := np.flatnonzero((characters < 0) | (characters > 63))).size:
        raise _error(where, f'the character "{text.strip()[bad[0]]}" does not occur in COCO counts.')
    last = (characters & 32) == 0
    if not last[-1]:
        raise _error(where, "the COCO counts end within a number.", "The text may have been cut off.")
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    digits = np.diff(first, append=len(characters))
    if digits.max() >= _COCO_DIGITS:
        raise _error(where, "the COCO counts hold a number that is too large.")
    place = np.arange(len(characters)) - np.repeat(first, digits)
    values = np.add.reduceat((characters & 31) << (5 * place), first)
    negative = (characters[last] & 16) != 0
    values = np.where(negative, values - (np.int64(1) << (5 * digits)), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
