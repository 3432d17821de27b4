"""What every row is made with: how large its inputs are, the inputs themselves, and a folder for outputs."""

from dataclasses import dataclass
from pathlib import Path

from inputs import WHOLE, Inputs


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are; edges in pixels.

    Attributes:
        source: whose outlines are drawn: nuclei, or synthetic where nothing may be downloaded.
        slide: width and height on which they are drawn.
        kidney: number of slides of hubmap-kidney.
        masks: width and height of the masks that are encoded.
        image: edge of the image that is scaled down.
        tiles: edge of the image that is cut.
        components: edge and number of objects of the mask with components.
        growth: edge and number of outlines at one times.
        full: edge and number of outlines of the full run.
        predict: edges of the image that a U-Net predicts and of the one that a single convolution does.
        augmented: crops of 512 pixels that are augmented; of smaller ones as many pixels.
    """

    source: str
    slide: tuple[int, int]
    kidney: int
    masks: tuple[tuple[int, int], ...]
    image: int
    tiles: int
    components: tuple[int, int]
    growth: tuple[int, int]
    full: tuple[int, int]
    predict: tuple[int, int]
    augmented: int


SIZES = {
    "quick": Sizes(
        "synthetic", (1500, 2000), 1, ((800, 1000),), 1500, 2048, (1200, 300), (600, 30), (2048, 200),
        (768, 1500), 16,
    ),
    "small": Sizes(
        "nuclei", (15_000, 20_000), 1, ((10_000, 12_000),), 10_000, 8192, (7000, 22_000), (4000, 4000),
        (16_000, 40_000), (2048, 8000), 128,
    ),
    "full": Sizes(
        "nuclei", WHOLE, 4, ((20_000, 25_000), (75_520, 66_210)), 32_000, 22_528, (22_400, 220_000), (12_500, 37_000),
        (60_000, 500_000), (4096, 20_000), 512,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What a row needs: inputs, sizes, and a folder for outputs."""

    inputs: Inputs
    sizes: Sizes
    work: Path

    def outlines(self, source=None, size=None):
        """Outlines of the row's source; synthetic ones as dense as nuclei are."""
        source, size = source or self.sizes.source, size or self.sizes.slide
        count = size[0] * size[1] // 5000 if source == "synthetic" else 0
        return self.inputs.outlines(source, size, count)

    def out(self, case, name, suffix=".tif"):
        """An output file."""
        return self.work / case / f"{name}{suffix}"
