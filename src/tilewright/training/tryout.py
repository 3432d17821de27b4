"""Whether a network can be trained as it is asked for: one batch that has shapes only, and no pixels or memory."""

import torch

from tilewright.project.config.training import ENCODER, Network
from tilewright.runtime.errors import Problem, UserError
from tilewright.training.architectures import build_network
from tilewright.training.encoders import first_line
from tilewright.training.networks import NETWORKS

LONELY = "Expected more than 1 value per channel"
"""What PyTorch says of a batch of one whose values a layer normalises by the batch."""
AUTO_BATCH = 2
"""Tiles that are tried where the memory of the device will tell how many they are."""


def try_batch(network: Network, classes: int, width: int, height: int) -> None:
    """Pass the shapes of one batch through a network: some combinations of options only fail when they are used.

    Args:
        network: the network and how it is trained.
        classes: number of classes.
        width: of a tile, in pixels.
        height: of a tile, in pixels.

    Raises:
        UserError: it cannot be built, or takes no such batch, with what PyTorch says.
    """
    tiles = network.batch_size or AUTO_BATCH
    try:
        with torch.device("meta"):
            segmenter = build_network(network, classes, pretrained=False)
            segmenter.train().outputs(torch.zeros(tiles, 3, height, width, dtype=torch.uint8))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        own = network.architecture.lower() in {name.lower() for name in NETWORKS}
        encoder = "" if own else f" with {network.encoder or ENCODER}"
        if LONELY in str(error):
            what = f"batch_size: {network.architecture}{encoder} needs 2 tiles at least, as it normalises by the batch."
            raise UserError(Problem("config, models", what, "Set batch_size: 2 or more.")) from error
        what = f"{network.architecture}{encoder} takes no batch of {tiles} tiles of {width} x {height}"
        remedy = "Check options, encoder and crop: some need wider levels, larger tiles, or tiles of one size only."
        raise UserError(Problem("config, models", f"{what} ({first_line(error)}).", remedy)) from error
