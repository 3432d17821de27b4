import numpy as np
import pytest

from tilewright.check.proposal import Machine, planned
from tilewright.check.survey import Facts, LabelFacts
from tilewright.pixels.grid import Size

CPU = Machine(2, False, 300_000.0)


def facts(diameters=(40.0,), **changes):
    """Ten slides of 4,096 pixels with some outlines of one label each."""
    found = {
        "labels": {"gland": LabelFacts(np.array(diameters, float), 10)},
        "marked": [], "objects": None, "unlabelled": False, "rle_order": None, "covered": 0.1, "touching": 0.0,
        "sizes": [Size(4096, 4096)] * 10, "mpp": None, "tissue": [0.5] * 10, "groups": 10, "tests": 0,
    }  # fmt: skip
    return Facts(**{**found, **changes})


def plan(machine=CPU, minutes=60.0, **changes):
    return planned(facts(**changes), machine, minutes)


@pytest.mark.parametrize(
    ("diameters", "factor"),
    [
        ([300.0] * 20, 4),  # 75 pixels: the middle one should have 64
        ([300.0] * 2000, 16),  # 18 pixels: many and small ones should have 16
        ([20.0] * 2000, 1),
        ([5.0] * 20, 1),  # nothing is enlarged
        ([20.0] * 3 + [600.0] * 17, 2),  # small ones keep 10 pixels
        ([1e5] * 20, 32),
    ],
)
def test_the_scale_keeps_small_outlines_and_the_middle_one_large_enough(diameters, factor):
    found = plan(diameters=diameters)
    assert found.scale.value == {"factor": factor}
    middle = np.median(diameters) / factor
    assert f"the middle one {middle:.0f}" in found.scale.reason


def test_the_smallest_class_decides_the_scale():
    labels = {"gland": LabelFacts(np.full(30, 900.0), 5), "cell": LabelFacts(np.full(3, 22.0), 1)}
    assert plan(labels=labels).scale.value == {"factor": 2}


def test_slides_that_tell_their_pixels_have_a_scale_in_micrometres():
    assert plan(diameters=[300.0] * 20, mpp=(0.25, 0.252)).scale.value == {"mpp": 1.0}
    mixed = plan(diameters=[300.0] * 20, mpp=(0.25, 0.5)).scale
    assert mixed.value == {"mpp": 2.0}
    assert "0.25 to 0.5" in mixed.reason


def test_a_tile_holds_four_large_outlines_and_is_no_larger_than_most_images():
    assert plan(diameters=[100.0] * 20).tile.value == 416
    assert plan(diameters=[20.0] * 2000).tile.value == 256
    assert plan(diameters=[700.0] * 20).tile.value == 352
    small = plan(diameters=[100.0] * 20, sizes=[Size(700, 300)] * 10)
    assert small.tile.value == small.window.value == 288
    assert "300 pixels or more" in small.tile.reason
    odd = plan(diameters=[100.0] * 20, sizes=[*[Size(2000, 1500)] * 20, Size(40, 40)])
    assert odd.tile.value == 416, "one small image does not decide for all"
    assert plan(diameters=[9.0] * 20, sizes=[Size(30, 30)] * 9).tile.value == 32


def test_windows_overlap_by_a_large_outline():
    assert plan(diameters=[20.0] * 2000).overlap.value == 0.25
    assert plan(diameters=[100.0] * 20, sizes=[Size(256, 256)]).overlap.value == 0.4
    assert plan(diameters=[100.0] * 20, sizes=[Size(96, 96)]).overlap.value == 0.5


def test_few_tiles_overlap_and_rare_classes_have_tiles_of_their_own():
    assert plan(sizes=[Size(1024, 1024)] * 10).tile_overlap.value == 0.25
    assert plan(sizes=[Size(65536, 65536)] * 10).tile_overlap.value == 0
    assert plan(covered=0.019).objects.value is True
    assert plan(covered=0.021).objects.value is False


def test_folds_and_the_final_training_follow_from_the_groups():
    assert [plan(groups=count, minutes=999).folds.value for count in (2, 4, 5, 90)] == [2, 4, 5, 5]
    assert [plan(groups=count).final.value for count in (2, 20, 21)] == [True, True, False]


def test_where_time_is_short_folds_are_as_many_as_run_side_by_side():
    """Of two processors: three folds and the final training take two turns, four and five take three."""
    assert [plan(minutes=10, groups=count).folds.value for count in (2, 3, 4, 9)] == [2, 3, 3, 3]
    assert plan(minutes=10, groups=30).folds.value == 4, "without a final training"
    assert plan(Machine(6, False, 3e5), 5, groups=9).folds.value == 5
    assert "the time is short" in plan(minutes=10).folds.reason


@pytest.mark.parametrize("minutes", [5, 60, 600])
@pytest.mark.parametrize("machine", [CPU, Machine(1, False, 3e5), Machine(8, False, 3e5), Machine(1, True, 5e7)])
def test_trainings_take_the_time_that_is_left_for_them(machine, minutes):
    found = plan(machine, minutes)
    trainings = found.folds.value + found.final.value
    pixels = found.epochs.value * found.tiles_per_epoch.value * found.crop.value**2
    seconds = pixels / machine.rate * -(-trainings // machine.trainings)
    assert 0.5 * 60 * minutes < seconds <= 0.6 * 60 * minutes + 1
    assert found.epochs.value <= 25


def test_a_gpu_takes_larger_crops_and_as_many_as_fit():
    gpu = plan(Machine(1, True, 5e7))
    assert (gpu.crop.value, gpu.batch_size.value) == (256, "auto")
    assert (plan().crop.value, plan().batch_size.value) == (128, 4)


def test_crowded_objects_are_cut_and_others_are_not():
    assert plan(touching=0.049).split is None
    assert plan(touching=0.051, diameters=[40.0] * 20).split.value == {"distance": 20}
    assert plan(touching=0.5, diameters=[4.0] * 20).split.value == {"distance": 3}


@pytest.mark.parametrize(("share", "method"), [(0.02, "none"), (0.06, "color"), (0.94, "color"), (0.96, "none")])
def test_tissue_is_looked_for_where_there_is_glass_as_well(share, method):
    assert plan(tissue=[share] * 10).tissue.value == method


def test_dark_images_among_others_have_no_tissue_to_look_for():
    assert plan(tissue=[0.5] * 8 + [0.01] * 2).tissue.value == "none"
    assert plan(tissue=[0.5] * 9 + [0.01]).tissue.value == "color"


def test_labels_become_names_that_files_may_have():
    one = LabelFacts(np.array([40.0]), 1)
    labels = {"Blood vessel (small)": one, "any": one, "a/b": one, "a b": one, "Drüse": one}
    found = plan(labels=labels)
    assert {name: choice.value for name, choice in found.classes.items()} == {
        "Blood_vessel_small": ["Blood vessel (small)"], "any_": ["any"], "a_b": ["a/b"], "a_b_": ["a b"],
        "Dr_se": ["Drüse"],
    }  # fmt: skip
    assert found.classes["a_b"].reason == "1 outline on 1 slide"


def test_outlines_are_read_as_they_were_for_the_plan():
    assert plan().annotations == {}
    found = plan(
        marked=["Border*", "Ignore*", "Region*", "ignore me*"], unlabelled=True, rle_order="row_major"
    ).annotations
    assert {key: choice.value for key, choice in found.items()} == {
        "unlabelled": "object", "rle_order": "row_major", "ignore": ["Ignore*", "ignore me*"], "discard": ["Border*"],
    }  # fmt: skip
