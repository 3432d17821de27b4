"""A bundle left to other programs, which know nothing of tilewright."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilewright.bundles.bioimageio import write_packages
from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.onnxfiles import write_onnx_files
from tilewright.bundles.qupath import Left, write_qupath
from tilewright.pixels.rasters import open_raster
from tilewright.project.bundle import read_bundle
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import Problem, UserError, raise_all
from tilewright.runtime.progress import note
from tilewright.scales.downscale import downscale_image
from tilewright.slides import open_slide

Program = Literal["onnx", "bioimageio", "qupath"]
OPTIONS: dict[Program, set[str]] = {
    "onnx": set(),
    "bioimageio": {"--sample"},
    "qupath": {"--without", "--mpp", "--sample"},
}
"""What each takes beside members."""
SEEN = 1024
"""Longest edge of what is looked at of a sample, in pixels, as in QuPath."""


def export(
    bundle: Path,
    *,
    to: Program,
    out: Path,
    members: list[str] | None = None,
    without: list[Left] | None = None,
    mpp: float | None = None,
    sample: Path | None = None,
) -> None:
    """Write a bundle in a form that another program runs.

    Args:
        bundle: its folder or zip.
        to: onnx: a file for each network, and one for the mean of those of each member; bioimageio: a zip for the
            BioImage Model Zoo; qupath: a folder for each class, for the InstanSeg extension.
        out: the folder to write; appears whole or not at all.
        members: the members, or single networks of them (unet, or unet.fold0); all unless given.
        without: what QuPath cannot do and may be left out: split, inside, views.
        mpp: micrometres in a pixel of the slides, for QuPath, where the bundle does not tell.
        sample: an image like those that QuPath will see, which tells the colours to expect; of the BioImage Model Zoo
            the example, which is drawn without it.

    Raises:
        UserError: an option that does not go with the bundle, or a package that is not installed.
        DataError: the bundle is damaged, or a network cannot be expressed in the form.
    """
    found = read_bundle(bundle)
    given = {"--without": without, "--mpp": mpp, "--sample": sample}
    unused = [name for name, value in given.items() if value is not None and name not in OPTIONS[to]]
    raise_all(UserError, [Problem(name, f"is of no use to {to}.", "Leave it out.") for name in unused])
    chosen = chosen_members(bundle, found, members or ())
    pixels = _seen(sample) if sample else None
    with atomic_directory(out) as folder:
        if to == "onnx":
            write_onnx_files(found, chosen, folder)
        elif to == "bioimageio":
            write_packages(found, chosen, folder, sample=pixels)
        else:
            write_qupath(found, chosen, folder, without=without or (), mpp=mpp, sample=pixels)
    note(f"{out}: for {to}")


def _seen(path: Path) -> NDArray[np.uint8]:
    """A slide reduced to ``SEEN`` pixels, rows x columns x 3."""
    with open_slide(path) as slide, TemporaryDirectory() as folder:
        reduced = slide.frame.scaled(float(max(1, math.ceil(max(slide.size) / SEEN))))
        downscale_image(slide, {Path(folder) / "seen.tif": reduced})
        with open_raster(Path(folder) / "seen.tif") as raster:
            return np.moveaxis(raster.read(), 0, -1)
