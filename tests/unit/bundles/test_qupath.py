"""A folder for QuPath finds the objects of the graph, in a process without tilewright, or says what it cannot."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from bundling import content, member, write_real_bundle
from tilewise import labels_of, same_partition

from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.export import export
from tilewright.bundles.labelling import Wanted
from tilewright.bundles.qupath import WHOLE, _pixel, _tile, qupath_levels
from tilewright.bundles.tilescript import TileObjects
from tilewright.inference.predict import group_means
from tilewright.project.bundle import Bundle, read_bundle
from tilewright.project.config import Inference, Segmentation
from tilewright.project.project import Bounds
from tilewright.runtime.errors import UserError

CLASSES = ("gland", "vessel")
BANDS = [[name, target] for target in ("mask", "touching") for name in CLASSES]
LOW, HIGH = np.array([30.0, 20, 40]), np.array([235.0, 240, 250])
SEGMENTATION = {"fill_holes": 40, "seeds": {"reach": 6, "least": 4, "touching": 0.25}}
BOUNDS = {
    "gland": {"threshold": 0.06, "seed": 0.08, "min_confidence": 0.07},
    "vessel": {"threshold": 0.48, "seed": 0.42, "min_confidence": 0.52},
}
"""What networks that never saw an image find objects with, some by seeds and some without."""


def bundle_of(folder, **changes):
    said = content(
        members=[
            member("near", bands=BANDS),
            member("far", folds=1, bands=BANDS, weight=3, inference={"window": 64, "tta": "d4"}),
        ],
        segmentation=SEGMENTATION,
    )
    said["classes"] = [{"name": name, "color": "#112233", "min_area": 8, **own} for name, own in BOUNDS.items()]
    return write_real_bundle(folder, {**said, **changes})


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiles are so small that threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory, save_image):
    """An image whose percentiles are known."""
    share = np.clip(np.linspace(-0.1, 1.1, 300 * 300), 0, 1)
    pixels = (LOW + (HIGH - LOW) * share[:, None]).round().astype(np.uint8).reshape(300, 300, 3)
    save_image(tmp_path_factory.mktemp("sample") / "sample.png", pixels)
    return next(tmp_path_factory.getbasetemp().glob("sample*/sample.png"))


@pytest.fixture(scope="module")
def folders(bundle, sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "qupath"
    export(bundle, to="qupath", out=out, mpp=0.5, sample=sample)
    return out


def fed(pixels):
    """A tile as QuPath feeds it: 3 x rows x columns of float32."""
    low, high = np.percentile(pixels.reshape(-1, 3), (0.1, 99.9), axis=0)
    return np.moveaxis(np.clip((pixels - low) / (high - low + 1e-6), -0.5, 1.5), -1, 0).astype(np.float32)


def drawn(count):
    """Tiles of several sizes with blots."""
    draw = np.random.default_rng(3)
    for number in range(count):
        rows, columns = ((64, 96), (75, 50), (33, 40))[number % 3]
        coarse = draw.integers(0, 256, (rows // 6 + 2, columns // 6 + 2, 3)).repeat(6, axis=0).repeat(6, axis=1)
        yield np.clip(coarse[:rows, :columns] + draw.normal(0, 20, (rows, columns, 3)), 0, 255)


def of_the_graph(bundle, members, pixels, folder):
    """Objects of a tile by class, by the parts of the graph: predict, ensemble, segment."""
    images, total = torch.from_numpy(pixels)[None], 0.0
    for chosen, share in zip(members, (0.25, 0.75), strict=True):
        networks, inference = list(chosen.networks.values()), Inference(**chosen.spec.inference.model_dump())
        count = 8 if inference.tta == "d4" else 1
        group = frozenset((place, view) for place in range(len(networks)) for view in range(count))
        with torch.inference_mode():
            means = group_means(networks, images, inference, [group])[0, 0]
        total = total + np.float32(share) * (means * 255 + 0.5).to(torch.uint8).numpy().astype(np.float32)
    values = (total + np.float32(0.5)).astype(np.uint8)
    area = members[0].spec.scale.factor ** 2
    bounds = {one.name: Bounds(one.threshold, one.min_area / area, *one.bounds[2:]) for one in bundle.classes}
    spec = bundle.segmentation.model_copy(update={"fill_holes": int(bundle.segmentation.fill_holes / area)})
    return labels_of(values, members[0].bands, bounds, spec, folder)


@pytest.mark.slow
def test_objects_of_100_tiles_fed_as_quPath_feeds_them_are_those_of_the_graph(bundle, folders, tmp_path):  # noqa: N802
    read = read_bundle(bundle)
    members = chosen_members(bundle, read, [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripts = {name: torch.jit.load(folders / f"both-{name}" / "instanseg.pt") for name in CLASSES}
    objects = 0
    for pixels in drawn(100):
        tile = fed(pixels)
        low, high = (each.astype(np.float32)[:, None, None] for each in (LOW, HIGH))
        undone = np.rint(np.clip(tile * (high - low) + low, 0, 255)).astype(np.uint8)
        expected = of_the_graph(read, members, undone, tmp_path)
        for name in CLASSES:
            with torch.inference_mode():
                found = scripts[name](torch.from_numpy(tile)[None], {"target_segmentation": torch.tensor([1])})
            assert found.shape == (1, 1, *tile.shape[1:])
            assert found.dtype == torch.float32
            assert same_partition(expected[name], found[0, 0].numpy().astype(np.int64))
            objects += int(found.max())
    assert objects > 1000


@pytest.mark.slow
def test_a_process_without_tilewright_runs_it(folders):
    code = """
import sys, numpy as np, torch
sys.path[:] = [path for path in sys.path if "tilewright" not in path]
folder = sys.argv[1]
script = torch.jit.load(folder + "/instanseg.pt")
images = torch.from_numpy(np.load(folder + "/test-input.npy"))
found = script(images).numpy()
assert (found == np.load(folder + "/test-output.npy")).all()
assert found.max() > 3 and "tilewright" not in sys.modules
print(script(images[:, :, :50, :41]).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders / "both-gland")], capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([1, 1, 50, 41])\n"


@pytest.mark.slow
def test_the_description_tells_pixel_size_and_channels(folders):
    said = yaml.safe_load((folders / "both-vessel" / "rdf.yaml").read_text())
    assert said["name"] == "both-vessel"
    (given,), (labels,) = said["inputs"], said["outputs"]
    assert given["axes"][1]["channel_names"] == ["red", "green", "blue"]
    assert {axis["id"]: axis["scale"] for axis in labels["axes"][2:]} == {"y": 1.0, "x": 1.0}, "factor 2 of 0.5 um"
    assert labels["id"] == "instance_segmentation"
    assert labels["axes"][1]["channel_names"] == ["vessel"]
    assert (folders / "both-vessel" / "both-vessel_README.md").read_text().startswith("# both-vessel\n")


def test_levels_are_the_percentiles_of_quPath(sample):  # noqa: N802
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:50] = (200, 100, 50)
    pixels[0, 0] = 255
    assert qupath_levels(pixels) == [(0, 200), (0, 100), (0, 50)]
    assert qupath_levels(np.full((9, 9, 3), 7, np.uint8)) == [(7, 8)] * 3, "one colour has a span, too"
    rare = np.full((50, 40, 3), 100, np.uint8)
    rare[0, :10], rare[0, 10:20] = 20, 220  # five of a thousand
    assert qupath_levels(rare) == [(20, 220)] * 3


def test_what_becomes_an_object_is_told_in_pixels_of_the_tile():
    segmentation = {"fill_holes": 43, "max_area": 200, "confidence": "max", "min_confidence": 0.3}
    said = Bundle(**content(segmentation=segmentation), files={})
    found = [
        _tile(said.model_copy(update=changed), one, [], [], WHOLE, ["gland", "vessel"], 2.0).wanted
        for changed in ({}, {"segmentation": Segmentation()})
        for one in (said.classes[0], said.classes[1].model_copy(update={"min_confidence": 0.6, "threshold": 0.6}))
    ]
    assert found == [
        Wanted(102.0, 10, 0.75, 50.0, 0.3, True, 8, 1),
        Wanted(153.0, 10, 0.75, 50.0, 0.6, True, 8, 1),
        Wanted(102.0, 0, 0.75, -1.0, 0.0, False, 8, 1),
        Wanted(153.0, 0, 0.75, -1.0, 0.6, False, 8, 1),
    ]


def test_seeds_are_what_exceeds_their_level():
    tile = TileObjects([], [], WHOLE, 0, {0: 1.0, 1: -0.5}, 100.0, Wanted(10.0, 0, 0.0, -1.0, 0.0, False, 1, 5))
    values = torch.full((2, 1, 5), 100.0)
    values[1] = torch.tensor([[0.0, 200, 200, 200, 0]])  # what is between two seeds
    values[0, 0, 0] = 101
    assert tile.labelled(values).tolist() == [[1, 1, 1, 1, 1]], "the right one only reaches the level"
    values[0, 0, 4] = 101
    assert len(tile.labelled(values).unique()) == 2


def test_a_pixel_is_as_large_as_bundle_or_person_says():
    said = Bundle(**content(members=[member("near")]), files={})
    chosen = SimpleNamespace(spec=said.members[0])
    assert [_pixel(said, chosen, mpp) for mpp in (None, 0.25)] == [1.0, 0.5]


def test_what_a_file_cannot_do_is_told_at_once_with_what_leaves_it_out(tmp_path):
    coarse = {"scale": {"factor": 4}, "mpp": {"min": 2, "max": 2}}
    members = [member("near", inference={"window": 64, "tta_scales": [1, 2]}), member("far", **coarse)]
    bundle = bundle_of(tmp_path / "b", members=members, segmentation={"split": {}, "inside": ["cortex"]})
    with pytest.raises(UserError) as error:
        export(bundle, to="qupath", out=tmp_path / "out")
    text = str(error.value)
    assert "near, far work at several scales" in text
    assert "Leave it out: --without split." in text
    assert "keeps objects inside cortex only" in text
    assert "--without inside" in text
    assert "Leave views out: --without views." in text
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_is_left_out_leaves_the_rest(tmp_path):
    bundle = bundle_of(
        tmp_path / "b",
        segmentation={"split": {}, "inside": ["cortex"], "seeds": None},
        members=[member("near", folds=1)],
    )
    export(bundle, to="qupath", out=tmp_path / "out", without=["split", "inside"])
    assert sorted(path.name for path in (tmp_path / "out").glob("both-*")) == ["both-gland", "both-vessel"]


def test_a_pixel_size_that_nobody_tells_is_asked_for(tmp_path):
    unknown = bundle_of(tmp_path / "a", members=[member("near", mpp=None)])
    with pytest.raises(UserError, match=r"no training slide told its pixel size"):
        export(unknown, to="qupath", out=tmp_path / "out")
    physical = bundle_of(tmp_path / "b", members=[member("near", scale={"mpp": 1.0})])
    with pytest.raises(UserError, match=r"areas of the bundle count in pixels of slides, whose size it does not tell"):
        export(physical, to="qupath", out=tmp_path / "out")


def test_options_of_another_program_are_refused(bundle, tmp_path):
    with pytest.raises(UserError, match=r"(?s)--without: is of no use to onnx.*--mpp: is of no use to onnx"):
        export(bundle, to="onnx", out=tmp_path / "out", without=["split"], mpp=0.5)
