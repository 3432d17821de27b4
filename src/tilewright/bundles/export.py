"""A bundle left to other programs, which know nothing of tilewright."""

from pathlib import Path
from typing import Literal

from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.onnxfiles import write_onnx_files
from tilewright.project.bundle import read_bundle
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.progress import note

Program = Literal["onnx"]


def export(bundle: Path, *, to: Program, out: Path, members: list[str] | None = None) -> None:
    """Write the networks of a bundle in a form that another program runs.

    Args:
        bundle: its folder or zip.
        to: onnx: a file for each network, and one for the mean of those of each member.
        out: the folder to write; appears whole or not at all.
        members: the members, or single networks of them (unet, or unet.fold0); all unless given.

    Raises:
        UserError: an option that does not go with the bundle, or a package that is not installed.
        DataError: the bundle is damaged, or a network cannot be expressed in the form.
    """
    found = read_bundle(bundle)
    chosen = chosen_members(bundle, found, members or ())
    with atomic_directory(out) as folder:
        write_onnx_files(found, chosen, folder)
    note(f"{out}: for {to}")
