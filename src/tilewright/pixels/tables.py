"""Parquet tables of results, and what is said where one cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.failures import remedy_for


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Name a table where reading it fails.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        remedy = remedy_for(error, f"Delete {path.parent} and run the same command again.", path)
        raise DataError(Problem(str(path), f"cannot be read ({error}).", remedy)) from error
