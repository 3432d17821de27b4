"""Which outlines a person should look at again, by networks that have not seen their slides.

In: outlines and masks of ``rasterize``, out-of-fold probabilities of ``ensemble``, objects of ``segment``. Out:
``suspects.csv``, the suspects of all slides, the most contradicted first; ``sources.csv``, how the outlines of a source
differ from what the networks see, all together; ``{slide}.geojson.gz`` for QuPath, the suspects alone. Pixels are those
of level 0, x before y; tables count from the corner of the used part of a slide, GeoJSON from that of the image.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tilewright.evaluation.inspection import PLACE, inspected, reading
from tilewright.evaluation.offsets import source_offsets
from tilewright.evaluation.shapes import Shapes, shapes_of
from tilewright.evaluation.shelf import read_tables, shelf, table_writer
from tilewright.evaluation.suspects import KINDS, misnamed, misplaced, shape_kinds
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import AuditOrder, CalibrateRow
from tilewright.project.places import SOURCES, SUSPECTS, features_file, outlines_file, probability_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.progress import note, track
from tilewright.segments.geojson import feature_writer, object_id, path_object

SURELY_SAME = 0.5
"""From this intersection over union on, an outline and a predicted object are of one thing alone."""
TOGETHER = 1_000
"""Suspects that are written together."""
SUSPECT_COLUMNS = (
    "slide", "source", "class", "kind", "suspicion", "score", "instead", *PLACE, "right", "down", "object",
)  # fmt: skip


def audit(order: AuditOrder, *, masks: Path, probabilities: Path, segments: Path, out: Path) -> None:
    """Rank what networks contradict of the outlines, over all slides with out-of-fold probabilities.

    Classes that are not completely outlined on a slide are left out there.

    Args:
        order: the slides, the classes with their colours, and from which score on something is suspect.
        masks: folder with ``{shard}/{slide}.tif`` and ``{shard}/{slide}.outlines.parquet``.
        probabilities: folder with ``{shard}/{slide}.tif``.
        segments: folder with ``{shard}/{slide}.mask.tif`` and ``{shard}/{slide}.objects.parquet``.
        out: the folder to write; appears whole or not at all.

    Raises:
        DataError: a file is missing or damaged.
    """
    with atomic_directory(out) as folder, tempfile.TemporaryDirectory(dir=folder) as private:
        looked = [
            _look(row, order, masks / row.shard, probabilities / row.shard, segments / row.shard, Path(private))
            for row in track(order.rows, "outlines beside probabilities")
        ]
        usual = _usual([each.beliefs for each in looked], list(order.colors))
        found = []
        for row, each in zip(order.rows, looked, strict=True):
            suspects = _suspects(each, usual, order.score).assign(slide=row.slide, source=row.source)
            outlines = outlines_file(masks / row.shard, row.slide)
            with (
                shapes_of(outlines, each.runs, each.frame) as shapes,
                feature_writer(features_file(folder, row.slide)) as writer,
            ):
                for feature in _features(suspects, each, shapes, order.colors):
                    writer.write(feature)
            found.append(suspects[list(SUSPECT_COLUMNS)])
        source_offsets(pd.concat([each.pairs for each in looked])).to_csv(folder / SOURCES, index=False)
        count = _write_ranked(found, folder / SUSPECTS)
    note(f"{count} suspect(s) on {len(order.rows)} slide(s)")


@dataclass(frozen=True)
class _Looked:
    """What was seen on a slide.

    Attributes:
        name: the slide.
        frame: of the slide.
        count: number of its outlines.
        outlines: file of the table of its outlines.
        objects: file of the table of what nobody has outlined, as far as that is suspect.
        runs: file of the shelf with their runs.
        beliefs: of each class, the sum of mean probabilities of its own inside of its outlines, and their number.
        pairs: as ``source_offsets`` takes them.
    """

    name: str
    frame: Frame
    count: int
    outlines: Path
    objects: Path
    runs: Path
    beliefs: dict[str, tuple[float, int]]
    pairs: pd.DataFrame


def _look(row: CalibrateRow, order: AuditOrder, masks: Path, probabilities: Path, segments: Path, out: Path) -> _Looked:
    """Look at a slide, and keep in files what was seen, as the outlines of all slides need not fit into memory."""
    outlines, objects, runs = (out / f"{row.slide}.{name}" for name in ("outlined", "unclaimed", "runs"))
    classes = list(order.colors)
    with (
        reading(row, classes, masks, segments, out) as slide,
        open_raster(probability_file(probabilities, row.slide), classes) as raster,
        table_writer(outlines) as write_outlines,
        table_writer(objects) as write_objects,
        shelf(runs) as kept,
    ):
        believed = {name: np.full(len(own), np.nan) for name, own in zip(slide.classes, slide.outlines, strict=True)}
        pairs: dict[str, list[NDArray[np.float64]]] = {name: [np.empty((4, 0))] for name in slide.classes}
        before = np.cumsum([0, *map(len, slide.outlines)]).tolist()
        for place, (outlined, unclaimed) in inspected(slide, raster, order.pixel_rule):
            name = slide.classes[place]
            believed[name][outlined["number"] - before[place]] = outlined[f"seen {name}"]
            pairs[name].append(_pairs(outlined))
            write_outlines(outlined)
            suspect = unclaimed[unclaimed["score"] >= order.score]
            begin, length = kept.put(slide.runs.get(suspect["begin"].to_numpy(), suspect["length"].to_numpy()))
            write_objects(suspect.assign(begin=begin, length=length))
        beliefs = {
            name: (float(own.sum()), len(own)) for name in believed if len(own := pd.Series(believed[name]).dropna())
        }
        told = [_told(row.source, name, np.concatenate(parts, axis=1)) for name, parts in pairs.items()]
        return _Looked(row.slide, slide.frame, before[-1], outlines, objects, runs, beliefs, pd.concat(told))


PAIR = {"right": "apart_right", "down": "apart_down", "outlined": "area", "predicted": "object_area"}
"""What ``source_offsets`` takes of outlines that surely have a counterpart, and where ``inspected`` gives it."""


def _pairs(outlined: pd.DataFrame) -> NDArray[np.float64]:
    return outlined.loc[outlined["overlap"] >= SURELY_SAME, list(PAIR.values())].to_numpy(np.float64).T.copy()


def _told(source: str, name: str, pairs: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame({"source": source, "class": name, **dict(zip(PAIR, pairs, strict=True))})


def _usual(beliefs: Sequence[Mapping[str, tuple[float, int]]], classes: Sequence[str]) -> dict[str, float]:
    """What networks believe of outlines of each class in the mean over all slides."""
    known = [(name, [each[name] for each in beliefs if name in each]) for name in classes]
    return {name: sum(total for total, _ in each) / max(sum(count for _, count in each), 1) for name, each in known}


def _suspects(looked: _Looked, usual: Mapping[str, float], least: float) -> pd.DataFrame:
    """Outlines of a slide and objects that nobody has outlined, from a score on, by class, then from top to bottom.

    Their suspicion is how much each is contradicted, weighed by how far networks and outlines agree on the slide as a
    whole. What was drawn twice is seen without networks.
    """
    scores, wrong, matched = np.full(looked.count, np.nan), [], []
    for outlines in read_tables(looked.outlines):
        some = _contradicted(outlines, usual)
        scores[some["number"]] = some["score"]
        matched.append(outlines["object"])
        wrong.append(some[some["score"] >= least])
    objects = pd.concat(read_tables(looked.objects))
    alone = objects[~objects["object"].isin(pd.concat(matched))]
    missing = alone.assign(kind="not outlined", instead="", right=np.nan, down=np.nan, outline=-1)
    suspects = pd.concat([pd.concat(wrong).sort_values("number"), missing.sort_values("number")], ignore_index=True)
    contradicted = pd.Series(scores).dropna()
    agreement = 1 - contradicted.mean() if len(contradicted) else 1.0
    certain = suspects["kind"] == "duplicate"
    return suspects.assign(suspicion=suspects["score"] * np.where(certain, 1.0, agreement))


def _contradicted(outlines: pd.DataFrame, usual: Mapping[str, float]) -> pd.DataFrame:
    """How much outlines are contradicted: ``SUSPECT_COLUMNS`` that compare no slides, number and outline."""
    names = [name for name in usual if f"seen {name}" in outlines]
    seen = outlines[[f"seen {name}" for name in names]].fillna(0).to_numpy()
    own = np.array([names.index(name) for name in outlines["class"]], np.int64)
    beside = outlines["beside"].to_numpy()
    place = misplaced(seen, beside)
    named, instead = misnamed(seen, own, np.array([usual[name] for name in names]))
    kinds = shape_kinds(outlines["area"].to_numpy(), outlines["object_area"].to_numpy(), beside)
    kinds[named > place] = KINDS.index("other class")
    twice = outlines["twice"].to_numpy()
    kinds[twice > 0] = KINDS.index("duplicate")
    moves = kinds == KINDS.index("shifted")
    return outlines[["number", "outline", "class", *PLACE]].assign(
        kind=np.array(KINDS)[kinds],
        score=np.where(twice > 0, twice, np.maximum(named, place)),
        instead=np.where(kinds == KINDS.index("other class"), np.array(names)[instead], ""),
        right=outlines["right"].where(moves),
        down=outlines["down"].where(moves),
        object=0,
    )


def _write_ranked(found: list[pd.DataFrame], path: Path) -> int:
    """Write the suspects of all slides, the most suspect first, and count them; ``found`` is emptied."""
    table = pd.concat(found, ignore_index=True)
    found.clear()
    order = table["suspicion"].sort_values(ascending=False, kind="stable").index
    with path.open("w", newline="", encoding="utf-8") as stream:
        for first in range(0, max(len(table), 1), TOGETHER):
            part = table.loc[order[first : first + TOGETHER]].round(3)
            part.to_csv(stream, index=False, header=not first, lineterminator="\n")
    return len(table)


def _features(
    suspects: pd.DataFrame, looked: _Looked, shapes: Shapes, colors: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The suspects of a slide for QuPath: outlines as they were drawn, objects as they were predicted."""
    for name, color in colors.items():
        own = suspects[suspects["class"] == name]
        drawn, seen = own[own["outline"] >= 0], own[own["outline"] < 0]
        for rows, column, shapes_of_some in ((drawn, "outline", shapes.drawn), (seen, "object", shapes.traced)):
            for first in range(0, len(rows), TOGETHER):
                some = rows.iloc[first : first + TOGETHER]
                yield from _said(some, column, shapes_of_some(some), looked, color)


def _said(
    rows: pd.DataFrame, column: str, shapes: Mapping[int, dict[str, Any]], slide: _Looked, color: str
) -> Iterator[dict[str, Any]]:
    """Some suspects of a slide as features, with what is suspected as their class."""
    columns = (rows[each].tolist() for each in (column, "class", "kind", "suspicion", "left", "top"))
    for number, name, kind, suspicion, left, top in zip(*columns, strict=True):
        said, corner = f"{kind}: {name}", (int(left) + slide.frame.x, int(top) + slide.frame.y)
        identity, told = object_id(slide.name, said, *corner), {"suspicion": round(suspicion, 3)}
        yield path_object("annotation", identity, shapes[number], said, color, told)
