"""A bundle: all that a prediction needs of an ensemble, in a folder or a zip that can be given away.

``bundle.json`` describes it and names its other files with their hashes: weights as safetensors, a README, and small
pictures of slides where somebody asked for them. It comes from anywhere, so that nothing in it is believed before it
is checked, and nothing in it is executed. Imports nothing heavy, because each job of the graph reads the bundles that
a config names.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    model_serializer,
)

from tilewright.project.bundlefiles import REMEDY, BundleFiles, bundle_files, name_fault, quoted
from tilewright.project.bundlenetworks import KINDS, BundleNetwork, OnnxNetwork, kind_of
from tilewright.project.config import (
    ClassName,
    Credits,
    Name,
    Scale,
    Section,
    Segmentation,
    Share,
    Slides,
    Tissue,
    Windows,
)
from tilewright.project.config.results import Aim
from tilewright.project.places import BUNDLE, EXAMPLES, MODEL_CARD, ONNX_SUFFIX, WEIGHTS_SUFFIX
from tilewright.project.targets import MASK, TARGETS, Target
from tilewright.runtime.documents import parse_document
from tilewright.runtime.errors import DataError, Problem, raise_all

FORMAT = 1
ROLE = re.compile(r"fold(0|[1-9][0-9]*)|final")
OF_WEIGHTS = (WEIGHTS_SUFFIX, ONNX_SUFFIX)
SUFFIXES = (".jpg", ".md", *OF_WEIGHTS)
"""How the files beside ``bundle.json`` end. Whatever else there is could be a pickle, which would be executed."""
MOST_BYTES = 1 << 26
"""Of ``bundle.json``; one of 100,000 training slides has a tenth."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _known_target(target: Any) -> Any:
    if target not in TARGETS:
        raise ValueError(f'the target "{target}" is unknown to this tilewright, which knows {", ".join(TARGETS)}')
    return target


def _known_role(role: str) -> str:
    if not ROLE.fullmatch(role):
        raise ValueError(f'the role "{role}" is unknown to this tilewright, which knows fold0, fold1 ... and final')
    return role


class _Brief(Section):
    """A section that is written without the keys that have their default."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unsaid = {name for name, field in type(self).model_fields.items() if getattr(self, name) == field.default}
        return {name: value for name, value in write(self).items() if name not in unsaid}


class BundleClass(_Brief):
    """A class that is found.

    Attributes:
        name: its name.
        color: its colour, #rrggbb.
        threshold: the probability from which on a pixel is of the class.
        min_area: smaller objects are dropped, in pixels of the slide.
        min_confidence: less sure objects are dropped.
        seed: what the seeds of objects exceed, where networks tell which pixels are between objects.
    """

    name: ClassName
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    threshold: Share
    min_area: int = Field(ge=0)
    min_confidence: Share = 0.0
    seed: Share = 0.5

    @property
    def bounds(self) -> tuple[float, int, float, float]:
        """Threshold, least size, least confidence and seed."""
        return self.threshold, self.min_area, self.min_confidence, self.seed


class Band(NamedTuple):
    """What a channel of a network stands for."""

    class_name: str
    target: Annotated[Target, BeforeValidator(_known_target)]


class PixelSize(Section):
    """Smallest and largest pixel of the tiles that a member was trained on, in micrometres of its scale."""

    min: float = Field(gt=0)
    max: float = Field(gt=0)


class Weights(Section):
    """A file of weights, and which part of a model it is: ``fold0`` of the cross-validation, or ``final``."""

    role: Annotated[str, AfterValidator(_known_role)]
    file: str


class BundleMember(Section):
    """A model of the ensemble.

    Attributes:
        name: its name.
        network: how to build it, or how to ask it.
        scale: the scale that it was trained at, and works at.
        mpp: pixels of its training tiles; None where no slide told.
        inference: windows, blending, views.
        weight: its weight in the ensemble, shared equally by its files; only ratios count.
        bands: what the channels of its network stand for.
        weights: its files, one a fold, and of the training on all slides.
    """

    name: Name
    network: Annotated[
        Annotated[BundleNetwork, Tag(KINDS[0])] | Annotated[OnnxNetwork, Tag(KINDS[1])], Discriminator(kind_of)
    ]
    scale: Scale
    mpp: PixelSize | None = None
    inference: Windows = Windows()
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    bands: list[Band] = Field(min_length=1)
    weights: list[Weights] = Field(min_length=1)

    @property
    def parts(self) -> list[str]:
        """The part of the model (``fold0``, ``final``) that each file is."""
        return [one.role for one in self.weights]

    @property
    def classes(self) -> list[str]:
        """The classes that it finds, in the order of its bands."""
        return [band.class_name for band in self.bands if band.target == MASK]

    @property
    def targets(self) -> list[Target]:
        """What it tells of each class."""
        return list(dict.fromkeys(band.target for band in self.bands))


class Score(_Brief):
    """How good a class was found on training slides, each by the networks that had not seen it.

    Attributes:
        class_name: the class.
        source: the source of the slides; None: all.
        dice: Dice, the thresholds being those of other folds; None where there was one fold only.
        f1: F1 of objects, likewise; None where they were not the aim.
        slides: how many slides.
        groups: how many groups (patients, blocks) they come from.
    """

    class_name: ClassName
    source: str | None
    dice: Share | None
    slides: int = Field(ge=1)
    groups: int = Field(ge=1)
    f1: Share | None = None


class BundleFile(Section):
    """A file beside ``bundle.json``: its SHA-256, and its size in bytes."""

    sha256: Hash
    size: int = Field(ge=0)


class Bundle(Section):
    """What ``bundle.json`` says.

    Attributes:
        format: version of the format.
        name: the ensemble.
        credits: title, authors, licence, what to cite.
        description: what it is for.
        inside: the bundles that members were taken from, or started from.
        classes: what is found, in the order of bits and bands.
        members: the models; the scale of the first one is that of the ensemble's probabilities.
        tissue: what counts as tissue.
        slides: how slides are opened.
        segmentation: how objects are made.
        aim: what thresholds were fitted to, and which Dice scores tell: of all slides as one, but with "slide" the mean
            over slides; with "objects" F1 of objects beside it.
        scores: how good it was, by class and source.
        trained_on: of each slide that a member has seen the hash of its file (``file_print``), sorted.
        versions: packages that the networks were trained with.
        code: hash of the code that packed it, with what it predicts by.
        files: the files beside this one, by name.
    """

    format: int
    name: Name
    credits: Credits = Credits()
    description: str = ""
    inside: list[Credits] = Field([])
    classes: list[BundleClass] = Field(min_length=1)
    members: list[BundleMember] = Field(min_length=1)
    tissue: Tissue = Tissue()
    slides: Slides = Slides()
    segmentation: Segmentation = Segmentation()
    aim: Aim = "pooled"
    scores: list[Score] = Field([])
    trained_on: list[Hash] = Field([])
    versions: dict[str, str] = Field({})
    code: str = ""
    files: dict[str, BundleFile]


def read_bundle(path: Path) -> Bundle:
    """Read what a bundle says of itself, and look whether it holds just that; its files are not read.

    Args:
        path: the folder or the zip.

    Raises:
        DataError: it is no bundle, a damaged one, or one of a newer format; everything that is wrong.
    """
    found = bundle_files(path)
    where = f"{path}, {BUNDLE}"
    if BUNDLE not in found.sizes:
        remedy = "Name the folder or the zip that holds it; a zip holds it outside of any folder."
        raise DataError(Problem(str(path), f"holds no {BUNDLE}, hence is no bundle.", remedy))
    content = parse_document(found.read(BUNDLE, MOST_BYTES), where, REMEDY, sealed=False)
    _require_format(content.get("format"), where)
    try:
        bundle = Bundle.model_validate(content)
    except ValidationError as error:
        raise DataError([_problem(where, each) for each in error.errors()]) from error
    wrong = (*_contradictions(bundle), *_misfits(bundle, found))
    raise_all(DataError, [Problem(where, what, REMEDY) for what in wrong])
    return bundle


def bundle_file(path: Path, bundle: Bundle, name: str) -> bytes:
    """The content of a file of a bundle, which is what the bundle says.

    Args:
        path: the folder or the zip.
        bundle: what it says of itself.
        name: the file, one of ``bundle.files``.

    Raises:
        DataError: it cannot be read, or is another one.
    """
    said = bundle.files[name]
    content = bundle_files(path).read(name, said.size)
    if hashlib.sha256(content).hexdigest() != said.sha256:
        raise DataError(Problem(str(path), f"its file {name} was damaged or edited: its hash is another one.", REMEDY))
    return content


def _require_format(found: Any, where: str) -> None:
    if isinstance(found, int) and found > FORMAT:
        what = f"is of the format {found}, and this tilewright reads formats up to {FORMAT}."
        raise DataError(Problem(where, what, "Update tilewright."))
    if found != FORMAT:
        raise DataError(Problem(where, f"its format {quoted(str(found))} is none.", REMEDY))


def _problem(where: str, error: Any) -> Problem:
    place = ".".join(str(part) for part in error["loc"] if part not in KINDS)
    return Problem(f"{where}, {place}", f"{error['msg'].removeprefix('Value error, ')}.", REMEDY)


def _contradictions(bundle: Bundle) -> Iterator[str]:
    """What the parts of a description say against each other."""
    classes = [each.name for each in bundle.classes]
    yield from _repeated("class", classes)
    yield from _repeated("member", [member.name for member in bundle.members])
    if not math.fsum(member.weight for member in bundle.members):
        yield "no member has a weight above 0."
    named = [(member, one.file) for member in bundle.members for one in member.weights]
    yield from _repeated("file of weights", [file for _, file in named])
    for member in bundle.members:
        yield from _repeated(f"role of {member.name}", [one.role for one in member.weights])
        yield from _of_bands(member, classes)
        yield from _of_weights(member)
    for name in set(classes) - {band.class_name for member in bundle.members for band in member.bands}:
        yield f"no member finds {name}."
    for score in bundle.scores:
        if score.class_name not in classes:
            yield f"a score is of {quoted(score.class_name)}, which is no class."
    for member, file in named:
        if file not in bundle.files:
            yield f"{member.name} has its weights in {quoted(file)}, which it does not list."
    for name in bundle.files:
        yield from _of_listed(name, {file for _, file in named})


def _of_bands(member: BundleMember, classes: Sequence[str]) -> Iterator[str]:
    """What is wrong with the bands of a member."""
    yield from _repeated(f"band of {member.name}", [" ".join(band) for band in member.bands])
    wanted = [Band(name, target) for target in sorted(member.targets, key=TARGETS.index) for name in member.classes]
    if member.bands != wanted:
        yield f"the bands of {member.name} are not the masks of its classes, and then each other target of each class."
    for name in {band.class_name for band in member.bands} - set(classes):
        yield f"{member.name} has a band of {quoted(name)}, which is no class."


def _of_weights(member: BundleMember) -> Iterator[str]:
    """Files of weights of a member that end as those of another kind of network do."""
    wanted = ONNX_SUFFIX if isinstance(member.network, OnnxNetwork) else WEIGHTS_SUFFIX
    for one in member.weights:
        if PurePosixPath(one.file).suffix in OF_WEIGHTS and PurePosixPath(one.file).suffix != wanted:
            yield f"{member.name} has its weights in {quoted(one.file)}, and its network is one of {wanted} files."


def _of_listed(name: str, weights: set[str]) -> Iterator[str]:
    """What is wrong with a file that is listed."""
    place = PurePosixPath(name)
    if fault := name_fault(name):
        yield f"lists {quoted(name)}, which {fault}."
    elif place.suffix not in SUFFIXES:
        yield f"lists {name}: a bundle holds no files but {', '.join(SUFFIXES)}, and nothing that would be executed."
    elif (name in weights) != (place.suffix in OF_WEIGHTS):
        yield f"lists {name}, which " + ("is no file of weights." if name in weights else "no member has.")
    elif name not in weights and name != MODEL_CARD and str(place.parent) != EXAMPLES:
        yield f"lists {name}, which is neither the {MODEL_CARD} nor a picture in {EXAMPLES}/."


def _misfits(bundle: Bundle, found: BundleFiles) -> Iterator[str]:
    """Where the files are not those that are listed."""
    if extra := sorted(found.sizes.keys() - bundle.files.keys() - {BUNDLE}):
        yield f"the bundle holds {_some(extra)} beside what is listed."
    if missing := sorted(bundle.files.keys() - found.sizes.keys()):
        yield f"the bundle lacks {_some(missing)}."
    for name, said in bundle.files.items():
        if name in found.sizes and found.sizes[name] != said.size:
            yield f"the file {name} has {found.sizes[name]} bytes instead of {said.size}."


def _repeated(kind: str, names: Sequence[str]) -> Iterator[str]:
    """What is there twice."""
    for name, times in Counter(names).items():
        if times > 1:
            yield f"the {kind} {quoted(name)} is there {times} times."


def _some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many there are besides."""
    rest = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*map(quoted, names[:most]), *rest])
