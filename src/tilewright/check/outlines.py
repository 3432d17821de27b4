"""Checks of files of outlines.

Whether they can be read, what was repaired, labels without a class, outlines beside the image.
"""

from collections import Counter
from pathlib import Path

from tilewright.annotations import Outlines, read_outlines
from tilewright.annotations.files import suffix_of
from tilewright.annotations.tally import Tally
from tilewright.check.doubts import doubts
from tilewright.check.findings import Findings
from tilewright.check.placement import OutlinePlaces
from tilewright.check.sharing import taken_twice
from tilewright.masks.unclaimed import Unclaimed
from tilewright.pixels.grid import Frame, Size
from tilewright.project.config import Config
from tilewright.project.naming import identity_of, namesakes
from tilewright.project.rows import Row, Sheet
from tilewright.runtime.errors import Problem, TilewrightError

FINDINGS_SHOWN = 5
ASKED = 3
"""Slides of which doubts are told: those of the others are the same."""
SIZELESS = {".geojson", ".jsonl", ".ndjson"}
"""Formats whose outlines can be read without knowing the size of the image."""


class OutlineCheck:
    """Reads files of outlines, each once for what does not depend on the slide."""

    def __init__(self, config: Config, sheet: Sheet, *, known: bool, findings: Findings) -> None:
        self._config, self._known, self._findings = config, known, findings
        self._namesakes = namesakes(sheet, "annotations")
        self._last: tuple[tuple[Path, str], Outlines | None] | None = None
        self._judged: set[tuple[Path, str]] = set()
        self._labels: Counter[str] = Counter()
        self._asked = 0
        self._places = OutlinePlaces(findings, config.annotations.pixel_rule)

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
        key = (path, str(row.image) if suffix == ".geojson" else row.slide)
        if self._last is None or self._last[0] != key:
            # the outlines of one file at a time: they can be large
            self._last = (key, self._read(path, row, frame.image if frame else Size(0, 0)))
        outlines = self._last[1]
        if outlines is None:
            return
        if key not in self._judged:
            self._judged.add(key)
            self._judge(path, row, outlines, frame)
        if frame and outlines.annotations:
            if self._asked < ASKED:
                found = list(doubts(row, self._namesakes, outlines, frame.image, self._config))
                self._findings.warnings["outlines"] += found
                self._asked += bool(found)
            self._places.add(row, path, outlines.annotations, frame)

    def _read(self, path: Path, row: Row, size: Size) -> Outlines | None:
        slide = identity_of(row, self._namesakes)
        try:
            return read_outlines(path, slide, size, self._config.annotations, self._config.limits)
        except TilewrightError as error:
            self._findings.errors["outlines"] += error.problems
            return None

    def _judge(self, path: Path, row: Row, outlines: Outlines, frame: Frame | None) -> None:
        if self._known:
            options = self._config.annotations
            unclaimed = Unclaimed(self._config.labels, [*options.ignored, *options.region], options.discard)
            unclaimed.add(outlines.annotations)
            self._findings.errors["outlines"] += unclaimed.problems(lambda _: f"{path} (slide {row.slide})")
        self._findings.warnings["outlines"] += [
            Problem(finding.where, finding.what) for finding in outlines.findings if finding.kind == "noticed"
        ]
        tally = Tally(row.slide, self._config.annotations, None if row.region else frame)
        tally.add(outlines)
        if problems := tally.problems(str(path)):
            self._findings.errors["outlines"] += problems
            return
        if row.role != "test" and not outlines.annotations and suffix_of(path) in (".geojson", ".json"):
            what = "holds no outlines: the slide is trained on as pure background."
            remedy = "Right if it shows nothing of any class; otherwise export the outlines again."
            self._findings.warnings["outlines"].append(Problem(f"{path} (slide {row.slide})", what, remedy))
        if row.role != "test":
            self._labels.update(one.label for one in outlines.annotations)
        kinds = (("unusable", "not drawn"), ("repaired", "drawn after a repair"), ("left out", "left out"))
        for kind, what in kinds:
            found = [finding for finding in outlines.findings if finding.kind == kind]
            self._findings.warnings["outlines"] += [
                Problem(finding.where, f"{what}: {finding.what}") for finding in found[:FINDINGS_SHOWN]
            ]
            if len(found) > FINDINGS_SHOWN:
                more = f"{len(found) - FINDINGS_SHOWN} more outlines are {what}; the log of rasterize names each."
                self._findings.warnings["outlines"].append(Problem(str(path), more))

    def check_all(self, sheet: Sheet) -> None:
        """Warn of outlines that lie beside their slides or are of several, and of classes that no slide shows."""
        self._places.judge()
        self._findings.warnings["outlines"] += taken_twice(sheet, self._config.limits)
        found = ", ".join(f"{label} ({count})" for label, count in self._labels.most_common())
        for name, labels in self._config.labels.items() if self._known and self._labels else ():
            if not any(self._labels[label] for label in labels):
                what = f'no outline of a training slide belongs to the class "{name}".'
                remedy = f"Its labels: {', '.join(labels)}. Labels found: {found}."
                self._findings.warnings["outlines"].append(Problem(str(sheet.path), what, remedy))
