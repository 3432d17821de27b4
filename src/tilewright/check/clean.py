"""What is kept of results that were made before, what else lies in their folder, and how to be rid of it.

In: a config file; what steps have kept and written down. Out: tables of what is there, and with ``yes`` a freed disk.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilewright.check.leftovers import leftovers
from tilewright.project.configfile import read_config
from tilewright.project.jobs import store_of
from tilewright.project.places import Places
from tilewright.runtime.atomic import MARKS, SNAKEMAKES_MARK
from tilewright.runtime.digests import Digests, day_of
from tilewright.runtime.errors import Problem, UserError, did_you_mean
from tilewright.runtime.kept import Entry, drop, entries
from tilewright.tiles.folding import project_of

COLD = {"downscale": "scaled", "tile": "tiles", "predict": "probabilities"}
"""Steps whose results are large and only needed on the way, with the folders of these."""
DAY = 24 * 3600
UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
SIZE = re.compile(r"(\d+(?:\.\d+)?) *([KMGT]?)B?", re.IGNORECASE)


@dataclass(frozen=True)
class Held:
    """Something that is kept, and whether a result that is there was made of the same.

    Attributes:
        entry: what is kept.
        needed: whether there is such a result.
        bytes: those of its files.
        freed: those that no result shares, so that removing it frees them.
    """

    entry: Entry
    needed: bool
    bytes: int
    freed: int

    @property
    def verb(self) -> str:
        """The step that made it."""
        return self.entry.made.verb

    @property
    def since(self) -> float:
        """When, in seconds since 1970."""
        return self.entry.made.computed


def clean(
    *,
    config: Path = Path("config/config.yaml"),
    step: Sequence[str] = (),
    older: float | None = None,
    most: str | None = None,
    unneeded: bool = False,
    leftover: bool = False,
    cold: bool = False,
    rehash: bool = False,
    yes: bool = False,
) -> None:
    """Say what is kept and what is left over, and remove what is named; without --yes nothing is touched.

    What is kept is removed where it meets all that is asked of --step, --older, --unneeded and --most.

    Args:
        config: the config file whose results these are.
        step: only what these steps have made.
        older: only what was computed more than so many days ago.
        most: the oldest of it, until so much is left in all, such as 20GB.
        unneeded: only what no result that is there was made of.
        leftover: files and folders in the results that no rule of the config makes, as far as steps have written them.
        cold: scaled slides, tiles and probabilities, with what is kept of them. The plain command does nothing
            afterwards; a new slide makes again those that it needs.
        rehash: read all images and outlines again, whatever their times say; what was made of others is made anew by
            the next run.
        yes: do it.

    Raises:
        UserError: everything that is wrong with the config; a step or a size that is none.
    """
    project = project_of(read_config(config))
    places = Places.of(project.config.pathvars)
    digests, store = Digests(Path(places.results)), store_of(project, places)
    held = _held(Path(store), digests) if store else []
    _require_steps(step, held)
    _say(_table(held, store))
    others = leftovers(project, places)
    if others:
        _say(["", "No rule of this config makes:", *(f"  {path}" for path in others)])
    if rehash:
        _rehash(digests, Path(places.results), yes=yes)
    chosen = []
    if step or older is not None or most is not None or unneeded:
        left = _matching(held, step, older, unneeded=unneeded)
        chosen += _beyond(left, held, _bytes(most)) if most is not None else left
    paths = []
    if cold:
        chosen += [each for each in held if each.verb in COLD and each not in chosen]
        paths += [path for name in COLD.values() if (path := Path(places.results, name)).is_dir()]
    if leftover:
        made = {path for path, known in digests.all() if known.made.verb}
        paths += [path for path in others if path not in paths and _is_ours(path, made)]
    if chosen or paths:
        _remove(chosen, paths, digests, yes=yes)


def _held(store: Path, digests: Digests) -> list[Held]:
    """All that is kept, the oldest first; results of other configs beside these may need it too."""
    beside = [Digests(place.parent) for place in store.parent.glob("*/.made")]
    known = [each for own in (digests, *beside) for each in own.all()]
    present = {told.made.recipe for path, told in known if told.made.recipe and path.exists()}
    found = []
    for entry in entries(store):
        status = [path.stat() for path, _ in entry.files() if path.is_file()]
        freed = sum(each.st_size for each in status if each.st_nlink == 1)
        found.append(Held(entry, entry.made.recipe in present, sum(each.st_size for each in status), freed))
    return sorted(found, key=lambda each: each.since)


def _table(held: Sequence[Held], store: str) -> Iterator[str]:
    """A line for each step."""
    if not store:
        yield "Nothing is kept (kept: false)."
        return
    yield f"Kept in {store}: {_size(sum(each.bytes for each in held))}; removed, it frees what no result shares."
    if held:
        yield f"  {'step':<12}{'results':>8}{'size':>10}{'frees':>10}{'not needed':>12}  since"
    for verb in dict.fromkeys(each.verb for each in held):
        own = [each for each in held if each.verb == verb]
        spare = sum(each.bytes for each in own if not each.needed)
        sizes = _size(sum(each.bytes for each in own)), _size(sum(each.freed for each in own)), _size(spare)
        yield f"  {verb:<12}{len(own):>8}{sizes[0]:>10}{sizes[1]:>10}{sizes[2]:>12}  {day_of(own[0].since)}"


def _matching(held: Sequence[Held], step: Sequence[str], older: float | None, *, unneeded: bool) -> list[Held]:
    """What meets all that is asked for."""
    before = time.time() - older * DAY if older is not None else float("inf")
    return [
        each
        for each in held
        if (not step or each.verb in step) and each.since < before and not (unneeded and each.needed)
    ]


def _beyond(left: Sequence[Held], held: Sequence[Held], most: float) -> list[Held]:
    """The oldest, until no more than so many bytes are kept in all."""
    size, chosen = sum(each.bytes for each in held), []
    for each in left:
        if size <= most:
            break
        chosen.append(each)
        size -= each.bytes
    return chosen


def _is_ours(path: Path, made: set[Path]) -> bool:
    """Whether a step has written a file, or all that matters of a folder."""
    known = path in made or any(path in each.parents for each in made)
    return known or any((path / mark).exists() for mark in MARKS)


def _remove(kept: Sequence[Held], paths: Sequence[Path], digests: Digests, *, yes: bool) -> None:
    """Say what is removed, or would be, and do it."""
    size = sum(each.bytes for each in kept) + sum(map(_size_of, paths))
    _say(["", f"Removed, {_size(size)}:" if yes else f"Would be removed, {_size(size)} (nothing is yet: add --yes):"])
    for verb, count in Counter(each.verb for each in kept).items():
        _say([f"  {count} kept of {verb}"])
    _say(f"  {path}" for path in paths)
    if not yes:
        return
    for path in (*(each.entry.place for each in kept), *paths):
        if path.is_dir():
            drop(path)
        else:
            path.unlink()
    for path, known in digests.all():
        if known.made.verb and not path.exists():
            digests.forget(path)


def _size_of(top: Path) -> int:
    return sum(path.lstat().st_size for path in (top.rglob("*") if top.is_dir() else [top]))


def _rehash(digests: Digests, results: Path, *, yes: bool) -> None:
    """Read all inputs of users again; results that were made of others are told, and marked as older."""
    changed = []
    for path, known in digests.all():
        if not known.made.verb and known.files and path.exists():
            digests.forget(path)
            if {name: each.digest for name, each in digests.read(path).items()} != {
                name: each.digest for name, each in known.files.items()
            }:
                changed.append(path)
            if not yes:
                digests.remember(path, known)
    _say(["", f"Read again; of other content than when results were made of them: {len(changed)}."])
    _say(f"  {path}" for path in changed)
    if yes and changed:
        for output in _made_of(set(map(_whole, changed)), results):
            _set_back(output)
        _say(["What was made of them is made anew by the next run."])


def _made_of(inputs: set[str], results: Path) -> Iterator[Path]:
    """Outputs that are there of jobs that take one of some files."""
    for place in results.glob(".jobs/*/*.json"):
        job: Mapping[str, Sequence[str]] = json.loads(place.read_text("utf-8"))
        if not inputs.isdisjoint(map(_whole, job["inputs"])):
            yield from (path for path in map(Path, job["outputs"]) if path.exists())


def _set_back(output: Path) -> None:
    """Let Snakemake take an output for older than all that it was made of."""
    stamp = output / SNAKEMAKES_MARK
    os.utime(stamp if stamp.is_file() else output, (1, 1))


def _whole(path: Path | str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are not followed


def _require_steps(steps: Sequence[str], held: Sequence[Held]) -> None:
    known = sorted({each.verb for each in held})
    if unknown := [step for step in steps if step not in known]:
        problems = [Problem("--step", f'nothing is kept of "{step}".', did_you_mean(step, known)) for step in unknown]
        raise UserError(problems)


def _bytes(text: str) -> float:
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(Problem("--most", f'"{text}" is no size.', "Write it as 500MB or 20GB."))
    return float(match[1]) * UNITS[match[2].upper()]


def _size(count: float) -> str:
    unit = next(unit for unit, most in zip("KMGT", (1e6, 1e9, 1e12, float("inf")), strict=True) if count < most)
    return f"{count / UNITS[unit]:.1f} {unit}B"


def _say(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        print(line)  # noqa: T201
