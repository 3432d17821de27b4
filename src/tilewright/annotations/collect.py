"""From drafts, as a reader finds them in a file, to the outlines of a slide."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations.geometry import Built, build
from tilewright.annotations.model import Annotation, Draft, Finding, Outlines
from tilewright.project.config import Annotations, Limits
from tilewright.runtime.errors import AnnotationError, Problem

TOGETHER = 4096
MERGED = 1 << 16


def collect(drafts: Iterable[Draft], path: Path, options: Annotations, limits: Limits) -> Iterator[Outlines]:
    """Build, repair, label and deduplicate the outlines of a file, a batch at a time.

    Args:
        drafts: what a reader found, in the order of the file.
        path: the file, for messages.
        options: what to do with outlines without a label.
        limits: most vertices in the file.

    Raises:
        AnnotationError: there are more vertices than allowed.
    """
    remaining, seen = enumerate(drafts, start=1), _Seen()
    vertices = 0
    while numbered := list(islice(remaining, TOGETHER)):
        group = [draft for _, draft in numbered]
        built = build([draft.geometry for draft in group])
        vertices += sum(result.vertices for result in built)
        if vertices > limits.max_vertices:
            what = f"the outlines have more than {limits.max_vertices} vertices (limits.max_vertices)."
            raise AnnotationError(Problem(str(path), what, "Raise the limit if the file is meant to be so large."))
        yield _batch(numbered, built, path, options, seen)


def _batch(
    drafts: Sequence[tuple[int, Draft]], built: Sequence[Built], path: Path, options: Annotations, seen: "_Seen"
) -> Outlines:
    annotations: list[Annotation] = []
    findings: list[Finding] = []
    numbers: list[int] = []
    for (number, draft), result in zip(drafts, built, strict=True):
        where = f"{path}, {draft.origin}"
        label = draft.label or options.unlabelled or ""
        if result.area is None:
            findings.append(Finding("unusable", where, f"{result.notes[0]}."))
        elif not label:
            findings.append(Finding("unusable", where, "has no class (annotations.unlabelled would give it one)."))
        else:
            numbers.append(number)
            annotations.append(Annotation(label, result.area, draft.origin, draft.properties))
            findings += [Finding("repaired", where, f"{note}.") for note in result.notes]
    first = seen.first(annotations, numbers)
    kept: list[Annotation] = []
    for annotation, number, original in zip(annotations, numbers, first, strict=True):
        if original == number:
            kept.append(annotation)
        else:
            what = f"the same as outline {original} of the file, with the same class; kept once."
            findings.append(Finding("repaired", f"{path}, {annotation.origin}", what))
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
