"""Files on object storage.

The sheet names them by URL, Snakemake fetches them once, steps find them where it puts them.
"""

import re
from pathlib import Path

STORAGE = Path(".snakemake", "storage")
"""Where Snakemake keeps what it has fetched, below its working directory: scheme, bucket, key."""
_URL = re.compile(r"([a-z][a-z0-9+]*)://([^/?#\s]+)/([^?#\s]+)")


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
