"""What steps have made stays reachable by what it was made of, so that nothing is computed twice.

A job file of the graph says what a job takes and gives. Its recipe is the digest of step, settings and the contents of
all inputs; a store has a folder for each recipe, and in it one for each version of the code. Nothing is locked: entries
appear whole under their names or not at all, and of two writers of the same the first one stays.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Self

from tilewright.runtime.atomic import MARK, atomic_path, private_path, settle
from tilewright.runtime.digests import Digests, Facts, Files, Made, Remembered, day_of, facts_of
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.hashed import file_hash
from tilewright.runtime.progress import note

RECIPE = re.compile(r"[0-9a-f]{64}")
RECORD = "record.json"
"""The file of an entry that says what it is; its outputs lie beside it, by their numbers."""
FICLONE = 0x40049409
"""The request of Linux to let two files share their blocks until one of them is written to."""
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
UNSUITABLE = (OSError, DataError)
"""What a disk may say while something is looked up or kept: then it is computed, or not kept."""


@dataclass(frozen=True)
class Job:
    """What a job takes and gives, as its graph writes it down.

    Attributes:
        results: the folder of the results, where digests are remembered.
        store: where results are kept; none: nowhere.
        shared: whether others write there too, so that nothing in it is taken without being read.
        any_code: whether what other versions of the code have made is taken too.
        verb: the step.
        code: hash of its code.
        told: digest of all settings, without the paths.
        inputs: files and folders that it takes, in their order.
        outputs: files and folders that it gives.
    """

    results: Path
    store: Path | None
    shared: bool
    any_code: bool
    verb: str
    code: str
    told: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The job of a file.

        Raises:
            DataError: it is gone, damaged, or no job.
        """
        try:
            told = json.loads(path.read_text("utf-8"))
            paths = {name: tuple(map(Path, told[name])) for name in ("inputs", "outputs")}
            store = Path(told["store"]) if told["store"] else None
            return cls(**told | paths | {"results": Path(told["results"]), "store": store})
        except (OSError, ValueError, TypeError, KeyError) as error:
            remedy = "Snakemake writes it for a job that runs; by hand, leave out --job."
            raise DataError(Problem(str(path), f"is no file of a job ({error}).", remedy)) from error


@dataclass(frozen=True)
class Entry:
    """Something that is kept.

    Attributes:
        place: its folder.
        made: how it was made.
        outputs: the files of each output.
    """

    place: Path
    made: Made
    outputs: tuple[Files, ...]

    @classmethod
    def read(cls, place: Path) -> Self | None:
        """The entry of a folder; None: there is none, or it cannot be read."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            told = json.loads((place / RECORD).read_text("utf-8"))
            outputs = tuple({name: Facts(*facts) for name, facts in files.items()} for files in told["outputs"])
            if not all(_is_below(name) for files in outputs for name in files):
                return None  # whoever wrote this wants to write elsewhere
            return cls(place, Made(**told["made"]), outputs)
        return None

    def write(self) -> None:
        """Write its record."""
        (self.place / RECORD).write_text(json.dumps({"made": asdict(self.made), "outputs": self.outputs}), "utf-8")

    def files(self) -> Iterator[tuple[Path, Facts]]:
        """All its files, with what they were when they were kept."""
        for number, files in enumerate(self.outputs):
            for name, facts in files.items():
                yield _at(self.place / str(number), name), facts


def at_most_once(job_file: Path, compute: Callable[[], object]) -> None:
    """Take the outputs of a job from what is kept, or compute and keep them.

    What goes wrong with the keeping is said in the log and stops nothing.

    Args:
        job_file: the job, as ``Graph.job`` writes it.
        compute: makes the outputs.
    """
    try:
        job = Job.read(job_file)
    except DataError as error:
        note(f"Nothing is looked up or kept: {error}")
        compute()
        return
    digests = Digests(job.results)
    before = _contents(job, digests) if job.store else None
    recipe = recipe_of(job, before) if before is not None else ""
    if recipe and _taken(job, recipe, digests):
        return
    compute()
    made = Made(job.verb, version("tilewright"), job.code, recipe, time.time())
    try:
        if before is not None and before != _contents(job, digests):
            note("An input has changed meanwhile: what was made is not kept.")
            made, recipe = Made(**asdict(made) | {"recipe": ""}), ""
        if recipe:
            _keep(job, made, digests)
        else:
            for output in job.outputs:
                digests.remember(output, Remembered(made))
    except UNSUITABLE as error:
        note(f"What was made is not kept, and the run goes on: {error}")


def everything(store: Path) -> Iterator[tuple[Path, Entry | None]]:
    """All folders of a store with what is kept in them; None: what a step that was killed, or a bad disk, has left.

    What others have put into the folder is none of it.
    """
    for place in sorted(store.glob("*/*/*/*")):
        recipe = place.parent
        if RECIPE.fullmatch(recipe.name) and recipe.parent.name == recipe.name[:2] and place.is_dir():
            yield place, None if place.name.startswith(".") else Entry.read(place)


def _contents(job: Job, digests: Digests) -> list[tuple[str, str]] | None:
    """Names and digests of the inputs; None: one cannot be read, which is for the step to say."""
    try:
        return [(path.name, digests.of(path)) for path in job.inputs]
    except UNSUITABLE:
        return None


def recipe_of(job: Job, contents: list[tuple[str, str]]) -> str:
    """The digest of what a job makes, by the names and digests of its inputs."""
    text = json.dumps([job.verb, job.told, contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _place(job: Job, recipe: str) -> Path:
    assert job.store, "asked for only where something is kept"
    return job.store / job.verb / recipe[:2] / recipe


def _taken(job: Job, recipe: str, digests: Digests) -> bool:
    """Whether the outputs were kept, are what they were, and lie at their places now."""
    try:
        found = next((entry for entry in _found(job, _place(job, recipe)) if _is_put(job, entry)), None)
    except UNSUITABLE as error:
        note(f"What is kept cannot be taken, and is computed: {error}")
        return False
    if found is None:
        return False
    made = Made(**asdict(found.made) | {"taken": time.time()})
    with suppress(OSError):
        for output, files in zip(job.outputs, found.outputs, strict=True):
            digests.remember(output, Remembered(made, _as_found(output, files)))
    note(f"kept since {day_of(found.made.computed)}: nothing to compute.")
    return True


def _found(job: Job, place: Path) -> list[Entry]:
    """The entries of a recipe, that of the own code first, then the newest."""
    with suppress(FileNotFoundError):
        wanted = [each for each in place.iterdir() if each.name == job.code or (job.any_code and each.name[0] != ".")]
        read = [Entry.read(each) for each in wanted]
        known = [entry for entry in read if entry and len(entry.outputs) == len(job.outputs)]
        return sorted(known, key=lambda each: (each.made.code == job.code, each.made.computed), reverse=True)
    return []


def _is_put(job: Job, entry: Entry) -> bool:
    """Let the outputs be what is kept, if that is whole; otherwise it is dropped."""
    if (job.shared or _is_whole(entry)) and all(
        _put(entry, number, output, shared=job.shared) for number, output in enumerate(job.outputs)
    ):
        return True
    note(f"What was kept is damaged ({entry.place}), and is made again.")
    drop(entry.place)
    return False


def _is_whole(entry: Entry) -> bool:
    """Whether the files of an entry are what they were; those that look as they did are not read."""
    try:
        return all(
            facts.is_of(Facts.of(path.stat())) or file_hash(path) == facts.digest for path, facts in entry.files()
        )
    except OSError:
        return False


def _put(entry: Entry, number: int, output: Path, *, shared: bool) -> bool:
    """Let an output be what is kept of it; of a shared folder a copy, which is read: others may write meanwhile."""
    files = entry.outputs[number]
    with private_path(output) as private:
        try:
            _copy(entry.place / str(number), private, files, link=not shared)
        except (FileNotFoundError, IsADirectoryError):
            return False
        if shared and any(file_hash(_at(private, name)) != facts.digest for name, facts in files.items()):
            return False
        settle(private, output)
    return True


def _keep(job: Job, made: Made, digests: Digests) -> None:
    """Keep the outputs of a job, and remember what they are."""
    outputs = [digests.read(output) for output in job.outputs]
    for output, files in zip(job.outputs, outputs, strict=True):
        digests.remember(output, Remembered(made, files))
    place = _place(job, made.recipe) / made.code
    if Entry.read(place):
        return
    with suppress(FileExistsError), atomic_path(place) as private:
        private.mkdir()
        for number, (output, files) in enumerate(zip(job.outputs, outputs, strict=True)):
            _copy(output, private / str(number), files, link=not job.shared)
        kept = [_as_found(private / str(number), files) for number, files in enumerate(outputs)]
        if any(kept[number].keys() != files.keys() for number, files in enumerate(outputs)):
            raise OSError("an output has changed meanwhile")
        Entry(private, made, tuple(kept)).write()
        (private / MARK).touch()


def _as_found(path: Path, files: Files) -> dict[str, Facts]:
    """The files of a path as they lie there, with the digests that are known of them."""
    return {name: facts._replace(digest=files[name].digest) for name, facts in facts_of(path).items() if name in files}


def _copy(source: Path, target: Path, files: Files, *, link: bool) -> None:
    """Copy a file or a folder, without taking space where the file system can do that.

    Files of folders may be linked: they are made read-only, so that nobody writes to both. Snakemake refuses to run a
    job again whose output is a file that cannot be written, hence files are never linked, nor is anything for root, who
    writes to whatever is read-only.
    """
    for name in files:
        path, whole = _at(target, name), _at(source, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _cloned(whole, path):
            if link and name and os.geteuid() != 0 and _linked(whole, path):
                continue
            shutil.copyfile(whole, path)


def _cloned(source: Path, target: Path) -> bool:
    with source.open("rb") as read, target.open("wb") as written:
        try:
            fcntl.ioctl(written.fileno(), FICLONE, read.fileno())
        except OSError:
            return False
    return True


def _linked(source: Path, target: Path) -> bool:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        return False
    mode = stat.S_IMODE(source.stat().st_mode)
    if mode & WRITABLE:  # of another's file, which he has made read-only, the mode cannot be changed
        source.chmod(mode & ~WRITABLE)
    return True


def _is_below(name: str) -> bool:
    """Whether a name leads into the folder that it is put behind; the empty one is the file itself."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _at(path: Path, name: str) -> Path:
    return path / name if name else path


def drop(place: Path) -> None:
    """Remove an entry; what is half removed is none."""
    (place / RECORD).unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def job_text(**told: Any) -> str:
    """What a job file says, as ``Job`` reads it."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
