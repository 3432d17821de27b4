"""How well ``audit`` finds outlines that were spoilt on purpose: the table of ``docs/audit.md``.

``python quality/audit.py DATA --set hgsc`` (or dsb2018) spoils 5 % of the outlines, seeded, in one way at a time, runs
the graph on what is left, and prints a line for each way: how many times as often spoilt ones stand among the first
5 % of all outlines and unclaimed objects, ranked by score, as by chance; and, where outlines were removed, the area
under the ROC curve of the removed ones against predicted objects that are neither a removed nor another outline.
``--after CONFIG`` takes the out-of-fold predictions that a run with that config has made of all outlines, and spoils
afterwards: seconds in place of hours, for networks that have seen nothing that is spoilt.
"""

import argparse
import gzip
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import yaml
from numpy.typing import NDArray
from sets import REPOSITORY, read_sheet, write_sheet
from shapely.affinity import translate
from shapely.geometry import mapping

from tilewright import open_slide, read_outlines, read_project
from tilewright.cli import run_step
from tilewright.project.config import Annotations
from tilewright.project.orders import AuditOrder, RasterizeOrder
from tilewright.project.places import Places

SHARE = 0.05
FIRST = 0.05
LEAST = 0.001
"""From this score on all is listed."""
NEAR = 0.1
"""Least intersection over union of an outline and the predicted object that it is."""
CONFIGS = {"hgsc": "config/config.yaml", "dsb2018": "config/dsb2018.yaml"}
WAYS = ("removed", "shifted", "relabelled")
Shapes = NDArray[np.object_]


@dataclass(frozen=True)
class Spoilt:
    """Outlines of an image: what is written of them, and which are wrong, or missing.

    Attributes:
        names: class of each.
        shapes: in pixels of the image.
        wrong: those that were spoilt.
        removed: those that are missing.
    """

    names: list[str]
    shapes: Shapes
    wrong: Shapes
    removed: Shapes


def main() -> None:
    """Spoil, train, and look where the spoilt ones stand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real data sets")
    parser.add_argument("--set", choices=list(CONFIGS), default="hgsc")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--after", type=Path, help="config of a finished run: spoil after its trainings")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".quality" / "audit")
    options = parser.parse_args()
    for way in options.ways:
        out = options.out.resolve() / f"{options.set}-{way}-{options.seed}"
        found = _after(options, way, out) if options.after else _measured(options, way, out)
        print(json.dumps({"set": options.set, "way": way, "seed": options.seed, **found}), flush=True)


def _measured(options: argparse.Namespace, way: str, out: Path) -> dict[str, Any]:
    values = yaml.safe_load((REPOSITORY / CONFIGS[options.set]).read_text())
    rows, data = _rows(options.set, options.data.resolve(), out)
    sources = [row["annotations"] for row in rows]
    read = Annotations(**values.get("annotations", {}))
    draw, classes = np.random.default_rng(options.seed), list(values["classes"])
    spoilt = {
        path: _spoilt(data / path, data / image, way, classes, draw, read)
        for image, path in dict.fromkeys((row["image"], row["annotations"]) for row in rows)
    }
    for row in rows:
        file = out / "outlines" / f"{Path(row['annotations']).name.split('.')[0]}.geojson"
        _write(file, spoilt[row["annotations"]])
        row |= {"image": str(data / row["image"]), "annotations": str(file)}
    values |= {
        "sheet": write_sheet(out / "slides.csv", rows), "layout": None, "pathvars": {"results": str(out / "results")},
        "evaluation": {"suspect": LEAST}, "annotations": {},
    }  # fmt: skip
    (model, spec), *_ = values["models"].items()
    values |= {"models": {model: spec | {"final": False}}, "ensembles": {model: {"models": {model: 1}}}}
    (out / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    audit = out / "results" / "audit" / model
    _run(
        "snakemake", "-s", REPOSITORY / "Snakefile", "--cores", "all", "--configfile", out / "config.yaml", "--", audit
    )
    return _standing(audit, rows, {row["slide"]: spoilt[path] for row, path in zip(rows, sources, strict=True)})


def _after(options: argparse.Namespace, way: str, out: Path) -> dict[str, Any]:
    """Spoil the outlines of a run that has made its predictions."""
    project = read_project(options.after)
    places, (ensemble, *_) = Places.of(project.config.pathvars), project.config.ensembles
    rows, draw = project.audited_rows(ensemble), np.random.default_rng(options.seed)
    spoilt = {}
    for row in rows:
        assert row.annotations
        spoilt[row.slide] = _spoilt(row.annotations, row.image, way, project.classes, draw, project.config.annotations)
        _write(out / "outlines" / f"{row.slide}.geojson", spoilt[row.slide])
    for shard in dict.fromkeys(row.shard for row in rows):
        order = RasterizeOrder.of(project, shard)
        own = [
            one.model_copy(update={"annotations": out / "outlines" / f"{one.slide}.geojson", "namesakes": ()})
            for one in order.rows
            if one.slide in spoilt
        ]
        run_step("rasterize", order.model_copy(update={"rows": own}), out=out / "masks" / shard)
    audited = AuditOrder.of(project, ensemble).model_copy(update={"score": LEAST})
    where = {"probabilities": places.ensembles(ensemble, ""), "segments": places.segments(ensemble, "")}
    run_step("audit", audited, masks=out / "masks", out=out / "audit", **where)
    return _standing(out / "audit", [{"slide": row.slide, "role": "train"} for row in rows], spoilt)


def _spoilt(
    path: Path, image: Path, way: str, classes: Sequence[str], draw: np.random.Generator, options: Annotations
) -> Spoilt:
    """The outlines of an image, a share of them spoilt."""
    with open_slide(image) as slide:
        found = read_outlines(path, path.stem, slide.size, options).annotations
    if not found:
        raise SystemExit(f"{path}: holds no outlines that could be spoilt")
    names = [each.label if each.label in classes else classes[0] for each in found]
    shapes = np.array([each.geometry for each in found], dtype=object)
    chosen = draw.random(len(shapes)) < SHARE
    if way == "removed":
        kept = [name for name, gone in zip(names, chosen, strict=True) if not gone]
        return Spoilt(kept, shapes[~chosen], shapes[:0], shapes[chosen])
    for place in np.flatnonzero(chosen).tolist():
        if way == "shifted":
            radius, angle = np.sqrt(shapes[place].area / np.pi), draw.uniform(0, 2 * np.pi)
            shapes[place] = translate(shapes[place], radius * np.cos(angle), radius * np.sin(angle))
        else:
            names[place] = str(draw.choice([name for name in classes if name != names[place]]))
    return Spoilt(names, shapes, shapes[chosen], shapes[:0])


def _standing(audit: Path, rows: Sequence[dict[str, str]], spoilt: dict[str, Spoilt]) -> dict[str, Any]:
    """Where the spoilt ones stand among all that ``audit`` has ranked."""
    scores, hits, bare, other = (np.concatenate(column) for column in zip(*_ranked(audit, rows, spoilt), strict=True))
    first = np.argsort(-scores, kind="stable")[: round(FIRST * len(scores))]
    found: dict[str, Any] = {
        "ranked": len(scores), "spoilt": int(hits.sum()),
        "times_chance": round(float(hits[first].mean() / hits.mean()), 2) if hits.any() else None,
    }  # fmt: skip
    judged = bare & (hits | other)
    if (hits & bare).any():
        found["auroc"] = round(_auroc(scores[judged], hits[judged]), 3)
    return found


def _ranked(
    audit: Path, rows: Sequence[dict[str, str]], spoilt: dict[str, Spoilt]
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Of each slide the scores, whether it was spoilt, whether nobody outlined it, and whether nothing is there."""
    for row in rows:
        if row["role"] != "train":
            continue
        with gzip.open(audit / f"{row['slide']}.geojson.gz", "rt") as stream:
            features = json.load(stream)["features"]
        shapes = np.array([shapely.geometry.shape(each["geometry"]) for each in features], dtype=object)
        kinds = [each["properties"]["classification"]["name"].split(":")[0] for each in features]
        scores = np.array([each["properties"]["measurements"]["suspicion"] for each in features])
        bare, own = np.array([kind == "not outlined" for kind in kinds]), spoilt[row["slide"]]
        hits = np.where(bare, _overlap(shapes, own.removed) >= NEAR, _overlap(shapes, own.wrong) > 0.999)
        yield scores, hits, bare, bare & (_overlap(shapes, own.shapes) < NEAR) & ~hits


def _overlap(shapes: Shapes, others: Shapes) -> NDArray[np.float64]:
    """Largest intersection over union of each shape with any of others."""
    best = np.zeros(len(shapes))
    one, other = shapely.STRtree(others).query(shapes)
    common = shapely.area(shapely.intersection(shapes[one], others[other]))
    np.maximum.at(best, one, common / (shapely.area(shapes)[one] + shapely.area(others)[other] - common))
    return best


def _auroc(scores: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Share of pairs of a hit and another one in which the hit stands first; ties count half."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores):
        ranks[scores == value] = ranks[scores == value].mean()
    count = int(hits.sum())
    return float((ranks[hits].sum() - count * (count + 1) / 2) / (count * (len(hits) - count)))


def _rows(name: str, data: Path, out: Path) -> tuple[list[dict[str, str]], Path]:
    """The training slides of a set, and the folder that their paths start from."""
    out.mkdir(parents=True, exist_ok=True)
    if name == "hgsc":
        sheet, folder = REPOSITORY / "config" / "demo" / "slides.csv", REPOSITORY / "config" / "demo"
    else:
        sheet, folder = out / "listed.csv", data / "dsb2018"
        _run("tilewright", "sheet", "dsb2018", folder, "--out", sheet)
    return [row for row in read_sheet(sheet) if row["role"] == "train"], folder


def _write(path: Path, outlines: Spoilt) -> None:
    """Write outlines as QuPath does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = [
        {"type": "Feature", "geometry": mapping(shape), "properties": {"classification": {"name": name}}}
        for name, shape in zip(outlines.names, outlines.shapes, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True)


if __name__ == "__main__":
    main()
