"""Tile archives: what training reads.

An archive (HDF5) holds ``images`` (tiles x rows x columns x 3, uint8), ``masks`` (tiles x rows x columns, a bit a class,
bit ``classes`` where the pixel does not count) and a table with one row a tile: slide, source, x, y (corner in pixels of
the scale), kind (grid, background: a grid tile without any class, object), tissue (share), mpp (micrometres in a pixel of the
tile, not a number where unknown), coverage (share of each
class), labelled (whether each class is completely annotated).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tilewright.runtime.errors import DataError, Problem


@dataclass(frozen=True)
class TileTable:
    """The tiles of archives, one row a tile.

    Attributes:
        archive: index into the archives that were opened.
        index: position in that archive.
        slide: name of the slide.
        source: source of the slide.
        group: group of its shard.
        role: train, external or pseudo.
        kind: grid, background or object.
        mpp: micrometres in a pixel of the tile, not a number where unknown.
        coverage: tiles x classes, share of the tile that each class covers.
        labelled: tiles x classes, whether the class is completely annotated there.
    """

    archive: NDArray[np.int64]
    index: NDArray[np.int64]
    slide: NDArray[np.str_]
    source: NDArray[np.str_]
    group: NDArray[np.str_]
    role: NDArray[np.str_]
    kind: NDArray[np.str_]
    mpp: NDArray[np.float32]
    coverage: NDArray[np.float32]
    labelled: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)

    def select(self, which: NDArray[np.bool_]) -> "TileTable":
        """The rows for which ``which`` is true."""
        return TileTable(**{name: column[which] for name, column in vars(self).items()})


@dataclass(frozen=True)
class TrainingShard:
    """An archive to train or validate on.

    Attributes:
        archive: the file.
        group: group of the shard.
        role: train, external or pseudo.
    """

    archive: Path
    group: str = ""
    role: str = "train"


def read_table(shards: Sequence[TrainingShard]) -> TileTable:
    """Read the tables of archives, in the order of the shards.

    Raises:
        DataError: an archive is missing or damaged.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    for number, shard in enumerate(shards):
        with open_archive(shard.archive) as archive, reading(shard.archive):
            count = len(archive["images"])
            parts.append(
                {
                    "archive": np.full(count, number, np.int64),
                    "index": np.arange(count, dtype=np.int64),
                    "group": np.full(count, shard.group),
                    "role": np.full(count, shard.role),
                    **{name: archive[name].asstr()[:].astype(str) for name in ("slide", "source", "kind")},
                    **{name: archive[name][:] for name in ("mpp", "coverage", "labelled")},
                }
            )
    return TileTable(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def open_archive(path: Path) -> h5py.File:
    """Open an archive for reading.

    Raises:
        DataError: the archive is missing or damaged.
    """
    with reading(path):
        return h5py.File(path, "r")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the archive where reading it fails, as where a checksum is wrong.

    Raises:
        DataError: the archive is missing or damaged.
    """
    try:
        yield
    except (OSError, KeyError) as error:
        remedy = "Delete the file and run the same command again."
        raise DataError(Problem(str(path), f"cannot be read as a tile archive ({error}).", remedy)) from error
