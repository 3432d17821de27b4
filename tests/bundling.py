"""A small bundle by hand, and damages of it, for tests of what reads one."""

import hashlib
import json
import zipfile

import torch
from safetensors.torch import save

from tilewright.project.bundle import BundleMember
from tilewright.runtime.documents import write_document
from tilewright.training.architectures import build_network

BANDS = [["gland", "mask"], ["vessel", "mask"]]


def member(name, folds=2, **changes):
    """What a bundle says of a member."""
    return {
        "name": name,
        "network": {
            "architecture": "Unet", "encoder": "tu-test_resnet.r160_in1k",
            "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "precision": "32",
        },
        "scale": {"factor": 2},
        "mpp": {"min": 0.9, "max": 1.1},
        "inference": {"window": 64},
        "weight": 1,
        "bands": BANDS,
        "weights": [{"role": f"fold{fold}", "file": f"weights/{name}/fold{fold}.safetensors"} for fold in range(folds)],
        **changes,
    }  # fmt: skip


def content(**changes):
    """What a bundle says besides its files."""
    return {
        "format": 1,
        "name": "both",
        "credits": {"title": "Glands", "licence": "CC-BY-4.0"},
        "description": "",
        "inside": [],
        "classes": [
            {"name": name, "color": "#112233", "threshold": 0.4, "min_area": 3} for name in ("gland", "vessel")
        ],
        "members": [member("near"), member("far")],
        "tissue": {},
        "slides": {},
        "segmentation": {},
        "aim": "pooled",
        "scores": [{"class_name": "gland", "source": None, "dice": 0.5, "slides": 4, "groups": 2}],
        "trained_on": [],
        "versions": {"torch": "2.6"},
        "code": "0123",
        **changes,
    }


def write_bundle(folder, said=None, files=None):
    """Write a bundle whose weights are a few bytes.

    Args:
        folder: the folder.
        said: what it says; members and so on.
        files: further files by name, with their bytes.
    """
    said = said or content()
    named = [one["file"] for each in said["members"] for one in each["weights"]]
    held = {"README.md": b"# Glands\n", **{name: name.encode() for name in named}, **(files or {})}
    for name, data in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in held.items()}
    write_document(folder / "bundle.json", {**said, "files": listed})
    return folder


def say_anew(folder, change):
    """Let a bundle say something else, with the checksum that fits it."""
    said = json.loads((folder / "bundle.json").read_text())
    said.pop("crc32")
    change(said)
    write_document(folder / "bundle.json", said)


def zipped(folder, out):
    """A zip of the files of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(out, "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder).as_posix())
    return out


def drawn(said, seed=0, settled=False):
    """The weights of all members of a bundle, drawn: bytes by the name of the file.

    Heads are enlarged, so that probabilities reach from 0 to 1; or statistics are settled, so that deep networks have
    values of the size that trained ones have.
    """
    torch.manual_seed(seed)
    found = {}
    for one in said["members"]:
        read = BundleMember.model_validate(one)
        for file in read.weights:
            segmenter = build_network(read.network.to_build(read.targets), len(read.classes), pretrained=False)
            if settled:
                _settle(segmenter)
            state = {name: value.contiguous() for name, value in segmenter.state_dict().items()}
            for name in state:
                if not settled and "segmentation_head" in name and name.endswith("weight"):
                    state[name] = state[name] * 20
            found[file.file] = save(state)
    return found


def _settle(segmenter):
    """Let normalisations take the statistics of blots of colour."""
    for module in segmenter.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean of all that is seen
            module.reset_running_stats()
    blots = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        segmenter.train()(blots.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3))


def write_real_bundle(folder, said=None, seed=0, settled=False):
    """Write a bundle whose networks are there, and never saw an outline."""
    said = said or content()
    return write_bundle(folder, said, drawn(said, seed, settled))
