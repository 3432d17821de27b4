from collections import Counter

import numpy as np
import pytest

from tilewright.pixels.grid import Size
from tilewright.project.config import Network
from tilewright.runtime.errors import DataError
from tilewright.tiles.archive import TileTable, TrainingShard, read_table
from tilewright.tiles.tile import tile_archive
from tilewright.training.sampling import EachOnce, EpochSampler, Margin, draw_weights, raked, sampler

CLASSES = ["gland", "vessel"]
COVERAGE = np.array([[0.5, 0], [0, 0.2], [0.1, 0.3], [0, 0], [0, 0], [0.4, 0]], np.float32)


def table():
    return TileTable(
        archive=np.zeros(6, np.int64),
        index=np.arange(6),
        slide=np.array(["a", "a", "b", "b", "b", "p"]),
        source=np.array(["one", "one", "one", "one", "two", "two"]),
        group=np.array(["x", "x", "y", "y", "y", "z"]),
        role=np.array(["train", "train", "train", "external", "external", "pseudo"]),
        kind=np.array(["grid", "object", "grid", "background", "background", "grid"]),
        x=np.zeros(6, np.int64),
        y=np.zeros(6, np.int64),
        mpp=np.full(6, np.nan, np.float32),
        coverage=COVERAGE,
        labelled=np.ones((6, 2), bool),
    )


def network(**options):
    return Network(tiles="any", **options)


def weights(tiles=None, **sampling):
    return draw_weights(tiles or table(), [], network(sampling=sampling), CLASSES)


def shares(values, drawn):
    return {str(name): float(drawn[values == name].sum()) for name in np.unique(values)}


def test_without_rates_every_tile_comes_once_before_any_comes_twice():
    assert weights() is None
    drawn = [draw.row for draw in EpochSampler(None, 6, 15, seed=0)]
    assert sorted(drawn[:6]) == sorted(drawn[6:12]) == list(range(6))
    assert len(set(drawn[12:])) == 3


def test_rounds_go_on_from_one_epoch_to_the_next():
    drawn = []
    for epoch in range(3):
        epochs = EpochSampler(None, 6, 4, seed=0)
        epochs.set_epoch(epoch)
        drawn += [draw.row for draw in epochs]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == list(range(6))


def test_batches_are_full_and_each_draw_counts_once():
    drawn = list(EpochSampler(None, 7, 7, seed=0, batch=4))
    assert len(drawn) == len(EpochSampler(None, 7, 7, seed=0, batch=4)) == 8
    assert sorted(draw.row for draw in drawn if draw.counts) == list(range(7))


def test_rates_that_no_tile_fulfils_are_an_error_that_names_them():
    with pytest.raises(DataError) as raised:
        weights(rates={"kind": {"object": 1}, "source": {"two": 1}})
    assert str(raised.value) == (
        "config, models: sampling: no tile to train on fulfils the rates of kind and source together.\n"
        "  Give other rates, or leave one of them out."
    )


@pytest.mark.parametrize("column", ["kind", "source", "group", "slide", "role"])
def test_equal_rates_give_each_value_of_a_column_the_same_share(column):
    found = shares(getattr(table(), column), weights(rates={column: "equal"}))
    assert list(found.values()) == pytest.approx([1 / len(found)] * len(found))


def test_the_class_of_a_tile_is_the_one_that_covers_most_of_it():
    drawn = weights(rates={"class": {"gland": 0.5, "vessel": 0.3}})
    assert drawn[[0, 5]].sum() == pytest.approx(0.5)
    assert drawn[[1, 2]].sum() == pytest.approx(0.3)
    assert drawn[[3, 4]].sum() == pytest.approx(0.2)
    assert weights(rates={"class": {"none": 0.7}})[[3, 4]].sum() == pytest.approx(0.7)


def test_named_values_have_their_rate_and_the_others_share_the_rest_by_their_tiles():
    found = shares(table().kind, weights(rates={"kind": {"object": 0.4}}))
    assert found == pytest.approx({"object": 0.4, "grid": 0.6 * 3 / 5, "background": 0.6 * 2 / 5})
    one_other = shares(table().kind, weights(rates={"kind": {"grid": 0.3, "background": 0.3}}))
    assert one_other == pytest.approx({"object": 0.4, "grid": 0.3, "background": 0.3})


def test_rates_of_several_columns_hold_together():
    drawn = weights(rates={"source": "equal", "kind": {"grid": 0.5, "background": 0.3, "object": 0.2}})
    assert shares(table().source, drawn) == pytest.approx({"one": 0.5, "two": 0.5}, abs=1e-6)
    assert shares(table().kind, drawn) == pytest.approx({"grid": 0.5, "background": 0.3, "object": 0.2}, abs=1e-6)


def test_slides_come_by_the_pixels_that_classes_cover():
    found = shares(table().slide, weights(rates={"slide": "area"}))
    assert found == pytest.approx({"a": 0.7 / 1.5, "b": 0.4 / 1.5, "p": 0.4 / 1.5})


def test_where_nothing_is_covered_slides_come_equally_often():
    bare = table().select(~COVERAGE.any(axis=1))
    bare.slide[:] = ["b", "c"]
    assert weights(bare, rates={"slide": "area"}) == pytest.approx([0.5, 0.5])


def test_pseudo_labelled_and_external_tiles_come_at_their_rates():
    model = network(pseudo={"from": "first", "rate": 0.15}, sampling={"rates": {"role": {"external": 0.2}}})
    drawn = draw_weights(table(), [], model, CLASSES)
    assert shares(table().role, drawn) == pytest.approx({"pseudo": 0.15, "external": 0.2, "train": 0.65})


def test_the_rate_of_pseudo_labelled_tiles_needs_no_other_rates():
    drawn = draw_weights(table(), [], network(pseudo={"from": "first", "rate": 0.15}), CLASSES)
    assert shares(table().role, drawn) == pytest.approx(
        {"pseudo": 0.15, "train": 0.85 * 3 / 5, "external": 0.85 * 2 / 5}
    )


def test_a_rate_of_what_is_absent_goes_to_the_others():
    assert shares(table().kind, weights(rates={"kind": {"other": 0.5}}))["grid"] == pytest.approx(0.5)


def test_hard_slides_come_more_often_than_the_rates_say():
    plain, hard = weights(rates={"slide": "equal"}), weights(rates={"slide": "equal"}, multipliers={"b": 3})
    assert shares(table().slide, plain) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "p": 1 / 3})
    assert shares(table().slide, hard) == pytest.approx({"a": 0.2, "b": 0.6, "p": 0.2})


def test_contradictory_margins_end_with_the_last_one():
    stratum = np.array([0, 1])
    found = raked(np.array([0.5, 0.5]), [Margin(stratum, np.array([0.9, 0.1])), Margin(stratum, np.array([0.2, 0.8]))])
    assert found == pytest.approx([0.2, 0.8])


def write_masks(path, masks):
    count, rows, columns = masks.shape
    with tile_archive(path, CLASSES, Size(columns, rows)) as writer:
        writer.archive["masks"].resize(count, axis=0)
        writer.archive["masks"][:] = masks


def test_tiles_without_a_class_in_their_centre_are_mostly_passed_over(tmp_path):
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[0, 16, 16] = 1  # gland in the centre
    masks[1, 2, 2] = 2  # vessel in a corner
    masks[2, 16, 16] = 4  # an ignored pixel in the centre
    path = tmp_path / "a.h5"
    write_masks(path, masks)
    three = table().select(np.arange(6) < 3)
    model = network(sampling={"center": 20, "center_rate": 0.9})
    assert draw_weights(three, [path], model, CLASSES) == pytest.approx(np.array([1, 0.1, 0.1]) / 1.2)
    assert draw_weights(three, [path], model, CLASSES, np.array([True, True, False])) == pytest.approx(
        np.array([1, 0.1, 1]) / 2.1
    )
    assert sampled_shares(three, [path], model, np.array([True, False, True])) == pytest.approx(
        np.array([1, 1, 0.1]) / 2.1, abs=0.03
    )


def sampled_shares(tiles, archives, model, cut):
    drawn = sampler(tiles, archives, model.model_copy(update={"tiles_per_epoch": 4000}), CLASSES, cut=cut)
    return np.bincount([draw.row for draw in drawn], minlength=len(tiles)) / 4000


@pytest.mark.parametrize(("row", "column", "inside"), [
    (6, 20, True), (5, 20, False), (25, 20, True), (26, 20, False),
    (10, 14, True), (10, 13, False), (10, 33, True), (10, 34, False),
])  # fmt: skip
def test_the_centre_of_a_tile_is_a_square_in_its_middle(tmp_path, row, column, inside):
    masks = np.zeros((2, 32, 48), np.uint8)
    masks[:, row, column], masks[1, 16, 24] = 1, 1
    write_masks(tmp_path / "a.h5", masks)
    two = table().select(np.arange(6) < 2)
    found = draw_weights(two, [tmp_path / "a.h5"], network(sampling={"center": 20, "center_rate": 0.75}), CLASSES)
    assert found[0] / found[1] == pytest.approx(1 if inside else 0.25)


def test_where_the_centre_is_the_tile_its_first_and_last_pixels_count(tmp_path):
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[0, 0, 0] = masks[1, 31, 31] = 1
    write_masks(tmp_path / "a.h5", masks)
    three = table().select(np.arange(6) < 3)
    for center in (32, 64):
        model = network(sampling={"center": center, "center_rate": 0.75})
        found = draw_weights(three, [tmp_path / "a.h5"], model, CLASSES)
        assert found == pytest.approx(np.array([1, 1, 0.25]) / 2.25)


def test_where_no_centre_holds_a_class_and_all_others_are_passed_over_each_tile_comes(tmp_path):
    write_masks(tmp_path / "a.h5", np.zeros((3, 32, 32), np.uint8))
    three = table().select(np.arange(6) < 3)
    model = network(sampling={"center": 20, "center_rate": 1})
    assert draw_weights(three, [tmp_path / "a.h5"], model, CLASSES) == pytest.approx([1 / 3] * 3)


def test_classes_and_devices_reach_the_sampler():
    model = network(batch_size=2, devices=2, tiles_per_epoch=40, sampling={"rates": {"class": {"vessel": 1}}})
    halves = [list(sampler(table(), [], model, CLASSES, device)) for device in range(2)]
    assert {draw.row for half in halves for draw in half} == {1, 2}
    assert [len(half) for half in halves] == [20, 20]
    assert [draw.seed for draw in halves[0]] != [draw.seed for draw in halves[1]]
    first = list(sampler(table(), [], model.model_copy(update={"devices": 1}), CLASSES))
    assert halves[0] == first[::2]


def test_each_draw_has_a_seed_of_its_own():
    seeds = [draw.seed for draw in EpochSampler(None, 6, 3000, seed=0)]
    assert len(set(seeds)) > 2990
    assert max(seeds) > 2**30


def test_draws_follow_their_weights_and_their_seeds_alone():
    tiles = table()
    model = network(tiles_per_epoch=6000, sampling={"rates": {"source": "equal"}})
    drawn = Counter(str(tiles.source[draw.row]) for draw in sampler(tiles, [], model, CLASSES))
    assert drawn["one"] / 6000 == pytest.approx(0.5, abs=0.02)
    first, again = (list(sampler(tiles, [], model, CLASSES)) for _ in range(2))
    assert first == again
    other = sampler(tiles, [], model, CLASSES)
    other.set_epoch(1)
    assert list(other) != first


@pytest.mark.parametrize("devices", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_devices_share_the_draws_of_one_and_each_counts_once(devices, count):
    alone = list(EpochSampler(None, 6, count, seed=3))
    shared = [list(EpochSampler(None, 6, count, 3, devices, device, devices)) for device in range(devices)]
    assert {len(part) for part in shared} == {-(-count // devices)}
    together = [draw for step in zip(*shared, strict=True) for draw in step]
    assert [draw for draw in together if draw.counts] == alone


def test_validation_tiles_are_shared_in_order_and_each_counts_once():
    shared = [list(EachOnce(5, device, 2)) for device in range(2)]
    assert [[(draw.row, draw.counts) for draw in part] for part in shared] == [
        [(0, True), (2, True), (4, True)],
        [(1, True), (3, True), (0, False)],
    ]


def test_group_and_role_of_a_tile_are_those_of_its_shard(tmp_path):
    with tile_archive(tmp_path / "a.h5", CLASSES, Size(32, 32)):
        pass
    assert len(read_table([TrainingShard(tmp_path / "a.h5", "g", "external")], CLASSES)) == 0
