"""From drafts, as a reader finds them in a file, to the outlines of a slide."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import shapely

from tilewright.annotations.geometry import Built, build
from tilewright.annotations.model import Annotation, Draft, Finding, Outlines
from tilewright.config import Annotations, Limits
from tilewright.runtime.errors import AnnotationError, Problem

TOGETHER = 4096


def collect(drafts: Iterable[Draft], path: Path, options: Annotations, limits: Limits) -> Outlines:
    """Build, repair, label and deduplicate the outlines of a file.

    Args:
        drafts: what a reader found, in the order of the file.
        path: the file, for messages.
        options: what to do with outlines without a label.
        limits: most vertices in the file.

    Raises:
        AnnotationError: there are more vertices than allowed.
    """
    collector = _Collector(path, options)
    vertices = 0
    for group in _groups(drafts):
        built = build([draft.geometry for draft in group])
        vertices += sum(result.vertices for result in built)
        if vertices > limits.max_vertices:
            what = f"the outlines have more than {limits.max_vertices} vertices (limits.max_vertices)."
            raise AnnotationError(Problem(str(path), what, "Raise the limit if the file is meant to be so large."))
        for draft, result in zip(group, built, strict=True):
            collector.add(draft, result)
    return collector.outlines()


def _groups(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    remaining = iter(drafts)
    while group := list(islice(remaining, TOGETHER)):
        yield group


class _Collector:
    def __init__(self, path: Path, options: Annotations) -> None:
        self._path, self._options = path, options
        self._annotations: list[Annotation] = []
        self._findings: list[Finding] = []

    def add(self, draft: Draft, built: Built) -> None:
        where = f"{self._path}, {draft.origin}"
        label = draft.label or self._options.unlabelled or ""
        if built.area is None:
            self._findings.append(Finding("unusable", where, f"{built.notes[0]}."))
        elif not label:
            self._findings.append(
                Finding("unusable", where, "has no class (annotations.unlabelled would give it one).")
            )
        else:
            self._annotations.append(Annotation(label, built.area, draft.origin, draft.properties))
            self._findings += [Finding("repaired", where, f"{note}.") for note in built.notes]

    def outlines(self) -> Outlines:
        kept = self._without_duplicates()
        return Outlines(tuple(kept), tuple(self._findings))

    def _without_duplicates(self) -> Sequence[Annotation]:
        """The first of each set of outlines with the same label and the same points, wherever the ring starts."""
        if not self._annotations:
            return []
        shapes = shapely.to_wkb(shapely.normalize([annotation.geometry for annotation in self._annotations]))
        first: dict[tuple[str, bytes], Annotation] = {}
        for annotation, shape in zip(self._annotations, shapes, strict=True):
            original = first.setdefault((annotation.label, shape), annotation)
            if original is not annotation:
                what = f"the same outline as {original.origin}, with the same class; kept once."
                self._findings.append(Finding("repaired", f"{self._path}, {annotation.origin}", what))
        return list(first.values())
