"""Bytes that would not fit into memory together, on disk while a step works: what is held is where each begins."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tilewright.pixels.instances import Instances
from tilewright.pixels.runs import Ints, Runs

ROWS = 20_000
"""Rows of a table that are read or written together."""


class Shelf:
    """Pieces of bytes one behind the other in a file; made by ``shelf``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._end = file, file.seek(0, os.SEEK_END)

    def put(self, pieces: Sequence[bytes]) -> tuple[Ints, Ints]:
        """Append some; where each begins and its length, both int64[n]."""
        length = np.fromiter(map(len, pieces), np.int64, len(pieces))
        begin = self._end + np.cumsum(length) - length
        self._file.write(b"".join(pieces))
        self._file.flush()
        self._end += int(length.sum())
        return begin, length

    def get(self, begin: Ints, length: Ints) -> list[bytes]:
        """Some of them, as ``put`` has told."""
        number = self._file.fileno()
        return [os.pread(number, *each) for each in zip(length.tolist(), begin.tolist(), strict=True)]


@contextmanager
def shelf(path: Path) -> Iterator[Shelf]:
    """A shelf in a file, which is made where it is missing."""
    with path.open("a+b") as file:
        yield Shelf(file)


def pieces_of_runs(runs: Runs, owner: Ints) -> list[bytes]:
    """The runs of each object as a piece.

    Args:
        runs: sorted by row.
        owner: the object of each, int64[n]; every number from 0 to the largest occurs.
    """
    order = np.argsort(owner, kind="stable")
    values = np.stack([runs.row, runs.start, runs.stop], axis=1)[order].astype(np.int32)
    ends = np.searchsorted(owner[order], np.arange(int(owner.max(initial=-1)) + 2)) * values[:1].nbytes
    data = values.tobytes()
    return [data[first:last] for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def runs_of_pieces(pieces: Sequence[bytes], height: int, width: int) -> tuple[Runs, Ints]:
    """The runs of objects, one object after the other, and the object of each, from such pieces and the mask's size."""
    row, start, stop = np.frombuffer(b"".join(pieces), np.int32).reshape(-1, 3).astype(np.int64).T
    owner = np.repeat(np.arange(len(pieces)), [len(piece) // 12 for piece in pieces])
    return Runs(row, start, stop, height, width), owner


def instances_of_pieces(pieces: Sequence[bytes], height: int, width: int) -> Instances:
    """The same as objects."""
    runs, owner = runs_of_pieces(pieces, height, width)
    return Instances(*runs.intervals(), owner, len(pieces))


@contextmanager
def table_writer(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """A function that appends tables of the same columns, without their indices, to a file."""
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(table: pd.DataFrame) -> None:
            if not writers:
                writers.append(stack.enter_context(pq.ParquetWriter(path, _schema(table), compression="zstd")))
            writers[0].write_table(pa.Table.from_pandas(table, writers[0].schema, preserve_index=False))

        yield write


def _schema(table: pd.DataFrame) -> pa.Schema:
    known = pa.Schema.from_pandas(table, preserve_index=False)
    # texts of a table without a row have no type
    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in known])


def read_tables(path: Path) -> Iterator[pd.DataFrame]:
    """What a ``table_writer`` wrote, some rows at a time; at least one table, which may be empty."""
    with pq.ParquetFile(path) as file:
        yield file.schema_arrow.empty_table().to_pandas()
        for batch in file.iter_batches(ROWS):
            yield batch.to_pandas()
