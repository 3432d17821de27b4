"""Maps of a slide that several networks predict in several views: mean and spread, single networks and views."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from tilewright.inference.views import views
from tilewright.project.config import Inference, width_and_height
from tilewright.project.places import FINAL, SPREAD

Seen = tuple[int, int]
"""What one network says of one view: its place among the networks, and the number of the view."""


@dataclass(frozen=True)
class Layer:
    """A map of probabilities.

    Attributes:
        part: what stands in the name of its file after the slide, such as ``fold0``; empty: the mean of all.
        groups: what is averaged in each window before windows are blended; the groups are averaged after it.
        compared: of how many bands, from the first on, the spread of the groups is told in place of their mean; 0: it
            is the mean, of all bands.
    """

    part: str
    groups: tuple[frozenset[Seen], ...]
    compared: int = 0

    def bands(self, classes: Sequence[str]) -> list[str]:
        """What the bands of the map stand for, of networks that tell some classes."""
        return [SPREAD] if self.compared else list(classes)


def layers_of(
    parts: Sequence[str], inference: Inference, averaged: Collection[str] | None = None, masks: int = 1
) -> list[Layer]:
    """The maps that are written of a slide, the mean first.

    A single part, or a single view, is the mean itself and has no map of its own.

    Args:
        parts: the part of the model (``fold0``, ``final``) that each network is.
        inference: views, blending, and what is kept.
        averaged: the parts whose mean is the model's; None: all.
        masks: how many bands of the networks are masks of classes; they come first.
    """
    count = len(list(views(inference.tta, inference.tta_scales, width_and_height(inference.window))))
    networks, seen = [place for place, part in enumerate(parts) if averaged is None or part in averaged], range(count)
    layers = [_layer("", networks, seen, inference)]
    if "folds" in inference.keep and len(parts) > 1:
        layers += [_layer(part, [place], seen, inference) for place, part in enumerate(parts)]
    if "views" in inference.keep and count > 1:
        layers += [_layer(f"view{view}", networks, [view], inference) for view in seen]
    folds = [[place] for place, part in enumerate(parts) if part != FINAL]
    if inference.spread and len(folds) > 1:
        layers.append(Layer(SPREAD, _groups(folds, seen), masks))
    return layers


def _layer(part: str, networks: Sequence[int], seen: Iterable[int], inference: Inference) -> Layer:
    """The least of all windows is that of one network; the mean over networks is taken after it."""
    apart = [[place] for place in networks] if inference.blend == "minimum" else [list(networks)]
    return Layer(part, _groups(apart, seen))


def _groups(networks: Iterable[Sequence[int]], seen: Iterable[int]) -> tuple[frozenset[Seen], ...]:
    return tuple(frozenset(product(places, seen)) for places in networks)
