"""From coordinates in a file to areas that can be drawn: checked, repaired where that is safe, else refused.

Rings hold x, y in pixels. A ring need not be closed; a third coordinate is left out. Repair keeps what any of the rings
encloses (parts that overlap are united, a loop of a ring stays inside) and never invents an outline for a point or a
line, unless it is closed.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from tilewright.annotations.model import Area, Unusable

FARTHEST = 1e9
DEEPEST = 8
LINES = ("LineString", "MultiLineString")
LEAST = 3
"""Points of a closed line, the last of which is the first, that enclose nothing."""
Ring = NDArray[np.float64]


@dataclass(frozen=True)
class Built:
    """An area, or the reason why there is none, and what was repaired.

    Attributes:
        area: the valid area; None: unusable.
        notes: what was repaired; for an unusable outline, why it is.
        vertices: number of points read.
    """

    area: Area | None
    notes: tuple[str, ...] = ()
    vertices: int = 0


def build(geometries: Sequence[object]) -> list[Built]:
    """Make areas of many geometries.

    Args:
        geometries: GeoJSON geometries, shapely areas, or ``Unusable``.

    Returns:
        As many results, in the same order.
    """
    quick = _simple(geometries)
    return [quick.get(index) or _build_one(raw) for index, raw in enumerate(geometries)]


def _simple(geometries: Sequence[object]) -> dict[int, Built]:
    """The valid polygons without holes among them.

    Nearly all outlines are, and they are built together much faster than one by one.
    """
    shells = {index: shell for index, raw in enumerate(geometries) if (shell := _only_ring(raw)) is not None}
    if not shells:
        return {}
    points = np.concatenate(list(shells.values())).astype(np.float64, copy=False)
    lengths = np.array([len(shell) for shell in shells.values()])
    first = np.cumsum(lengths) - lengths
    closed = (points[first] == points[first + lengths - 1]).all(axis=1)
    near = np.logical_and.reduceat((np.abs(points) <= FARTHEST).all(axis=1), first)
    usable = near & (lengths - closed >= 3)
    kept = points[np.repeat(usable, lengths)]
    rings = shapely.linearrings(kept, indices=np.repeat(np.arange(int(usable.sum())), lengths[usable]))
    areas = shapely.polygons(rings)
    found = zip(np.array(list(shells))[usable].tolist(), areas, lengths[usable].tolist(), strict=True)
    valid = shapely.is_valid(areas).tolist()
    return {index: Built(area, vertices=count) for (index, area, count), good in zip(found, valid, strict=True) if good}


def packed(raw: object) -> object:
    """A GeoJSON polygon without holes with its points as an array, anything else as it is.

    A list for each point keeps Python's garbage collector busy for longer than all the rest takes.
    """
    if isinstance(raw, dict) and raw.get("type") == "Polygon":
        coordinates = raw.get("coordinates")
        if isinstance(coordinates, list) and len(coordinates) == 1:
            with suppress(ValueError, OverflowError):
                points = np.array(coordinates[0])
                if points.ndim == 2 and points.shape[1] >= 2 and points.dtype.kind in "iuf":
                    return {"type": "Polygon", "coordinates": [points[:, :2]]}
    return raw


def _only_ring(raw: object) -> NDArray[Any] | None:
    """The points of a packed polygon."""
    if isinstance(raw, dict) and raw.get("type") == "Polygon":
        coordinates = raw.get("coordinates")
        if isinstance(coordinates, list) and coordinates and isinstance(coordinates[0], np.ndarray):
            return coordinates[0]
    return None


def _build_one(raw: object) -> Built:
    notes: list[str] = []
    try:
        if isinstance(raw, Unusable):
            raise raw
        if isinstance(raw, Polygon | MultiPolygon):
            return Built(raw, vertices=shapely.get_num_coordinates(raw))
        parts = _parts(raw, notes)
        area = _valid(parts[0] if len(parts) == 1 else MultiPolygon(parts), notes)
    except Unusable as reason:
        return Built(None, (reason.why,))
    return Built(area, tuple(notes), sum(shapely.get_num_coordinates(part) for part in parts))


def _parts(raw: object, notes: list[str]) -> list[Polygon]:
    """Polygons with an area; parts that have none are noted, and refused when no other part is left."""
    parts: list[Polygon] = []
    refused: list[str] = []
    ring_lists = list(_ring_lists(raw, notes, 0))
    for rings in ring_lists:
        try:
            parts.append(_polygon(rings, notes))
        except Unusable as reason:
            refused.append(reason.why)
    if not parts:
        raise Unusable(refused[0] if refused else "has no area")
    notes += [f"left out one of {len(ring_lists)} parts, which {why}" for why in refused]
    return parts


def _ring_lists(raw: object, notes: list[str], depth: int) -> Iterator[Any]:
    """The coordinates of each polygon of a geometry."""
    if not isinstance(raw, dict):
        raise Unusable("has no geometry")
    kind, coordinates = raw.get("type"), raw.get("coordinates")
    if kind == "Polygon":
        yield coordinates
    elif kind == "MultiPolygon" and isinstance(coordinates, list):
        yield from coordinates
    elif kind == "GeometryCollection" and isinstance(raw.get("geometries"), list) and depth < DEEPEST:
        yield from _collected(raw["geometries"], notes, depth)
    elif kind in LINES and (rings := _closed([coordinates] if kind == LINES[0] else coordinates)):
        notes.append("a closed line, taken as the area inside")
        yield from ([ring] for ring in rings)
    else:
        raise Unusable(f"is a {kind}, which encloses no area" if isinstance(kind, str) else "has no geometry")


def _closed(lines: Any) -> list[Any]:
    """The lines if each ends where it begins and has an area to enclose; else none."""
    listed = isinstance(lines, list) and all(isinstance(line, list) for line in lines)
    return lines if listed and all(len(line) > LEAST and line[0] == line[-1] for line in lines) else []


def _collected(members: list[Any], notes: list[str], depth: int) -> Iterator[Any]:
    for member in members:
        try:
            yield from _ring_lists(member, notes, depth + 1)
        except Unusable as reason:
            notes.append(f"left out a member that {reason.why}")


def _polygon(rings: Any, notes: list[str]) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise Unusable("has no points")
    shell = _ring(rings[0], "")
    holes = []
    for hole in rings[1:]:
        try:
            holes.append(_ring(hole, "a hole of it "))
        except Unusable as reason:
            notes.append(f"left out a hole: {reason.why}")
    polygon = Polygon(shell, holes)
    if Polygon(shell).area == 0 and _repaired(Polygon(shell)) is None:
        raise Unusable("encloses no area")
    return polygon


def _ring(points: Any, subject: str) -> Ring:
    """Points x 2 (x, y) of a ring, in pixels."""
    try:
        array = np.asarray(points)
    except (ValueError, OverflowError) as error:
        raise Unusable(f"{subject}has points that are not pairs of numbers") from error
    if array.size == 0:
        raise Unusable(f"{subject}has no points")
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] < 2:
        raise Unusable(f"{subject}has points that are not pairs of numbers")
    ring = array[:, :2].astype(np.float64)
    if not np.isfinite(ring).all():
        raise Unusable(f"{subject}has a coordinate that is not finite")
    if np.abs(ring).max() > FARTHEST:
        raise Unusable(f"{subject}has a coordinate beyond any image ({np.abs(ring).max():g})")
    if len(ring) - int((ring[0] == ring[-1]).all()) < 3:
        raise Unusable(f"{subject}has fewer than 3 points")
    return ring


def _valid(area: Area, notes: list[str]) -> Area:
    if area.is_valid:
        return area
    repaired = _repaired(area)
    if repaired is None:
        raise Unusable("encloses no area")
    reason = shapely.is_valid_reason(area).replace("[", " at x ").replace("]", "").replace("  ", " ")
    place = ", y ".join(reason.rsplit(" ", 1)) if " at x " in reason else reason
    unchanged = abs(area.area - repaired.area) < 0.05
    change = "unchanged" if unchanged else f"{repaired.area - area.area:+.1f} px by the repair"
    notes.append(f"{place}; area {area.area:.1f} px, {change}")
    return repaired


def _repaired(area: Area) -> Area | None:
    return polygonal(shapely.make_valid(area, method="structure", keep_collapsed=False))


def polygonal(geometry: Any) -> Area | None:
    """The parts of a geometry that have an area; None: there are none."""
    parts = [part for part in shapely.get_parts(shapely.get_parts(geometry)) if isinstance(part, Polygon) and part.area]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
