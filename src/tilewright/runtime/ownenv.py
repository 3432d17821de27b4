"""Steps in an environment that Snakemake makes for them (``--sdm conda``): it has the packages, and not this one."""

import os
import shlex
from importlib.metadata import distribution
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def step_prefix(folder: Path) -> str:
    """What a shell does before each command, so that ``tilewright`` is this package, run by the environment's Python.

    Nothing else of the environment that Snakemake runs in is seen: of its packages only this one is linked.

    Args:
        folder: where the link lies, seen by all nodes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for target in (PACKAGE, _metadata()):
        link = folder / target.name
        if not link.is_symlink() or link.readlink() != target:
            private = folder / f".{link.name}.{os.getpid()}"
            private.symlink_to(target)
            private.replace(link)
    place = shlex.quote(str(folder.absolute()))
    return f'set -euo pipefail; export PYTHONPATH={place}; tilewright() ( exec python -m tilewright.cli "$@" ); '


def _metadata() -> Path:
    """The folder that says the version of this package."""
    files = distribution(PACKAGE.name).files or ()
    (metadata,) = {Path(str(file.locate())).parent for file in files if file.name == "METADATA"}
    return metadata
