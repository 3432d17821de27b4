"""What an outline is, before and after its geometry was checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from shapely import MultiPolygon, Polygon

Area: TypeAlias = Polygon | MultiPolygon
FOUND, NUCLEUS = "annotation", "nucleus"
"""The kind of an outline whose file says nothing of it, and of that inside of a cell."""


@dataclass(frozen=True)
class Annotation:
    """An outline that can be drawn.

    Attributes:
        label: its class in the file; the config says which class of pixels takes it.
        geometry: a valid area with holes and parts, in pixels of level 0 of the whole image, x before y.
        origin: where in the file it came from, such as "feature 17" (counted from 1).
        properties: what else the file says about it.
    """

    label: str
    geometry: Area
    origin: str = ""
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """An outline as the file has it.

    Attributes:
        label: its class in the file; empty: none.
        geometry: a GeoJSON geometry (anything that JSON can hold), a shapely area, or an ``Unusable``.
        origin: where in the file it came from.
        properties: what else the file says about it.
        kind: what QuPath calls the object, or nucleus for that of a cell.
    """

    label: str
    geometry: object
    origin: str
    properties: dict[str, Any] = field(default_factory=dict)
    kind: str = FOUND

    @property
    def is_of_pixels(self) -> bool:
        """Whether it was made of pixels, as of a label image, and not drawn."""
        return isinstance(self.geometry, Polygon | MultiPolygon)


class Unusable(Exception):
    """Why an outline cannot be drawn, as the end of a sentence that starts with the outline."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Finding:
    """Something that a reader of the log should know about an outline.

    Attributes:
        kind: repaired (it is drawn, but not as it is in the file), unusable (it is not drawn), lost (an annotated
            region that is not drawn), left out (outlines of kinds that are not asked for, all of a file at once), or
            noticed (of the file, whose outlines are drawn as they are).
        where: file and place in it.
        what: one sentence.
    """

    kind: Literal["repaired", "unusable", "lost", "left out", "noticed"]
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.what}"


@dataclass(frozen=True)
class Outlines:
    """The outlines of one slide and what was wrong with them.

    Each outline of the file is in one of both, or in both.

    Attributes:
        annotations: the outlines.
        findings: what was wrong.
        left_out: how many objects there are of each kind that is not asked for.
    """

    annotations: tuple[Annotation, ...]
    findings: tuple[Finding, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
