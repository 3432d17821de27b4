"""The report: one page that tells what was run, how training went, how good the result is, and shows it on slides.

In: the sheet and the folder of results. Out: a folder with ``index.html``, which opens from disk and asks no network, and
its pictures in ``overlays/`` and ``figures/``. The same inputs give the same bytes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import open_raster
from tilewright.project.config import Model
from tilewright.project.rows import Row, Sheet, open_sheet
from tilewright.project.settings import ReportSettings
from tilewright.report.analysis import Labels, draw_labels, draw_reliability, draw_seams, draw_sources
from tilewright.report.figures import class_lines, draw_dice, draw_model
from tilewright.report.overlays import (
    PREDICTION,
    TRUTH,
    composite,
    legend,
    outline_layer,
    read_view,
    write_jpeg,
    write_png,
)
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import track
from tilewright.segments.predictions import read_columns
from tilewright.tiles.split import Assignment, read_folds

ANY = "any"
SETS = {"test": "Test slides", "out_of_fold": "Training slides, out of fold"}
ROLES = {"train": "training", "test": "test", "external": "external"}
SLIDES_LISTED = 200
NAMES_LISTED = 12
Histories = dict[str, dict[int, pd.DataFrame]]


def report(*, sheet: Path, data: Path, results: Path, settings: ReportSettings, out: Path) -> None:
    """Write the report.

    Args:
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        results: the folder of all results: ``folds.csv``, ``models``, ``calibration``, ``metrics``, ``masks``,
            ``scaled`` and ``segments`` are read.
        settings: classes with their colours, models, ensembles, and how much is shown.
        out: the folder to write; appears whole or not at all.

    Raises:
        DataError: a result is missing or damaged.
    """
    rows = open_sheet(sheet, data)
    colors = dict(sorted(settings.colors.items()))
    histories = _histories(results, settings)
    with atomic_directory(out) as folder:
        (folder / "figures").mkdir()
        for model, folds in histories.items():
            if folds:
                draw_model(folds, colors, folder / "figures" / f"curves-{model}.png")
        seams = _seams(results, settings.models)
        if any(len(entry["windows"]) > 1 for entry in seams.values()):
            draw_seams(seams, folder / "figures" / "seams.png")
        labels = list(_labels(rows, results, colors))
        if labels:
            draw_labels(labels, colors, folder / "figures" / "labels.png")
        content = {
            "sheet": str(sheet),
            "colors": colors,
            "roles": _roles(rows),
            "slides": [_slide(row) for row in rows.rows[:SLIDES_LISTED]],
            "count": len(rows.rows),
            "labels": "figures/labels.png" if labels else "",
            "folds": _folds(read_folds(results / "folds.csv"), rows, settings.folds),
            "seams": seams,
            "models": [_model(name, settings.models[name], histories[name]) for name in settings.models],
            "ensembles": [
                _ensemble(name, weights, rows, results, settings, folder)
                for name, weights in settings.ensembles.items()
            ],
        }
        (folder / "index.html").write_text(_rendered(content), encoding="utf-8")


def _rendered(content: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("tilewright", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _score
    environment.filters["interval"] = _interval
    environment.filters["title"] = lambda name: "all classes together" if name == ANY else name
    return environment.get_template("report.html.j2").render(content) + "\n"


def _score(value: float | Undefined | None) -> str:
    return "–" if value is None or isinstance(value, Undefined) or np.isnan(value) else f"{value:.3f}"  # noqa: RUF001


def _interval(entry: Mapping[str, Any], key: str) -> str:
    found = entry.get("intervals", {}).get(key)
    return f"{_score(found[0])} – {_score(found[1])}" if found else "–"  # noqa: RUF001


def _roles(sheet: Sheet) -> list[dict[str, Any]]:
    """Numbers of slides by role and source."""
    kinds = dict.fromkeys((role, row.source) for role in ROLES for row in sheet if row.role == role)
    result = []
    for role, source in kinds:
        members = [row for row in sheet if (row.role, row.source) == (role, source)]
        result.append({
            "role": ROLES[role], "source": source, "slides": len(members),
            "groups": len({row.group for row in members}), "shards": len({row.shard for row in members}),
            "annotated": sum(row.annotations is not None for row in members),
        })  # fmt: skip
    return result


def _slide(row: Row) -> dict[str, Any]:
    labelled = "all" if row.labelled is None else ", ".join(row.labelled) or "none"
    return {
        "name": row.slide, "role": ROLES[row.role], "group": row.group, "shard": row.shard, "source": row.source,
        "labelled": labelled if row.annotations else "none",
        "region": ", ".join(map(str, row.region)) if row.region else "",
    }  # fmt: skip


def _folds(assignments: Sequence[Assignment], sheet: Sheet, count: int) -> list[dict[str, Any]]:
    """What each fold validates on, and what is trained on in all of them."""
    result = []
    for fold in [*range(count), None]:
        shards = {one.shard for one in assignments if one.fold == fold}
        members = [row for row in sheet if row.shard in shards and row.role != "test"]
        if members or fold is not None:
            names = [row.slide for row in members]
            more = f" and {len(names) - NAMES_LISTED} more" if len(names) > NAMES_LISTED else ""
            result.append({
                "fold": fold, "count": len(names), "names": ", ".join(names[:NAMES_LISTED]) + more,
                "groups": len({row.group for row in members}),
                "sources": ", ".join(sorted({row.source for row in members})),
            })  # fmt: skip
    return result


def _histories(results: Path, settings: ReportSettings) -> Histories:
    found: Histories = {}
    for model in settings.models:
        paths = {fold: results / "models" / model / f"fold{fold}" / "history.csv" for fold in range(settings.folds)}
        found[model] = {fold: pd.read_csv(path) for fold, path in paths.items() if path.is_file()}
    return found


def _seams(results: Path, models: Iterable[str]) -> dict[str, Any]:
    """The seams of the models that have been measured."""
    paths = {model: results / "seams" / f"{model}.json" for model in models}
    return {model: read_document(path) for model, path in paths.items() if path.is_file()}


def _weight(term: float | Mapping[str, float]) -> float:
    return term["weight"] if isinstance(term, Mapping) else term


def _model(name: str, model: Model, histories: Mapping[int, pd.DataFrame]) -> dict[str, Any]:
    best = {fold: int(history["dice"].argmax()) for fold, history in histories.items() if history["dice"].notna().any()}
    return {
        "name": name, "architecture": model.architecture, "encoder": model.encoder,
        "weights": model.encoder_weights, "tiles": model.tiles,
        "loss": " + ".join(f"{_weight(term):g} {loss}" for loss, term in sorted(model.loss.items())),
        "epochs": model.epochs, "figure": f"figures/curves-{name}.png" if histories else "",
        "folds": [
            {"fold": fold, "epoch": int(histories[fold]["epoch"][row]) + 1, "dice": float(histories[fold]["dice"][row])}
            for fold, row in best.items()
        ],
    }  # fmt: skip


def _ensemble(
    name: str, weights: Mapping[str, float], sheet: Sheet, results: Path, settings: ReportSettings, folder: Path
) -> dict[str, Any]:
    """Everything about an ensemble; draws its figures and overlays into ``folder``."""
    colors = dict(sorted(settings.colors.items()))
    summary = read_document((metrics := results / "metrics" / name) / "summary.json", metrics)
    slides = pd.read_csv(results / "metrics" / name / "slides.csv", dtype={"slide": str, "source": str})
    figure = f"figures/dice-{name}.png" if len(slides) else ""
    if figure:
        pooled = {
            part: {each: entry["pooled_dice"] for each, entry in table.items()} for part, table in summary.items()
        }
        draw_dice(slides, pooled, class_lines(colors, list(slides["class"])), folder / figure)
    scores = [_score_table(part, title, summary[part], colors) for part, title in SETS.items() if part in summary]
    calibration = read_document(results / "calibration" / f"{name}.json")
    draw_reliability(calibration["reliability"], colors, folder / f"figures/reliability-{name}.png")
    weighed = read_document(path) if (path := results / "weights" / f"{name}.json").is_file() else None
    return {
        "name": name, "weights": weighed["weights"] if weighed else dict(weights), "weighed": weighed,
        "calibration": calibration, "sets": scores, "figure": figure,
        "reliability": f"figures/reliability-{name}.png", "by_source": _by_source(name, slides, sheet, folder),
        "overlays": [*_overlays(name, sheet, slides, results, settings, folder)],
    }  # fmt: skip


def _by_source(name: str, slides: pd.DataFrame, sheet: Sheet, folder: Path) -> str:
    """The figure of scores by source, where there are several."""
    if slides["source"].nunique() < 2:
        return ""
    present = list(slides["class"])
    shown = ANY if ANY in present else min(present)
    trained = Counter(row.source for row in sheet if row.role in ("train", "external"))
    draw_sources(slides, trained, shown, folder / f"figures/sources-{name}.png")
    return f"figures/sources-{name}.png"


def _labels(sheet: Sheet, results: Path, classes: Iterable[str]) -> Iterator[Labels]:
    """What is annotated on each slide whose masks are there."""
    for row in sheet:
        place = results / "masks" / row.shard
        if row.annotations is None or not (place / f"{row.slide}.tif").is_file():
            continue
        outlines = read_columns(place / f"{row.slide}.outlines.parquet", ["class", "geometry"])
        areas = shapely.area(shapely.from_wkb(outlines["geometry"]))
        with open_raster(place / f"{row.slide}.tif") as raster:
            pixels = raster.size.width * raster.size.height
        for name in classes:
            if row.labelled is None or name in row.labelled:
                yield Labels(row.source, name, areas[outlines["class"] == name], pixels)


def _score_table(part: str, title: str, table: Mapping[str, Any], colors: Mapping[str, str]) -> dict[str, Any]:
    """Scores of one set by class, and the pooled Dice by source and class."""
    names = [name for name in (ANY, *colors) if name in table]
    sources = sorted({source for name in names for source in table[name]["sources"]})
    return {
        "key": part, "title": title, "names": names, "classes": {name: table[name] for name in names},
        "sources": [
            {"name": source, "slides": max(_in(table[name], source, "slides") or 0 for name in names),
             "dice": [_in(table[name], source, "pooled_dice") for name in names]}
            for source in sources
        ],
    }  # fmt: skip


def _in(entry: Mapping[str, Any], source: str, key: str) -> Any:
    return entry["sources"].get(source, {}).get(key)


@dataclass(frozen=True)
class _Choice:
    """A slide to show; ``dice`` by class, empty where the truth is unknown."""

    row: Row
    dice: dict[str, float]

    @property
    def overall(self) -> float:
        """Dice of all classes together, or their mean where not all are annotated."""
        return self.dice[ANY] if ANY in self.dice else sum(self.dice.values()) / len(self.dice)


def choose_slides(sheet: Iterable[Row], slides: pd.DataFrame, limit: int) -> list[_Choice]:
    """The slides that overlays show: test slides first, the worst first; some of them without known truth.

    Args:
        sheet: all slides.
        slides: columns slide, class, dice.
        limit: most slides.
    """
    scores: dict[str, dict[str, float]] = {}
    for slide, name, dice in zip(slides["slide"], slides["class"], slides["dice"], strict=True):
        scores.setdefault(slide, {})[name] = float(dice)
    choices = [_Choice(row, scores.get(row.slide, {})) for row in sheet if row.role != "external"]
    known = sorted((one for one in choices if one.dice), key=lambda one: (one.row.role != "test", one.overall))
    unknown = [one for one in choices if not one.dice and one.row.role == "test"]
    kept = known[: max(limit - min(len(unknown), limit // 4), 0)]
    return [*kept, *unknown[: limit - len(kept)]]


def _overlays(
    ensemble: str, sheet: Sheet, slides: pd.DataFrame, results: Path, settings: ReportSettings, folder: Path
) -> Iterator[dict[str, Any]]:
    """Draw the overlays of an ensemble and yield what the page says about them."""
    colors = dict(sorted(settings.colors.items()))
    target = folder / "overlays" / ensemble
    target.mkdir(parents=True)
    choices = choose_slides(sheet, slides, settings.report.overlays)
    for choice in track(choices, f"overlays of {ensemble}"):
        row = choice.row
        masks = results / "masks" / row.shard / f"{row.slide}.tif" if choice.dice else None
        predicted = results / "segments" / ensemble / row.shard / f"{row.slide}.mask.tif"
        scaled = _finest(results / "scaled", row)
        view = read_view(
            row, masks, predicted, scaled, list(colors), settings.report.max_edge,
            crop_to_bounds=settings.slides.crop_to_bounds,
        )  # fmt: skip
        size = Size(view.image.shape[1], view.image.shape[0])
        truth = outline_layer(view.truth, colors, TRUTH, size) if view.truth else None
        prediction = outline_layer(view.predicted, colors, PREDICTION, size)
        flat = composite(view.image, [layer for layer in (truth, prediction) if layer is not None])
        strip = legend(colors, size.width, truth=truth is not None)
        write_png(np.vstack([flat, strip]), target / f"{row.slide}.png", palette=True)
        write_jpeg(view.image, target / f"{row.slide}.plain.jpg")
        write_png(prediction, target / f"{row.slide}.prediction.png", palette=True)
        if truth is not None:
            write_png(truth, target / f"{row.slide}.truth.png", palette=True)
        yield {
            "slide": row.slide, "role": ROLES[row.role], "source": row.source, "dice": choice.dice,
            "overall": choice.overall if choice.dice else None, "width": size.width, "height": size.height,
            "base": f"overlays/{ensemble}/{row.slide}", "truth": truth is not None,
            "missing": [name for name in colors if choice.dice and name not in choice.dice],
        }  # fmt: skip


def _finest(scaled: Path, row: Row) -> Path:
    """The largest of the scaled images of a slide."""
    found = sorted(scaled.glob(f"*/{row.shard}/{row.slide}.image.tif"))
    if not found:
        raise DataError(Problem(str(scaled), f"holds no image of slide {row.slide}.", "Run downscale for its shard."))
    return max(found, key=_pixels)


def _pixels(path: Path) -> int:
    with open_raster(path) as raster:
        return raster.size.width * raster.size.height
