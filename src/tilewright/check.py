"""All problems of a run before it starts: of the config, the sheet, the images and the outlines.

In: a config file. Out: a report on standard output, in which every problem stands with its remedy. What one problem hides
is looked for all the same: a config with a wrong key is checked as if the key were absent, and a row with a wrong value
does not keep the other rows from being opened and read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import shapely
import yaml
from pydantic import ValidationError

from tilewright.anatomy import structure
from tilewright.annotations import Annotation, Outlines, read_annotations
from tilewright.annotations.files import suffix_of
from tilewright.config import Config, Network
from tilewright.configfile import parse_config
from tilewright.crosscheck import sheet_problems
from tilewright.folds import assign_folds
from tilewright.rasters import Frame, Size, Window
from tilewright.runtime.errors import Problem, TilewrightError, UserError, did_you_mean
from tilewright.runtime.progress import track
from tilewright.scales import scale_factor
from tilewright.settings import RasterizeSettings
from tilewright.sheet import Row, Sheet, examine_sheet
from tilewright.slides import Slide, open_slide
from tilewright.storage import url_of

SECTIONS = ("config", "sheet", "images", "outlines")
FINDINGS_SHOWN = 5
ROUNDS = 20
# Formats whose outlines can be read without knowing the size of the image.
SIZELESS = {".geojson", ".jsonl", ".ndjson"}
# Stand-ins for sections that are missing or wrong as a whole, so that the rest can be checked.
STAND_INS: dict[str, dict[str, Any]] = {
    "classes": {"unnamed": {}},
    "scales": {"unnamed": {"factor": 1}},
    "tiles": {"unnamed": {"scale": "unnamed"}},
    "models": {"unnamed": {"tiles": "unnamed"}},
    "ensembles": {"unnamed": {"models": {"unnamed": 1}}},
}


@dataclass
class Findings:
    """What is wrong, by section; each problem once."""

    errors: dict[str, list[Problem]] = field(default_factory=lambda: {name: [] for name in SECTIONS})
    warnings: dict[str, list[Problem]] = field(default_factory=lambda: {name: [] for name in SECTIONS})

    def count(self) -> tuple[int, int]:
        """Numbers of errors and of warnings."""
        return sum(map(len, self.errors.values())), sum(map(len, self.warnings.values()))

    def lines(self) -> Iterator[str]:
        """The report: errors by section, then warnings by section."""
        for title, problems in (("", self.errors), ("warnings, ", self.warnings)):
            for section in SECTIONS:
                if unique := list(dict.fromkeys(problems[section])):
                    yield f"{title}{section} ({len(unique)})"
                    yield from ("  " + str(problem).replace("\n", "\n  ") for problem in unique)
                    yield ""

    def settle(self) -> None:
        """Drop what is there twice, as when two slides share a file."""
        for problems in (self.errors, self.warnings):
            for section in SECTIONS:
                problems[section] = list(dict.fromkeys(problems[section]))


def check(*, config: Path = Path("config/config.yaml"), data: Path | None = None) -> None:
    """Find all problems of config, sheet, images and outlines at once and print them, each with its remedy.

    Args:
        config: the config file.
        data: folder in which images and outlines are looked for first; overrides the config's.

    Raises:
        UserError: there are errors; the message counts them. Warnings alone pass.
    """
    findings = Findings()
    parsed, trusted = _check_config(config, data, findings)
    sheet = _check_sheet(parsed, trusted, findings) if parsed else Sheet(config, ())
    if parsed:
        _check_files(parsed, trusted, sheet, findings)
    findings.settle()
    for line in findings.lines():
        print(line)  # noqa: T201
    errors, warnings = findings.count()
    summary = (
        f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}; {_counted(len(sheet.rows), 'slide')} readable."
    )
    if errors:
        raise UserError(Problem("", summary))
    print(summary)  # noqa: T201


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _check_config(path: Path, data: Path | None, findings: Findings) -> tuple[Config | None, frozenset[str]]:
    """The config without what is wrong in it, and the sections that can be relied on."""
    errors = findings.errors["config"]
    values = _load(path, errors)
    if values is None:
        return None, frozenset()
    if data is not None:
        values["data"] = str(data)
    sound, touched = _without_mistakes(values)
    trusted = frozenset({*STAND_INS, "folds"} - touched)
    for attempt in (values, sound):
        try:
            parse_config(attempt, [path])
        except UserError as error:
            # of a mended config only the names are news, and they mean something only where no name was dropped
            errors += error.problems if attempt is values or not touched & set(STAND_INS) else ()
    config = Config.model_validate(sound)
    _check_networks(config, path, findings)
    return config, trusted


def _load(path: Path, errors: list[Problem]) -> dict[str, Any] | None:
    if not path.is_file():
        errors.append(Problem(str(path), "the config does not exist.", "Start from config/config.yaml."))
        return None
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        errors.append(Problem(str(path), f"is no valid YAML: {error}", "Compare it with config/config.yaml."))
        return None
    if not isinstance(values, dict):
        errors.append(Problem(str(path), "holds no keys.", "Start from config/config.yaml."))
        return None
    return values


def _without_mistakes(values: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """A valid config: ``values`` without wrong keys and values, and the sections that are not to be relied on."""
    sound, touched = deepcopy(dict(values)), set[str]()
    for _ in range(ROUNDS):
        try:
            Config.model_validate(sound)
        except ValidationError as error:
            for each in error.errors():
                location = [part for part in each["loc"] if part != "[key]"]
                touched |= _mend(sound, location, missing=each["type"] == "missing")
        else:
            return sound, touched
    return {**deepcopy(STAND_INS), "sheet": str(values.get("sheet", "config/slides.csv"))}, set(STAND_INS)


def _mend(values: dict[str, Any], location: list[str | int], *, missing: bool) -> set[str]:
    """Remove what is wrong, or the named thing that lacks something; return the section if it is not to be relied on.

    A section of names is relied on while none is lost, the folds while no value is.
    """
    if not location:
        return set()
    if missing or not _drop(values, location):
        location = location[:-1] or location
        _drop(values, location)
    section = str(location[0])
    if section in STAND_INS and len(location) <= 2:
        values[section] = values.get(section) or deepcopy(STAND_INS[section])
        return {section}
    return {section} & {"folds"}


def _drop(values: Any, location: Sequence[str | int]) -> bool:
    """Remove what lies at a location; False where nothing does."""
    for part in location[:-1]:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    last = location[-1]
    if isinstance(values, list) and isinstance(last, int) and last < len(values):
        del values[last]
        return True
    # YAML has keys that are numbers, and pydantic names them as text
    keys = [key for key in values if str(key) == str(last)] if isinstance(values, dict) else []
    for key in keys:
        del values[key]
    return bool(keys)


def _check_networks(config: Config, path: Path, findings: Findings) -> None:
    """Architectures, encoders and their options, and files of weights."""
    from tilewright.training.architectures import check_network

    for name, model in config.models.items():
        where = f"{path}, models.{name}"
        try:
            check_network(Network(**model.model_dump(exclude={"inference"})))
        except UserError as error:
            findings.errors["config"] += [replace(problem, where=where) for problem in error.problems]
        weights = model.encoder_weights
        if weights not in ("auto", "random", "imagenet") and not Path(weights).is_file():
            what = f'encoder_weights "{weights}" not found.'
            remedy = "Use auto, random, imagenet or a .safetensors file."
            findings.errors["config"].append(Problem(where, what, remedy))


def _check_sheet(config: Config, trusted: frozenset[str], findings: Findings) -> Sheet:
    """The rows that can be read."""
    path = Path(config.sheet)
    errors = findings.errors["sheet"]
    try:
        sheet, problems = examine_sheet(path, config.roots, list(config.classes) if "classes" in trusted else None)
    except UserError as error:
        errors += error.problems
        return Sheet(path, ())
    errors += problems
    if "models" in trusted:
        errors += sheet_problems(config, sheet)
    unread = {problem.where for problem in problems} - {_where(sheet, row) for row in sheet}
    if "folds" in trusted:
        _check_folds(config, sheet, len(unread), findings)
    _check_groups(sheet, findings)
    if "classes" in trusted and not unread and any(row.role == "train" for row in sheet):
        labelled = [row.labelled for row in sheet if row.role == "train"]
        for name in sorted(config.classes):
            if not any(names is None or name in names for names in labelled):
                remedy = "Add the class to the column labelled, or take it out of the config."
                errors.append(Problem(str(path), f'no training slide is labelled for the class "{name}".', remedy))
    return sheet


def _where(sheet: Sheet, row: Row) -> str:
    return f"{sheet.path}, row {row.number} (slide {row.slide})"


def _check_folds(config: Config, sheet: Sheet, unread: int, findings: Findings) -> None:
    groups = {row.group for row in sheet if row.role == "train"}
    # rows that could not be read may hold the groups that are missing
    if config.folds.file or len(groups) >= config.folds.count or len(groups) + unread < config.folds.count:
        try:
            assign_folds(sheet, config.folds)
        except UserError as error:
            findings.errors["sheet"] += error.problems


def _check_groups(sheet: Sheet, findings: Findings) -> None:
    """Warn of groups on both sides of a comparison."""
    roles: dict[str, dict[str, Row]] = {}
    for row in sheet:
        roles.setdefault(row.group, {}).setdefault(row.role, row)
    for group, first in roles.items():
        for other in ("test", "external"):
            if other in first and "train" in first:
                what = f'group "{group}" has slides with the roles train (such as {first["train"].slide}) and {other}.'
                remedy = "Slides of one patient on both sides make scores too good; give them one role."
                findings.warnings["sheet"].append(Problem(_where(sheet, first[other]), what, remedy))


def _check_files(config: Config, trusted: frozenset[str], sheet: Sheet, findings: Findings) -> None:
    """Open every image and read every file of outlines."""
    outlines = _OutlineCheck(config, known="classes" in trusted, findings=findings)
    whole: set[Path] = set()
    here = [row for row in sheet if not _is_away(row)]
    if len(here) < len(sheet.rows):
        what = (
            f"{len(sheet.rows) - len(here)} slides lie on object storage and are not fetched yet; they were not opened."
        )
        findings.warnings["images"].append(Problem(str(sheet.path), what))
    for row in track(here, "check"):
        frame = None
        try:
            limit, crop = config.limits.max_pixels, config.slides.crop_to_bounds
            with open_slide(row.image, region=row.region, mpp=row.mpp, max_pixels=limit, crop_to_bounds=crop) as slide:
                frame = slide.frame
                if row.image not in whole:
                    whole.add(row.image)
                    slide.read(Window(slide.size.width - 1, slide.size.height - 1, 1, 1))
                findings.errors["images"] += _scale_problems(config, slide, _where(sheet, row))
        except TilewrightError as error:
            findings.errors["images"] += [_named(problem, row) for problem in error.problems]
        if row.annotations:
            outlines.read(row, row.annotations, frame)
        try:
            if frame:
                structure(row, config.segmentation.inside, frame, config.limits)
        except TilewrightError as error:
            findings.errors["outlines"] += error.problems
    outlines.check_classes(sheet)


def _is_away(row: Row) -> bool:
    """Whether a file of a slide lies on object storage and has not been fetched."""
    paths = (row.image, row.annotations, row.anatomy)
    return any(path is not None and bool(url_of(path)) and not path.exists() for path in paths)


def _named(problem: Problem, row: Row) -> Problem:
    return replace(problem, where=f"{problem.where} (slide {row.slide})")


def _scale_problems(config: Config, slide: Slide, where: str) -> Iterator[Problem]:
    for name, scale in config.scales.items():
        try:
            scale_factor(scale, slide)
        except TilewrightError as error:
            yield from (replace(problem, where=f"{where}, scale {name}") for problem in error.problems)


class _OutlineCheck:
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
