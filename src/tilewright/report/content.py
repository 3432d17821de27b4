"""What the page of the report says, as tables and lists: pure functions of what was read."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tilewright.inference.rules import FEW
from tilewright.project.config import ANY
from tilewright.project.orders import ReportEnsemble, ReportModel, ReportOrder, ReportRow
from tilewright.project.places import FINAL
from tilewright.project.rows import OUT_OF_FOLD, TEST
from tilewright.report.figures import Kept
from tilewright.report.generalisation import column_scores, group_scores
from tilewright.report.linking import place_of
from tilewright.report.reading import Results, Scores
from tilewright.runtime.errors import listed

TITLES = {TEST: "Test slides", OUT_OF_FOLD: "Training slides, out of fold"}
ROLES = {"train": "training", "test": "test", "external": "external"}
SLIDES_LISTED = 200
NAMES_LISTED = 12
QUARTERS = 4


@dataclass(frozen=True)
class Pictures:
    """What was drawn, by its place beside the page.

    Attributes:
        figures: all figures.
        overlays: what is said of each overlay, by ensemble.
        mistakes: what is said of the mistakes of each class, by ensemble.
        suspects: what is said of the outlines of each class that it contradicts, by ensemble.
        samples: the samples of each class.
        compared: the two ensembles that are shown side by side, if any are.
    """

    figures: Collection[str]
    overlays: Mapping[str, Sequence[Mapping[str, Any]]]
    mistakes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    suspects: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    compared: tuple[str, str] | None = None


def page_content(order: ReportOrder, found: Results, pictures: Pictures) -> dict[str, Any]:
    """What the template shows.

    Args:
        order: the slides and what is shown of them.
        found: the results.
        pictures: what was drawn.
    """

    def figure(name: str) -> str:
        """The place of a figure; empty where it was not drawn."""
        return name if name in pictures.figures else ""

    return {
        "sheet": order.sheet,
        "taken": found.origins.taken,
        "versions": found.origins.versions,
        "colors": order.colors,
        "roles": list(_roles(order.rows)),
        "slides": [_slide(row, set(order.colors)) for row in order.rows[:SLIDES_LISTED]],
        "count": len(order.rows),
        "skipped": order.skipped,
        "labels": figure("figures/labels.png"),
        "samples": pictures.samples,
        "compared": pictures.compared,
        "objects": figure("figures/objects.png"),
        "all_models": figure("figures/models.png"),
        "folds": list(_folds(order)),
        "seams": found.seams,
        "finals": found.finals,
        "models": [
            _model(name, model, found.kept[name], found.finals.get(name))
            | {
                "figure": figure(f"figures/curves-{name}.png"),
                "batch": figure(f"figures/batch-{name}.jpg"),
                "parameters": found.sizes.get(name),
            }
            for name, model in order.models.items()
        ],
        "ensembles": [
            _ensemble(name, spec, found.scores[name], order)
            | {
                "figure": figure(f"figures/dice-{name}.png"),
                "reliability": figure(f"figures/reliability-{name}.png"),
                "iou": figure(f"figures/iou-{name}.png"),
                "by_source": figure(f"figures/sources-{name}.png"),
                "overlays": pictures.overlays[name],
                "mistakes": pictures.mistakes.get(name, ()),
                "suspects": pictures.suspects.get(name, ()),
                "offsets": list(_offsets(found.scores[name])),
            }
            for name, spec in order.ensembles.items()
        ],
    }


def _offsets(scores: Scores) -> Iterator[str]:
    """A sentence for each source and class of which outlines differ all together from what the networks see."""
    for row in scores.offsets.to_dict("records"):
        if row["verdict"]:
            yield f"{row['source']}, {row['class']}: outlines {row['verdict']} ({row['pairs']} objects)."


def _roles(rows: Sequence[ReportRow]) -> Iterator[dict[str, Any]]:
    """Numbers of slides by role and source."""
    for role, source in dict.fromkeys((role, row.source) for role in ROLES for row in rows if row.role == role):
        members = [row for row in rows if (row.role, row.source) == (role, source)]
        yield {
            "role": ROLES[role],
            "source": source,
            "slides": len(members),
            "groups": len({row.group for row in members}),
            "shards": len({row.shard for row in members}),
            "annotated": sum(row.annotated for row in members),
        }


def _slide(row: ReportRow, classes: set[str]) -> dict[str, Any]:
    labelled = "all" if classes <= set(row.labelled) else ", ".join(row.labelled) or "none"
    return {
        "name": row.slide,
        "role": ROLES[row.role],
        "group": row.group,
        "shard": row.shard,
        "source": row.source,
        "labelled": labelled if row.annotated else "none",
        "region": ", ".join(map(str, row.region)) if row.region else "",
    }


def _folds(order: ReportOrder) -> Iterator[dict[str, Any]]:
    """What each fold validates on, and what is trained on in all of them."""
    count = max((one.fold for one in order.folds if one.fold is not None), default=-1) + 1
    for fold in [*range(count), None]:
        shards = {one.shard for one in order.folds if one.fold == fold}
        members = [row for row in order.rows if row.shard in shards and row.role != "test"]
        if members or fold is not None:
            names = [row.slide for row in members]
            yield {
                "fold": fold,
                "count": len(names),
                "names": listed(names, NAMES_LISTED),
                "groups": len({row.group for row in members}),
                "sources": ", ".join(sorted({row.source for row in members})),
            }


def _model(name: str, model: ReportModel, kept: Mapping[int, Kept], final: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": model.architecture,
        "encoder": model.encoder,
        "weights": model.start or model.encoder_weights,
        "tiles": model.tiles,
        "loss": " + ".join(f"{_weight(term):g} {loss}" for loss, term in sorted(model.loss.items())),
        "epochs": model.epochs,
        "labelled_elsewhere": model.labelled_elsewhere,
        "final": final,
        "by_folds": any(part != FINAL for part in model.going_out),
        "by_final": FINAL in model.going_out,
        "folds": [{"fold": fold, **one._asdict()} for fold, one in kept.items()],
    }


def _few(calibration: Mapping[str, Any]) -> list[str]:
    """The classes whose threshold was fitted on few groups."""
    intervals, groups = calibration.get("interval", {}), calibration.get("groups", {})
    return [name for name, interval in intervals.items() if interval and groups[name] < FEW]


def _weight(term: float | Mapping[str, float]) -> float:
    return term["weight"] if isinstance(term, Mapping) else term


def _ensemble(name: str, spec: ReportEnsemble, scores: Scores, order: ReportOrder) -> dict[str, Any]:
    classes = list(order.colors)
    by_column = {column: column_scores(scores.slides, column, classes) for column in order.columns if scores.summary}
    return {
        "name": name,
        "weights": scores.weighed["weights"] if scores.weighed else spec.weights,
        "bounds": spec.bounds,
        "notes": list(_notes(spec, scores)),
        "weighed": scores.weighed,
        "apart": [
            {"slide": slide, "spread": spread, "at": place_of(slide, name)} for slide, spread in scores.spread.items()
        ],
        "calibration": scores.calibration,
        "few": _few(scores.calibration or {}),
        "groups": group_scores(scores.slides, {row.slide: row.group for row in order.rows}, classes),
        "columns": {column: found for column, found in by_column.items() if found},
        "sets": [
            _score_table(part, title, scores.summary[part], order.colors)
            for part, title in TITLES.items()
            if part in scores.summary
        ],
    }


def _notes(spec: ReportEnsemble, scores: Scores) -> Iterator[str]:
    """What a reader must know of the members that come from elsewhere."""
    for name, bundle in spec.bundles.items():
        told = ", ".join(text for text in (bundle.title, bundle.licence and f"licence {bundle.licence}") if text)
        yield f"{name} is a bundle{f' ({told})' if told else ''}: models that were trained elsewhere."
    for path in spec.starts:
        yield f"Trainings started from the bundle {path}."
    for name, slides in scores.seen.items():
        if slides:
            yield (
                f"{name} was trained on the files of slides that it is judged by here; their scores are too good: "
                f"{listed(slides, NAMES_LISTED)}."
            )
    if spec.saved:
        names = ", ".join(spec.saved)
        yield f"Holds saved predictions ({names}), whose models are not here; hence no bundle is made of it."


def _score_table(part: str, title: str, table: Mapping[str, Any], classes: Iterable[str]) -> dict[str, Any]:
    """Scores of one set by class, and the pooled Dice by source and class."""
    names = [name for name in (ANY, *classes) if name in table]
    sources = sorted({source for name in names for source in table[name]["sources"]})
    return {
        "key": part,
        "title": title,
        "names": names,
        "classes": {name: table[name] for name in names},
        "sized": {name: own for name in names if len(own := table[name].get("recall_by_size", ())) == QUARTERS},
        "sources": [
            {
                "name": source,
                "slides": max(_in(table[name], source, "slides") or 0 for name in names),
                "dice": [_in(table[name], source, "pooled_dice") for name in names],
            }
            for source in sources
        ],
    }


def _in(entry: Mapping[str, Any], source: str, key: str) -> Any:
    return entry["sources"].get(source, {}).get(key)
