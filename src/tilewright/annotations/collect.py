"""From drafts, as a reader finds them in a file, to the outlines of a slide."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations.frames import Frames
from tilewright.annotations.geometry import Built, build
from tilewright.annotations.model import NUCLEUS, Annotation, Area, Draft, Finding, Outlines
from tilewright.project.config import Annotations, Limits
from tilewright.project.naming import composed
from tilewright.runtime.errors import AnnotationError, Problem

TOGETHER = 4096
MERGED = 1 << 16


@dataclass(frozen=True)
class _Candidate:
    """A draft that could be built, with its place in the file and the label that it has so far."""

    number: int
    draft: Draft
    area: Area
    label: str
    notes: tuple[str, ...] = ()


def collect(drafts: Iterable[Draft | Finding], path: Path, options: Annotations, limits: Limits) -> Iterator[Outlines]:
    """Build, repair, label and deduplicate the outlines of a file, a batch at a time.

    Args:
        drafts: what a reader found, in the order of the file.
        path: the file, for messages.
        options: which kinds are outlines, and what to do with those without a label.
        limits: most vertices in the file.

    Raises:
        AnnotationError: there are more vertices than allowed.
    """
    left_out: Counter[str] = Counter()
    noticed: list[Finding] = []
    remaining, seen, frames = _asked_for(_drafts(drafts, noticed), options, left_out), _Seen(), Frames()
    waiting: list[_Candidate] = []
    vertices = 0
    while numbered := list(islice(remaining, TOGETHER)):
        built = build([draft.geometry for _, draft in numbered])
        vertices += sum(result.vertices for result in built)
        if vertices > limits.max_vertices:
            what = f"the outlines have more than {limits.max_vertices} vertices (limits.max_vertices)."
            raise AnnotationError(Problem(str(path), what, "Raise the limit if the file is meant to be so large."))
        candidates, findings = _candidates(numbered, built, path, options)
        if options.unlabelled:
            certain = [bool(one.label) or one.draft.is_of_pixels for one in candidates]
            doubtful = frames.doubtful([one.area for one in candidates], certain)
            waiting += [one for one, waits in zip(candidates, doubtful, strict=True) if waits]
            candidates = [one for one, waits in zip(candidates, doubtful, strict=True) if not waits]
        yield _outlines(candidates, findings, path, options, seen)
    for first in range(0, len(waiting), TOGETHER):
        yield _outlines(*_without_frames(waiting[first : first + TOGETHER], frames, path), path, options, seen)
    if left_out:
        noticed.append(_left_out(left_out, path))
    if noticed:
        yield Outlines((), tuple(noticed), dict(left_out))


def _drafts(found: Iterable[Draft | Finding], noticed: list[Finding]) -> Iterator[Draft]:
    """The drafts; what was found of the file as a whole is put aside."""
    for one in found:
        if isinstance(one, Finding):
            noticed.append(one)
        else:
            yield one if one.label.isascii() else replace(one, label=composed(one.label))


def _asked_for(drafts: Iterable[Draft], options: Annotations, left_out: Counter[str]) -> Iterator[tuple[int, Draft]]:
    """Drafts of the kinds that are outlines, with their numbers in the file; the others are counted by kind.

    Regions and what is ignored say where outlines count, and are of any kind but the second outline of a cell.
    """
    number = 0
    beside = {*options.region, *options.ignored}
    for draft in drafts:
        number += draft.kind != NUCLEUS
        if draft.kind in options.objects or (draft.kind != NUCLEUS and _label(draft, options) in beside):
            yield number, draft
        else:
            left_out[draft.kind] += 1


def _left_out(counts: Counter[str], path: Path) -> Finding:
    told = ", ".join(f"{count} of the kind {kind}" for kind, count in counts.most_common())
    return Finding("left out", str(path), f"objects that annotations.objects does not name: {told}.")


def _label(draft: Draft, options: Annotations) -> str:
    """The label of a draft; that of a region may stand as its name."""
    name = draft.properties.get("name")
    return named if isinstance(name, str) and (named := composed(name)) in options.region else draft.label


def _candidates(
    drafts: Sequence[tuple[int, Draft]], built: Sequence[Built], path: Path, options: Annotations
) -> tuple[list[_Candidate], list[Finding]]:
    """The drafts that are areas, and what is wrong with the others."""
    candidates: list[_Candidate] = []
    findings: list[Finding] = []
    for (number, draft), result in zip(drafts, built, strict=True):
        label = _label(draft, options)
        if result.area is None:
            kind: Literal["lost", "unusable"] = "lost" if label in options.region else "unusable"
            findings.append(Finding(kind, f"{path}, {draft.origin}", f"{result.notes[0]}."))
        elif not label and not options.unlabelled:
            what = "has no class (annotations.unlabelled would give it one)."
            findings.append(Finding("unusable", f"{path}, {draft.origin}", what))
        else:
            candidates.append(_Candidate(number, draft, result.area, label, result.notes))
    return candidates, findings


def _without_frames(
    candidates: Sequence[_Candidate], frames: Frames, path: Path
) -> tuple[list[_Candidate], list[Finding]]:
    held = [(one, frames.held(one.area)) for one in candidates]
    what = "has no class and holds {} of the other outlines: a frame, no object."
    findings = [Finding("unusable", f"{path}, {one.draft.origin}", what.format(count)) for one, count in held if count]
    return [one for one, count in held if not count], findings


def _outlines(
    candidates: Sequence[_Candidate], findings: list[Finding], path: Path, options: Annotations, seen: "_Seen"
) -> Outlines:
    """The candidates that are in the file once, with their labels."""
    annotations = [
        Annotation(one.label or options.unlabelled or "", one.area, one.draft.origin, one.draft.properties)
        for one in candidates
    ]
    findings = [*findings]
    numbers = [one.number for one in candidates]
    kept: list[Annotation] = []
    for annotation, one, original in zip(annotations, candidates, seen.first(annotations, numbers), strict=True):
        where = f"{path}, {annotation.origin}"
        findings += [Finding("repaired", where, f"{note}.") for note in one.notes]
        if original == one.number:
            kept.append(annotation)
        else:
            what = f"the same as outline {original} of the file, with the same class; kept once."
            findings.append(Finding("repaired", where, what))
    return Outlines(tuple(kept), tuple(findings))


class _Seen:
    """Remembers outlines as 16 bytes each: a hash of the label and the points, and the place in the file.

    Two different outlines of a million have the same hash with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._tables: list[NDArray[np.uint64]] = []

    def first(self, annotations: Sequence[Annotation], numbers: Sequence[int]) -> list[int]:
        """For each outline the number of the first one with the same label and points, wherever the ring starts.

        Args:
            annotations: outlines.
            numbers: their places in the file, increasing over all calls.
        """
        shapes = shapely.to_wkb(shapely.normalize(np.array([each.geometry for each in annotations], dtype=object)))
        hashes = np.array(
            [_hash(annotation.label, shape) for annotation, shape in zip(annotations, shapes, strict=True)], np.uint64
        )
        unique, place, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        original = np.array(numbers, np.uint64)[place]
        fresh = np.ones(len(unique), np.bool_)
        for known, number in self._tables:
            at = np.minimum(np.searchsorted(known, unique), len(known) - 1)
            old = known[at] == unique
            original[old], fresh[old] = number[at[old]], False
        self._remember(np.stack([unique[fresh], original[fresh]]))
        result: list[int] = original[inverse].tolist()
        return result

    def _remember(self, table: NDArray[np.uint64]) -> None:
        """Keep a sorted table.

        Small ones are merged, so that there are few, and large ones not, as that needs memory.
        """
        if not table.shape[1]:
            return
        while self._tables and self._tables[-1].shape[1] <= min(2 * table.shape[1], MERGED):
            table = np.concatenate([self._tables.pop(), table], axis=1)
            table = table[:, np.argsort(table[0], kind="stable")]
        self._tables.append(table)


def _hash(label: str, shape: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(label.encode() + b"\0" + shape, digest_size=8).digest())
