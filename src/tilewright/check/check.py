"""All problems of a run before it starts: of the config, the sheet, the images and the outlines.

In: a config file. Out: a report on standard output, in which every problem stands with its remedy. What one problem
hides is looked for all the same: a config with a wrong key is checked as if the key were absent, and a row with a
wrong value does not keep the other rows from being opened and read.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tilewright.annotations.anatomy import structure
from tilewright.check.findings import Findings
from tilewright.check.images import ImageCheck
from tilewright.check.members import check_members
from tilewright.check.outlines import OutlineCheck
from tilewright.check.sheets import sheet_warnings
from tilewright.check.thumbnails import write_thumbnails
from tilewright.pixels.grid import Frame
from tilewright.project.bundled import Bundled
from tilewright.project.config import Config
from tilewright.project.configfile import load_values, location_of, merged, overriding, parse_config, with_sheet
from tilewright.project.crosscheck import sheet_problems
from tilewright.project.naming import Identity, Namesake, namesakes
from tilewright.project.orders import EncodeOrder, split_rows
from tilewright.project.project import Assignment, Project
from tilewright.project.rows import Row, Sheet
from tilewright.project.sheet import ensure_sheet
from tilewright.project.sheetfile import examine_sheet, missing_files
from tilewright.runtime.errors import Problem, TilewrightError, UserError
from tilewright.runtime.progress import note, track
from tilewright.segments.sample import differences, sample_of
from tilewright.tiles.split import assign_folds

ROUNDS = 20
AS_SAMPLE = (
    "A competition takes a file like its sample: see submission.dialect, .classes and .rows, and the roles of slides."
)
# Stand-ins for sections that are missing or wrong as a whole, so that the rest can be checked.
STAND_INS: dict[str, dict[str, Any]] = {
    "classes": {"unnamed": {}},
    "scales": {"unnamed": {"factor": 1}},
    "tiles": {"unnamed": {"scale": "unnamed"}},
    "models": {"unnamed": {"tiles": "unnamed"}},
    "ensembles": {"unnamed": {"models": {"unnamed": 1}}},
}


def check(
    *overrides: str,
    config: Path = Path("config/config.yaml"),
    data: Path | None = None,
    thumbnails: Path | None = None,
) -> None:
    """Find all problems of config, sheet, images and outlines at once and print them, each with its remedy.

    Args:
        overrides: KEY=VALUE, as behind Snakemake's --config: values of the config that count in place of the file's.
        config: the config file.
        data: folder in which images and outlines are looked for first; overrides the config's.
        thumbnails: folder to write pictures of the slides with their outlines to, and all of them on one sheet
            (index.html, contact_sheet.png).

    Raises:
        UserError: there are errors; the message counts them. Warnings alone pass.
    """
    findings = Findings()
    given = overriding(overrides) | ({} if data is None else {"data": str(data)})
    parsed, trusted = _check_config(config, given, findings)
    sheet = _check_sheet(parsed, trusted, findings) if parsed else Sheet(config, ())
    if parsed:
        _check_files(parsed, trusted, sheet, findings)
    findings.settle()
    if parsed and thumbnails:
        rows = [row for row in sheet if not sheet.is_away(row) and "image" not in sheet.missing.get(row.slide, {})]
        page = write_thumbnails(thumbnails, Project(parsed, sheet, {}, _read_bundles(parsed)), rows, findings)
        note(f"Look at {page}.")
    for line in findings.lines():
        print(line)  # noqa: T201
    errors, warnings = findings.count()
    readable = _counted(len(sheet.rows) - len(sheet.missing), "slide")
    skipped = f", {len(sheet.skipped)} skipped" if sheet.skipped else ""
    summary = f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}; {readable} readable{skipped}."
    if errors:
        raise UserError(Problem("", summary))
    print(summary)  # noqa: T201


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _check_config(path: Path, given: Mapping[str, Any], findings: Findings) -> tuple[Config | None, frozenset[str]]:
    """The config, as the command line changes it, without what is wrong in it; and the sections to be relied on."""
    errors = findings.errors["config"]
    try:
        values = merged(load_values(path), given)
    except UserError as error:
        errors += error.problems
        return None, frozenset()
    sound, touched = _without_mistakes(values)
    trusted = frozenset({*STAND_INS, "folds"} - touched)
    for attempt in (values, sound):
        try:
            parse_config(attempt, [path])
        except UserError as error:
            # of a mended config only the names are news, and they mean something only where no name was dropped
            if attempt is values or not touched & set(STAND_INS):
                errors += [problem for problem in error.problems if problem not in errors]
    config = Config.model_validate(sound)
    config = with_sheet(_read_bundles(config).complete(config), [path])
    if config.models:
        from tilewright.check.networks import check_networks  # loads PyTorch

        check_networks(config, path, findings)
    return config, trusted


def _read_bundles(config: Config) -> Bundled:
    """The bundles of a config, none where one of them cannot be used."""
    try:
        return Bundled.read(config)
    except UserError:
        return Bundled({}, config.scales, {})


def _without_mistakes(values: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """A valid config: ``values`` without wrong keys and values, and the sections that are not to be relied on."""
    sound, touched = deepcopy(dict(values)), set[str]()
    for _ in range(ROUNDS):
        try:
            Config.model_validate(sound)
        except ValidationError as error:
            for each in error.errors():
                touched |= _mend(sound, list(location_of(each)), missing=each["type"] == "missing")
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


def _check_sheet(config: Config, trusted: frozenset[str], findings: Findings) -> Sheet:
    """The rows that can be read."""
    path = Path(config.sheet)
    errors = findings.errors["sheet"]
    try:
        findings.errors["config"] += _data_problems(config)
        ensure_sheet(config)
        sheet, problems = examine_sheet(path, config.roots, list(config.classes) if "classes" in trusted else None)
    except UserError as error:
        errors += error.problems
        return Sheet(path, ())
    errors += [*problems, *missing_files(sheet, config.roots)]
    if sheet.encoding == "cp1252":
        what = "is no text in UTF-8 and was read as Windows-1252; letters beyond A to Z may be others than were meant."
        findings.warnings["sheet"].append(Problem(str(path), what, "Save it as CSV UTF-8."))
    if "models" in trusted:
        errors += sheet_problems(config, sheet)
    unread = {problem.where for problem in problems} - {sheet.where(row) for row in sheet}
    errors += () if unread else _sample_problems(config, sheet, findings)
    folds: list[Assignment] | None = []
    if "folds" in trusted and config.is_cross_validated:
        folds = _check_folds(config, sheet, len(unread), findings)
    if folds is not None and not (unread or errors or findings.errors["config"]):
        check_members(Project(config, sheet, {one.shard: one for one in folds}, _read_bundles(config)), findings)
    findings.warnings["sheet"] += sheet_warnings(sheet)
    if "classes" in trusted and not unread and any(row.role == "train" for row in sheet):
        labelled = {name for row in sheet if row.role == "train" for name in row.labelled}
        for name in config.classes:
            if name not in labelled:
                remedy = "Add the class to the column labelled, or take it out of the config."
                errors.append(Problem(str(path), f'no training slide is labelled for the class "{name}".', remedy))
    return sheet


def _data_problems(config: Config) -> Iterator[Problem]:
    """A folder of data that is not there: files are looked for elsewhere too, so nothing else need fail."""
    if config.data and not Path(config.data).is_dir():
        kind = "is no folder" if Path(config.data).exists() else "does not exist"
        remedy = "Correct it, or take data out where files lie beside the sheet."
        yield Problem("data", f"the folder {Path(config.data).absolute()} {kind}.", remedy)


def _sample_problems(config: Config, sheet: Sheet, findings: Findings) -> Sequence[Problem]:
    order = EncodeOrder.of(Project(config, sheet, {}, _read_bundles(config)))
    try:
        if sample := sample_of(order):
            sample.rows(order.rows, order.skipped)
            told = differences(sample, order)
            findings.warnings["sheet"] += [Problem(str(sample.path), f"{each}.", AS_SAMPLE) for each in told]
    except UserError as error:
        return error.problems
    return ()


def _check_folds(config: Config, sheet: Sheet, unread: int, findings: Findings) -> list[Assignment] | None:
    """The folds, if the sheet can be divided."""
    groups = {row.group for row in sheet if row.role == "train"}
    # rows that could not be read may hold the groups that are missing
    if config.folds.file or len(groups) >= config.folds.count or len(groups) + unread < config.folds.count:
        try:
            rows = [row for row in sheet if row.role != "test"]
            folds = assign_folds(split_rows(rows, config.folds), config.folds)
        except UserError as error:
            findings.errors["sheet"] += error.problems
        else:
            findings.warnings["sheet"] += _divided_groups(config, folds)
            return folds
    return None


def _divided_groups(config: Config, folds: Sequence[Assignment]) -> Iterator[Problem]:
    """Groups on both sides of a fold, which only a file of folds can do."""
    found: dict[str, set[int]] = {}
    for one in folds:
        if one.fold is not None:
            found.setdefault(one.group, set()).add(one.fold)
    for group, places in found.items():
        if len(places) > 1:
            what = f'group "{group}" lies in the folds {", ".join(map(str, sorted(places)))}: a leak.'
            remedy = "Scores out of fold are too good; give all its shards one fold, unless that is what you want."
            yield Problem(str(config.folds.file), what, remedy)


def _check_files(config: Config, trusted: frozenset[str], sheet: Sheet, findings: Findings) -> None:
    """Open every image and read every file of outlines."""
    outlines = OutlineCheck(config, sheet, known="classes" in trusted, findings=findings)
    alike = namesakes(sheet, "anatomy")
    images = ImageCheck(config, _read_bundles(config).scales, sheet, findings)
    here = [row for row in sheet if not sheet.is_away(row)]
    if len(here) < len(sheet.rows):
        what = (
            f"{len(sheet.rows) - len(here)} slides lie on object storage and are not fetched yet; they were not opened."
        )
        findings.warnings["images"].append(Problem(str(sheet.path), what))
    for row in track(here, "check"):
        missing = sheet.missing.get(row.slide, {})
        frame = images.open(row) if "image" not in missing else None
        if row.annotations and "annotations" not in missing:
            outlines.read(row, row.annotations, frame)
        if frame and "anatomy" not in missing:
            _check_anatomy(config, row, alike.get(row.slide, ()), frame, findings)
    images.settle()
    outlines.check_all(sheet)


def _check_anatomy(config: Config, row: Row, alike: Sequence[Namesake], frame: Frame, findings: Findings) -> None:
    """Read the larger structures of a slide as far as the config asks for them."""
    try:
        for labels in (config.segmentation.inside, *(each.background_inside for each in config.tiles.values())):
            structure(Identity(row.slide, row.image, alike), row.anatomy, labels, frame, config.limits)
    except TilewrightError as error:
        findings.errors["outlines"] += error.problems
