"""What a person has decided about outlines: a GeoJSON file a slide, of QuPath's form, one feature a decision.

Originals stay as they are. A decision names the outline that it is about by a hash of its label and its corners, so
that it holds for that outline and for none that was drawn differently since. Coordinates are pixels of level 0 of the
whole image, x before y.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import shapely

from tilewright.annotations.files import parse_json, read_bytes
from tilewright.annotations.geometry import build
from tilewright.annotations.model import Annotation, Area, Outlines
from tilewright.project.config import DEFAULT_LIMITS, Limits
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import AnnotationError, Problem, did_you_mean, raise_all

DecisionKind = Literal["accept", "reject", "redraw", "rename", "ignore", "draw"]
"""An outline stays, is taken out, gets another shape or class, or counts for nothing; or there is a new one."""
KINDS: tuple[DecisionKind, ...] = get_args(DecisionKind)
IGNORED = "ignored by a correction"
"""The label of areas that count for nothing because a person said so."""
GRID = 1000
"""Parts of a pixel that a hash tells apart."""
SAID = ("decision", "author", "date", "reason", "replaces id", "replaces hash")
"""What the metadata of a feature say, as texts: QuPath keeps them."""


@dataclass(frozen=True)
class Decision:
    """What a person has decided about an outline, or about a place where there is none.

    Attributes:
        id: its own UUID.
        kind: what was decided.
        label: the label from then on; of an outline that is taken out, the one that it had.
        geometry: the area from then on; where its shape is not what was decided, that of the outline.
        author: who.
        date: when, as ISO 8601 writes it.
        reason: why; may be empty.
        replaces_id: what the outline is called where it was seen; empty: there was none.
        replaces_hash: its ``outline_hash``; empty: there was none.
    """

    id: str
    kind: DecisionKind
    label: str
    geometry: Area
    author: str = ""
    date: str = ""
    reason: str = ""
    replaces_id: str = ""
    replaces_hash: str = ""

    @property
    def result(self) -> str:
        """The hash of the outline that is there from then on; empty: there is none."""
        return "" if self.kind == "reject" else outline_hash(self.label, self.geometry)

    @property
    def outline(self) -> Annotation:
        """What is there from then on."""
        return Annotation(self.label, self.geometry, f"correction {self.id}")


def outline_hash(label: str, geometry: Area) -> str:
    """By what an outline is known again: 16 digits of a hash of its label, its rings and their corners."""
    told = hashlib.sha256(label.encode() + b"\0")
    for ring in (ring for part in shapely.get_parts(geometry) for ring in shapely.get_rings(part)):
        corners = np.rint(shapely.get_coordinates(ring) * GRID).astype("<i8")
        told.update(len(corners).to_bytes(8, "little") + corners.tobytes())
    return told.hexdigest()[:16]


def read_decisions(path: Path, limits: Limits = DEFAULT_LIMITS) -> list[Decision]:
    """The decisions of a file, in the order in which they were made; of a file that is not there, none.

    Raises:
        AnnotationError: all that is wrong with it.
    """
    if not path.is_file():
        return []
    document = parse_json(read_bytes(path, limits), path)
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        remedy = "tilewright view --edit writes such; a file of outlines belongs into the column annotations."
        raise AnnotationError(Problem(str(path), "is no file of corrections: it has no list of features.", remedy))
    problems: list[Problem] = []
    found = [
        one
        for number, feature in enumerate(features, start=1)
        if (one := _decision(feature, f"{path}, feature {number}", problems))
    ]
    raise_all(AnnotationError, problems)
    return found


def _decision(feature: Any, where: str, problems: list[Problem]) -> Decision | None:
    """A decision; None, and a problem more: it is none."""
    try:
        properties = feature["properties"]
        said = {name: str(properties["metadata"].get(name, "")) for name in SAID}
        label, identity, geometry = str(properties["classification"]["name"]), str(feature["id"]), feature["geometry"]
        json.dumps([label, identity, said], ensure_ascii=False).encode()  # halves of characters are no text
    except (TypeError, KeyError, AttributeError, UnicodeEncodeError):
        what = "is no decision: it needs an id, a geometry, a classification and metadata with a decision."
        problems.append(Problem(where, what, "Take it out, or decide again in the viewer (tilewright view --edit)."))
        return None
    kind = next((kind for kind in KINDS if kind == said["decision"]), None)
    if kind is None:
        what = f'"{said["decision"]}" is no decision.'
        problems.append(Problem(where, what, did_you_mean(said["decision"], KINDS)))
        return None
    if kind not in ("draw", "ignore") and not said["replaces hash"]:
        what = f'says {kind}, but not about which outline ("replaces hash").'
        problems.append(Problem(where, what, "Decide again in the viewer (tilewright view --edit)."))
        return None
    (built,) = build([geometry])
    if built.area is None:
        problems.append(Problem(where, f"its outline {built.notes[0]}.", "Draw it again."))
        return None
    then = IGNORED if kind == "ignore" else label
    others = (said[name] for name in SAID[1:])
    return Decision(identity, kind, then, built.area, *others)


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    """Write the file of a slide, whole or not at all; QuPath opens it too."""
    features = ",\n".join(json.dumps(_feature(one), separators=(",", ":")) for one in decisions)
    write_text(path, f'{{"type":"FeatureCollection","features":[\n{features}\n]}}\n')


def _feature(one: Decision) -> dict[str, Any]:
    values = (one.kind, one.author, one.date, one.reason, one.replaces_id, one.replaces_hash)
    said = {name: value for name, value in zip(SAID, values, strict=True) if value}
    properties = {"objectType": "annotation", "classification": {"name": one.label}, "metadata": said}
    geometry = json.loads(shapely.to_geojson(one.geometry))
    return {"type": "Feature", "id": one.id, "geometry": geometry, "properties": properties}


@dataclass
class Corrections:
    """Decisions about the outlines of a slide, ready to be applied; made by ``Corrections.of``.

    Attributes:
        changes: what becomes of outlines, by their hashes: the last decision that says so.
        added: areas that were drawn, in their order.
        matched: hashes of the outlines that were met.
    """

    changes: dict[str, Decision]
    added: list[Decision]
    matched: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> "Corrections":
        """The state that decisions lead to: one about what an earlier one has given takes its place."""
        changes: dict[str, Decision] = {}
        added: dict[str, Decision] = {}
        roots: dict[str, tuple[dict[str, Decision], str]] = {}
        for one in decisions:
            if one.kind == "accept":
                if one.replaces_hash not in roots:  # an outline as it was in the beginning
                    changes.pop(one.replaces_hash, None)
                continue
            fresh = (changes, one.replaces_hash) if one.replaces_hash else (added, one.id)
            place, root = roots.get(one.replaces_hash, fresh)
            if one.kind == "reject" and place is added:
                added.pop(root, None)
            else:
                place[root] = one
            if one.result:
                roots[one.result] = place, root
        return cls(changes, list(added.values()))

    def applied(self, batches: Iterable[Outlines]) -> Iterator[Outlines]:
        """The outlines as they were decided: changed and taken out where they stand, drawn ones behind all others."""
        for batch in batches:
            kept = tuple(new for one in batch.annotations if (new := self._after(one)))
            yield Outlines(kept, batch.findings, batch.left_out)
        yield Outlines(tuple(one.outline for one in self.added), ())

    @property
    def given(self) -> list[Decision]:
        """Those that give an outline, and do not only take one out."""
        return [one for one in (*self.changes.values(), *self.added) if one.result]

    @property
    def unmatched(self) -> list[Decision]:
        """Decisions about outlines that were not met: they have changed, or are gone."""
        return [one for known, one in self.changes.items() if known not in self.matched]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many decisions of each kind were applied."""
        done = [one for known, one in self.changes.items() if known in self.matched] + self.added
        return {kind: count for kind in KINDS if (count := sum(one.kind == kind for one in done))}

    def _after(self, one: Annotation) -> Annotation | None:
        known = outline_hash(one.label, one.geometry) if self.changes else ""
        change = self.changes.get(known)
        if change is None:
            return one
        self.matched.add(known)
        return None if change.kind == "reject" else change.outline
