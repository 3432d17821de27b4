"""What is kept of results that were made before, what else lies in their folder, and how to be rid of it.

In: a config file; what steps have kept and written down. Out: tables of what is there, and with ``yes`` a freed disk.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tilewright.check.leftovers import leftovers
from tilewright.project.configfile import read_config
from tilewright.project.jobs import store_of
from tilewright.project.places import Places
from tilewright.runtime.atomic import MARKS, SNAKEMAKES_MARK
from tilewright.runtime.digests import MEMORY, SET_BACK, Digests, Made, day_of
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean, listed
from tilewright.runtime.kept import Entry, Job, drop, everything, recipe_of
from tilewright.tiles.folding import project_of

LOCKS = Path(".snakemake/locks")
MOST = 3
"""Inputs that are named."""
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
        ours: whether results of this checkout are or were made of the same.
    """

    entry: Entry
    needed: bool
    bytes: int
    freed: int
    ours: bool = True

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
        UserError: everything that is wrong with the config; a step or a size that is none; with --yes, a run goes on.
    """
    if older is not None and not older >= 0:
        raise UserError(Problem("--older", f'"{older:g}" is no number of days.', "Write it as 30."))
    project = project_of(read_config(config))
    if yes:
        _require_quiet()
    places, store = Places.of(project.config.pathvars), store_of(project, Places.of(project.config.pathvars))
    digests, shared = Digests(Path(places.results)), isinstance(project.config.kept, str)
    held = _held(Path(store), digests, Path(places.kept()).parent) if store else []
    _require_steps(step, held)
    _say(_table(held, store, shared=shared))
    others = leftovers(project, places)
    if others:
        _say(["", "No rule of this config makes:", *(f"  {path}" for path in others)])
    if rehash:
        _rehash(digests, Path(places.results), yes=yes)
    chosen, paths = [], []
    if by_use := step or older is not None or most is not None or unneeded:
        left = _matching(held, step, older, unneeded=unneeded)
        chosen += _beyond(left, held, _bytes(most)) if most is not None else left
    if cold:
        named = {each.entry.place for each in chosen}
        own = [each for each in held if each.verb in COLD and each.ours]
        chosen += [each for each in own if each.entry.place not in named]
        paths += [path for name in COLD.values() if (path := Path(places.results, name)).is_dir()]
    if leftover:
        made = {path for path, known in digests.all() if known.made.verb}
        paths += [path for path in others if path not in paths and _is_ours(path, made)]
    if chosen or paths:
        _remove(chosen, paths, digests, yes=yes)
    elif by_use or cold or leftover:
        _say(["", "There is nothing of that to remove."])


def _held(store: Path, digests: Digests, above: Path) -> list[Held]:
    """All that is kept, the oldest first; results of other configs below the folder of all results may need it too."""
    known = [each for own in (digests, *_beside(above)) for each in own.all() if each[1].made.recipe]
    ours = {told.made.recipe for _, told in known}
    present = {told.made.recipe for path, told in known if path.exists()}
    found = []
    for place, entry in everything(store):
        with suppress(FileNotFoundError):  # a step that runs has finished it, or dropped it
            since = place.stat().st_mtime
            told = entry or Entry(place, Made(verb=place.parts[-4], computed=since), ())
            files = [path for path, _ in told.files()] if entry else place.rglob("*")
            status = [path.stat() for path in files if path.is_file()]
            freed = sum(each.st_size for each in status if each.st_nlink == 1)
            size, recipe = sum(each.st_size for each in status), told.made.recipe
            found.append(Held(told, recipe in present, size, freed, recipe in ours))
    return sorted(found, key=lambda each: each.since)


def _beside(above: Path) -> Iterator[Digests]:
    """The memories of all results below a folder, also behind links; what was written as one is not gone through."""
    seen: set[str] = set()
    for place, names, files in os.walk(above, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        if MEMORY in names:
            yield Digests(Path(place))
        names[:] = [name for name in names if not name.startswith(".")] if set(MARKS).isdisjoint(files) else []


def _table(held: Sequence[Held], store: str, *, shared: bool) -> Iterator[str]:
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
    if broken := [each for each in held if not each.entry.outputs]:
        size = _size(sum(each.bytes for each in broken))
        yield f"{len(broken)} of these ({size}) are no results: left by steps that were stopped, or damaged."
    if shared:
        yield "What other checkouts and machines need that keep here too is not known, and counts as not needed."


def _require_quiet() -> None:
    """Refuse to take anything from under a run.

    Raises:
        UserError: Snakemake has locked this folder.
    """
    if any(LOCKS.glob("*")):
        remedy = "Wait until it ends; if none runs any more, `snakemake --unlock`. Then run the same command again."
        raise UserError(Problem(str(LOCKS), "a run goes on in this folder, or was killed.", remedy))


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
        if path.is_symlink() and path.is_dir():  # to another disk, on which what comes next shall lie too
            for below in path.iterdir():
                drop(below) if below.is_dir() and not below.is_symlink() else below.unlink()
        elif path.is_dir():
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
    anew: dict[str, str] = {}
    recipes: dict[Path, set[str]] = {}
    theirs: dict[Path, list[Path]] = {}
    for place in results.glob(".jobs/*/*.json"):
        with suppress(DataError):
            job = Job.read(place)
            users = [path for path in job.inputs if not digests.recall(path).made.verb]
            recipe = _recipe_now(job, users, anew, digests)
            for output in job.outputs if users else ():
                recipes.setdefault(output, set()).add(recipe)
                theirs[output] = users
    made = {
        output: _known(digests.recall(output).made.recipe, recipes[output]) for output in recipes if output.exists()
    }
    stale = sorted(output for output, recipe in made.items() if recipe and recipe not in recipes[output])
    _say(["", f"Read again, {len(anew)} files and folders; results that were made of other content: {len(stale)}."])
    _say(f"  {output} (of {listed([str(path) for path in theirs[output]], MOST)})" for output in stale)
    if unknown := sum(not recipe for recipe in made.values()) if anew else "all":
        _say([f"Of {unknown} results nobody knows what they were made of; touch what you doubt to make them anew."])
    if yes and stale:
        for output in stale:
            _set_back(output)
            for path in theirs[output]:
                digests.forget(path)
        _say(["They are made anew by the next run."])


def _recipe_now(job: Job, users: Sequence[Path], anew: dict[str, str], digests: Digests) -> str:
    """The recipe of a job by what its inputs hold now; empty: one of them is gone, or cannot be read."""
    try:
        for path in users:
            if _whole(path) not in anew:
                anew[_whole(path)] = digests.read_anew(path)
        return recipe_of(job, [(path.name, anew.get(_whole(path)) or digests.of(path)) for path in job.inputs])
    except OSError:
        return ""


def _known(recipe: str, now: set[str]) -> str:
    """What a result was made of; empty: nobody can say, as a job that may have made it cannot be judged."""
    return "" if "" in now and recipe not in now else recipe


def _set_back(output: Path) -> None:
    """Let Snakemake take an output for older than all that it was made of."""
    stamp = output / SNAKEMAKES_MARK
    os.utime(stamp if stamp.is_file() else output, (SET_BACK, SET_BACK))


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
