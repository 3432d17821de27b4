"""Predict slides with a bundle and nothing else: no outlines, no folds, no training.

A sheet and a config are written into a folder, and the graph of this project runs on them; so a second run does
nothing, a new image is work for itself alone, and a cluster takes the jobs where a profile names one.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tilewright.project.bundle import Bundle, read_bundle
from tilewright.project.bundled import BundledMember
from tilewright.project.bundlenetworks import OnnxNetwork
from tilewright.project.config import Dialect
from tilewright.project.named import named_slides, sheet_of
from tilewright.project.rows import Row
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem, TilewrightError, UserError, did_you_mean, raise_all
from tilewright.runtime.extras import ONNX, require_extra
from tilewright.runtime.progress import note
from tilewright.scales.downscale import scale_factor
from tilewright.slides import open_slide

PACKAGE = Path(__file__).parents[1]
CONFIG, SHEET = "config.yaml", "slides.csv"
"""What is written into the folder, beside the results."""


def apply(
    bundle: Path,
    *images: str,
    out: Path,
    mpp: float | None = None,
    threshold: float | None = None,
    submission: Dialect | None = None,
    classes: list[str] | None = None,
    sample: Path | None = None,
    spread: bool = False,
    skip_unreadable: bool = False,
    profile: str | None = None,
    cores: str = "all",
) -> None:
    """Predict slides with a bundle: masks, objects, tables, a submission and a report.

    Args:
        bundle: its folder or zip.
        images: the slides: files, folders, patterns in quotes; or one sheet (csv or tsv: slide, image, region, mpp,
            shard, role).
        out: the folder for everything; results lie in its folder ``results``.
        mpp: micrometres in a pixel, where a slide does not say.
        threshold: probability from which on a pixel is of a class, in place of the bundle's own.
        submission: dialect of the submission; column_major unless given.
        classes: the classes of the submission; all unless given.
        sample: a sample submission, whose rows and order are taken.
        spread: whether maps are written of how far its networks are apart, by which the report lists the slides.
        skip_unreadable: whether images that cannot be read are left out, and told, instead of stopping everything.
        profile: how jobs are run: a profile of tilewright (slurm), or the folder of one.
        cores: processor cores, or all; on a cluster, jobs are limited by the profile.

    Raises:
        UserError: images that are not there, cannot be read, or do not go with the bundle; everything at once.
        DataError: the bundle is damaged, or a step failed.
    """
    if not images:
        raise UserError(Problem("apply", "no image is named.", "Name images, a folder of them, or a sheet."))
    found = read_bundle(bundle)
    raise_all(UserError, list(_wrong_options(found, mpp, threshold, classes or (), spread)))
    if any(isinstance(member.network, OnnxNetwork) for member in found.members):
        require_extra(str(bundle), "onnx", ONNX)
    members = [BundledMember(found.name, spec) for spec in found.members]
    rows, skipped = named_slides(images)
    if skip_unreadable:
        rows, unreadable = _readable(rows, found)
        skipped += unreadable
    if any(row.image.parent == out.absolute() for row in rows):
        raise UserError(Problem("--out", f"{out} is the folder of the images.", "Name another folder for the results."))
    rows = [_with_mpp(row, mpp, found) for row in rows]
    raise_all(UserError, [problem for row in rows for problem in _misfits(row, found, members)])
    for member in members:
        if not member.mpp:
            note(f"{member.spec.name} works by factor ({member.scale.factor:g}), whatever the pixel size of a slide")
    out.mkdir(parents=True, exist_ok=True)
    _write(out / SHEET, sheet_of(rows, skipped))
    wanted = {"dialect": submission, "classes": classes, "sample": sample and str(sample.absolute())}
    given = {name: value for name, value in wanted.items() if value}
    use = {"path": str(bundle.absolute())} | ({"spread": True} if spread else {})
    _write(out / CONFIG, _config(use, found.name, threshold, given))
    _run(out, cores, profile)
    note(f"{len(rows)} slide(s) predicted: {out}/results")


def _wrong_options(
    bundle: Bundle, mpp: float | None, threshold: float | None, classes: Sequence[str], spread: bool
) -> Iterator[Problem]:
    known = [one.name for one in bundle.classes]
    if mpp is not None and not mpp > 0:
        yield Problem("--mpp", f"{mpp:g} is no pixel size.", "Give micrometres, such as 0.25.")
    if threshold is not None and not 0 <= threshold <= 1:
        yield Problem("--threshold", f"{threshold:g} is no probability.", "Give a number from 0 to 1.")
    for name in classes:
        if name not in known:
            yield Problem("--classes", f'the bundle finds no class "{name}".', did_you_mean(name, known))
    if spread and sum(len(member.parts) for member in bundle.members) < 2:
        yield Problem("--spread", "the bundle holds one network, which differs from none.", "Leave it out.")


def _readable(rows: Sequence[Row], bundle: Bundle) -> tuple[list[Row], list[str]]:
    """The slides whose images can be opened, and the names of the others, each told with its reason.

    Raises:
        UserError: none can.
    """
    kept, problems = [], dict[str, Sequence[Problem]]()
    for row in rows:
        try:
            with open_slide(row.image, region=row.region, mpp=row.mpp, crop_to_bounds=bundle.slides.crop_to_bounds):
                kept.append(row)
        except TilewrightError as error:
            problems[row.slide] = error.problems
    if not kept:
        raise UserError([each for found in problems.values() for each in found])
    for found in problems.values():
        note("\n".join(f"left out: {each}" for each in found))
    return kept, list(problems)


def _with_mpp(row: Row, mpp: float | None, bundle: Bundle) -> Row:
    """A slide with a pixel size, where neither its file nor a sheet says it."""
    if mpp is None or row.mpp is not None:
        return row
    with suppress(TilewrightError), open_slide(row.image, crop_to_bounds=bundle.slides.crop_to_bounds) as slide:
        if slide.frame.mpp is not None:
            return row
    return row.model_copy(update={"mpp": mpp})


def _misfits(row: Row, bundle: Bundle, members: Sequence[BundledMember]) -> Iterator[Problem]:
    """What is wrong with a slide: its file, or that the bundle cannot work at its pixel size."""
    if not row.image.exists():  # on object storage; its job will tell
        return
    crop = bundle.slides.crop_to_bounds
    try:
        with open_slide(row.image, region=row.region, mpp=row.mpp, crop_to_bounds=crop) as slide:
            for member in members:
                scale_factor(member.scale, slide)
    except TilewrightError as error:
        yield from error.problems


def _config(use: Mapping[str, Any], name: str, threshold: float | None, submission: Mapping[str, Any]) -> str:
    """The config of a run: the section of the bundle, and what was asked for."""
    ensemble: dict[str, Any] = {"models": {name: 1}}
    if threshold is not None:
        ensemble["calibration"] = {"threshold": threshold}
    content = {
        "sheet": SHEET,
        "bundles": {name: dict(use)},
        "ensembles": {name: ensemble},
        "submission": dict(submission),
        "kept": False,  # slides are predicted once, and what lies between takes space enough
    }
    return yaml.safe_dump(content, sort_keys=False)


def _write(path: Path, text: str) -> None:
    """Write a file, unless it says the same already."""
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_text(path, text)


def home() -> Path:
    """The folder with the Snakefile and the profiles: beside this package where it is installed, else its checkout.

    Raises:
        UserError: they are not there.
    """
    places = (PACKAGE / "share", PACKAGE.parents[1])
    for place in places:
        if (place / "Snakefile").is_file():
            return place
    raise UserError(Problem(str(PACKAGE), "the Snakefile is not beside it.", "Install tilewright again."))


def _run(out: Path, cores: str, profile: str | None) -> None:
    """Run the graph in a folder; what fails does not hold up the others."""
    root = home()
    found = [each for each in (root / "profiles" / (profile or "default"), Path(profile or "")) if each.is_dir()]
    if not found:
        known = ", ".join(sorted(each.name for each in (root / "profiles").iterdir()))
        raise UserError(Problem("--profile", f'there is no profile "{profile}".', f"Name a folder, or one of {known}."))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--directory", str(out),
        "--configfile", str(out / CONFIG), "--cores", cores, "--keep-going", "--logger", "tilewright",
        "--workflow-profile", str(found[0]),
    ]  # fmt: skip
    # the steps are programs of this environment, whether or not it is activated
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode:
        what = "a step failed, as told above; the results of the other slides are there."
        raise DataError(Problem(str(out), what, "Correct it and run the same command, which goes on."))
