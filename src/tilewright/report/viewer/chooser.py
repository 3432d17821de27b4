"""Objects that can be decided about: outlines as they are after all decisions, and predicted objects."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import shapely

from tilewright.annotations.decisions import IGNORED, Decision
from tilewright.annotations.model import Area
from tilewright.project.config import IGNORE
from tilewright.report.viewer.answers import Answers, Parts
from tilewright.report.viewer.decisionfile import State
from tilewright.report.viewer.handles import Handle, in_slide, on_image
from tilewright.report.viewer.objects import Found
from tilewright.report.viewer.suspectqueue import MISSING, Drawn, Suspect, SuspectQueue
from tilewright.segments.geojson import object_id

Point = tuple[float, float]


class Chooser:
    """Finds what can be decided about.

    Args:
        answers: what finds objects in the tables.
        labels: of each class.
    """

    def __init__(self, answers: Answers, labels: Mapping[str, Sequence[str]]) -> None:
        self._answers, self._labels = answers, labels

    def class_of(self, label: str) -> str:
        """The class that takes a label."""
        if label == IGNORED:
            return IGNORE
        return next((name for name, labels in self._labels.items() if label in labels), IGNORE)

    def labels_of(self, class_name: str) -> Sequence[str]:
        """The labels that a class takes; those of a class that is gone are unknown."""
        return self._labels.get(class_name) or [class_name]

    def true(self, path: Parts, state: State, at: Point) -> list[Handle]:
        """What somebody has outlined at a point, as it is after all decisions, and what was taken out.

        Raises:
            NotYet: the index of the outlines is being made.
        """
        frame = self._answers.frame(path)
        around = self._answers.objects.true(self._answers.asked(path, {}), _at(at))
        found = []
        for one in _over(around, at):
            left, top = (int(edge) for edge in one.shape.bounds[:2])
            identity = object_id(path["slide"], one.class_name, left + frame.x, top + frame.y)
            shape = on_image(cast(Area, one.shape), frame)
            handle = Handle("true", one.class_name, one.label, shape, identity)
            if handle.hash not in state.hidden:
                found.append(replace(handle, decision=state.about(handle.hash)))
        copies = Counter((one.class_name, one.hash) for one in found)
        found = [replace(one, copies=copies[one.class_name, one.hash]) for one in found]
        point = shapely.Point(at)
        decided = [self._of_decision(one, state) for one in state.outlines.values()]
        return found + [one for one in decided if in_slide(one.shape, frame).intersects(point)]

    def predicted(self, path: Parts, of: str, at: Point) -> list[Handle]:
        """What a set of predictions has found at a point; errors as of ``true``."""
        if not of:
            return []
        frame = self._answers.frame(path)
        around = self._answers.objects.predicted(self._answers.asked(path, {"set": of}), _at(at))
        found = []
        for one in _over(around, at):
            shape = on_image(cast(Area, one.shape), frame)
            corners = shapely.get_coordinates(shape)
            top = corners[:, 1].min()
            left = corners[corners[:, 1] == top, 0].min()
            identity = object_id(path["slide"], one.class_name, int(left), int(top))
            found.append(Handle("predicted", one.class_name, self.labels_of(one.class_name)[0], shape, identity))
        return found

    def of_suspect(self, path: Parts, queue: SuspectQueue, suspect: Suspect, state: State) -> Handle | None:
        """What can be decided about a suspect: what an earlier decision has made of it, or it; None: it is gone."""
        drawn = queue.drawn(suspect, self._answers.frame(path))
        last = drawn.last(state, self.labels_of(suspect.class_name))
        if last and last.kind != "accept":
            return self._of_decision(last, state)
        if suspect.kind == MISSING:
            label = self.labels_of(suspect.class_name)[0]
            return Handle("predicted", suspect.class_name, label, drawn.shape, drawn.id, last)
        return self._outline(path, drawn, suspect, state)

    def _outline(self, path: Parts, drawn: Drawn, suspect: Suspect, state: State) -> Handle | None:
        """The outline that a suspect is, by its area."""
        inside = shapely.point_on_surface(in_slide(drawn.shape, self._answers.frame(path)))
        hashes = drawn.hashes(self.labels_of(suspect.class_name))
        own = (one for one in self.true(path, state, (inside.x, inside.y)) if one.hash in hashes)
        found = next(own, None)
        # it is called what the audit called it, unless it is what an earlier decision has made
        if found and (found.decision is None or found.decision.kind == "accept"):
            return replace(found, class_name=suspect.class_name, id=drawn.id)
        return found

    def _of_decision(self, one: Decision, state: State) -> Handle:
        is_made = (one.result or one.replaces_hash) in state.made
        return Handle("true", self.class_of(one.label), one.label, one.geometry, one.id, one, is_made)


def _at(at: Point) -> tuple[float, float, float, float]:
    return (*at, at[0] + 0.01, at[1] + 0.01)


def _over(found: list[Found] | int, at: Point) -> list[Found]:
    """Those over a point."""
    point = shapely.Point(at)
    return [] if isinstance(found, int) else [one for one in found if one.shape.intersects(point)]
