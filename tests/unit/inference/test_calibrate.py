import json
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
from ordering import order_of
from scenes import order_of_objects, scene, write_slide
from scipy import ndimage

from tilewright.inference.calibrate import calibrate, slide_histograms
from tilewright.inference.calibration import read_bounds, read_scores
from tilewright.inference.sizes import object_sizes
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.histograms import Histogram, bin_threshold, dice_curve
from tilewright.pixels.rasters import create_raster
from tilewright.project.config import Calibration
from tilewright.project.orders import CalibrateOrder, CalibrateRow
from tilewright.project.project import Assignment, Bounds
from tilewright.runtime.errors import DataError
from tilewright.tiles.split import read_folds

CLASSES = ["gland", "vessel"]


def save(path, values):
    height, width = values.shape[-2:]
    frame = Frame(0, 0, width, height, Size(width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = 1 if values.ndim == 2 else len(values)
    tags = {**frame.tags(), "classes": json.dumps(CLASSES)}
    with create_raster(path, frame.size, bands=bands, dtype=values.dtype, tags=tags) as raster:
        raster.write(values, 0, 0)
    return path


def slide(seed, height=600, width=40):
    """Probabilities (uint8) and mask bits that have something to do with each other; bit 2 is ignored."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 8, (height, width), np.uint8)
    truth = np.stack([(bits >> bit) & 1 for bit in range(2)])
    return np.clip(draw.normal(90 + 70 * truth, 50), 0, 255).astype(np.uint8), bits


def plain_dice(predicted, truth):
    total = predicted.sum() + truth.sum()
    return 2 * (predicted & truth).sum() / total if total else 1.0


@pytest.mark.parametrize("aim", ["pooled", "slide"])
def test_dice_from_counts_is_the_plain_dice_at_every_threshold(tmp_path, aim):
    slides = [slide(0), slide(1, 64, 30)]
    histograms = [
        slide_histograms(CLASSES, save(tmp_path / "p.tif", values), save(tmp_path / "m.tif", bits), CLASSES)["vessel"]
        for values, bits in slides
    ]
    curve = dice_curve(histograms, aim)
    valid = [(bits >> 2) & 1 == 0 for _, bits in slides]
    truth = [((bits >> 1) & 1 == 1)[which] for (_, bits), which in zip(slides, valid, strict=True)]
    values = [values[1][which] for (values, _), which in zip(slides, valid, strict=True)]
    for cut in range(256):
        if aim == "pooled":
            expected = plain_dice(np.concatenate(values) >= cut, np.concatenate(truth))
        else:
            expected = np.mean([plain_dice(v >= cut, t) for v, t in zip(values, truth, strict=True)])
        assert curve[cut] == pytest.approx(expected, abs=1e-12)


def test_nothing_to_find_and_nothing_found_is_one():
    nothing = Histogram(np.zeros(256, np.int64), np.bincount([0, 0, 7], minlength=256))
    curve = dice_curve([nothing], "slide")
    assert (curve[:8] == 0).all()
    assert (curve[8:] == 1).all()


def test_a_threshold_lies_between_two_values():
    for cut in range(1, 256):
        assert cut - 1 < bin_threshold(cut) * 255 < cut


def test_a_class_that_is_not_labelled_is_not_counted(tmp_path):
    values, bits = slide(0, 20, 20)
    paths = save(tmp_path / "p.tif", values), save(tmp_path / "m.tif", bits)
    assert slide_histograms(["vessel"], *paths, CLASSES).keys() == {"vessel"}
    assert slide_histograms([], *paths, CLASSES) == {}


def fitted(project, monkeypatch, classes=CLASSES, enlarge="bilinear", **calibration):
    monkeypatch.chdir(project.folder)
    for number, one in enumerate(project.rows()):
        values, bits = slide(number, 30, 40)
        shard = one["shard"]
        save(Path("p") / shard / f"{one['slide']}.tif", values[: len(classes)])
        save(Path("s") / shard / f"{one['slide']}.mask.tif", bits)
        save(Path("m") / shard / f"{one['slide']}.tif", bits)
    groups = {one["group"] for one in project.rows()}
    lines = [line for line in ("a,a,0", "b,b,1", "c,c,2", "x1,x,external") if line.split(",")[1] in groups]
    Path("folds.csv").write_text("\n".join(["shard,group,fold", *lines, ""]))
    order = order_of(
        CalibrateOrder, Path("slides/slides.csv"), "", classes, ["train"],
        folds=read_folds(Path("folds.csv")), calibration=Calibration(**calibration), enlarge=enlarge,
    )  # fmt: skip
    places = {"probabilities": Path("p"), "scaled": Path("s"), "masks": Path("m")}
    calibrate(order, folds=Path("folds.csv"), **places, out=Path("c.json"))
    return json.loads(Path("c.json").read_text())


def test_only_out_of_fold_slides_are_used(project, monkeypatch):
    assert fitted(project, monkeypatch)["slides"] == ["a1", "a2", "b1", "b2"]


def test_the_threshold_is_the_best_one_where_the_rule_says_so(project, monkeypatch):
    found = fitted(project, monkeypatch, rule="best")
    slides = [slide(number, 30, 40) for number in range(4)]
    truth = np.concatenate([(bits & 1 == 1)[bits < 4] for _, bits in slides])
    values = np.concatenate([values[0][bits < 4] for values, bits in slides])
    best = max(plain_dice(values >= cut, truth) for cut in range(1, 256))
    assert found["dice"]["gland"]["fitted"] == pytest.approx(best, abs=1e-6)
    assert plain_dice(values / 255 >= found["thresholds"]["gland"], truth) == pytest.approx(best)


def test_by_default_few_groups_are_not_believed_and_the_log_says_so(project, monkeypatch, capsys):
    """Two groups have as many votes as one half; 0.49 and 0.37 are what is best for them."""
    best, found = (fitted(project, monkeypatch, **rule) for rule in ({"rule": "best"}, {}))
    for name in CLASSES:
        assert found["thresholds"][name] == pytest.approx((best["thresholds"][name] + 0.5) / 2, abs=0.004)
        assert found["dice"][name]["fitted"] < best["dice"][name]["fitted"]
    assert found["groups"] == {"gland": 2, "vessel": 2}
    low, high = found["interval"]["gland"]
    assert 0 < low <= best["thresholds"]["gland"] <= high < 1
    said = f"gland: 2 groups are few to fit a threshold on; for others the best would lie between {low:.2f} and"
    assert said in capsys.readouterr().err


def test_a_threshold_that_is_given_has_no_interval(project, monkeypatch, capsys):
    assert fitted(project, monkeypatch, threshold=0.3)["interval"] == {"gland": None, "vessel": None}
    assert "few" not in capsys.readouterr().err


def test_fixed_values_are_kept(project, monkeypatch):
    found = fitted(project, monkeypatch, threshold=0.3, min_area=7)
    assert found["thresholds"] == {"gland": 0.3, "vessel": 0.3}
    assert found["min_area"] == {"gland": 7, "vessel": 7}


def test_a_class_without_a_threshold_of_its_own_is_fitted(project, monkeypatch):
    best, found = fitted(project, monkeypatch), fitted(project, monkeypatch, threshold={"vessel": 0})
    assert found["thresholds"] == {"gland": best["thresholds"]["gland"], "vessel": 0}
    assert found["dice"]["gland"] == best["dice"]["gland"]
    assert found["dice"]["vessel"]["fitted"] < best["dice"]["vessel"]["fitted"]


def test_a_class_that_no_training_slide_is_labelled_for_is_refused(project, monkeypatch):
    project.write_sheet([{**one, "labelled": "gland"} for one in project.rows()])
    with pytest.raises(DataError, match="no training slide is labelled for vessel"):
        fitted(project, monkeypatch)


def labelled_and_valid(number, bit):
    values, bits = slide(number, 30, 40)
    return values[bit], (bits >> bit) & 1 == 1, bits < 4


@pytest.mark.parametrize("folds", [2, 3])
def test_the_nested_score_judges_each_fold_by_the_threshold_of_the_others(project, monkeypatch, folds):
    """Slides 0 and 1 are fold 0, slides 2 and 3 fold 1; or slide 1 is fold 2."""
    if folds == 3:
        rows = [{**one, **({"group": "c", "shard": "c"} if one["slide"] == "a2" else {})} for one in project.rows()]
        project.write_sheet(rows)
    found = fitted(project, monkeypatch, rule="best")["dice"]["gland"]
    predicted, expected = [], []
    for own in {2: ((0, 1), (2, 3)), 3: ((0,), (2, 3), (1,))}[folds]:
        others = [number for number in range(4) if number not in own]
        values, truth, valid = (
            np.concatenate(part) for part in zip(*(labelled_and_valid(n, 0) for n in others), strict=True)
        )
        scores = [plain_dice((values >= cut)[valid], truth[valid]) for cut in range(1, 256)]
        cut = int(np.argmax(scores)) + 1
        for number in own:
            values, truth, valid = labelled_and_valid(number, 0)
            predicted.append((values >= cut)[valid])
            expected.append(truth[valid])
    assert found["nested"] == pytest.approx(plain_dice(np.concatenate(predicted), np.concatenate(expected)), abs=1e-6)
    assert found["nested"] < found["fitted"]


def test_one_fold_alone_has_no_nested_score(project, monkeypatch):
    project.write_sheet([one for one in project.rows() if one["group"] != "b"])
    found = fitted(project, monkeypatch)
    assert found["dice"]["gland"]["nested"] is None
    assert {one["dice"] for one in found["scores"]} == {None}


@pytest.mark.parametrize("aim", ["pooled", "slide"])
def test_the_nested_score_is_told_by_class_and_source(project, monkeypatch, aim):
    """Slide 1 is labelled for gland alone; slides 0 and 1 are of the source one, 2 and 3 of two."""
    rows = [{**one, "source": {"a1": "far"}.get(one["slide"], one["source"])} for one in project.rows()]
    project.write_sheet(rows)
    found = fitted(project, monkeypatch, threshold=0.6, aim=aim)
    told = {(one["class_name"], one["source"]): (one["slides"], one["groups"]) for one in found["scores"]}
    assert told == {
        ("gland", None): (4, 2), ("gland", "far"): (1, 1), ("gland", "one"): (1, 1), ("gland", "two"): (2, 1),
        ("vessel", None): (3, 2), ("vessel", "far"): (1, 1), ("vessel", "two"): (2, 1),
    }  # fmt: skip
    for one in found["scores"]:
        bit = CLASSES.index(one["class_name"])
        numbers = {None: (0, 1, 2, 3), "far": (0,), "one": (1,), "two": (2, 3)}[one["source"]]
        parts = [labelled_and_valid(number, bit) for number in numbers if not (bit and number == 1)]
        parts = [((values >= 0.6 * 255)[valid], truth[valid]) for values, truth, valid in parts]
        pooled = plain_dice(*(np.concatenate(side) for side in zip(*parts, strict=True)))
        expected = pooled if aim == "pooled" else np.mean([plain_dice(*part) for part in parts])
        assert one["dice"] == pytest.approx(expected, abs=1e-6)
    assert found["dice"]["gland"]["nested"] == found["scores"][0]["dice"]


@pytest.mark.parametrize(("enlarge", "taps"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
def test_sizes_are_those_of_objects_at_the_size_of_the_slide(tmp_path, enlarge, taps):
    small = np.random.default_rng(2).integers(0, 256, (30, 40)).astype(np.uint8)
    frame = Frame(0, 0, 80, 60, Size(80, 60), 2)
    for name, values, own in (("p", small, frame), ("m", np.ones((60, 80), np.uint8), frame.scaled(1))):
        with create_raster(tmp_path / name, own.size, tags=own.tags(["gland"])) as raster:
            raster.write(values[None], 0, 0)
    found = object_sizes(tmp_path / "p", tmp_path / "m", ["gland"], "gland", 0.7, enlarge)
    large = cv2.resize(small.astype(np.float32), None, fx=2, fy=2, interpolation=taps)
    assert found.area.sum() == (large >= 0.7 * 255).sum()


def test_how_probabilities_are_enlarged_reaches_the_sizes(project, monkeypatch):
    seen = set()

    def sizes(*given):
        seen.add(given[-1])
        return object_sizes(*given)

    monkeypatch.setattr(import_module("tilewright.inference.calibrate"), "object_sizes", sizes)
    fitted(project, monkeypatch, threshold=0.6, min_area="fit", enlarge="bicubic")
    assert seen == {"bicubic"}


@pytest.mark.parametrize("aim", ["pooled", "slide"])
def test_the_least_size_is_the_best_of_all(project, monkeypatch, aim):
    found = fitted(project, monkeypatch, threshold=0.6, min_area="fit", aim=aim)
    scores = {}
    for least in range(60):
        parts = []
        for number in range(4):
            values, truth, valid = labelled_and_valid(number, 0)
            labels, _ = ndimage.label(values >= 0.6 * 255, np.ones((3, 3)))
            sizes = np.bincount(labels.ravel(), valid.ravel())
            kept = (labels > 0) & (sizes[labels] >= least)
            parts.append((kept[valid], truth[valid]))
        pooled = plain_dice(*(np.concatenate(side) for side in zip(*parts, strict=True)))
        scores[least] = pooled if aim == "pooled" else np.mean([plain_dice(*part) for part in parts])
    assert found["dice"]["gland"]["fitted"] == pytest.approx(max(scores.values()), abs=1e-6)
    assert scores[found["min_area"]["gland"]] == max(scores.values())


def test_the_calibration_error_is_the_distance_of_observed_from_predicted(project, monkeypatch):
    found = fitted(project, monkeypatch)["reliability"]["gland"]
    values, truth, valid = (
        np.concatenate(part) for part in zip(*(labelled_and_valid(n, 0) for n in range(4)), strict=True)
    )
    values, truth = values[valid] / 255, truth[valid]
    place = np.minimum((values * 20).astype(int), 19)
    bins = [(values[place == k].mean(), truth[place == k].mean(), (place == k).sum()) for k in np.unique(place)]
    assert found["predicted"] == pytest.approx([p for p, _, _ in bins], abs=1e-6)
    assert found["observed"] == pytest.approx([o for _, o, _ in bins], abs=1e-6)
    assert found["pixels"] == [n for _, _, n in bins]
    assert found["error"] == pytest.approx(sum(abs(p - o) * n for p, o, n in bins) / len(values), abs=1e-6)


def objects_fitted(tmp_path, fold_of, **calibration):
    """The document for slides of touching disks, each a shard and group of its own, in folds."""
    folder = tmp_path / "s"
    for number, name in enumerate(fold_of):
        write_slide(folder / name, name, *scene(number))
        (folder / "truth" / name).mkdir(parents=True)
        (folder / "truth" / name / f"{name}.mask.tif").write_bytes((folder / name / f"{name}.tif").read_bytes())
        (folder / "p" / name).mkdir(parents=True)
        (folder / name / "p" / f"{name}.tif").rename(folder / "p" / name / f"{name}.tif")
    (tmp_path / "folds.csv").write_text(
        "\n".join(["shard,group,fold", *(f"{name},{name},{fold}" for name, fold in fold_of.items()), ""])
    )
    rows = [CalibrateRow(slide=name, shard=name, labelled=["cell"], source=name[0]) for name in fold_of]
    folds = [Assignment(shard=name, group=name, fold=fold) for name, fold in fold_of.items()]
    order = order_of_objects(*fold_of, rows=rows, folds=folds, **calibration)
    places = {"probabilities": folder / "p", "scaled": folder / "truth", "masks": folder}
    calibrate(order, folds=tmp_path / "folds.csv", **places, out=tmp_path / "c.json")
    return json.loads((tmp_path / "c.json").read_text())


def test_fitted_objects_are_told_beside_their_dice_and_few_groups_with_a_warning(tmp_path, capsys):
    found = objects_fitted(tmp_path, {"a": 0, "b": 0, "c": 1})
    scores = read_scores(tmp_path / "c.json")
    assert [(one.source, one.slides) for one in scores] == [(None, 3), ("a", 1), ("b", 1), ("c", 1)]
    assert found["objects"]["cell"] == {"fitted": found["objects"]["cell"]["fitted"], "nested": scores[0].f1}
    assert 0.2 < scores[0].f1 < found["objects"]["cell"]["fitted"] < 1
    assert found["dice"]["cell"]["nested"] == scores[0].dice
    low, high = found["interval"]["cell"]
    assert low <= found["thresholds"]["cell"] <= high
    kinds = ("thresholds", "min_area", "min_confidence", "seed")
    assert read_bounds(tmp_path / "c.json", ["cell"]) == {"cell": Bounds(*(found[kind]["cell"] for kind in kinds))}
    assert "cell: 3 groups are few to fit a threshold on; for others the best would lie" in capsys.readouterr().err


def test_sizes_and_confidences_that_few_groups_tell_are_doubted_as_well(tmp_path, capsys):
    found = objects_fitted(tmp_path, {"a": 0, "b": 1}, threshold=0.45)
    assert (found["thresholds"], found["interval"]) == ({"cell": 0.45}, {"cell": None})
    assert "2 groups are few to fit a threshold on, or sizes and confidences of objects" in capsys.readouterr().err


def test_a_document_of_pixels_says_nothing_of_objects(project, monkeypatch):
    found = fitted(project, monkeypatch)
    assert not {"min_confidence", "seed", "objects"} & set(found)
    assert all("f1" not in one for one in found["scores"])
    assert read_bounds(Path("c.json"), ["gland"])["gland"] == Bounds(found["thresholds"]["gland"], 0, 0.0, 0.5)
