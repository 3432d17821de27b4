"""What a package for the BioImage Model Zoo holds; its own test is in tests/faults/test_exports.py."""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from bundling import content, member, write_real_bundle
from graphs import keras_like

from tilewright.bundles import bioimageio, net
from tilewright.bundles.bioimageio import _named, write_packages
from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.mean import mean_of
from tilewright.project.bundle import read_bundle
from tilewright.runtime.hashed import file_hash

pytestmark = pytest.mark.slow
BANDS = [[name, target] for target in ("mask", "distance") for name in ("gland", "vessel")]
MPP = {"min": 0.5, "max": 0.5}


def packed(folder, members, sample=None, **changes):
    bundle = write_real_bundle(folder / "bundle", content(members=members, **changes))
    read = read_bundle(bundle)
    chosen = chosen_members(bundle, read, [])
    (folder / "out").mkdir()
    write_packages(read, chosen, folder / "out", sample=sample)
    return chosen, folder / "out"


def test_all_formats_give_the_example_and_are_described(tmp_path):
    chosen, out = packed(tmp_path, [member("near", folds=1, bands=BANDS, mpp=MPP)], credits={"authors": ["A. Writer"]})
    with zipfile.ZipFile(out / "both.zip") as archive:
        archive.extractall(tmp_path / "z")
    said = yaml.safe_load((tmp_path / "z" / "rdf.yaml").read_text())
    given, wanted = (np.load(tmp_path / "z" / name) for name in ("input.npy", "output.npy"))
    with torch.inference_mode():
        assert np.abs(mean_of(chosen)(torch.from_numpy(given)).numpy() - wanted).max() < 1e-6
    assert given.dtype == np.float32
    assert given.max() > 1
    session = onnxruntime.InferenceSession(tmp_path / "z" / "weights.onnx", providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"images": given})[0] - wanted).max() < 1e-4

    state = said["weights"]["pytorch_state_dict"]
    built = getattr(net, state["architecture"]["callable"])(**state["architecture"]["kwargs"]).eval()
    built.load_state_dict(torch.load(tmp_path / "z" / "weights.pt", weights_only=True))
    with torch.inference_mode():
        assert np.abs(built(torch.from_numpy(given)).numpy() - wanted).max() < 1e-4

    for entry in (
        state,
        state["architecture"],
        said["weights"]["onnx"],
        said["weights"]["torchscript"],
        *said["inputs"],
    ):
        file = entry.get("test_tensor", entry)
        assert file_hash(tmp_path / "z" / file["source"]) == file["sha256"]
    assert [said["weights"][name].get("parent") for name in said["weights"]] == [None, *["pytorch_state_dict"] * 2]
    assert said["outputs"][0]["axes"][1]["channel_names"] == ["gland", "vessel", "gland_distance", "vessel_distance"]
    assert [axis.get("scale") for axis in said["inputs"][0]["axes"]] == [None, None, 0.5, 0.5]
    assert "\n# Validation\n" in (tmp_path / "z" / "README.md").read_text()


@pytest.mark.parametrize(
    ("title", "name"),
    [("Cap", "Cap (tilewright)"), ("Glands: H&E, 2 µm", "Glands  H E  2 µm"), ("x" * 200, "x" * 128)],
)
def test_a_title_is_brought_to_what_the_zoo_takes(title, name):
    assert _named(title) == name


def test_code_that_travels_needs_no_tilewright():
    lines = Path(net.__file__).read_text().splitlines()
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= {"segmentation_models_pytorch", "torch", *sys.stdlib_module_names}


def test_networks_of_tilewright_alone_travel_without_their_code_and_each_scale_by_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bioimageio, "write_onnx", lambda _, out, **__: onnx.save(keras_like(), out))  # which takes long
    plain = {"architecture": "PlainUnet", "encoder": None, "options": {}}
    near = member("near", folds=1)
    near["network"] |= plain
    far = member("far", folds=1, scale={"factor": 8}, mpp={"min": 4, "max": 4})
    far["network"] |= plain
    sample = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    _, out = packed(tmp_path, [near, far], sample=sample)
    assert sorted(path.name for path in out.iterdir()) == ["both-far.zip", "both-near.zip"]
    with zipfile.ZipFile(out / "both-far.zip") as archive:
        assert "net.py" not in archive.namelist()
        given = np.load(io.BytesIO(archive.read("input.npy")))
        assert yaml.safe_load(archive.read("rdf.yaml"))["name"] == "Glands (far)"
    assert (given[0] == np.moveaxis(sample[36:164, 54:246], -1, 0)).all()
    assert "networks are built by tilewright alone" in capsys.readouterr().err


def test_a_network_whose_encoder_is_the_default_travels_with_its_code(tmp_path):
    near = member("near", folds=1)
    near["network"] |= {"encoder": None, "options": {}}
    folder = write_real_bundle(tmp_path / "bundle", content(members=[near]))
    (chosen,) = chosen_members(folder, read_bundle(folder), [])
    arguments = bioimageio._arguments(chosen)
    (own,) = chosen.networks.values()
    built = net.Normalised(**arguments)
    assert {name: value.shape for name, value in built.network.state_dict().items()} == {
        name: value.shape for name, value in own.network.state_dict().items()
    }
