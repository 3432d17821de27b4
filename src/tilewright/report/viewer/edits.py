"""Correcting outlines in the viewer: what is chosen, what was decided, and the decisions that are written.

Decisions go to the files that ``corrections_file`` names, and nowhere else. The page counts pixels of the slide,
decisions those of the image.
"""

import getpass
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

from tilewright.project.corrected import corrections_file
from tilewright.project.orders import ReportRow
from tilewright.project.project import Project
from tilewright.report.viewer.answers import Answers, Parts, Query, real, whole
from tilewright.report.viewer.borders import config_now
from tilewright.report.viewer.chooser import Chooser
from tilewright.report.viewer.decisionfile import Changed, DecisionFile, State
from tilewright.report.viewer.handles import Handle, Pointer, Wish, area_of, decided, in_slide
from tilewright.report.viewer.objects import rings_of
from tilewright.report.viewer.runs import Run
from tilewright.report.viewer.suspectqueue import Suspect, SuspectQueue
from tilewright.runtime.errors import Problem, UserError, did_you_mean
from tilewright.runtime.locks import held
from tilewright.runtime.progress import note
from tilewright.tiles.folding import project_of

LOCK = ".edited"
"""The file whose lock an editing viewer holds, in the folder of corrections."""
LISTED = 200
"""Suspects that are sent at a time."""
FIRST = 0
"""The run that is edited: the one to begin with."""


@contextmanager
def editing(run: Run, author: str, answers: Answers) -> Iterator["Edits"]:
    """What corrects the outlines of a run, alone.

    Args:
        run: the results.
        author: who decides; empty: the name that the system knows.
        answers: what finds objects.

    Raises:
        UserError: the config of the run is gone, or another viewer edits the same folder.
    """
    config = config_now(run)
    if config is None:
        remedy = "Start the viewer without --edit; or run snakemake with the config, so that the results name it."
        raise UserError(Problem(f"--edit: {run.folder}", "the config of the run is not there any more.", remedy))
    with chdir(run.root):
        project = project_of(config)
    files = _files(run, project)
    if not files:
        what, remedy = (
            "no slide has outlines that could be corrected.",
            "Name files in the column annotations of the sheet.",
        )
        raise UserError(Problem(f"--edit: {run.folder}", what, remedy))
    who = " ".join(author.split()) or _user()
    with ExitStack() as stack:
        for folder in sorted({file.path.parent for file in files.values()}):
            stack.enter_context(_alone(folder, who))
        edits = Edits(run, project, files, who, answers)
        note(f"{who} corrects outlines; what is decided is written to {', '.join(edits.folders)}")
        yield edits


def _files(run: Run, project: Project) -> dict[str, DecisionFile]:
    """The file of each slide whose outlines can be corrected; several may have one."""
    known: dict[Path, DecisionFile] = {}
    found = {}
    for row in project.sheet:
        file = corrections_file(project, row.slide)
        if file is not None and row.slide in run.rows and run.rows[row.slide].annotated:
            path = run.root / file
            found[row.slide] = known.setdefault(path, DecisionFile(path))
    return found


@contextmanager
def _alone(folder: Path, author: str) -> Iterator[None]:
    """Hold the lock of a folder of corrections."""
    remedy, unlocked = "End that viewer first, or look without --edit.", "let no other viewer edit here meanwhile"
    with ExitStack() as stack:
        try:
            stack.enter_context(held(folder / LOCK, by=author, remedy=remedy, unlocked=unlocked))
        except OSError as error:
            what = f"cannot be written ({error.strerror}), and decisions belong there."
            raise UserError(Problem(str(folder), what, "Change its permissions, or look without --edit.")) from error
        yield


def _shown(path: Path) -> str:
    """A path from the working directory on, if it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"


class Edits:
    """Corrects the outlines of a run; made by ``editing``."""

    def __init__(
        self, run: Run, project: Project, files: Mapping[str, DecisionFile], author: str, answers: Answers
    ) -> None:
        self._run, self._files, self._author, self._answers = run, files, author, answers
        self._labels = project.config.labels
        self._chooser = Chooser(answers, self._labels)
        self._queues = {name: SuspectQueue(Path(run.places.audit(name))) for name in run.order.ensembles}
        self._made: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def folders(self) -> list[str]:
        """The folders that decisions are written to."""
        return sorted({_shown(file.path.parent) for file in self._files.values()})

    def about(self) -> dict[str, Any]:
        """What the page is told once."""
        return {
            "run": FIRST,
            "author": self._author,
            "folders": self.folders,
            "classes": list(self._labels),
            "slides": list(self._files),
            "queues": [name for name, queue in self._queues.items() if queue.is_there],
        }

    def state(self, path: Parts) -> dict[str, Any]:
        """All decisions about a slide."""
        return self._told(path["slide"], self._file(path).read())

    def chosen(self, path: Parts, query: Query) -> dict[str, Any]:
        """What can be decided about at a point: a true and a predicted object."""
        state, frame = self._file(path).seen(), self._answers.frame(path)
        at = real(query, "x"), real(query, "y")
        some = self._chooser.true(path, state, at), self._chooser.predicted(path, query.get("set", ""), at)
        found = [min(each, key=lambda one: one.shape.area) for each in some if each]
        return {"objects": [one.told(frame) for one in found]}

    def queue(self, query: Query) -> dict[str, Any]:
        """Suspects that nobody has decided about, some at a time, from a number on."""
        queue, start = self._queue(query.get("ensemble", "")), whole(query, "start")
        suspects = queue.suspects()
        decided = self._decided(queue, suspects)
        left = [one for one in suspects if one.number not in decided]
        some = [one for one in left if one.number >= start][:LISTED]
        return {"suspects": [one.told() for one in some], "left": len(left), "count": len(suspects)}

    def suspect(self, query: Query) -> dict[str, Any]:
        """A suspect with what can be decided about it, if it is still there."""
        name = query.get("ensemble", "")
        suspect = self._queue(name).suspect(whole(query, "number"))
        path = {"run": FIRST, "slide": suspect.slide}
        state, frame = self._file(path).peek(), self._answers.frame(path)
        handle = self._chooser.of_suspect(path, self._queue(name), suspect, state)
        return {"suspect": suspect.told(), "object": handle.told(frame) if handle else None}

    def decide(self, path: Parts, content: bytes) -> dict[str, Any]:
        """Decide, and write it at once.

        Raises:
            DataError: what was sent is no decision, or its outline is none.
            UserError: it makes no sense; ``Changed``: it is about something that has changed.
        """
        wish, file, frame = Wish.read(content), self._file(path), self._answers.frame(path)
        area, notes = area_of(wish.geometry, frame) if wish.geometry else (None, ())
        with self._lock:
            state = file.seen()
            handle = self._pointed(path, wish.object, state) if wish.object else None
            new = decided(wish, handle, area, self._labels, self._author)
            if new.kind == "draw" and (same := state.outlines.get(new.result)) and same.kind != "reject":
                raise UserError(Problem("the outline", "was drawn already; nothing was written."))
            written = file.write([*state.decisions, new])
            self._made.append((path["slide"], new.id))
        return {"notes": list(notes), "decision": new.id, **self._told(path["slide"], written)}

    def undo(self) -> dict[str, Any]:
        """Take out the last decision that was made in this viewer.

        Raises:
            UserError: there is none; ``Changed``: the file has changed.
        """
        with self._lock:
            if not self._made:
                what = "nothing was decided in this viewer that could be undone."
                raise UserError(Problem("view", what, "Decide anew about the outline: the last decision counts."))
            slide, identity = self._made[-1]
            file = self._file({"run": FIRST, "slide": slide})
            state = file.seen()
            kept = [one for one in state.decisions if one.id != identity]
            undone = next((one for one in state.decisions if one.id == identity), None)
            written = file.write(kept)
            self._made.pop()
        frame = self._answers.frame({"run": FIRST, "slide": slide})
        box = list(in_slide(undone.geometry, frame).bounds) if undone else None
        return {"undone": undone.kind if undone else None, "slide": slide, "box": box, **self._told(slide, written)}

    def _file(self, path: Parts) -> DecisionFile:
        row: ReportRow = self._run.row(path["slide"])
        if int(path["run"]) != FIRST or row.slide not in self._files:
            what = f"{row.slide} has no outlines that could be corrected here."
            raise UserError(
                Problem("view", what, "The sheet names none, or wants no corrections; or it belongs to another run.")
            )
        return self._files[row.slide]

    def _told(self, slide: str, state: State) -> dict[str, Any]:
        frame = self._answers.frame({"run": FIRST, "slide": slide})
        mine = {identity for _, identity in self._made}
        told = [
            {
                "id": one.id, "kind": one.kind, "label": one.label, "class": self._chooser.class_of(one.label),
                "author": one.author, "date": one.date, "reason": one.reason, "mine": one.id in mine,
                "lasts": one.id in state.lasting, "box": list((shape := in_slide(one.geometry, frame)).bounds),
                "rings": [[[round(x, 1), round(y, 1)] for x, y, *_ in ring] for ring in rings_of(shape)],
            }
            for one in state.decisions
        ]  # fmt: skip
        return {"file": _shown(self._files[slide].path), "decisions": told, "undo": bool(self._made)}

    def _pointed(self, path: Parts, pointer: Pointer, state: State) -> Handle:
        """What a pointer points at.

        Raises:
            Changed: it is not there any more.
        """
        if pointer.suspect is not None:
            queue = self._queue(pointer.set)
            found = [self._chooser.of_suspect(path, queue, queue.suspect(pointer.suspect), state)]
        elif pointer.kind == "true":
            found = [*self._chooser.true(path, state, pointer.at)]
        else:
            found = [*self._chooser.predicted(path, pointer.set, pointer.at)]
        handle = next((one for one in found if one and (one.hash, one.kind) == (pointer.hash, pointer.kind)), None)
        if handle is None:
            what = "is not there any more as it was chosen; nothing was written."
            raise Changed(Problem("the outline", what, "Choose it again on the map."))
        return handle

    def _queue(self, name: str) -> SuspectQueue:
        if name not in self._queues:
            raise UserError(Problem("view", f'there is no ensemble "{name}".', did_you_mean(name, self._queues)))
        return self._queues[name]

    def _decided(self, queue: SuspectQueue, suspects: Sequence[Suspect]) -> set[int]:
        """The numbers of the suspects that somebody has decided about, or whose slide cannot be corrected."""
        by_slide: dict[str, list[Suspect]] = {}
        for one in suspects:
            by_slide.setdefault(one.slide, []).append(one)
        found = {one.number for slide, own in by_slide.items() if slide not in self._files for one in own}
        for slide, own in by_slide.items():
            if slide in self._files and (state := self._files[slide].peek()).decisions:
                frame = self._answers.frame({"run": FIRST, "slide": slide})
                found |= {
                    one.number
                    for one in own
                    if queue.drawn(one, frame).last(state, self._chooser.labels_of(one.class_name))
                }
        return found
