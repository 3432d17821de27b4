"""A bundle holds all that a prediction needs and nothing else, and says it in words and numbers."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
import pyvips
import torch
from bundling import content, member, write_bundle
from safetensors.torch import load, load_file

from tilewright.bundles.pack import pack
from tilewright.inference.loading import load_model
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster
from tilewright.project.bundle import bundle_file, read_bundle
from tilewright.project.config import BundleText, Segmentation, Slides, Tissue, Windows
from tilewright.project.orders import BundledModel, PackOrder
from tilewright.runtime.atomic import MARK
from tilewright.runtime.documents import read_document, write_document
from tilewright.runtime.errors import DataError
from tilewright.training.architectures import build_network

SLIDES = {"Patient_Schmidt_7": "shard_of_Schmidt", "Patient_Meier_9": "shard_of_Meier"}
EXAMPLE = "Patient_Meier_9"
TEXT = {"title": "Glands of the skin", "authors": ["A. Writer"], "licence": "CC-BY-4.0", "cite": "Writer 2026"}
SCORES = [
    {"class_name": name, "source": source, "dice": dice, "slides": slides, "groups": groups}
    for name, source, dice, slides, groups in (
        ("gland", None, 0.812345, 41, 17),
        ("gland", "site two", 0.654321, 11, 5),
        ("vessel", None, None, 42, 18),
    )
]


class Packer:
    """Packs an ensemble of two models, of which one was trained with further heads."""

    def __init__(self, folder):
        self.folder = folder
        self.places = {name: folder / name for name in ("models", "scaled")}
        self.places |= {name: folder / f"{name}.json" for name in ("calibration", "weights")}

    def order(self, **changes):
        rows = [{"slide": slide, "shard": shard} for slide, shard in SLIDES.items()]
        shared = {"inference": Windows(window=64, blend="hann"), "parts": ["fold0", "fold1"]}
        members = [{"name": name, **shared} for name in ("near", "far")]
        settings = {
            "format": 1, "ensemble": "both", "text": BundleText(**TEXT), "members": members,
            "bundles": {}, "starts": [],
            "colors": {"gland": "#112233", "vessel": "#d95f02"}, "weights": {"near": 3, "far": 1}, "fit": False,
            "aim": "pooled", "tissue": Tissue(), "slides": Slides(), "segmentation": Segmentation(fill_holes=7),
            "seen": rows, "examples": [],
            **changes,
        }  # fmt: skip
        return PackOrder(**settings)

    def __call__(self, out, zip_=False, **changes):
        pack(self.order(**changes), **self.places, out=out, zip_=zip_)
        return out


@pytest.fixture(scope="session")
def packed_from(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    for model, heads in (("near", {"deep_supervision": 1, "image_loss": 0.5, "resize": [96, 64]}), ("far", {})):
        for fold in (0, 1):
            trained(folder / "models" / model / f"fold{fold}", fold=fold, epochs=1, precision="32", **heads)
    for number, (slide, shard) in enumerate(SLIDES.items()):
        size = Size(1500, 900)
        tags = {**Frame(0, 0, *size, size).tags(), "file": f"{number:064x}"}
        (folder / "scaled" / shard).mkdir(parents=True)
        with create_raster(folder / "scaled" / shard / f"{slide}.image.tif", size, bands=3, tags=tags) as raster:
            raster.write(np.full((3, 900, 1500), 40 * (number + 1), np.uint8), 0, 0)
    bounds = {"thresholds": {"gland": 0.437, "vessel": 0.251}, "min_area": {"gland": 31, "vessel": 0}}
    write_document(folder / "calibration.json", {**bounds, "scores": SCORES, "slides": list(SLIDES)})
    write_document(folder / "weights.json", {"weights": {"near": 0.7, "far": 0.3}})
    return Packer(folder)


@pytest.fixture(scope="session")
def packed(packed_from, tmp_path_factory):
    """The folder of a bundle, with its zip beside it."""
    return packed_from(tmp_path_factory.mktemp("bundles") / "both", zip_=True)


def files_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


WEIGHTS = [f"weights/{model}/fold{fold}.safetensors" for model in ("far", "near") for fold in (0, 1)]


def test_what_was_fitted_for_objects_goes_along(packed_from, tmp_path):
    fitted = read_document(packed_from.places["calibration"])
    told = {"min_confidence": {"gland": 0.71, "vessel": 0.0}, "seed": {"gland": 0.5, "vessel": 0.3}}
    scores = [{**one, "f1": 0.25} for one in SCORES]
    write_document(tmp_path / "objects.json", {**fitted, **told, "scores": scores})
    pack(
        packed_from.order(aim="objects"),
        **{**packed_from.places, "calibration": tmp_path / "objects.json"},
        out=tmp_path / "out",
    )
    found = read_bundle(tmp_path / "out")
    assert [one.bounds for one in found.classes] == [(0.437, 31, 0.71, 0.5), (0.251, 0, 0.0, 0.3)]
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| gland | #112233 | 0.437 | 31 | 0.71 |\n| vessel | #d95f02 | 0.251 | 0 | 0.00 |\n" in readme
    assert "Dice and F1 of objects on the training slides (of all slides as one)" in readme
    assert "| gland | together | 0.812 | 0.250 | 41 | 17 |\n" in readme


def test_a_bundle_holds_what_it_says_and_nothing_else(packed):
    assert sorted(files_of(packed)) == ["README.md", "bundle.json", *WEIGHTS]
    found = read_bundle(packed)
    assert all(bundle_file(packed, found, name) for name in found.files)
    assert [(one.name, one.color, one.threshold, one.min_area) for one in found.classes] == [
        ("gland", "#112233", 0.437, 31),
        ("vessel", "#d95f02", 0.251, 0),
    ]
    near, far = found.members
    assert (near.name, near.weight, near.scale.factor, near.mpp) == ("near", 3, 1, None)
    assert (near.inference.window, near.inference.blend) == (64, "hann")
    assert [(one.role, one.file) for one in far.weights] == [(f"fold{fold}", WEIGHTS[fold]) for fold in (0, 1)]
    assert near.bands == far.bands == [("gland", "mask"), ("vessel", "mask")]
    assert found.trained_on == [f"{number:064x}" for number in (0, 1)]
    assert [score.model_dump() for score in found.scores] == SCORES
    assert found.segmentation.fill_holes == 7
    assert {"tilewright", "torch"} <= set(found.versions)
    assert not {"batch_size", "threads"} & set(
        json.loads((packed / "bundle.json").read_text())["members"][0]["inference"]
    )


@pytest.mark.parametrize("model", ["near", "far"])
def test_a_network_built_from_a_bundle_says_what_the_trained_one_says(packed_from, packed, model):
    bundle = read_bundle(packed)
    member = next(one for one in bundle.members if one.name == model)
    for fold, one in enumerate(member.weights):
        trained, classes = load_model(packed_from.folder / "models" / model / f"fold{fold}")
        network = build_network(member.network.to_build(), len(classes), pretrained=False)
        network.load_state_dict(load(bundle_file(packed, bundle, one.file)))
        images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.equal(network.eval()(images), trained(images))


def test_heads_that_only_training_needs_are_left_out_and_other_tensors_are_as_trained(packed_from, packed):
    for model, more in (("near", True), ("far", False)):
        before = load_file(packed_from.folder / "models" / model / "fold0" / "model.safetensors")
        after = load_file(packed / f"weights/{model}/fold0.safetensors")
        assert {name.split(".")[0] for name in before.keys() - after.keys()} == (
            {"coarse_heads", "image_head"} if more else set()
        )
        assert all(torch.equal(after[name], before[name]) for name in after)


def test_no_slide_is_named_or_shown_unless_the_config_names_it(packed_from, packed, tmp_path):
    names = [name.encode() for name in (*SLIDES, *SLIDES.values())]
    assert all(name not in data for data in files_of(packed).values() for name in names)
    assert all(name not in packed.with_name("both.zip").read_bytes() for name in names)
    example = {"slide": EXAMPLE, "shard": SLIDES[EXAMPLE]}
    told = files_of(packed_from(tmp_path / "both", examples=[example], text=BundleText(**TEXT, examples=[EXAMPLE])))
    assert sorted(told) == ["README.md", "bundle.json", f"examples/{EXAMPLE}.jpg", *WEIGHTS]
    for name, data in told.items():
        assert b"Schmidt" not in data
        assert (EXAMPLE.encode() in data) == (name == "bundle.json")


def test_an_example_is_a_small_picture_of_the_slide(packed_from, tmp_path):
    example = {"slide": EXAMPLE, "shard": SLIDES[EXAMPLE]}
    picture = packed_from(tmp_path / "both", examples=[example]) / f"examples/{EXAMPLE}.jpg"
    pixels = pyvips.Image.new_from_file(str(picture)).numpy()
    assert pixels.shape == (614, 1024, 3)
    assert np.abs(pixels.astype(int) - 80).max() <= 1


def test_the_zip_holds_the_same_bytes_as_the_folder(packed):
    with zipfile.ZipFile(packed.with_name("both.zip")) as archive:
        assert archive.namelist() == sorted(files_of(packed))
        assert {name: archive.read(name) for name in archive.namelist()} == files_of(packed)
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    assert read_bundle(packed.with_name("both.zip")) == read_bundle(packed)


def test_the_same_inputs_give_the_same_bytes(packed_from, packed, tmp_path):
    again = packed_from(tmp_path / "elsewhere" / "both", zip_=True)
    assert files_of(again) == files_of(packed)
    assert again.with_name("both.zip").read_bytes() == packed.with_name("both.zip").read_bytes()


def rows_of(page, title):
    """The rows of the table below a title."""
    lines = page.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_the_readme_says_the_numbers_of_the_bundle(packed):
    page, found = (packed / "README.md").read_text(), read_bundle(packed)
    assert page.startswith("# Glands of the skin\n")
    assert "tilewright apply both IMAGES... --out FOLDER" in page
    assert rows_of(page, "What it finds") == [
        [one.name, one.color, f"{one.threshold:.3f}", str(one.min_area)] for one in found.classes
    ]
    assert rows_of(page, "How good it was") == [
        [one.class_name, one.source or "together", "-" if one.dice is None else f"{one.dice:.3f}", str(one.slides),
         str(one.groups)]
        for one in found.scores
    ]  # fmt: skip
    assert rows_of(page, "What is in it") == [
        [one.name, f"{one.network.architecture}, {one.network.encoder}", str(len(one.weights)), "1/1 of the slide",
         "unknown", f"{one.inference.window}, {one.inference.blend}", f"{one.weight / 4:.3f}"]
        for one in found.members
    ]  # fmt: skip
    assert f"{len(found.trained_on)} files of slides" in page
    for text in ("CC-BY-4.0", "Made by A. Writer.", "To cite: Writer 2026", f"code {found.code}"):
        assert text in page
    for name, version in found.versions.items():
        assert f"- {name} {version}\n" in page
    assert "\n\n\n" not in page
    assert not re.search(r"[{%}]", page)


def test_a_bundle_without_a_licence_says_so(packed_from, tmp_path):
    page = (packed_from(tmp_path / "both", text=BundleText()) / "README.md").read_text()
    assert page.startswith("# both\n")
    assert "No licence is given: ask those who made it before you use it." in page


def test_weights_that_are_fitted_are_told(packed_from, tmp_path):
    found = read_bundle(packed_from(tmp_path / "both", fit=True, weights={"near": 1, "far": 1}))
    assert [one.weight for one in found.members] == [0.7, 0.3]


@pytest.mark.parametrize(
    ("weights", "kept"), [({"near": 1, "far": 0}, ["near"]), ({"near": 0, "far": 1}, ["near", "far"])]
)
def test_a_member_that_weighs_nothing_is_left_out_unless_the_others_are_brought_to_its_scale(
    packed_from, tmp_path, weights, kept
):
    found = packed_from(tmp_path / "both", weights=weights)
    assert [one.name for one in read_bundle(found).members] == kept
    assert len([name for name in files_of(found) if name.startswith("weights/")]) == 2 * len(kept)


def other_cards(packed_from, tmp_path, changes):
    """A packer whose models have other cards."""
    folder = tmp_path / "other"
    shutil.copytree(packed_from.folder, folder)
    for (model, fold), change in changes.items():
        path = folder / "models" / model / f"fold{fold}" / "model.json"
        write_document(path, {**read_document(path), **change})
    return Packer(folder)


def test_pixel_sizes_and_versions_of_all_folds_are_told(packed_from, tmp_path):
    cards = {
        ("near", 0): {"mpp": {"min": 0.5, "max": 0.75}, "versions": {"torch": "2.6"}},
        ("near", 1): {"mpp": {"min": 0.25, "max": 0.625}, "versions": {"torch": "2.7"}},
        ("far", 0): {"mpp": {"min": 0.5, "max": 0.5}, "versions": {"torch": "2.6"}},
        ("far", 1): {"mpp": None, "versions": {"torch": "2.6"}},
    }
    bundle = other_cards(packed_from, tmp_path, cards)(tmp_path / "both")
    found = read_bundle(bundle)
    assert [(one.mpp.min, one.mpp.max) for one in found.members] == [(0.25, 0.75), (0.5, 0.5)]
    assert found.versions == {"torch": "2.6, 2.7"}
    assert [row[4] for row in rows_of((bundle / "README.md").read_text(), "What is in it")] == [
        "0.25 to 0.75",
        "0.5 to 0.5",
    ]


def test_a_scaled_image_that_tells_no_file_is_refused(packed_from, tmp_path):
    packer = other_cards(packed_from, tmp_path, {})
    (slide, shard), *_ = SLIDES.items()
    path = packer.folder / "scaled" / shard / f"{slide}.image.tif"
    with create_raster(path, Size(8, 8), bands=3):
        pass
    with pytest.raises(DataError, match=f"does not say of which file it is.\n  Delete {path.parent} and run"):
        packer(tmp_path / "both")
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: cannot be read"):
        packer(tmp_path / "both")
    assert not (tmp_path / "both").exists()


INNER = {"credits": {"title": "Inner", "authors": ["B. Maker"], "licence": "CC0", "cite": "Maker 2025"}}
OUTER = {"credits": {"licence": "MIT"}, "name": "outer", "inside": [INNER["credits"]]}
"""What bundles say; the second one was made of the first."""


@pytest.fixture
def packed_with(packed_from, tmp_path):
    """Packs the model near, trained here, with the members of two bundles."""

    def order(weights):
        bundles = {"inner": content(**INNER, trained_on=["a" * 64], versions={"torch": "2.6", "old": "1.0"})}
        bundles["outer"] = content(
            **OUTER, trained_on=[f"{0:064x}", "b" * 64], versions={"torch": "2.5, 2.6"}, members=[member("near")]
        )
        members = [{"name": "near", "inference": Windows(window=64), "parts": ["fold0", "fold1"]}]
        for name, said in bundles.items():
            found = read_bundle(write_bundle(tmp_path / name, said))
            members += [
                {
                    "name": f"{name}.{one.name}",
                    "inference": one.inference,
                    "bundle": name,
                    "model": BundledModel.of(found, one),
                }
                for one in found.members
            ]
        bundles = {name: tmp_path / name for name in bundles}
        return {"members": members, "bundles": bundles, "weights": weights}

    def pack_with(**weights):
        shares = {"near": 1, "inner.near": 0.5, "inner.far": 0.25, "outer.near": 2}
        return packed_from(tmp_path / "all", **order(shares | weights))

    return pack_with


def test_members_of_other_bundles_are_taken_as_they_are(packed_with, tmp_path):
    folder = packed_with()
    bundle = read_bundle(folder)
    assert {one.name: one.weight for one in bundle.members} == {
        "near": 1, "inner.near": 0.5, "inner.far": 0.25, "outer.near": 2,
    }  # fmt: skip
    for own in bundle.members[1:]:
        name, _, model = own.name.partition(".")
        before = read_bundle(tmp_path / name)
        (given,) = (one for one in before.members if one.name == model)
        kept = {"network", "scale", "mpp", "inference", "bands"}
        assert own.model_dump(include=kept) == given.model_dump(include=kept)
        assert [one.role for one in own.weights] == [one.role for one in given.weights]
        for now, then in zip(own.weights, given.weights, strict=True):
            assert now.file == f"weights/{own.name}/{now.role}.safetensors"
            assert bundle_file(folder, bundle, now.file) == bundle_file(tmp_path / name, before, then.file)


def test_licences_and_citations_of_all_that_is_inside_are_told_once(packed_with):
    folder = packed_with()
    bundle = read_bundle(folder)
    assert [(one.title, one.licence, one.cite) for one in bundle.inside] == [
        ("Inner", "CC0", "Maker 2025"),
        ("outer", "MIT", ""),
    ]
    page = (folder / "README.md").read_text()
    assert "- Inner, by B. Maker: CC0; to cite: Maker 2025\n" in page
    assert "- outer: MIT\n" in page


def test_bundles_that_were_inside_a_bundle_are_told_too(packed_with):
    bundle = read_bundle(packed_with(**{"inner.near": 0, "inner.far": 0}))
    assert [one.title for one in bundle.inside] == ["outer", "Inner"]


def test_what_the_models_inside_have_seen_and_were_trained_with_is_told(packed_with):
    bundle = read_bundle(packed_with())
    assert bundle.trained_on == [*(f"{number:064x}" for number in (0, 1)), "a" * 64, "b" * 64]
    assert bundle.versions["old"] == "1.0"
    assert {"2.5", "2.6"} <= set(bundle.versions["torch"].split(", "))
    assert len(set(bundle.versions["torch"].split(", "))) == len(bundle.versions["torch"].split(", "))


def test_what_trainings_started_from_is_told_as_what_is_inside(packed_from, packed, tmp_path):
    write_bundle(tmp_path / "inner", content(**INNER, trained_on=["a" * 64]))
    bundle = read_bundle(packed_from(tmp_path / "all", starts=[tmp_path / "inner"]))
    assert bundle.trained_on == sorted(["a" * 64, *read_bundle(packed).trained_on])
    assert [one.title for one in bundle.inside] == ["Inner"]
    assert bundle.members == read_bundle(packed).members


def test_a_bundle_of_which_nothing_is_kept_is_not_told(packed_with):
    bundle = read_bundle(packed_with(**{"outer.near": 0}))
    assert [one.name for one in bundle.members] == ["near", "inner.near", "inner.far"]
    assert [one.title for one in bundle.inside] == ["Inner"]
