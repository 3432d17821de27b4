"""Figures about data and errors: drawn from plain numbers, the same every time, with nothing left out."""

import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.axes import Axes
from PIL import Image
from scipy.stats import norm

from tilewright.pixels.grid import Frame, Size
from tilewright.project.orders import ReportRow
from tilewright.project.places import Places
from tilewright.report.analysis import Labels, apart, draw_labels, draw_reliability, draw_seams, draw_sources
from tilewright.report.comparison import draw_models
from tilewright.report.distributions import density, draw_iou, draw_objects
from tilewright.report.reading import labels_of
from tilewright.segments.mask import mask_writer

COLORS = {"gland": "#1b9e77", "vessel": "#d95f02"}
DRAW = np.random.default_rng(0)
LABELS = [
    Labels(source, name, DRAW.lognormal(6, 1, 30), 1_000_000)
    for source in ("one", "two")
    for name in COLORS
    for _ in "ab"
]
RELIABILITY = {
    name: {"error": 0.02, "predicted": [0.1, 0.5, 0.9], "observed": [0.2, 0.5, 0.8], "pixels": [9, 5, 3]}
    for name in COLORS
}
SLIDES = pd.DataFrame(
    [("test", f"source{k % 3}", "any", 0.1 * k, 100, 90, 10 * k) for k in range(9)],
    columns=["set", "source", "class", "dice", "truth_area", "predicted_area", "intersection"],
).assign(iou=lambda table: table["dice"] / (2 - table["dice"]))
SEAMS = {
    name: {"windows": [{"overlap": o, "blend": b, "cost": 1 + o, "seam": 0.1 - o / 9, "difference": 0.01}
                       for o in (0.0, 0.25, 0.5) for b in ("mean", "pyramid")]}
    for name in ("unet", "fpn")
}  # fmt: skip
HISTORIES = {
    name: {fold: pd.DataFrame({"epoch": range(3), "dice": [0.1, best, best], "train_dice": [0.2, 0.4, 0.6]})
           for fold in range(2)}
    for name, best in (("small", 0.4), ("large", 0.6))
}  # fmt: skip
FIGURES = {
    "labels": lambda out: draw_labels(LABELS, COLORS, out),
    "reliability": lambda out: draw_reliability(RELIABILITY, COLORS, out),
    "sources": lambda out: draw_sources(SLIDES, {"source0": 4, "source1": 2}, "any", out),
    "seams": lambda out: draw_seams(SEAMS, out),
    "objects": lambda out: draw_objects(LABELS, COLORS, out),
    "iou": lambda out: draw_iou(SLIDES, "any", out),
    "models": lambda out: draw_models(HISTORIES, out),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_numbers_give_the_same_picture(tmp_path, name):
    for place in ("a.png", "b.png"):
        FIGURES[name](tmp_path / place)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_every_source_and_every_blend_is_drawn(tmp_path, monkeypatch):
    drawn = []
    plot, annotate = Axes.plot, Axes.annotate
    monkeypatch.setattr(Axes, "plot", lambda axes, *a, **k: (drawn.append(k.get("label")), plot(axes, *a, **k))[1])
    monkeypatch.setattr(Axes, "annotate", lambda axes, *a, **k: (drawn.append(a[0]), annotate(axes, *a, **k))[1])
    for draw in FIGURES.values():
        draw(tmp_path / "a.png")
    assert {"source0", "source1", "source2", "mean", "pyramid", "gland (error 0.020)"} <= set(drawn)
    assert {"one", "two", "all (9)", "source1 (3)", "small", "large"} <= set(drawn)


def test_a_density_is_that_of_gaussians_and_nothing_lies_beyond_the_ends():
    place = np.linspace(0, 1, 1001)
    inner = np.array([0.4, 0.5, 0.55])
    np.testing.assert_allclose(density(inner, place), norm.pdf(place[:, None], inner, 0.05).mean(axis=1), atol=1e-9)
    for values in ([0.0], [1.0], [0.02, 0.5, 0.99]):
        assert np.trapezoid(density(np.array(values), place), place) == pytest.approx(1, abs=1e-4)


def test_curves_of_a_model_are_the_means_of_its_folds(tmp_path, monkeypatch):
    drawn = {}
    plot = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda axes, x, y, **k: (drawn.update({(k["label"], len(drawn)): list(y)}), plot(axes, x, y, **k))[1],
    )
    folds = {fold: pd.DataFrame({"epoch": [0, 1], "dice": [0.2 * fold, 0.4]}) for fold in range(2)}
    draw_models({"one": folds, "two": folds}, tmp_path / "a.png")
    assert list(drawn.values()) == [[0.1, 0.4]] * 2


def test_labels_are_the_outlines_of_each_slide_and_class_that_is_labelled(tmp_path):
    frame = Frame(0, 0, 50, 40, Size(50, 40))
    with mask_writer(tmp_path / "masks" / "s" / "s.tif", frame, ["gland"]):
        pass
    shapes = [shapely.box(0, 0, 4, 4), shapely.box(9, 9, 12, 12), shapely.box(20, 20, 21, 21)]
    table = pd.DataFrame({"class": ["gland", "gland", "vessel"], "geometry": shapely.to_wkb(shapes)})
    table.to_parquet(tmp_path / "masks" / "s" / "s.outlines.parquet")

    def row(slide, labelled):
        told = {"shard": slide, "group": "g", "role": "train", "source": "one", "labelled": labelled}
        return ReportRow(slide=slide, image=tmp_path, annotated=True, **told)

    found = list(labels_of([row("s", ["gland"]), row("missing", list(COLORS))], Places(str(tmp_path)), COLORS))
    (only,) = found
    assert (only.source, only.name, only.pixels, only.areas.tolist()) == ("one", "gland", 2000, [16.0, 9.0])


def test_labels_of_near_sources_lie_apart() -> None:
    values = np.array([0.98, 0.4, 1.0, 0.41, 0.97, 0.1])

    heights = apart(values, 0.1)

    ordered = heights[np.argsort(values, kind="stable")]
    assert np.diff(ordered).min() >= 0.1 - 1e-12
    assert ordered[0] == 0.1
    np.testing.assert_allclose(ordered[1:3], [0.4, 0.5])
    np.testing.assert_allclose(ordered[3:], [0.8, 0.9, 1.0])
