"""The members of a bundle that are left to another program, with their networks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilewright.inference.loading import load_bundled
from tilewright.project.bundle import Bundle, BundleMember
from tilewright.project.bundled import BundledMember
from tilewright.project.bundlenetworks import OnnxNetwork
from tilewright.project.config import Scale
from tilewright.project.orders import BundledModel
from tilewright.project.targets import band_names
from tilewright.runtime.errors import Problem, UserError, did_you_mean, raise_all
from tilewright.training.segmenter import Segmenter


@dataclass(frozen=True)
class Chosen:
    """A member of a bundle, and those of its networks that are asked for.

    Attributes:
        spec: what the bundle says of it.
        networks: by their part of the model (``fold0``, ``final``), ready to predict.
    """

    spec: BundleMember
    networks: Mapping[str, Segmenter]

    @property
    def bands(self) -> list[str]:
        """The names of what its networks give."""
        return band_names(self.spec.classes, self.spec.targets)


def chosen_members(path: Path, bundle: Bundle, names: Sequence[str]) -> list[Chosen]:
    """The members that somebody names, in the order of the bundle.

    Args:
        path: the folder or the zip.
        bundle: what it says of itself.
        names: ``MEMBER`` or ``MEMBER.PART``, such as ``unet.fold0``; none: all.

    Raises:
        UserError: names that are none, all of them; or a member that is a graph of another program.
        DataError: weights are damaged.
    """
    known = [name for member in bundle.members for name in _names(member)]
    wrong = [Problem("--members", f'the bundle has no "{name}".', did_you_mean(name, known)) for name in names]
    raise_all(UserError, [problem for name, problem in zip(names, wrong, strict=True) if name not in known])
    return [one for member in bundle.members if (one := _chosen(path, bundle, member, names)).networks]


def scale_of(member: Chosen) -> Scale:
    """The scale that a member works at: a pixel size where that is known."""
    return BundledMember("", member.spec).scale


def _names(member: BundleMember) -> Iterator[str]:
    """What a member and its parts are called."""
    yield member.name
    yield from (f"{member.name}.{part}" for part in member.parts)


def _chosen(path: Path, bundle: Bundle, member: BundleMember, names: Sequence[str]) -> Chosen:
    whole = not names or member.name in names
    parts = [part for part in member.parts if whole or f"{member.name}.{part}" in names]
    if not parts:
        return Chosen(member, {})
    if isinstance(member.network, OnnxNetwork):
        remedy = "Copy its file out of the bundle, or name other members by --members."
        raise UserError(Problem("export", f"{member.name} is an ONNX graph, which is not written anew.", remedy))
    networks, _ = load_bundled(path, BundledModel.of(bundle, member))
    own = dict(zip(member.parts, networks, strict=True))
    return Chosen(member, {part: own[part] for part in parts})
