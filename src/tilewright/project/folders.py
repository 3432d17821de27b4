"""What the readers of layouts share: images in folders, their names, tables beside them, and refusals.

In: a folder of a data set. Out: parts of the records of a slide sheet. Imports nothing heavy.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NoReturn, cast

from tilewright.project.naming import IMAGE_SUFFIXES, valid_name
from tilewright.runtime.errors import Problem, UserError

Layout = Literal["kidney", "vasculature", "sartorius", "dsb2018", "qupath"]
Record = dict[str, str]
"""A row of the sheet to be: values by column."""
SHARD = 32
"""Images that share a shard, at most, where a layout fills shards."""
UNLABELLED = "unlabelled"
"""In place of the role, of an image among those for training that has no complete outlines."""


def train_and_test(folder: Path, layout: Layout, suffix: str) -> list[tuple[str, Path]]:
    """The images of the folders ``train`` and ``test``, with the folder's name."""
    found = [(role, image) for role in ("train", "test") for image in images_in(folder / role)]
    if not found:
        refuse(folder, layout, f"train/*{suffix} and test/*{suffix}")
    return found


def images_in(folder: Path) -> Iterable[Path]:
    """The images in a folder, by how their names end, in the order of their names; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file())


def safe_name(name: str) -> str:
    """A name that the sheet takes, with underscores for what it does not."""
    return valid_name(name) or "unnamed"


def relative(path: Path, folder: Path) -> str:
    """A file as the sheet names it, from the folder of the data set."""
    return path.relative_to(folder).as_posix()


def rows_of(path: Path, *needed: str) -> list[Record]:
    """Rows of a csv; none where there is no file.

    Args:
        path: the file.
        needed: columns without which it is of no use.

    Raises:
        UserError: it cannot be read, or a column is missing.
    """
    if not path.is_file():
        return []
    import pandas as pd  # takes longer to load than most tables take to read; some layouts have none

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # of pandas and of text that is no UTF-8
        what = f"cannot be read as a table ({str(error).splitlines()[0]})."
        raise UserError(
            Problem(str(path), what, "Save it as csv in UTF-8, the first line naming the columns.")
        ) from error
    if missing := [name for name in needed if name not in table]:
        what = f"has no column {' and no column '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        raise UserError(Problem(str(path), what, "Name the column so, with commas between columns; or move it away."))
    return cast(list[Record], table.to_dict("records"))


def refuse(folder: Path, layout: Layout, looked: str) -> NoReturn:
    """Say that a folder does not have a layout, and what was looked for."""
    what = f"does not have the layout {layout}: not found: {looked}."
    raise UserError(Problem(str(folder), what, "Name the folder that holds these, or another layout."))
