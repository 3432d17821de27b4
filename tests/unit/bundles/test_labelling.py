"""A tile has the same objects in TorchScript as in the graph, whatever is asked of them."""

import time
import warnings

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tilewise import labels_of, same_partition

from tilewright.bundles.labelling import Wanted, components, label_objects
from tilewright.project.config import Segmentation
from tilewright.project.config.results import Seeds
from tilewright.project.project import Bounds


@pytest.fixture(scope="module")
def script():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(label_objects)


def field(draw, shape, smooth):
    """Smooth noise, uint8."""
    values = scipy.ndimage.gaussian_filter(draw.normal(size=shape), smooth)
    return np.rint(255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(3, 140), columns=st.integers(3, 140),
    smooth=st.sampled_from([0.3, 1, 2, 4]), threshold=st.sampled_from([0.4, 0.5, 128 / 255]),
    holes=st.sampled_from([0, 4, 90]), least=st.sampled_from([1, 8]), reach=st.sampled_from([1, 8, 20]),
    small=st.sampled_from([0, 9]), large=st.sampled_from([None, 300]), sure=st.sampled_from([0.0, 0.53]),
    confidence=st.sampled_from(["mean", "max"]), touching=st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_objects_are_those_of_the_graph(
    script, tmp_path_factory, seed, rows, columns, smooth, threshold, holes, least, reach, small, large, sure,
    confidence, touching,
):  # fmt: skip
    draw = np.random.default_rng(seed)
    values = np.stack([field(draw, (rows, columns), each) for each in (smooth, 2)])
    spec = Segmentation(
        fill_holes=holes, max_area=large, confidence=confidence, seeds=Seeds(least=least, reach=reach, touching=1)
    )
    names = ["gland", "gland:touching"] if touching else ["gland"]
    bounds = {"gland": Bounds(threshold, small, sure, 0.1)}
    expected = labels_of(values[: len(names)], names, bounds, spec, tmp_path_factory.getbasetemp())["gland"]

    pixels = torch.from_numpy(values.astype(np.float32))
    seeds = (pixels[0] - pixels[1]).clamp(min=0) > 25.5 if touching else torch.empty(0, dtype=torch.bool)
    wanted = Wanted(
        round(255 * threshold, 6),
        holes,
        small,
        -1.0 if large is None else large,
        sure,
        confidence == "max",
        least,
        reach,
    )
    found = script(pixels[0], seeds, wanted).numpy()
    assert same_partition(expected, found)
    assert set(np.unique(found)) | {0} == set(range(found.max() + 1)), "numbers have no gaps"


@pytest.mark.parametrize(("corners", "structure"), [(True, np.ones((3, 3))), (False, None)])
def test_components_are_numbered_by_their_first_pixels(corners, structure):
    mask = np.random.default_rng(0).random((60, 70)) > 0.55
    expected, _ = scipy.ndimage.label(mask, structure)
    assert (components(torch.from_numpy(mask).long(), corners).numpy() == expected).all()


def test_a_spiral_is_one_component():
    spiral = np.zeros((41, 41), np.int64)
    place, heading = np.array([0, 0]), np.array([0, 1])
    for length in range(40, 0, -2):
        for _ in range(2):
            for _ in range(length):
                spiral[tuple(place)] = 1
                place = place + heading
            heading = np.array([heading[1], -heading[0]])
    found = components(torch.from_numpy(spiral), False)
    assert found.max() == scipy.ndimage.label(spiral)[1]


def test_a_tile_of_512_pixels_takes_at_most_half_a_second_of_one_core(script):
    draw, threads = np.random.default_rng(1), torch.get_num_threads()
    values = torch.from_numpy(field(draw, (512, 512), 1).astype(np.float32))
    seeds = torch.from_numpy(field(draw, (512, 512), 2) > 140)
    torch.set_num_threads(1)
    try:
        took = []
        for _ in range(4):
            start = time.process_time()
            script(values, seeds, Wanted(127.5, 100, 9.0, -1.0, 0.3, False, 8, 8))
            took.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(took) < 0.5
