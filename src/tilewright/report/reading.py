"""What the report tells, read from the results of the other steps."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from tilewright.inference.spread import relative_spread
from tilewright.pixels.rasters import open_raster, read_file_print
from tilewright.project.orders import ReportEnsemble, ReportOrder, ReportRow
from tilewright.project.places import (
    FINAL,
    MISTAKES,
    SLIDE_SCORES,
    SOURCES,
    SUMMARY,
    SUSPECTS,
    Places,
    image_file,
    mask_file,
    outlines_file,
    part_of,
    spread_file,
)
from tilewright.report.analysis import Labels
from tilewright.report.figures import Kept
from tilewright.runtime.digests import Digests
from tilewright.runtime.documents import read_document
from tilewright.segments.predictions import read_columns


@dataclass(frozen=True)
class Scores:
    """What is known of an ensemble.

    Attributes:
        summary: pooled scores by set, class and source, as ``evaluate`` writes them; empty where there is no truth.
        slides: columns set, source, slide, class, dice and others, one row a slide and class.
        mistakes: columns slide, class, kind, left, top, right, bottom, one row a mistake.
        suspects: the same columns, and score, the most contradicted outlines first, as ``audit`` writes them.
        offsets: how the outlines of a source differ all together, as ``audit`` writes it.
        calibration: as ``calibrate`` writes it; None: nothing was fitted.
        weighed: as ``weigh`` writes it; None: the weights are given.
        seen: of each bundle the slides that it was trained on and is judged by here.
        spread: of test slides, how far those that predict them are apart, by what they predict, the farthest first.
    """

    summary: Mapping[str, Any]
    slides: pd.DataFrame
    mistakes: pd.DataFrame
    suspects: pd.DataFrame
    offsets: pd.DataFrame
    calibration: Mapping[str, Any] | None
    weighed: Mapping[str, Any] | None
    seen: Mapping[str, Sequence[str]]
    spread: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Origins:
    """How the results came to be.

    Attributes:
        taken: jobs of each step of which the results were taken from what was kept.
        versions: steps by the version of the program that computed them.
    """

    taken: Mapping[str, int]
    versions: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, results: Path) -> "Origins":
        """Of all results of a folder that are there."""
        made = {known.made for path, known in Digests(results).all() if known.made.verb and path.exists()}
        versions = sorted({(each.version, each.verb) for each in made})
        return cls(
            taken=Counter(verb for verb, _ in sorted({(each.verb, each.recipe) for each in made if each.taken})),
            versions={version: [verb for one, verb in versions if one == version] for version, _ in versions},
        )


@dataclass(frozen=True)
class Results:
    """The results that the report tells.

    Attributes:
        origins: how the results came to be.
        histories: of each model the history of each fold that was trained.
        kept: of each model what of each trained fold is kept.
        sizes: trained parameters of the network of each model that was trained.
        finals: epochs of each model's training on all slides, where it is done.
        batches: of each model a picture of a batch of its first fold, where there is one.
        seams: of each model that has been measured, as ``seams`` writes them.
        labels: what is annotated on each slide whose masks are there.
        scores: of each ensemble.
    """

    origins: Origins
    histories: Mapping[str, Mapping[int, pd.DataFrame]]
    kept: Mapping[str, Mapping[int, Kept]]
    sizes: Mapping[str, int]
    finals: Mapping[str, int]
    batches: Mapping[str, Path]
    seams: Mapping[str, Mapping[str, Any]]
    labels: tuple[Labels, ...]
    scores: Mapping[str, Scores]


def read_results(order: ReportOrder, places: Places) -> Results:
    """Read what the report tells.

    Raises:
        DataError: a result is missing or damaged.
    """
    folds = sorted({one.fold for one in order.folds if one.fold is not None})
    seams = {model: Path(places.seams(model)) for model in order.models}
    histories = {model: _histories(places, model, folds) for model in order.models}
    return Results(
        origins=Origins.of(Path(places.results)),
        histories=histories,
        kept={
            model: {
                fold: Kept.of(read_document(Path(places.card(model, part_of(fold)))), history)
                for fold, history in own.items()
            }
            for model, own in histories.items()
        },
        sizes={model: read_document(path)["parameters"] for model, path in _first(places.card, order, folds).items()},
        finals={model: read_document(path)["best_epoch"] + 1 for model, path in _finals(places, order)},
        batches=_first(places.batch, order, folds),
        seams={model: read_document(path) for model, path in seams.items() if path.is_file()},
        labels=tuple(labels_of(order.rows, places, order.colors)),
        scores={name: _scores(places, name, ensemble, order) for name, ensemble in order.ensembles.items()},
    )


def _first(place: Callable[[str, str], str], order: ReportOrder, folds: Sequence[int]) -> dict[str, Path]:
    """A file of the first trained fold of each model that has one."""
    paths = {model: [Path(place(model, part_of(fold))) for fold in folds] for model in order.models}
    return {model: next(filter(Path.is_file, each)) for model, each in paths.items() if any(map(Path.is_file, each))}


def _finals(places: Places, order: ReportOrder) -> list[tuple[str, Path]]:
    """The descriptions of the networks that were trained on all slides."""
    cards = [(model, Path(places.card(model, FINAL))) for model in order.models]
    return [(model, card) for model, card in cards if card.is_file()]


def _histories(places: Places, model: str, folds: list[int]) -> dict[int, pd.DataFrame]:
    paths = {fold: Path(places.history(model, part_of(fold))) for fold in folds}
    return {fold: pd.read_csv(path) for fold, path in paths.items() if path.is_file()}


def labels_of(rows: Iterable[ReportRow], places: Places, classes: Iterable[str]) -> Iterator[Labels]:
    """What is annotated on each slide whose masks are there."""
    for row in rows:
        masks = Path(places.masks(row.shard))
        if not row.annotated or not mask_file(masks, row.slide).is_file():
            continue
        outlines = read_columns(outlines_file(masks, row.slide), ["class", "geometry"])
        areas = shapely.area(shapely.from_wkb(outlines["geometry"]))
        with open_raster(mask_file(masks, row.slide)) as raster:
            pixels = raster.size.width * raster.size.height
        for name in classes:
            if name in row.labelled:
                yield Labels(row.source, name, areas[outlines["class"] == name], pixels)


def _scores(places: Places, name: str, ensemble: ReportEnsemble, order: ReportOrder) -> Scores:
    metrics, weights, audit = (Path(place(name)) for place in (places.metrics, places.weights, places.audit))
    none = pd.DataFrame(columns=["set", "slide", "source", "class", "dice"])
    return Scores(
        summary=read_document(metrics / SUMMARY, metrics) if ensemble.evaluated else {},
        slides=read_slide_scores(metrics / SLIDE_SCORES, order.columns) if ensemble.evaluated else none,
        mistakes=_table(metrics / MISTAKES) if ensemble.evaluated else none,
        suspects=_suspects(audit / SUSPECTS) if ensemble.audited else none,
        offsets=_table(audit / SOURCES) if ensemble.audited else none,
        calibration=read_document(Path(places.calibration(name))) if ensemble.bounds is None else None,
        weighed=read_document(weights) if ensemble.fit else None,
        seen=_seen(places, ensemble, order.rows),
        spread=_spread(places, name, ensemble, order.rows),
    )


def _table(path: Path) -> pd.DataFrame:
    texts = dict.fromkeys(("set", "slide", "source", "class", "kind", "verdict"), str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False)


def _suspects(path: Path) -> pd.DataFrame:
    """With the box of each, by whole pixels."""
    table = _table(path)
    right, down = (np.ceil(table[low] + table[size]) for low, size in (("left", "width"), ("top", "height")))
    return table.assign(right=right, bottom=down)


def read_slide_scores(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The scores of slides, with columns of the sheet as they stand there: a value may be a code of digits, or "None".

    Args:
        path: the ``slides.csv`` of ``evaluate``.
        columns: of the sheet.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = table.columns.difference(["set", "source", "slide", "class", *columns])
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table


def _spread(places: Places, name: str, ensemble: ReportEnsemble, rows: Sequence[ReportRow]) -> dict[str, float]:
    told = set(ensemble.spread)
    folders = {row.slide: Path(places.ensembles(name, row.shard)) for row in rows if row.slide in told}
    found = {slide: relative_spread(spread_file(folder, slide)) for slide, folder in folders.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _seen(places: Places, ensemble: ReportEnsemble, rows: Sequence[ReportRow]) -> dict[str, list[str]]:
    """Of each bundle in an ensemble, or before its trainings, the evaluated slides whose file it was trained on."""
    bundles = {**ensemble.bundles, **ensemble.starts}
    if not bundles:
        return {}
    evaluated = set(ensemble.evaluated)
    prints = {
        row.slide: read_file_print(image_file(Path(places.scaled(ensemble.scale, row.shard)), row.slide))
        for row in rows
        if row.slide in evaluated
    }
    trained = {name: set(bundle.trained_on) for name, bundle in bundles.items()}
    return {name: [slide for slide, own in prints.items() if own in hashes] for name, hashes in trained.items()}
