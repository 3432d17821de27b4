"""What people have decided about outlines: told, and the corrected outlines written for QuPath.

In: a config with its sheet, images, outlines and corrections. Out: lines on the terminal, and ``{slide}.geojson.gz``.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from tilewright.annotations import Annotation
from tilewright.annotations.decisions import Corrections, Decision, outline_hash, read_decisions
from tilewright.masks.correcting import corrections_of, outlines_of, said
from tilewright.project.config.results import ExportedKind
from tilewright.project.configfile import read_config
from tilewright.project.corrected import corrections_file, stray_files
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.project.places import features_file
from tilewright.project.project import Project
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.progress import note, track
from tilewright.segments.geojson import feature_writer, object_id, path_object
from tilewright.slides import open_slide
from tilewright.tiles.folding import project_of

BESIDE = "#808080"
"""The colour of outlines that no class takes, such as regions and ignored areas."""


def corrections(*, config: Path = Path("config/config.yaml"), summary: bool = False, out: Path | None = None) -> None:
    """Tell what people have decided about outlines, and which decisions meet no outline any more.

    Args:
        config: the config file.
        summary: a line for each slide in place of one for each decision.
        out: a folder to write the corrected outlines of these slides into, for QuPath: ``{slide}.geojson.gz``. Appears
            whole or not at all.

    Raises:
        UserError: everything that is wrong with the config, or with the sheet.
        AnnotationError: outlines or corrections that cannot be read.
    """
    project = project_of(read_config(config))
    for stray in stray_files(project):
        note(f"{stray}: belongs to no slide of the sheet with outlines, and is not applied")
    outlined = [row.slide for row in project.sheet if row.annotations]
    files = {slide: file for slide in outlined if (file := corrections_file(project, slide))}
    there = {slide: file for slide, file in files.items() if file.is_file()}
    if not there:
        some = f"no slide has a file such as {next(iter(files.values()))}" if files else "the sheet wants none"
        _say(f"There are no corrections: {some}.")
        return
    with ExitStack() as stack:
        folder = stack.enter_context(atomic_directory(out)) if out else None
        for slide, file in track(list(there.items()), "corrections"):
            decided = _decided(project, slide, file, folder)
            for line in [decided.summary] if summary else decided.lines:
                _say(line)


@dataclass(frozen=True)
class _Decided:
    """Decisions about the outlines of a slide, and what became of them."""

    slide: str
    decisions: list[Decision]
    state: Corrections

    @property
    def summary(self) -> str:
        """A line that counts them."""
        kinds = Counter(one.kind for one in self.decisions)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        authors = ", ".join(dict.fromkeys(one.author for one in self.decisions if one.author)) or "nobody"
        left = f"; not applied: {len(self.state.unmatched)}" if self.state.unmatched else ""
        return f"{self.slide}: {counts}; by {authors}{left}"

    @property
    def lines(self) -> Iterator[str]:
        """A line for each, in the order in which they were made."""
        unmatched = {one.id for one in self.state.unmatched}
        for one in self.decisions:
            reason = f" ({one.reason})" if one.reason else ""
            left = "; not applied: its outline has changed, or is gone" if one.id in unmatched else ""
            yield f"{self.slide}: {one.date} {one.author}: {said(one)}{reason}{left}"


def _decided(project: Project, slide: str, file: Path, folder: Path | None) -> _Decided:
    """The decisions about a slide, as far as its outlines are what they were; these are written into a folder."""
    row = next(row for row in project.sheet if row.slide == slide)
    order, own, limits = (
        RasterizeOrder.of(project, row.shard),
        RasterizeRow.of_project(project, row),
        project.config.limits,
    )
    state = corrections_of(own, order, limits)
    with open_slide(row.image, max_pixels=limits.max_pixels, crop_to_bounds=order.crop_to_bounds) as image:
        size = image.frame.image
    colors = {label: project.colors[name] for name, labels in reversed(order.classes.items()) for label in labels}
    kind: ExportedKind = "annotation" if "annotation" in order.annotations.objects else "detection"
    outlines = (one for batch in state.applied(outlines_of(own, order, size, limits)) for one in batch.annotations)
    with ExitStack() as stack:
        writer = stack.enter_context(feature_writer(features_file(folder, slide))) if folder else None
        for one in outlines:
            if writer:
                writer.write(_feature(slide, one, colors.get(one.label, BESIDE), kind))
    return _Decided(slide, read_decisions(file, limits), state)


def _feature(slide: str, one: Annotation, color: str, kind: ExportedKind) -> dict[str, Any]:
    left, top, _, _ = one.geometry.bounds
    identity = object_id(slide, f"{one.label} {outline_hash(one.label, one.geometry)}", int(left), int(top))
    return path_object(kind, identity, json.loads(shapely.to_geojson(one.geometry)), one.label, color, {})


def _say(line: str) -> None:
    print("".join(character if character.isprintable() else " " for character in line))  # noqa: T201
