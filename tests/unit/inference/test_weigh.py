import json
from pathlib import Path

import numpy as np
import pytest
from ordering import order_of
from scipy.optimize import minimize

from tilewright.inference.weigh import Sums, best_weights, slide_sums, table, weigh
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.project.orders import WeighOrder
from tilewright.project.project import Assignment
from tilewright.runtime.errors import DataError

CLASSES = ["gland", "vessel"]
FOLDS = [
    Assignment(shard="a", group="a", fold=0),
    Assignment(shard="b", group="b", fold=1),
    Assignment(shard="x1", group="x", fold=None),
]
SHEET = Path("slides/slides.csv")


def members(seed, count=3, height=40, width=50, skill=(1.0, 0.9, 0.6)):
    """Truth bits, and maps of members that know it more or less well, uint8[members, classes, rows, columns].

    Bit 2 is ignored.
    """
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 2, (3, height, width)) & draw.integers(0, 2, (3, height, width))
    truth, noise = bits[:2], draw.standard_normal((count, 2, height, width))
    maps = 30 + 180 * np.array(skill)[:count, None, None, None] * truth + 50 * noise
    return (bits << np.arange(3)[:, None, None]).sum(axis=0).astype(np.uint8), np.clip(maps, 0, 255).astype(np.uint8)


def save(path, values, factor=1.0):
    values = values[None] if values.ndim == 2 else values
    height, width = values.shape[1:]
    frame = Frame(0, 0, round(width * factor), round(height * factor), Size(width * 2, height * 2), factor)
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_raster(path, Size(width, height), bands=len(values), dtype=values.dtype,
                       tags={**frame.tags(), "classes": json.dumps(CLASSES)}) as raster:  # fmt: skip
        raster.write(values, 0, 0)
    return path


def order(models):
    return order_of(WeighOrder, SHEET, classes=CLASSES, roles=["train"], folds=FOLDS, models=models)


def sums_of(tmp_path, seed, labelled=CLASSES):
    bits, maps = members(seed)
    paths = [save(tmp_path / f"{seed}-{place}.tif", each) for place, each in enumerate(maps)]
    return slide_sums(labelled, paths, save(tmp_path / f"{seed}.tif", bits), CLASSES)


def plain_error(seeds, weights):
    """The error from whole arrays: by class the squared error over valid pixels, divided by those of the class."""
    errors = []
    for bit in range(2):
        squares = positive = 0.0
        for seed in seeds:
            bits, maps = members(seed)
            valid, truth = bits < 4, (bits >> bit) & 1
            blend = np.tensordot(weights, maps[:, bit] / 255, 1)
            squares += ((blend - truth) ** 2)[valid].sum()
            positive += truth[valid].sum()
        errors.append(squares / positive)
    return np.mean(errors)


def test_the_error_from_sums_is_that_of_the_pixels(tmp_path):
    sums = sums_of(tmp_path, 0) + sums_of(tmp_path, 1)
    for weights in np.random.default_rng(0).dirichlet(np.ones(3), 5):
        assert sums.error(weights) == pytest.approx(plain_error([0, 1], weights), rel=1e-5)


def test_the_weights_are_the_best_of_all_convex_ones(tmp_path):
    sums = sums_of(tmp_path, 0) + sums_of(tmp_path, 1)
    found = best_weights(sums)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    best = minimize(lambda w: plain_error([0, 1], w), np.full(3, 1 / 3), bounds=[(0, 1)] * 3, method="SLSQP",
                    constraints={"type": "eq", "fun": lambda w: w.sum() - 1})  # fmt: skip
    assert sums.error(found) == pytest.approx(best.fun, rel=1e-6)
    assert sums.error(found) <= min(sums.error(w) for w in np.random.default_rng(1).dirichlet(np.ones(3), 300))


def test_a_class_that_is_not_labelled_does_not_count(tmp_path):
    sums = sums_of(tmp_path, 0, labelled=("vessel",))
    assert sums.positive[0] == 0 < sums.positive[1]
    assert np.isfinite(sums.error(best_weights(sums)))


def test_members_that_are_the_same_do_no_harm():
    one = np.array([[[4.0, 4.0], [4.0, 4.0]]])
    weights = best_weights(Sums(one, np.array([[3.0, 3.0]]), np.array([5.0])))
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0


def test_the_table_says_what_each_member_adds(tmp_path):
    parts = [sums_of(tmp_path, seed) for seed in range(2)]
    found = table(parts, ["good", "fair", "poor"])
    members = found["members"]
    assert members["good"]["weight"] > members["fair"]["weight"] > members["poor"]["weight"]
    assert members["good"]["error"] < members["fair"]["error"] < members["poor"]["error"]
    assert found["error"]["fitted"] <= min(each["error_without"] for each in members.values())
    assert members["good"]["error_without"] == max(each["error_without"] for each in members.values())
    assert found["error"]["nested"] > found["error"]["fitted"]
    assert table(parts[:1], ["good", "fair", "poor"])["error"]["nested"] is None


def test_weights_are_fitted_on_training_slides_out_of_fold(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    Path("folds.csv").write_text("shard,group,fold\na,a,0\nb,b,1\nx1,x,external\n")
    for number, one in enumerate(project.rows()):
        if one["role"] == "train":
            bits, maps = members(number)
            save(Path("s") / one["shard"] / f"{one['slide']}.mask.tif", bits)
            for name, values in zip(("near", "far", "odd"), maps, strict=True):
                save(Path("p") / name / one["shard"] / f"{one['slide']}.tif", values)
    places = {"folds": Path("folds.csv"), "scaled": Path("s"), "probabilities": Path("p")}
    weigh(order(["near", "far", "odd"]), **places, out=Path("w.json"))
    found = json.loads(Path("w.json").read_text())
    assert sum(found["weights"].values()) == pytest.approx(1, abs=1e-5)
    assert found["weights"]["near"] == max(found["weights"].values())


def test_slides_without_any_object_give_no_weights(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    Path("folds.csv").write_text("shard,group,fold\na,a,0\nb,b,1\nx1,x,external\n")
    for one in project.rows():
        save(Path("p") / "near" / one["shard"] / f"{one['slide']}.tif", np.zeros((2, 9, 9), np.uint8))
        save(Path("s") / one["shard"] / f"{one['slide']}.mask.tif", np.zeros((9, 9), np.uint8))
    places = {"folds": Path("folds.csv"), "scaled": Path("s"), "probabilities": Path("p")}
    with pytest.raises(DataError, match="no training slide shows a class"):
        weigh(order(["near"]), **places, out=Path("w"))
