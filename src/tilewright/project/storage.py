"""Where files lie that a user names: in a home folder, behind a variable, or on object storage.

The sheet names the latter by URL, Snakemake fetches them once, steps find them where it puts them.
"""

import os
import re
from pathlib import Path

STORAGE = Path(".snakemake", "storage")
"""Where Snakemake keeps what it has fetched, below its working directory: scheme, bucket, key."""
_URL = re.compile(r"([a-z][a-z0-9+]*)://([^/?#\s]+)/([^?#\s]+)")


def expanded(path: str) -> str:
    """A path with the home folder for a leading ~ and the values of $NAME and ${NAME}, as far as they are set."""
    return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111 - a text, as it may be a URL


def local_path(url: str) -> Path | None:
    """Where the file of a URL such as ``s3://bucket/folder/slide.svs`` lies once it is fetched; None: no such URL."""
    match = _URL.fullmatch(url)
    if match is None or not {"", ".", ".."}.isdisjoint(match[3].split("/")):
        return None
    return STORAGE.joinpath(*match.groups())


def url_of(path: Path | str) -> str:
    """The URL of a path that ``local_path`` gave; empty for any other path."""
    try:
        scheme, *rest = Path(path).relative_to(STORAGE).parts
    except ValueError:
        return ""
    return f"{scheme}://{'/'.join(rest)}"
