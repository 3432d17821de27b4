"""What other programs say of exports, each in an environment of its own, without a network: ``make test-exports``."""

import copy
import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from bundling import content, member, write_real_bundle
from running import REPOSITORY

from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.export import export
from tilewright.project.bundle import read_bundle
from tilewright.project.config import Model

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
BANDS = [[name, target] for target in ("mask", "touching") for name in ("gland", "vessel")]
ZOO = """
import sys
sys.path.append(sys.argv.pop(1))
import socket
def refuse(*_, **__): raise OSError("no network here")
socket.socket.connect = refuse
from bioimageio.core.__main__ import main
main()
"""
QUPATH = """
import sys, numpy as np, torch
assert torch.__version__.startswith("2.7"), torch.__version__
script, folder = torch.jit.load(sys.argv[1] + "/instanseg.pt"), sys.argv[1]
images, wanted = (torch.from_numpy(np.load(folder + f"/test-{name}.npy")) for name in ("input", "output"))
for _ in range(3):
    assert torch.equal(script(images, {"target_segmentation": torch.tensor([1])}), wanted)
assert wanted.max() > 0
"""


def python_of(name):
    """The interpreter of an environment beside this one."""
    path = REPOSITORY / f".venv-{name}" / "bin" / "python"
    if not path.exists():
        pytest.skip(f"no .venv-{name}: make test-exports makes it")
    return path


def with_targets(folder):
    """A bundle with two classes and targets, whose networks find objects in noise."""
    seeds = {"seeds": {"touching": 0.25, "least": 4}}
    said = content(members=[member("near", bands=BANDS)], segmentation=seeds, credits={})
    levels = {"gland": (0.06, 0.08), "vessel": (0.48, 0.42)}
    said["classes"] = [
        {"name": name, "color": "#112233", "min_area": 8, "threshold": threshold, "seed": seed}
        for name, (threshold, seed) in levels.items()
    ]
    return write_real_bundle(folder, said)


def as_configured(folder, file):
    """A bundle with the networks, classes and views of a config, whose networks never saw an outline."""
    values = yaml.safe_load((REPOSITORY / "config" / file).read_text())
    classes = [
        {"name": name, "color": own.get("color", "#112233"), "threshold": 0.5, "min_area": 8}
        for name, own in values["classes"].items()
    ]
    members = []
    for name, spec in values["models"].items():
        encoder = Model(**spec).encoder
        told = {key: spec[key] for key in ("architecture", "options") if key in spec}
        views = {key: spec["inference"][key] for key in ("window", "tta", "overlap") if key in spec["inference"]}
        made = member(name, bands=[[one["name"], "mask"] for one in classes], inference=views)
        members.append(made | {"network": made["network"] | {"encoder": encoder, "options": {}} | told})
    return write_real_bundle(folder, content(members=members, classes=classes, credits={}, scores=[]), settled=True)


BUNDLES = {
    "targets": with_targets,
    "demo": lambda folder: as_configured(folder, "config.yaml"),
    "vasculature": lambda folder: as_configured(folder, "hubmap-vasculature.yaml"),
}


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request, tmp_path_factory):
    python_of("bioimageio")  # exports of whole networks take minutes, for those who have asked for it
    return BUNDLES[request.param](tmp_path_factory.mktemp("bundle"))


def run(*command, **environment):
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, env={**own, **environment}, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_the_tool_of_the_model_zoo_passes_all_three_formats_without_a_network(bundle, tmp_path):
    export(bundle, to="bioimageio", out=tmp_path / "out")
    own = {"HOME": str(tmp_path), "BIOIMAGEIO_CACHE_PATH": str(tmp_path / "cache"), "COLUMNS": "200"}
    packages = sorted((tmp_path / "out").glob("*.zip"))
    assert packages
    for package in packages:
        said = run(python_of("bioimageio"), "-c", ZOO, sysconfig.get_paths()["purelib"], "test", package, **own)
        assert "passed" in said
        for name in ("onnx", "pytorch_state_dict", "torchscript"):
            assert f"Reproduce test outputs from test inputs ({name})" in said
            assert f"Run {name} inference for inputs with batch_size: 2 and size parameter n: 2" in said


def test_onnx_gives_the_logits_of_pytorch(bundle, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    export(bundle, to="onnx", out=tmp_path / "out")
    images = np.random.default_rng(3).integers(0, 256, (2, 3, 96, 160), np.uint8)
    for one in chosen_members(bundle, read_bundle(bundle), []):
        for part, network in one.networks.items():
            file = tmp_path / "out" / f"{one.spec.name}.{part}.onnx"
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            with torch.inference_mode():
                given = network(torch.from_numpy(images)).numpy()
                exact = copy.deepcopy(network).double()(torch.from_numpy(images)).numpy()
            rounded = np.abs(given - exact).max()
            assert np.abs(session.run(["logits"], {"images": images})[0] - exact).max() < max(2 * rounded, 1e-5)
        assert (tmp_path / "out" / f"{one.spec.name}.onnx").exists()


def test_the_pytorch_of_quPath_finds_the_same_objects(bundle, tmp_path):  # noqa: N802
    export(bundle, to="qupath", out=tmp_path / "out", mpp=0.5)
    for folder in sorted(Path(tmp_path / "out").glob("both-*")):
        run(python_of("torch27"), "-W", "ignore", "-c", QUPATH, folder)
