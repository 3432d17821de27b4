"""What bundles bring to a config: further members of its ensembles, their scales, and settings that it leaves out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tilewright.project.bundle import Bundle, BundleMember, read_bundle
from tilewright.project.config import Config, Model, PixelClass, Scale
from tilewright.project.places import is_bundle
from tilewright.runtime.errors import Problem, TilewrightError, UserError, raise_all

INHERITED = ("classes", "tissue", "slides", "segmentation")
"""Sections that come from the bundle where a config has no models of its own and does not give them."""


@dataclass(frozen=True)
class BundledMember:
    """A model of a bundle, as a member of an ensemble.

    Attributes:
        bundle: name of the bundle in the config.
        spec: what the bundle says of the model.
    """

    bundle: str
    spec: BundleMember

    @property
    def name(self) -> str:
        """Its name among all members."""
        return f"{self.bundle}.{self.spec.name}"

    @property
    def mpp(self) -> float | None:
        """Micrometres in a pixel that it was trained on; None: unknown."""
        if self.spec.scale.mpp or not self.spec.mpp:
            return self.spec.scale.mpp
        return round((self.spec.mpp.min + self.spec.mpp.max) / 2, 6)

    @cached_property
    def scale(self) -> Scale:
        """The scale that it works at: a pixel size where that is known, so that slides of any scanner fit."""
        return Scale(mpp=self.mpp, resample=self.spec.scale.resample) if self.mpp else self.spec.scale


@dataclass(frozen=True)
class Bundled:
    """The bundles of a config, and what they hold.

    Attributes:
        bundles: by their names in the config.
        scales: every scale by name, those of the config first.
        scale_of: name of the scale of each member of a bundle.
        starts: the bundles that trainings start from, by their paths.
    """

    bundles: Mapping[str, Bundle]
    scales: Mapping[str, Scale]
    scale_of: Mapping[str, str]
    starts: Mapping[str, Bundle] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Config) -> "Bundled":
        """Read the bundles that a config names.

        Raises:
            UserError: everything that is wrong with them, or between them and the config.
        """
        problems: list[Problem] = []

        def readable(paths: Mapping[str, str]) -> dict[str, Bundle]:
            found: dict[str, Bundle] = {}
            for name, path in paths.items():
                try:
                    found[name] = read_bundle(Path(path))
                except TilewrightError as error:
                    problems.extend(error.problems)
            return found

        bundles = readable({name: spec.path for name, spec in config.bundles.items()})
        starts = readable({path: path for model in config.models.values() for path in bundles_of_start(model, config)})
        raise_all(UserError, [*problems, *_misfits(config, bundles)])
        scales, scale_of = dict(config.scales), dict[str, str]()
        for member in _members(bundles):
            same = (known for known, scale in scales.items() if scale == member.scale)
            scale_of[member.name] = known = next(same, member.name)
            scales[known] = member.scale
        return cls(bundles, scales, scale_of, starts)

    @cached_property
    def members(self) -> dict[str, BundledMember]:
        """All members of all bundles, by name."""
        return {member.name: member for member in _members(self.bundles)}

    def weights(self, bundle: str) -> dict[str, float]:
        """The weight of each member of a bundle in it, by its name among all members."""
        found = [BundledMember(bundle, spec) for spec in self.bundles[bundle].members]
        return {member.name: member.spec.weight for member in found}

    def complete(self, config: Config) -> Config:
        """The config with what it leaves to the bundles: the first one gives classes and settings, if there are none.

        A config with models of its own is the measure of all.
        """
        if config.models or not self.bundles:
            return config
        first = next(iter(self.bundles.values()))
        given = {
            "classes": {one.name: PixelClass(color=one.color) for one in first.classes},
            "tissue": first.tissue, "slides": first.slides, "segmentation": first.segmentation,
        }  # fmt: skip
        return config.model_copy(
            update={name: given[name] for name in INHERITED if name not in config.model_fields_set}
        )


def bundles_of_start(model: Model, config: Config) -> list[str]:
    """The bundles that the trainings of a model start from; most start from none, and one serves all folds."""
    found = dict.fromkeys(model.start_of(str(fold)) for fold in range(config.folds.count))
    return [path for path in found if path and is_bundle(Path(path))]


def _members(bundles: Mapping[str, Bundle]) -> Iterator[BundledMember]:
    return (BundledMember(name, spec) for name, bundle in bundles.items() for spec in bundle.members)


def _misfits(config: Config, bundles: Mapping[str, Bundle]) -> Iterator[Problem]:
    """Bundles whose classes or names do not go with the config's, or with each other's."""
    wanted = list(config.classes)
    for name, bundle in bundles.items():
        found = [one.name for one in bundle.classes]
        wanted = wanted or sorted(found)
        if found != wanted:
            what = f"the bundle finds the classes {', '.join(found)}, the others {', '.join(wanted)}."
            yield Problem(f"config, bundles.{name}", what, "Members of an ensemble find the same classes.")
        for member in bundle.members:
            if member.classes != [one.name for one in bundle.classes]:
                what = f"its member {member.name} has not a band for each class, in their order."
                yield Problem(f"config, bundles.{name}", what, "This tilewright cannot use it.")
    times = Counter([*(member.name for member in _members(bundles)), *config.models, *config.predictions, *bundles])
    for each in _members(bundles):
        if times[each.name] > 1 or each.name in config.scales:
            what = f'its member would be called "{each.name}", as something else is.'
            yield Problem(f"config, bundles.{each.bundle}", what, "Rename the bundle, or what has this name.")
