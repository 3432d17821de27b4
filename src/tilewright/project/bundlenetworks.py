"""Networks of a bundle: built here and given weights, or graphs of other programs, which are asked as they are."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tilewright.project.config import Edge, Network, Section, Share
from tilewright.project.targets import MASK, Target

KINDS = ("network:built", "network:onnx")
"""How the kinds of networks are told apart while a description is read."""
Deviation = Annotated[float, Field(gt=0)]


class BundleNetwork(Section):
    """What of a network is needed to build it again; its keys are those of the config."""

    architecture: str
    encoder: str | None
    options: dict[str, int | float | str | bool | list[int] | None]
    mean: list[Share] = Field(min_length=3, max_length=3)
    std: list[Deviation] = Field(min_length=3, max_length=3)
    precision: Literal["auto", "32", "16", "bf16"]
    resize: Edge | None = None

    def to_build(self, targets: Sequence[Target] = (MASK,)) -> Network:
        """The network as ``build_network`` takes it, without weights to start from."""
        return Network(**self.model_dump(), targets=list(targets), encoder_weights="random", tiles="none")

    @property
    def told(self) -> str:
        """Architecture and encoder, for people."""
        return f"{self.architecture}, {self.encoder}" if self.encoder else self.architecture


class OnnxNetwork(Section):
    """An ONNX graph, made by any program, that takes RGB images and gives a number for each class and pixel.

    Attributes:
        format: says that it is one.
        channels: first: images are batch x 3 x rows x columns; last: batch x rows x columns x 3, as Keras has them.
            What it gives is laid out likewise.
        mean: of the channels, 0 to 1, which is taken off; None: pixels go in as they are, from 0 to 255.
        std: their standard deviation, by which is divided then; 1 leaves them from 0 to 1.
        gives: probabilities, or logits, of which the sigmoid is the probability.
        outputs: which of the channels that it gives are the bands, in their order; None: the first ones.
    """

    format: Literal["onnx"]
    channels: Literal["first", "last"] = "first"
    mean: list[Share] | None = Field(None, min_length=3, max_length=3)
    std: list[Deviation] = Field([1.0, 1.0, 1.0], min_length=3, max_length=3)
    gives: Literal["probabilities", "logits"] = "probabilities"
    outputs: list[Annotated[int, Field(ge=0)]] | None = None

    @property
    def told(self) -> str:
        """What it is, for people."""
        return "ONNX"


def kind_of(network: Any) -> str:
    """Which kind of network a description, or what was made of one, is."""
    named = "format" in network if isinstance(network, dict) else isinstance(network, OnnxNetwork)
    return KINDS[named]
