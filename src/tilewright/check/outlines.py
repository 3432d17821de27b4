"""Checks of files of outlines: whether they can be read, what was repaired, labels without a class, outlines beside the image."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import shapely

from tilewright.annotations import Annotation, Outlines, read_annotations
from tilewright.annotations.files import suffix_of
from tilewright.check.findings import Findings
from tilewright.pixels.grid import Frame, Size
from tilewright.project.config import Config
from tilewright.project.rows import Row, Sheet
from tilewright.project.settings import RasterizeSettings
from tilewright.runtime.errors import Problem, TilewrightError, did_you_mean

FINDINGS_SHOWN = 5
SIZELESS = {".geojson", ".jsonl", ".ndjson"}
"""Formats whose outlines can be read without knowing the size of the image."""


class OutlineCheck:
    """Reads files of outlines, each once for what does not depend on the slide."""

    def __init__(self, config: Config, *, known: bool, findings: Findings) -> None:
        self._config, self._known, self._findings = config, known, findings
        self._settings = RasterizeSettings.of(config)
        self._last: tuple[tuple[Path, str], Outlines] | None = None
        self._judged: set[tuple[Path, str]] = set()
        self._labels: Counter[str] = Counter()

    def read(self, row: Row, path: Path, frame: Frame | None) -> None:
        """Read the outlines of a slide.

        Args:
            row: the slide.
            path: its file of outlines.
            frame: where the slide lies; None: its image cannot be read.
        """
        suffix = suffix_of(path)
        if frame is None and suffix not in SIZELESS:
            return
        key = (path, "" if suffix == ".geojson" else row.slide)
        if self._last is None or self._last[0] != key:
            # the outlines of one file at a time: they can be large
            self._last = (key, self._read(path, row.slide, frame.image if frame else Size(0, 0)))
        outlines = self._last[1]
        if key not in self._judged:
            self._judged.add(key)
            self._judge(path, row, outlines)
        if frame and outlines.annotations and not _reaches(outlines.annotations, frame):
            what = "none of its outlines lies in the image." if row.region is None else "no outline lies in its region."
            remedy = "Outlines count in pixels of the whole image at full size; were they drawn on another image?"
            self._findings.warnings["outlines"].append(Problem(f"{path} (slide {row.slide})", what, remedy))

    def _read(self, path: Path, slide: str, size: Size) -> Outlines:
        try:
            return read_annotations(path, slide, size, self._config.annotations, self._config.limits)
        except TilewrightError as error:
            self._findings.errors["outlines"] += error.problems
            return Outlines((), ())

    def _judge(self, path: Path, row: Row, outlines: Outlines) -> None:
        if self._known:
            self._findings.errors["outlines"] += _unknown_labels(
                outlines.annotations, self._settings, f"{path} (slide {row.slide})"
            )
        if row.role != "test":
            self._labels.update(one.label for one in outlines.annotations)
        for kind, what in (("unusable", "not drawn"), ("repaired", "drawn after a repair")):
            found = [finding for finding in outlines.findings if finding.kind == kind]
            self._findings.warnings["outlines"] += [
                Problem(finding.where, f"{what}: {finding.what}") for finding in found[:FINDINGS_SHOWN]
            ]
            if len(found) > FINDINGS_SHOWN:
                more = f"{len(found) - FINDINGS_SHOWN} more outlines are {what}; the log of rasterize names each."
                self._findings.warnings["outlines"].append(Problem(str(path), more))

    def check_classes(self, sheet: Sheet) -> None:
        """Warn of classes that no training slide shows."""
        found = ", ".join(f"{label} ({count})" for label, count in self._labels.most_common())
        for name, labels in self._settings.classes.items() if self._known and self._labels else ():
            if not any(self._labels[label] for label in labels):
                what = f'no outline of a training slide belongs to the class "{name}".'
                remedy = f"Its labels: {', '.join(labels)}. Labels found: {found}."
                self._findings.warnings["outlines"].append(Problem(str(sheet.path), what, remedy))


def _reaches(annotations: Iterable[Annotation], frame: Frame) -> bool:
    bounds = shapely.bounds([annotation.geometry for annotation in annotations])
    left, top, right, bottom = bounds.T
    inside = (left < frame.x + frame.width) & (right > frame.x) & (top < frame.y + frame.height) & (bottom > frame.y)
    return bool(inside.any())


def _unknown_labels(annotations: Iterable[Annotation], settings: RasterizeSettings, where: str) -> Iterator[Problem]:
    """Labels that belong to no class, with the number of their outlines."""
    options = settings.annotations
    wanted = [*(label for labels in settings.classes.values() for label in labels), *options.ignore]
    known = {*wanted, *options.discard}
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for annotation in annotations:
        if annotation.label not in known:
            first.setdefault(annotation.label, annotation.origin)
            counts[annotation.label] += 1
    for label, count in counts.items():
        subject = "1 outline has" if count == 1 else f"{count} outlines have"
        what = f'{subject} the label "{label}" (first: {first[label]}), which belongs to no class.'
        remedy = f"{did_you_mean(label, wanted)} Or add it to a class, or to annotations.ignore or .discard."
        yield Problem(where, what, remedy)
