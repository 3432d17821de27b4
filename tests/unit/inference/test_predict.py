import numpy as np
import pytest
import torch
from bundling import content, member, write_bundle
from pixelwise import Pixelwise, Shifted, maps_of, write
from safetensors.torch import save, save_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tilewright.inference import bands, blending, pieces, predict
from tilewright.inference.blending import Band, Blend, blended
from tilewright.inference.layers import layers_of
from tilewright.inference.loading import load_bundled, load_model
from tilewright.inference.pieces import Piece
from tilewright.inference.predict import computed
from tilewright.inference.windows import blend_weights
from tilewright.pixels.grid import Corner, Frame, Size, Window, grid
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.bundle import read_bundle
from tilewright.project.config import Inference, width_and_height
from tilewright.project.orders import BundledModel, PredictOrder
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.runtime.hashed import file_hash

NOISE = np.random.default_rng(0)
real = predict.read_piece


def predicted(tmp_path, network, image, tissue=None, **options):
    """Mean probabilities (rows x columns, 0 to 255) of an image (3 x rows x columns)."""
    return maps_of(tmp_path, [network], image, tissue, **options)[""]


def plain(network, image, overlap, blend, window=64):
    """The same with whole arrays: every window's say of every pixel, and then what they say together."""
    (height, width), (wide, high) = image.shape[1:], width_and_height(window)
    padded = np.pad(image, ((0, 0), (0, max(high - height, 0)), (0, max(wide - width, 0))), mode="symmetric")
    total, weight = np.zeros(padded.shape[1:]), np.zeros(padded.shape[1:])
    least = np.full(padded.shape[1:], np.inf)
    for x, y in grid(Size(width, height), (wide, high), overlap):
        place = np.s_[y : y + high, x : x + wide]
        with torch.inference_mode():
            values = torch.sigmoid(network(torch.from_numpy(padded[(slice(None), *place)][None].copy())))[0, 0].numpy()
        weights = blend_weights(blend, (wide, high)).copy()
        if blend == "discard":
            side, end = round(wide * overlap) // 2, round(high * overlap) // 2
            weights[: end if y else 0] = 0
            weights[:, : side if x else 0] = 0
            weights[high - end if y + high < height else high :] = 0
            weights[:, wide - side if x + wide < width else wide :] = 0
        total[place] += values * weights
        weight[place] += weights
        least[place] = np.minimum(least[place], values)
    return (least if blend == "minimum" else total / weight)[:height, :width] * 255


WINDOWS = pytest.mark.parametrize("window", [64, [96, 40], [50, 120]], ids=str)


@WINDOWS
@pytest.mark.parametrize("band", [32, 64, 512])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
@pytest.mark.parametrize("blend", ["mean", "pyramid", "discard", "minimum"])
def test_bands_of_any_height_give_the_blend_of_the_whole_array(tmp_path, monkeypatch, band, overlap, blend, window):
    for module in (bands, blending, pieces):
        monkeypatch.setattr(module, "BLOCK", band)
        monkeypatch.setattr(module, "WIDEST", 2, raising=False)
    image = NOISE.integers(0, 256, (3, 203, 130), np.uint8)
    found = predicted(tmp_path, Shifted(), image, overlap=overlap, blend=blend, window=window)
    assert np.abs(found - plain(Shifted(), image, overlap, blend, window)).max() <= 0.51


@WINDOWS
@pytest.mark.parametrize("blend", ["pyramid", "discard", "minimum"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_an_image_too_wide_for_the_device_is_predicted_in_strips_without_seams(
    tmp_path, monkeypatch, overlap, blend, window
):
    for module in (bands, blending, pieces):
        monkeypatch.setattr(module, "BLOCK", 32)
        monkeypatch.setattr(module, "WIDEST", 2, raising=False)
    image = NOISE.integers(0, 256, (3, 203, 330), np.uint8)
    networks, options = (
        [Plus(0.0), Plus(1.0)],
        {"overlap": overlap, "blend": blend, "keep": ["folds"], "window": window},
    )
    whole = maps_of(tmp_path, networks, image, **options)
    networks[0].windows = 0
    monkeypatch.setattr(predict, "band_memory", lambda _device: 0)
    strips = maps_of(tmp_path, networks, image, **options)
    assert networks[0].windows > len(grid(Size(330, 203), width_and_height(window), overlap))
    for part, values in whole.items():
        assert (strips[part] == values).all()


def test_a_strip_holds_no_more_than_its_memory():
    layers = layers_of(["fold0", "fold1"], Inference(keep=["folds"]))
    blend = Blend(Inference(window=512), layers, 3, Size(10**6, 10**6))
    for memory in (10**9, 1024 * (3 + 4 * 10) * 8 * 4096):
        width = blend.strip_width(memory)
        strip, device = Window(0, 0, width, 10**6), torch.device("meta")
        rows = [
            bands.Rows(3, Window(0, 0, width + 1024, 10**6), 512, torch.uint8, device),
            bands.Rows(3 * 3, strip, 512, torch.float32, device),
            bands.Rows(1, strip, 512, torch.float32, device),
        ]
        held = sum(each.values.nbytes for each in rows)
        assert 0.6 * memory < held <= memory
    assert blend.strip_width(0) == 4096


@pytest.mark.filterwarnings("ignore")  # of MONAI's imports
@pytest.mark.parametrize("size", [(203, 130), (64, 64), (64, 300)])
def test_means_of_windows_are_those_of_monai(tmp_path, size):
    from monai.inferers import sliding_window_inference

    image = NOISE.integers(0, 256, (3, *size), np.uint8)
    network = Shifted()
    with torch.inference_mode():
        whole = torch.from_numpy(image)[None].float()
        expected = sliding_window_inference(whole, 64, 4, lambda batch: torch.sigmoid(network(batch)), overlap=0.25)
    found = predicted(tmp_path, network, image, overlap=0.25, blend="mean")
    assert np.abs(found - 255 * expected[0, 0].numpy()).max() <= 0.51


@pytest.mark.parametrize("blend", ["mean", "pyramid", "hann", "gaussian", "discard", "minimum"])
@pytest.mark.parametrize("size", [(1300, 70), (64, 64), (65, 64), (20, 300), (300, 20), (1, 1)])
def test_a_network_that_looks_at_single_pixels_gives_them_back(tmp_path, size, blend):
    image = NOISE.integers(0, 256, (3, *size), np.uint8)
    assert np.abs(predicted(tmp_path, Pixelwise(), image, blend=blend) - image.mean(0)).max() <= 0.51


def test_the_minimum_reaches_a_threshold_where_all_windows_do(tmp_path):
    """The kidney inference notebook stitches binarised windows by a logical AND."""
    image = NOISE.integers(0, 256, (3, 203, 130), np.uint8)
    found = predicted(tmp_path, Shifted(), image, overlap=0.5, blend="minimum")
    votes = np.ones(image.shape[1:], np.bool_)
    for x, y in grid(Size(130, 203), 64, 0.5):
        with torch.inference_mode():
            window = torch.from_numpy(image[None, :, y : y + 64, x : x + 64])
            votes[y : y + 64, x : x + 64] &= torch.sigmoid(Shifted()(window))[0, 0].numpy() >= 99.5 / 255
    assert ((found >= 100) == votes).all()


def test_the_size_of_a_batch_changes_nothing(tmp_path):
    image = NOISE.integers(0, 256, (3, 203, 130), np.uint8)
    one, seven, auto = (predicted(tmp_path, Shifted(), image, batch_size=size) for size in (1, 7, None))
    assert (one == seven).all()
    assert (one == auto).all()


def test_windows_without_tissue_are_not_computed_and_are_zero(tmp_path):
    image = np.full((3, 192, 128), 200, np.uint8)
    tissue = np.zeros((1, 192, 128), np.uint8)
    tissue[0, 150:, 100:] = 1
    network = Pixelwise()
    found = predicted(tmp_path, network, image, tissue, overlap=0.0)
    assert network.windows == 1
    assert (found[128:, 64:] == 200).all()
    assert found[:128].max() == found[:, :64].max() == 0
    predicted(tmp_path, network, image, tissue, overlap=0.0, skip_background=False)
    assert network.windows == 1 + 6


def test_an_image_without_tissue_is_told_of(tmp_path, capsys):
    found = predicted(tmp_path, Pixelwise(), np.full((3, 64, 128), 200, np.uint8), np.zeros((1, 64, 128), np.uint8))
    assert found.max() == 0
    assert (
        "image: 0 of 3 windows show tissue, so nothing is predicted; see tissue.method: none" in capsys.readouterr().err
    )


def test_an_object_on_a_seam_outlives_one_weak_window(tmp_path):
    """Where windows vote by AND, one of them that misses an object removes it."""
    with create_raster(tmp_path / "o.tif", Size(96, 64)) as out:
        sure, weak = (torch.full((1, 1, 64, 64), each) for each in (0.95, 0.1))
        blend = Blend(Inference(window=64), layers_of(["fold0"], Inference()), 1, Size(96, 64))
        corners = [Corner(0, 0), Corner(32, 0)]
        band = Band(Window(0, 0, 96, 64), blend, torch.device("cpu"))
        for part in blended(zip(corners, (sure, weak), strict=True), corners, blend, band):
            out.write(part.values.numpy(), part.x, part.y)
    with open_raster(tmp_path / "o.tif") as raster:
        row = raster.read()[0, 32]
    assert (row[:44] >= 128).all()
    assert (np.diff(row[32:64].astype(int)) <= 0).all()


class Plus(Shifted):
    """As ``Shifted``, with a number added to the logits: another fold of the same model."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, images):
        return super().forward(images) + self.number


FOLDS = [-0.5, 0.0, 1.5]


@pytest.mark.parametrize("blend", ["pyramid", "minimum", "discard"])
def test_all_folds_in_one_pass_give_the_mean_of_what_each_gives_alone(tmp_path, blend):
    image, options = NOISE.integers(0, 256, (3, 203, 130), np.uint8), {"overlap": 0.5, "blend": blend, "tta": "flips"}
    found = maps_of(tmp_path, [Plus(each) for each in FOLDS], image, keep=["folds"], **options)
    alone = [predicted(tmp_path, Plus(each), image, **options) for each in FOLDS]
    assert list(found) == ["", "fold0", "fold1", "fold2"]
    for fold, own in enumerate(alone):
        assert (found[f"fold{fold}"] == own).all()
    assert np.abs(found[""] - np.mean(alone, axis=0)).max() <= 1
    plain = maps_of(tmp_path, [Plus(each) for each in FOLDS], image, **options)
    assert list(plain) == [""]
    assert (plain[""] == found[""]).all()


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_covered_block_is_decoded_once_whatever_folds_and_overlap_and_no_other_is(tmp_path, monkeypatch, overlap):
    read = []

    def watched(image, window, *, pinned):
        read.append(window)
        return real(image, window, pinned=pinned)

    monkeypatch.setattr(predict, "read_piece", watched)
    tissue = np.zeros((1, 1100, 1300), np.uint8)
    tissue[0, :60, 1200:] = tissue[0, 1095:, :10] = 1
    maps_of(tmp_path, [Plus(each) for each in FOLDS], np.zeros((3, 1100, 1300), np.uint8), tissue, overlap=overlap)
    assert read == [Window(1024, 0, 276, 512), Window(0, 1024, 512, 76)]


def test_rows_are_there_before_a_batch_is_measured(tmp_path, monkeypatch):
    order = []
    for module, name in ((predict, "Rows"), (predict, "Band"), (predict, "fitting_size")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: (order.append(name), real(*given))[1])
    predicted(tmp_path, Pixelwise(), np.zeros((3, 64, 64), np.uint8))
    assert order == ["Rows", "Band", "fitting_size"]


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_convolutions_are_measured_once_for_the_one_size_of_windows_and_exact_in_32_bits(tmp_path, monkeypatch, half):
    seen = []

    class Watching(Pixelwise):
        gpu_dtype = half

        def forward(self, images):
            seen.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32))
            return super().forward(images)

    write(tmp_path / "a.image.tif", np.full((3, 40, 50), 128, np.uint8), Frame(0, 0, 50, 40, Size(50, 40)))
    write(tmp_path / "a.tissue.tif", np.ones((1, 40, 50), np.uint8))
    monkeypatch.setattr(predict, "load_folds", lambda _: ([Watching()], ["gland"]))
    order = PredictOrder(slides=["a"], parts=["fold0"], averaged=["fold0"], inference=Inference(window=64))
    predict.predict(order, models=[tmp_path], scaled=tmp_path, out=tmp_path / "out")
    assert seen == [(True, half is not None)]
    assert not torch.backends.cudnn.benchmark
    with open_raster(tmp_path / "out" / "a.tif", ["gland"]) as raster:
        assert (raster.read() == 128).all()


class Convolution(nn.Conv2d):
    """Two classes, in half precision on a GPU."""

    gpu_dtype = torch.float16

    def __init__(self):
        super().__init__(3, 2, 3, padding=1)

    def forward(self, images):
        return super().forward(images.float())


@pytest.mark.parametrize("blend", ["mean", "pyramid", "hann", "gaussian", "discard", "minimum"])
@pytest.mark.parametrize("depth", ["uint8", "float16"])
@pytest.mark.filterwarnings("ignore:CUDA is not available")  # of autocast
def test_what_a_device_does_stays_on_it(blend, depth):
    """On tensors that have a device and no values: what mixed devices, or asked for a value, would fail."""
    size, strip, device = Size(130, 20), Window(0, 0, 130, 20), torch.device("cuda")
    options = {"tta": "d4", "tta_scales": [1, 0.5], "batch_size": 2, "keep": ["folds", "views"]}
    inference = Inference(window=64, overlap=0.5, blend=blend, depth=depth, **options)
    corners = grid(size, 64, 0.5)
    with FakeTensorMode(), torch.inference_mode():
        with device:
            networks = [Convolution(), Convolution()]
        what = Blend(inference, layers_of(["fold0", "fold1"], inference), 2, size)
        image = Piece(0, 0, torch.zeros(3, 20, 130, dtype=torch.uint8))
        parts = list(computed(iter([image]), networks, corners, what, strip, "image"))
    assert {part.values.device.type for part in parts} == {"cuda"}
    assert {part.map for part in parts} == set(range(1 + 2 + 16))
    assert {part.values.dtype for part in parts} == {torch.uint8 if depth == "uint8" else torch.float32}


def test_views_are_kept_each_for_itself(tmp_path):
    image = NOISE.integers(0, 256, (3, 64, 64), np.uint8)
    networks = [Plus(each) for each in FOLDS[:2]]
    found = maps_of(tmp_path, networks, image, tta="flips", keep=["views"])
    assert list(found) == ["", "view0", "view1", "view2", "view3"]
    straight = maps_of(tmp_path, networks, image)[""]
    turned = maps_of(tmp_path, networks, np.ascontiguousarray(image[:, :, ::-1]))[""]
    assert (found["view0"] == straight).all()
    assert (found["view1"] == turned[:, ::-1]).all()
    assert np.abs(found[""] - np.mean([found[f"view{view}"] for view in range(4)], axis=0)).max() <= 1


def test_half_precision_keeps_what_bytes_round(tmp_path):
    image = NOISE.integers(0, 256, (3, 100, 70), np.uint8)
    exact, rounded = (predicted(tmp_path, Pixelwise(), image, depth=depth) for depth in ("float16", "uint8"))
    assert exact.dtype == np.float32
    assert np.abs(exact - image.mean(0) / 255).max() < 2**-11
    assert np.abs(rounded / 255 - image.mean(0) / 255).max() > 2**-10
    assert np.abs(255 * exact - rounded).max() <= 0.51 + 255 * 2**-11


def test_a_folder_without_a_usable_model_is_refused(tmp_path):
    write_document(tmp_path / "model.json", {"network": {"tiles": "a"}})
    with pytest.raises(DataError, match="holds no usable model"):
        load_model(tmp_path)


def test_weights_of_another_network_are_refused_and_told_apart_by_name(tmp_path):
    """As those that an earlier version wrote for a network that it built otherwise."""
    card = {"architecture": "AttentionUnet", "options": {}, "tiles": "a", "precision": "32"}
    before = {"network.head.2.weight": torch.zeros(1, 32, 3, 3), "network.gate": torch.zeros(1)}
    save_file(before, tmp_path / "model.safetensors")
    said = {"network": card, "classes": ["gland"], "weights": file_hash(tmp_path / "model.safetensors")}
    write_document(tmp_path / "model.json", said)
    with pytest.raises(DataError, match=r"weights of another network: \d+ missing: .*; 2 not in the network: ") as one:
        load_model(tmp_path)
    assert one.value.problems[0].remedy == "Delete the folder and run the same command again."
    one = member("old", folds=1, bands=[["gland", "mask"]])
    one["network"] |= {"architecture": "AttentionUnet", "encoder": None, "options": {}}
    said = content(members=[one], classes=content()["classes"][:1])
    folder = write_bundle(tmp_path / "bundle", said, {"weights/old/fold0.safetensors": save(before)})
    bundle = read_bundle(folder)
    with pytest.raises(DataError, match="do not fit the network of old") as one:
        load_bundled(folder, BundledModel.of(bundle, bundle.members[0]))
    assert "use the version that packed it" in one.value.problems[0].remedy


def test_frames_place_predictions_at_their_scale():
    assert Frame(10, 20, 101, 50, Size(500, 500), 2).size == Size(51, 25)
