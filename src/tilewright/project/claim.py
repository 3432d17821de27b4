"""Whose results a folder holds and whether they are whole, so that a run does not build on what is not its own."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tilewright.project.orders import make_order, write_order
from tilewright.project.places import Places
from tilewright.project.project import Project
from tilewright.project.rows import Sheet
from tilewright.runtime.atomic import incomplete, write_text
from tilewright.runtime.errors import Problem, UserError, listed, raise_all


def claim(places: Places, configs: Sequence[Path | str], project: Project) -> None:
    """Write down whose results a folder holds from now on, and what the run is told.

    Files of orders do not say that: a dry run writes them as well, and one that is there already stays as it is.

    Args:
        places: where results lie.
        configs: the config files of the run.
        project: its config, with what the command line has changed, and its slides.
    """
    report = write_order(make_order(project, "report"), lambda digest: places.order("report", digest))
    content = {
        "configs": [str(path) for path in configs],
        "slides": sorted(row.slide for row in project.sheet),
        "report": Path(report).name,
        "config": project.config.model_dump(mode="json"),
    }
    write_text(Path(places.claim()), json.dumps(content, indent=1) + "\n")


def made_since(places: Places, ensembles: Iterable[str]) -> str:
    """What there is to open of what was made since the results were claimed, a line each; empty: nothing."""
    return _listed("Open:", [each for each in _products(places, ensembles) if each.fresh])


def left_before(places: Places, ensembles: Iterable[str]) -> str:
    """What there is to open, but was not made since then, a line each; empty: nothing. After a run that failed."""
    return _listed(
        "Of an earlier run, not of this one:", [each for each in _products(places, ensembles) if not each.fresh]
    )


class _Product(NamedTuple):
    """A result that people open: what it is, where it lies, and whether it was made since the results were claimed."""

    what: str
    path: Path
    fresh: bool


def _products(places: Places, ensembles: Iterable[str]) -> Iterator[_Product]:
    """Those that are there."""
    found = [("report", Path(places.report(), "index.html")), ("table", Path(places.slides()))]
    for name in ensembles:
        found += [("submission", Path(places.submission(name))), ("bundle", Path(places.bundle(name)))]
        found.append(("outlines", Path(places.segments(name, ""))))
    claimed = Path(places.claim()).stat().st_mtime
    return (_Product(what, path, path.stat().st_mtime >= claimed) for what, path in found if path.exists())


def _listed(title: str, products: Sequence[_Product]) -> str:
    return "\n".join([title, *(f"  {each.what:<10}  {_seen(each.path)}" for each in products)]) if products else ""


def _seen(path: Path) -> Path:
    """A path as whoever started the run can open it: whole, where that was in another folder."""
    started = Path(os.environ.get("PWD", ""))
    return (
        path if not started.is_absolute() or os.path.realpath(started) == os.path.realpath(Path()) else path.absolute()
    )


def refuse_others(places: Places, configs: Sequence[Path], sheet: Sheet) -> None:
    """Refuse a folder whose results are all of other slides.

    Args:
        places: where results lie.
        configs: the config files of the run.
        sheet: its slides.

    Raises:
        UserError: the folder's last run has no slide in common with this one.
    """
    last = claimed(places)
    known = {*last["slides"]}
    if not known or known & {row.slide for row in sheet}:
        return
    own, other = (" and ".join(map(str, names)) or "another config" for names in (configs, last["configs"]))
    what = f"holds results of {other} ({listed(sorted(known), 3)}), which has no slide in common with {own}."
    remedy = (
        f"Was --configfile forgotten? Otherwise give {own} a folder of its own by the key pathvars: "
        f"{{results: results/NAME}}, or move {places.results}/ away."
    )
    raise UserError(Problem(f"{places.results}/", what, remedy))


def refuse_incomplete(places: Places) -> None:
    """Refuse folders of results of which files are gone: Snakemake sees only the folder, and would use it.

    Raises:
        UserError: every such folder, with what it lacks.
    """
    remedy = "Delete the folder, and run again: it is made anew."
    raise_all(UserError, [
        Problem(f"{folder}/", f"files in it are gone: {listed(lost, 3)}.", remedy)
        for folder, lost in incomplete(Path(places.results))
    ])  # fmt: skip


def claimed(places: Places) -> dict[str, Any]:
    """What ``claim`` has written down last; nothing where it cannot be read."""
    with suppress(OSError, ValueError):
        content = json.loads(Path(places.claim()).read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return {**content, **{name: _texts(content.get(name)) for name in ("slides", "configs")}}
    return {"slides": [], "configs": []}


def _texts(found: Any) -> list[str]:
    """The texts of a list; of what is none, nothing."""
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
