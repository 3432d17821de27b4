import json
from pathlib import Path

import numpy as np
import pytest

from tilewright.inference.ensemble import Spread, blend, ensemble
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.orders import EnsembleOrder
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError


def save(path, values, factor=1.0, classes=("gland",)):
    """Write probabilities (classes x rows x columns) of an image at a scale."""
    height, width = (round(length * factor) for length in values.shape[1:])
    frame = Frame(0, 0, width, height, Size(width, height), factor)
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = {**frame.tags(), "classes": json.dumps(list(classes))}
    with create_raster(path, frame.size, bands=len(values), dtype=values.dtype, tags=tags) as raster:
        raster.write(values, 0, 0)
    return path


def load(path):
    with open_raster(path) as raster:
        return raster.read(), Frame.of(raster)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_the_mean_is_weighted(tmp_path):
    values = [noise(seed, 2, 700, 30) for seed in range(3)]
    paths = [save(tmp_path / f"{n}.tif", each, classes=("a", "b")) for n, each in enumerate(values)]
    blend(paths, [1, 2, 5], tmp_path / "out.tif")
    expected = np.tensordot([1 / 8, 2 / 8, 5 / 8], np.stack(values).astype(float), 1)
    assert np.abs(load(tmp_path / "out.tif")[0] - expected).max() <= 0.51


def test_one_map_stays_as_it_is(tmp_path):
    values = noise(0, 1, 40, 50)
    blend([save(tmp_path / "a.tif", values)], [3], tmp_path / "out.tif")
    assert (load(tmp_path / "out.tif")[0] == values).all()


def test_a_coarser_map_is_interpolated_between_its_pixels_centres(tmp_path):
    y, x = np.mgrid[:600, :40]
    fine = (x + y * 0.2).astype(np.uint8)[None]
    coarse = ((x[:300, :20] * 2 + 0.5) + (y[:300, :20] * 2 + 0.5) * 0.2).astype(np.uint8)[None]
    paths = [save(tmp_path / "fine.tif", fine), save(tmp_path / "coarse.tif", coarse, 2.0)]
    blend(paths, [1, 1], tmp_path / "out.tif")
    found, frame = load(tmp_path / "out.tif")
    assert frame.factor == 1
    assert np.abs(found[0, 1:-1, 1:-1].astype(float) - (x + y * 0.2)[1:-1, 1:-1]).max() <= 1.5


def test_maps_of_different_classes_are_refused(tmp_path):
    paths = [save(tmp_path / f"{name}.tif", noise(0, 1, 8, 8), classes=(name,)) for name in "ab"]
    with pytest.raises(DataError, match="different classes"):
        blend(paths, [1, 1], tmp_path / "out.tif")


def test_targets_that_all_members_have_are_averaged_each_with_its_own(tmp_path):
    names = [["a", "b", "a:border", "b:border", "a:distance", "b:distance"], ["a", "b", "a:distance", "b:distance"]]
    values = [noise(seed, len(bands), 30, 40) for seed, bands in enumerate(names)]
    paths = [save(tmp_path / f"{n}.tif", *each) for n, each in enumerate(zip(values, [1, 1], names, strict=True))]
    blend(paths, [1, 1], tmp_path / "out.tif")
    with open_raster(tmp_path / "out.tif", ["a", "b"]) as raster:
        assert raster.classes == names[1]
        expected = (values[0][[0, 1, 4, 5]].astype(float) + values[1]) / 2
        assert np.abs(raster.read() - expected).max() <= 0.51
    alone = save(tmp_path / "alone.tif", noise(9, 2, 30, 40), classes=("a", "b"))
    blend([paths[0], alone], [1, 1], tmp_path / "masks.tif")
    with open_raster(tmp_path / "masks.tif") as raster:
        assert raster.classes == ["a", "b"]


def test_a_member_that_counts_for_nothing_takes_no_target_away(tmp_path):
    taught = save(tmp_path / "a.tif", noise(0, 2, 30, 40), classes=("a", "a:border"))
    paths = [taught, save(tmp_path / "b.tif", noise(1, 1, 30, 40), classes=("a",))]
    blend(paths, [1, 0], tmp_path / "out.tif")
    assert (load(tmp_path / "out.tif")[0] == load(taught)[0]).all()


def test_other_targets_do_not_stand_for_classes(tmp_path):
    path = save(tmp_path / "a.tif", noise(0, 2, 30, 40), classes=("a", "b:border"))
    with pytest.raises(DataError, match=r"holds the classes a, b:border, not a, b"), open_raster(path, ["a", "b"]):
        pass


def test_a_missing_map_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.tif"):
        blend([tmp_path / "none.tif"], [1], tmp_path / "out.tif")


def test_members_have_the_weights_of_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"near": 50, "far": 200}
    members = [Path("p") / name / "x1" for name in values]
    for member, value in zip(members, values.values(), strict=True):
        save(member / "x1.tif", np.full((1, 96, 96), value, np.uint8))
    order = EnsembleOrder(slides=["x1"], members=["near", "far"], weights={"far": 1, "near": 3})
    ensemble(order, members=members, weights=Path("w.json"), out=Path("e"))
    assert np.unique(load(Path("e/x1.tif"))[0]).tolist() == [round((3 * 50 + 200) / 4)]
    write_document(Path("w.json"), {"weights": {"near": 0.2, "far": 0.8}})
    order = EnsembleOrder(slides=["x1"], members=["near", "far"], weights={"near": 1, "far": 1}, fit=True)
    ensemble(order, members=members, weights=Path("w.json"), out=Path("f"))
    assert np.unique(load(Path("f/x1.tif"))[0]).tolist() == [round((50 + 4 * 200) / 5)]


def test_probabilities_in_half_precision_are_averaged_before_they_are_rounded(tmp_path):
    values = [np.full((1, 40, 50), value, np.float16) for value in (0.3125, 0.314)]
    blend([save(tmp_path / f"{n}.tif", each) for n, each in enumerate(values)], [1, 1], tmp_path / "out.tif")
    found, _ = load(tmp_path / "out.tif")
    assert found.dtype == np.uint8
    assert np.unique(found).tolist() == [round(255 * (0.3125 + 0.314) / 2)]


def spread_of(tmp_path, members, weights=None, within=None, classes=("a", "b")):
    """The spread of some maps (a band a class), 0 to 0.5, and what its map says of it."""
    paths = [save(tmp_path / f"{n}.tif", each, classes=classes) for n, each in enumerate(members)]
    own = [
        None if each is None else save(tmp_path / f"{n}.spread.tif", each, classes=["spread"])
        for n, each in enumerate(within or [None] * len(members))
    ]
    blend(paths, weights or [1] * len(members), tmp_path / "out.tif", Spread(own, tmp_path / "out.spread.tif"))
    with open_raster(tmp_path / "out.spread.tif", ["spread"]) as raster:
        assert raster.dtype == np.uint8
        return raster.read()[0] / 510, float(raster.tags["relative_spread"])


def test_the_spread_of_members_is_their_weighted_standard_deviation_over_classes(tmp_path):
    members = [noise(seed, 2, 70, 30) for seed in range(3)]
    shares = np.array([1, 2, 5]) / 8
    found, relative = spread_of(tmp_path, members, [1, 2, 5])
    values = np.stack(members) / 255
    centre = np.tensordot(shares, values, 1)
    expected = np.sqrt(np.tensordot(shares, (values - centre) ** 2, 1).mean(axis=0))
    assert np.abs(found - expected).max() < 0.0011
    assert relative == pytest.approx(expected.sum() / centre.mean(axis=0).sum(), abs=1e-3)
    blend([tmp_path / f"{n}.tif" for n in range(3)], [1, 2, 5], tmp_path / "alone.tif")
    assert (tmp_path / "alone.tif").read_bytes() == (tmp_path / "out.tif").read_bytes()


def test_the_spread_within_members_adds_to_that_between_them(tmp_path):
    members = [np.full((2, 40, 50), value, np.uint8) for value in (51, 153)]
    within = [np.full((1, 40, 50), 51, np.uint8), np.full((1, 40, 50), 0.3, np.float16)]
    found, relative = spread_of(tmp_path, members, [3, 1], within)
    between = 0.75 * 0.1**2 + 0.25 * 0.3**2
    expected = np.sqrt(0.75 * 0.1**2 + 0.25 * 0.3**2 + between)
    assert np.abs(found - expected).max() < 0.0011
    assert relative == pytest.approx(expected / 0.3, abs=1e-3)


def test_the_spread_of_one_member_is_that_of_its_folds(tmp_path):
    within = noise(1, 1, 30, 40)
    found, _ = spread_of(tmp_path, [noise(0, 2, 30, 40)], within=[within])
    assert (np.rint(found * 510) == within[0]).all()


def test_the_spread_of_a_slide_is_that_of_pixels_where_a_class_is_possible_by_what_is_predicted_there(tmp_path):
    member, within = np.zeros((2, 40, 50), np.uint8), np.full((1, 40, 50), 102, np.uint8)
    member[1, :10], within[0, :10] = 51, 204
    assert spread_of(tmp_path, [member], within=[within])[1] == pytest.approx(0.4 / 0.1, abs=1e-3)
    assert spread_of(tmp_path, [np.zeros_like(member)], within=[within])[1] == 0


def test_members_that_count_for_nothing_and_further_targets_have_no_part_in_the_spread(tmp_path):
    members = [noise(seed, 2, 20, 30) for seed in range(3)]
    members[1][0] = members[0][0]
    found, _ = spread_of(tmp_path, members, [1, 1, 0], [None, None, noise(9, 1, 20, 30)], ["a", "a:border"])
    assert (found == 0).all()


def test_the_spread_of_a_coarser_member_is_interpolated(tmp_path):
    fine = np.full((1, 60, 40), 100, np.uint8)
    paths = [save(tmp_path / "fine.tif", fine), save(tmp_path / "coarse.tif", fine[:, :30, :20], 2.0)]
    y, x = np.mgrid[:30, :20]
    own = save(tmp_path / "coarse.spread.tif", (4 * x + 2 * y)[None].astype(np.uint8), 2.0, ["spread"])
    blend(paths, [1, 1], tmp_path / "out.tif", Spread([None, own], tmp_path / "out.spread.tif"))
    found, frame = load(tmp_path / "out.spread.tif")
    y, x = np.mgrid[:60, :40]
    expected = (2 * (x - 0.5) + (y - 0.5)) * np.sqrt(0.5)
    assert frame.factor == 1
    assert np.abs(found[0] - expected)[1:-1, 1:-1].max() <= 0.51


def test_members_of_an_ensemble_tell_their_folds_where_the_order_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    members = [Path("p") / name / "x1" for name in ("near", "far")]
    for member in members:
        save(member / "x1.tif", np.full((1, 96, 96), 51, np.uint8))
    save(members[1] / "x1.spread.tif", np.full((1, 96, 96), 102, np.uint8), classes=["spread"])
    told = {"slides": ["x1"], "members": ["near", "far"], "weights": {"near": 1, "far": 3}}
    ensemble(EnsembleOrder(**told, spread=True, within=["far"]), members=members, weights=Path("w"), out=Path("e"))
    found, _ = load(Path("e/x1.spread.tif"))
    assert np.unique(found).tolist() == [round(510 * np.sqrt(0.75 * 0.2**2))]
    ensemble(EnsembleOrder(**told), members=members, weights=Path("w"), out=Path("f"))
    assert [path.name for path in Path("f").glob("*.tif")] == ["x1.tif"]
