"""Which outlines a person should look at again, by networks that have not seen their slides.

In: outlines and masks of ``rasterize``, out-of-fold probabilities of ``ensemble``, objects of ``segment``. Out:
``suspects.csv``, the suspects of all slides, the most contradicted first; ``sources.csv``, how the outlines of a source
differ from what the networks see, all together; ``{slide}.geojson.gz`` for QuPath, the suspects alone. Pixels are those
of level 0, x before y; tables count from the corner of the used part of a slide, GeoJSON from that of the image.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tilewright.evaluation.inspection import PLACE, TOGETHER, Slide, outline_table, unclaimed_table
from tilewright.evaluation.offsets import source_offsets
from tilewright.evaluation.suspects import KINDS, misnamed, misplaced, shape_kinds
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import AuditOrder, CalibrateRow
from tilewright.project.places import SOURCES, SUSPECTS, features_file, probability_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.progress import note, track
from tilewright.segments.geojson import feature_writer, object_id, path_object

SURELY_SAME = 0.5
"""From this intersection over union on, an outline and a predicted object are of one thing alone."""
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
            suspects = _suspects(pd.read_parquet(each.outlines), pd.read_parquet(each.objects), usual)
            suspects = suspects.assign(slide=row.slide, source=row.source, suspicion=_suspicion(suspects))
            suspects = suspects[suspects["score"] >= order.score]
            slide = Slide.read(row, list(order.colors), masks / row.shard, segments / row.shard)
            with feature_writer(features_file(folder, row.slide)) as writer:
                for feature in _features(suspects, slide, order.colors):
                    writer.write(feature)
            found.append(suspects[list(SUSPECT_COLUMNS)])
        table = pd.concat(found).sort_values("suspicion", ascending=False, kind="stable")
        table.round(3).to_csv(folder / SUSPECTS, index=False)
        source_offsets(pd.concat([each.pairs for each in looked])).to_csv(folder / SOURCES, index=False)
    note(f"{len(table)} suspect(s) on {len(order.rows)} slide(s)")


@dataclass(frozen=True)
class _Looked:
    """What was seen on a slide.

    Attributes:
        outlines: file of the table of its outlines.
        objects: file of the table of what nobody has outlined.
        beliefs: of each class, the sum of mean probabilities of its own inside of its outlines, and their number.
        pairs: as ``source_offsets`` takes them.
    """

    outlines: Path
    objects: Path
    beliefs: dict[str, tuple[float, int]]
    pairs: pd.DataFrame


def _look(row: CalibrateRow, order: AuditOrder, masks: Path, probabilities: Path, segments: Path, out: Path) -> _Looked:
    """Look at a slide, and keep in files what was seen, as the outlines of all slides need not fit into memory."""
    slide = Slide.read(row, list(order.colors), masks, segments)
    with open_raster(probability_file(probabilities, row.slide), list(order.colors)) as raster:
        outlined, unclaimed = outline_table(slide, raster, order.pixel_rule), unclaimed_table(slide, raster)
    files = out / f"{row.slide}.outlined", out / f"{row.slide}.unclaimed"
    for table, file in zip((outlined, unclaimed), files, strict=True):
        table.to_parquet(file)
    beliefs = {
        name: (float(own[f"seen {name}"].sum()), len(own))
        for name in slide.classes
        if len(own := outlined[outlined["class"] == name])
    }
    matched = outlined[outlined["overlap"] >= SURELY_SAME]
    pairs = pd.DataFrame(
        {
            "source": row.source, "class": matched["class"], "right": matched["apart_right"],
            "down": matched["apart_down"], "outlined": matched["area"], "predicted": matched["object_area"],
        }
    )  # fmt: skip
    return _Looked(*files, beliefs, pairs)


def _usual(beliefs: Sequence[Mapping[str, tuple[float, int]]], classes: Sequence[str]) -> dict[str, float]:
    """What networks believe of outlines of each class in the mean over all slides."""
    known = [(name, [each[name] for each in beliefs if name in each]) for name in classes]
    return {name: sum(total for total, _ in each) / max(sum(count for _, count in each), 1) for name, each in known}


def _suspects(outlines: pd.DataFrame, objects: pd.DataFrame, usual: Mapping[str, float]) -> pd.DataFrame:
    """Outlines of a slide and objects that nobody has outlined: ``SUSPECT_COLUMNS`` that compare no slides."""
    names = [name for name in usual if f"seen {name}" in outlines]
    seen = outlines[[f"seen {name}" for name in names]].fillna(0).to_numpy()
    own = np.array([names.index(name) for name in outlines["class"]], np.int64)
    place = misplaced(seen, outlines["beside"].to_numpy())
    named, instead = misnamed(seen, own, np.array([usual[name] for name in names]))
    beside = outlines["beside"].to_numpy()
    kinds = shape_kinds(outlines["area"].to_numpy(), outlines["object_area"].to_numpy(), beside)
    kinds[named > place] = KINDS.index("other class")
    twice = outlines["twice"].to_numpy()
    kinds[twice > 0] = KINDS.index("duplicate")
    moves = kinds == KINDS.index("shifted")
    wrong = outlines.assign(
        kind=np.array(KINDS)[kinds],
        score=np.where(twice > 0, twice, np.maximum(named, place)),
        instead=np.where(kinds == KINDS.index("other class"), np.array(names)[instead], ""),
        right=outlines["right"].where(moves),
        down=outlines["down"].where(moves),
        outline=outlines.index,
        object=0,
    )
    alone = objects[~objects["object"].isin(outlines["object"])]
    missing = alone.assign(kind="not outlined", instead="", right=np.nan, down=np.nan, outline=-1)
    columns = [name for name in (*SUSPECT_COLUMNS, "outline") if name not in ("slide", "source", "suspicion")]
    return pd.concat([wrong[columns], missing[columns]], ignore_index=True)


def _suspicion(suspects: pd.DataFrame) -> pd.Series:
    """How much each is contradicted, weighed by how far networks and outlines agree on the slide as a whole.

    What was drawn twice is seen without networks.
    """
    contradicted = suspects.loc[suspects["outline"] >= 0, "score"]
    agreement = 1 - contradicted.mean() if len(contradicted) else 1.0
    return suspects["score"] * np.where(suspects["kind"] == "duplicate", 1.0, agreement)


def _features(suspects: pd.DataFrame, slide: Slide, colors: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The suspects of a slide for QuPath: outlines as they were drawn, objects as they were predicted."""
    for name in slide.classes:
        own = suspects[suspects["class"] == name]
        drawn, seen = own[own["outline"] >= 0], own[own["outline"] < 0]
        for rows, column, shapes_of in (
            (drawn, "outline", slide.drawn),
            (seen, "object", partial(slide.traced, name)),
        ):
            for first in range(0, len(rows), TOGETHER):
                some = rows.iloc[first : first + TOGETHER]
                yield from _said(some, column, shapes_of(some[column].tolist()), slide, colors[name])


def _said(
    rows: pd.DataFrame, column: str, shapes: Mapping[int, dict[str, Any]], slide: Slide, color: str
) -> Iterator[dict[str, Any]]:
    """Some suspects of a slide as features, with what is suspected as their class."""
    columns = (rows[each].tolist() for each in (column, "class", "kind", "suspicion", "left", "top"))
    for number, name, kind, suspicion, left, top in zip(*columns, strict=True):
        said, corner = f"{kind}: {name}", (int(left) + slide.frame.x, int(top) + slide.frame.y)
        identity, told = object_id(slide.name, said, *corner), {"suspicion": round(suspicion, 3)}
        yield path_object("annotation", identity, shapes[number], said, color, told)
