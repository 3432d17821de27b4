"""The submissions that are shown over a run: which slides each names, and each slide of them drawn when it is asked."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tilewright.pixels.grid import Frame
from tilewright.project.orders import ReportRow
from tilewright.report.viewer.borders import config_of
from tilewright.report.viewer.pyramids import Extracts
from tilewright.report.viewer.runs import Run, Shown
from tilewright.report.viewer.submission import SHORT, RunOrder, Submission, read_submission
from tilewright.report.viewer.submissionmask import Drawn, draw_submitted
from tilewright.runtime.errors import Problem, UserError, listed, raise_all


class Submitted:
    """The submissions over a run.

    Args:
        submissions: the files.
        run: whose slides they are shown over.
        extracts: makes in the background what takes time.
        folder: where masks are written.

    Raises:
        AnnotationError: an id means slides of several images, or two ids mean one slide.
    """

    def __init__(self, submissions: Sequence[Submission], run: Run, extracts: Extracts, folder: Path) -> None:
        self._run, self._extracts, self._folder = run, extracts, folder
        rows = list(run.rows.values())
        self._files = dict(zip(_names(submissions, run), submissions, strict=True))
        self._ids = {name: one.slides(rows) for name, one in self._files.items()}

    @property
    def names(self) -> list[str]:
        """What each is called."""
        return list(self._files)

    def left_over(self) -> list[str]:
        """A sentence for each file that names what are no slides of the run."""
        found = []
        for name, one in self._files.items():
            known = set(self._ids[name].values())
            if left := [each for each in one.places if each not in known]:
                found.append(
                    f"{name} names {len(left)} id(s) that are no slides of these results: {listed(_short(left), 5)}."
                )
        return found

    def sets(self, row: ReportRow) -> list[dict[str, Any]]:
        """What is told of each as a set of predictions of a slide."""
        told = {"probabilities": False, "thresholds": {}, "dice": {}, "submission": True}
        return [{"name": name, "segments": row.slide in self._ids[name], **told} for name in self._files]

    def shown(self, name: str, row: ReportRow, frame: Frame) -> Shown:
        """A slide of a submission as a set of predictions.

        Raises:
            NotYet: it is being drawn.
        """
        drawn = self._drawn(name, row, frame)
        return Shown(name, None, drawn.folder if drawn else None)

    def told(self, name: str, row: ReportRow, frame: Frame) -> list[dict[str, str]]:
        """What is wrong with the rows of a slide, or that there are none.

        Raises:
            NotYet: it is being drawn.
        """
        with suppress(KeyError):
            drawn = self._drawn(name, row, frame)
            problems = drawn.problems if drawn else [Problem(name, f"does not name slide {row.slide}.")]
            return [asdict(problem) for problem in problems]
        return []

    def _drawn(self, name: str, row: ReportRow, frame: Frame) -> Drawn | None:
        """A slide of a submission; None: it does not name it."""
        found, named = self._files[name], self._ids[name].get(row.slide)
        if named is None:
            return None
        classes = list(self._run.order.colors)

        def draw() -> Drawn:
            return draw_submitted(found, named, row.slide, frame, classes, Path(mkdtemp(dir=self._folder)))

        drawn: Drawn = self._extracts.work(("submission", str(self._run.folder), name, row.slide), draw)
        return drawn


def read_submissions(
    paths: Sequence[Path], runs: Sequence[Run], folder: Path, classes: Sequence[str], order: RunOrder | None
) -> list[Submission]:
    """Read some files, which are about slides of some runs.

    Args:
        paths: the files.
        runs: the runs, the one whose classes and whose config count first.
        folder: where rows wait.
        classes: as of ``read_submission``.
        order: how the pixels of run lengths count; None: as the config of the run writes them.

    Raises:
        UserError: a file names no slide of any run; and as of ``read_submission``.
        AnnotationError: likewise.
    """
    config = config_of(runs[0]) if paths else None
    by_rows = order == "row_major" if order else bool(config and config.submission.dialect == "row_major")
    order = "row_major" if by_rows else "column_major"
    found = [read_submission(path, folder, list(runs[0].order.colors), classes, order) for path in paths]
    raise_all(UserError, [problem for one in found for problem in _foreign(one, runs)])
    return found


def _foreign(found: Submission, runs: Sequence[Run]) -> Iterator[Problem]:
    """What is to be said of a file that names no slide."""
    if not any(found.slides(list(run.rows.values())) for run in runs):
        folders, slides = " or ".join(str(run.folder) for run in runs), [name for run in runs for name in run.rows]
        what = f"names no slide of {folders}, but {listed(_short(found.places), 3)}."
        remedy = f"Slides there are {listed(slides, 3)}; ids are their names, or those of their images."
        yield Problem(str(found.path), what, remedy)


def _short(names: Iterable[str]) -> list[str]:
    """Names as they are told: a quote that is not closed makes one of a whole file."""
    return [" ".join(name[:SHORT].split()) for name in names]


def _names(submissions: Sequence[Submission], run: Run) -> list[str]:
    """The name of each file, or its path where another set is called so."""
    taken = [*run.order.ensembles, *(one.path.name for one in submissions)]
    return [one.path.name if taken.count(one.path.name) == 1 else str(one.path) for one in submissions]
