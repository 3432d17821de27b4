"""What a person decides about in the viewer, what is asked for, and the decision that follows. Pixels of the image."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from shapely.geometry import mapping

from tilewright.annotations.decisions import IGNORED, Decision, DecisionKind, outline_hash
from tilewright.annotations.geometry import build
from tilewright.annotations.model import Area
from tilewright.masks.outlines import in_image
from tilewright.pixels.grid import Frame
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean

LONGEST_REASON = 1000
LEAST = 1
"""Pixels that an outline covers at least."""
ABOUT = ("accept", "reject", "redraw", "rename")
"""Decisions that are about an outline, which must be there."""


class Pointer(BaseModel):
    """Which object is decided about: its kind and hash, a point in it, and where it was met.

    Attributes:
        kind: whether somebody has outlined it.
        hash: its ``outline_hash``.
        at: a point in it, in pixels of the slide.
        set: the set of predictions that it belongs to, or that the audit is of.
        suspect: its number among the suspects.
    """

    model_config = ConfigDict(extra="forbid")
    kind: Literal["true", "predicted"]
    hash: str = Field(max_length=64)
    at: tuple[float, float]
    set: str = Field("", max_length=1000)
    suspect: int | None = None


class Wish(BaseModel):
    """A decision as the page sends it; a geometry is GeoJSON in pixels of the slide."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    kind: DecisionKind
    class_name: str = Field("", alias="class", max_length=1000)
    geometry: dict[str, Any] | None = None
    reason: str = Field("", max_length=LONGEST_REASON)
    object: Pointer | None = None

    @classmethod
    def read(cls, content: bytes) -> Self:
        """From the body of a request.

        Raises:
            DataError: it is none.
        """
        try:
            return cls.model_validate(json.loads(content))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "decision"
            raise DataError(Problem(f"view, {where}", f"{first['msg']}.", "Reload the page.")) from None
        except (ValueError, RecursionError) as error:
            raise DataError(Problem("view", f"what was sent is no JSON ({error}).", "Reload the page.")) from None


@dataclass(frozen=True)
class Handle:
    """An object that can be decided about.

    Attributes:
        kind: "true": somebody has outlined it; "predicted": nobody has.
        class_name: its class.
        label: what its file calls it; of a predicted one, what it would be called.
        shape: its area.
        id: what it is called.
        decision: the last one about it.
        is_made: whether an earlier decision has given it its shape or class.
        copies: how many outlines there are that are this one to the last digit; a decision is about all of them.
    """

    kind: Literal["true", "predicted"]
    class_name: str
    label: str
    shape: Area
    id: str
    decision: Decision | None = None
    is_made: bool = False
    copies: int = 1

    @property
    def is_out(self) -> bool:
        """Whether it was taken out."""
        return self.decision is not None and self.decision.kind == "reject"

    @property
    def hash(self) -> str:
        """By what it is known again."""
        return outline_hash(self.label, self.shape)

    def told(self, frame: Frame) -> dict[str, Any]:
        """What the page is told of it, in pixels of the slide."""
        shape = in_slide(self.shape, frame)
        inside = shapely.point_on_surface(shape)
        return {
            "kind": self.kind, "class": self.class_name, "label": self.label, "hash": self.hash, "id": self.id,
            "box": list(shape.bounds), "at": [inside.x, inside.y], "geometry": mapping(shape), "area": shape.area,
            "copies": self.copies,
            "decision": self.decision.kind if self.decision else None,
        }  # fmt: skip


def in_slide(shape: Area, frame: Frame) -> Area:
    """An area in pixels of the slide."""
    return shapely.transform(shape, lambda points: points - (frame.x, frame.y))


def area_of(geometry: Mapping[str, Any], frame: Frame) -> tuple[Area, tuple[str, ...]]:
    """The area that was drawn on a slide, in pixels of the image, and what was repaired.

    Raises:
        DataError: it is none, or lies outside.
    """
    (built,) = build([geometry])
    if built.area is None:
        raise DataError(Problem("the outline", f"{built.notes[0]}.", "Draw it again, or move its corners (e)."))
    if shapely.intersection(built.area, shapely.box(0, 0, frame.width, frame.height)).area < LEAST:
        what = f"covers less than a pixel of the slide ({frame.width} x {frame.height} pixels)."
        raise DataError(Problem("the outline", what, "Draw it over the slide."))
    return on_image(built.area, frame), built.notes


def on_image(shape: Area, frame: Frame) -> Area:
    """An area of a slide in pixels of the image, to the last bit as ``rasterize`` counts."""
    shapes = np.empty(1, object)
    shapes[0] = shape
    area: Area = in_image(shapes, frame)[0]
    return area


def decided(
    wish: Wish, handle: Handle | None, area: Area | None, labels: Mapping[str, Sequence[str]], author: str
) -> Decision:
    """The decision that a wish leads to.

    Args:
        wish: what is asked for.
        handle: what it is about; None: a new outline.
        area: what was drawn.
        labels: of each class.
        author: who decides.

    Raises:
        UserError: it makes no sense.
    """
    _require_sense(wish, handle, area)
    name = wish.class_name or (handle.class_name if handle else "")
    named = wish.kind in ("rename", "draw")
    if named and name not in labels:
        raise UserError(Problem("view, class", f'there is no class "{name}".', did_you_mean(name, labels)))
    label = IGNORED if wish.kind == "ignore" else _own_label(name, labels) if named else handle.label if handle else ""
    shape = area if area is not None and wish.kind in ("redraw", "ignore", "draw") else handle.shape if handle else None
    assert shape is not None
    # the original comes back by itself; what was made of it is made again
    back = wish.kind == "accept" and handle is not None and handle.is_out and handle.is_made
    kind: DecisionKind = "redraw" if back else wish.kind
    replaced = "" if handle is None or (handle.kind == "predicted" and wish.kind != "accept") else handle.hash
    found = Decision(
        str(uuid.uuid4()), kind, label, shape, author,
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), wish.reason.strip(), handle.id if handle else "", replaced,
    )  # fmt: skip
    is_same = found.result == replaced or (kind == "reject" and handle is not None and handle.is_out)
    if wish.kind != "accept" and is_same:
        raise UserError(Problem("the outline", "is that already; nothing was written.", "Enter, once it is another."))
    return found


def _own_label(name: str, labels: Mapping[str, Sequence[str]]) -> str:
    """A label of a class, one that no other class takes if there is any."""
    others = {label for other, taken in labels.items() if other != name for label in taken}
    return next((label for label in labels[name] if label not in others), labels[name][0])


def _require_sense(wish: Wish, handle: Handle | None, area: Area | None) -> None:
    """Make sure that a wish is about something that it can be about."""
    if wish.kind in ABOUT and (handle is None or (handle.kind == "predicted" and wish.kind != "accept")):
        what = f"{wish.kind} is about an outline, and nobody has outlined this."
        raise UserError(Problem("view", what, "Draw it (o), or say that nothing is missing there (a)."))
    if wish.kind == "draw" and handle is not None and handle.kind == "true":
        what = "there is an outline already."
        raise UserError(Problem("view", what, "Change its shape (e) or its class (c), or draw beside it (Esc, o)."))
    if wish.kind == "redraw" and area is None:
        raise UserError(Problem("view", "an outline that is drawn anew needs a shape.", "Move its corners (e)."))
    if handle is None and area is None:
        raise UserError(Problem("view", f"{wish.kind} needs an object, or an area.", "Choose one on the map, or draw."))
