"""The print of a slide's file tells files apart, without reading all of a large one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tilewright.runtime.hashed import PIECE, PIECES, WHOLE, file_print

DRAW = np.random.default_rng(0)


@pytest.fixture
def write(tmp_path):
    def written(content, name="slide.svs"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return written


@pytest.mark.parametrize("size", [0, 1, PIECE, WHOLE - 1, WHOLE])
def test_a_small_file_is_hashed_whole(write, size):
    content = DRAW.bytes(size)
    assert file_print(write(content)) == hashlib.sha256(size.to_bytes(8, "little") + content).hexdigest()


@pytest.mark.parametrize("size", [WHOLE + 1, 3 * WHOLE + 17])
def test_of_a_large_file_pieces_from_the_first_byte_to_the_last_are_hashed(write, size):
    content = DRAW.bytes(size)
    starts = [int(place) for place in np.floor(np.linspace(0, size - PIECE, PIECES))]
    assert starts[0] == 0
    assert starts[-1] + PIECE == size
    told = size.to_bytes(8, "little") + b"".join(content[start : start + PIECE] for start in starts)
    assert file_print(write(content)) == hashlib.sha256(told).hexdigest()


def test_a_name_does_not_count_and_a_byte_more_does(write):
    content = DRAW.bytes(WHOLE + 5)
    assert file_print(write(content)) == file_print(write(content, "copy.svs"))
    assert file_print(write(bytes(WHOLE + 5))) != file_print(write(bytes(WHOLE + 6), "longer.svs"))


def test_no_more_is_read_of_a_large_file_than_of_a_small_one(tmp_path, monkeypatch):
    path = tmp_path / "large.svs"
    with path.open("wb") as stream:
        stream.truncate(1 << 34)
    read, real = [], Path.open
    monkeypatch.setattr(Path, "open", lambda place, mode: Watched(real(place, mode, buffering=0), read))
    file_print(path)
    assert sum(read) == WHOLE


class Watched:
    """A stream that notes how much is read of it."""

    def __init__(self, stream, read):
        self._stream, self._read = stream, read

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def seek(self, *place):
        return self._stream.seek(*place)

    def read(self, size):
        content = self._stream.read(size)
        self._read.append(len(content))
        return content
