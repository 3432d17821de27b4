"""The report: one page that tells what was run, how training went, how good the result is, and shows it on slides.

In: the folder of results. Out: a folder with ``index.html``, which opens from disk and asks no network, its pictures
in ``overlays/`` and ``figures/``, and where it is told, ``spread.csv``: test slides by how far those that predict them
are apart. The same inputs give the same bytes.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from tilewright.project.config import ANY
from tilewright.project.orders import ReportOrder
from tilewright.project.places import PAGE, SPREADS, Places
from tilewright.report.analysis import draw_labels, draw_reliability, draw_seams, draw_sources
from tilewright.report.comparison import chosen_slides, compared, draw_comparison, draw_models
from tilewright.report.content import Pictures, page_content
from tilewright.report.distributions import draw_iou, draw_objects
from tilewright.report.figures import class_lines, draw_dice, draw_model
from tilewright.report.gallery import draw_mistakes, draw_suspects
from tilewright.report.reading import Results, Scores, read_results
from tilewright.report.samples import draw_samples
from tilewright.report.shown import draw_overlays
from tilewright.runtime.atomic import atomic_directory

SPREAD_COLUMNS = ("ensemble", "slide", "source", "group", "spread")
LEAST = 8
"""Slides from which on a figure of how they are spread says something."""


def report(order: ReportOrder, *, results: Path, out: Path) -> None:
    """Write the report.

    Args:
        order: the slides; classes with their colours, models, ensembles, and how much is shown.
        results: the folder of all results.
        out: the folder to write; appears whole or not at all.

    Raises:
        DataError: a result is missing or damaged.
    """
    places = Places(str(results))
    found = read_results(order, places)
    with atomic_directory(out) as folder:
        (folder / "figures").mkdir()
        pictures = Pictures(
            figures={f"figures/{name}" for name in draw_figures(order, found, folder / "figures")},
            overlays={
                name: list(draw_overlays(name, order, scores.slides, places, folder))
                for name, scores in found.scores.items()
            },
            mistakes={
                name: list(draw_mistakes(name, order, scores.mistakes, places, folder / "figures"))
                for name, scores in found.scores.items()
            },
            suspects={
                name: list(draw_suspects(name, order, scores.suspects, places, folder / "figures"))
                for name, scores in found.scores.items()
            },
            samples={name: f"figures/{file}" for name, file in draw_samples(order, places, folder / "figures")},
            compared=_compare(order, found, places, folder / "figures" / "comparison.jpg"),
        )
        if any(scores.spread for scores in found.scores.values()):
            _write_spreads(found.scores, order, folder / SPREADS)
        page = rendered(page_content(order, found, pictures))
        (folder / PAGE).write_text(page, encoding="utf-8")


def _write_spreads(ensembles: Mapping[str, Scores], order: ReportOrder, path: Path) -> None:
    """Write the test slides of each ensemble, those first whose predictions are farthest apart."""
    rows = {row.slide: row for row in order.rows}
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SPREAD_COLUMNS)
        for name, scores in ensembles.items():
            for slide, spread in scores.spread.items():
                writer.writerow((name, slide, rows[slide].source, rows[slide].group, f"{spread:.4f}"))


def draw_figures(order: ReportOrder, found: Results, folder: Path) -> Iterator[str]:
    """Draw what there is to draw, and yield the names of the files."""
    for model, histories in found.histories.items():
        if histories:
            draw_model(histories, found.kept[model], order.colors, folder / (name := f"curves-{model}.png"))
            yield name
        if model in found.batches:
            shutil.copyfile(found.batches[model], folder / (name := f"batch-{model}.jpg"))
            yield name
    if sum(map(bool, found.histories.values())) > 1:
        draw_models({model: folds for model, folds in found.histories.items() if folds}, folder / "models.png")
        yield "models.png"
    if any(len(entry["windows"]) > 1 for entry in found.seams.values()):
        draw_seams(found.seams, folder / "seams.png")
        yield "seams.png"
    if found.labels:
        draw_labels(found.labels, order.colors, folder / "labels.png")
        yield "labels.png"
    if sum(len(each.areas) > 0 for each in found.labels) >= LEAST:
        draw_objects(found.labels, order.colors, folder / "objects.png")
        yield "objects.png"
    for ensemble, scores in found.scores.items():
        yield from _draw_scores(ensemble, scores, order, folder)


def _draw_scores(ensemble: str, scores: Scores, order: ReportOrder, folder: Path) -> Iterator[str]:
    """The figures of an ensemble."""
    slides = scores.slides
    present = list(slides["class"])
    if present:
        pooled = {
            part: {each: entry["pooled_dice"] for each, entry in table.items()}
            for part, table in scores.summary.items()
        }
        draw_dice(slides, pooled, class_lines(order.colors, present), folder / (name := f"dice-{ensemble}.png"))
        yield name
    if scores.calibration:
        reliability = scores.calibration["reliability"]
        draw_reliability(reliability, order.colors, folder / (name := f"reliability-{ensemble}.png"))
        yield name
    shown = ANY if ANY in present else min(present, default=ANY)
    if (slides["class"] == shown).sum() >= LEAST:
        draw_iou(slides, shown, folder / (name := f"iou-{ensemble}.png"))
        yield name
    if slides["source"].nunique() > 1:
        trained = Counter(row.source for row in order.rows if row.role in ("train", "external"))
        draw_sources(slides, trained, shown, folder / (name := f"sources-{ensemble}.png"))
        yield name


def _compare(order: ReportOrder, found: Results, places: Places, out: Path) -> tuple[str, str] | None:
    """Draw two ensembles side by side, and say which; None: no two have scores of the same slides."""
    scores = {name: each.slides for name, each in found.scores.items()}
    names = compared(order, scores)
    slides = chosen_slides(*(scores[name] for name in names)) if names else []
    if not slides:
        return None
    assert names
    draw_comparison(names, slides, order, places, out)
    return names


def rendered(content: Mapping[str, Any]) -> str:
    """The page of some content."""
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
