"""Batches of a training that fit into the memory of its devices, found by trials before anything is learnt."""

import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch

from tilewright.project.config import width_and_height
from tilewright.project.config.training import Network
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.gpu import is_out_of_memory
from tilewright.runtime.progress import note
from tilewright.training.data import Sample
from tilewright.training.devices import half_type
from tilewright.training.optimizers import optimizer, rate_groups
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask

LARGEST, ON_CPU, SMALLEST_CROP = 32, 8, 32


class Step(NamedTuple):
    """What the memory of a step depends on, besides the network.

    Attributes:
        tiles: of a batch, on each device.
        crop: edge of the tiles that are trained on, or their width and height, in pixels.
        precision: as in the config.
    """

    tiles: int
    crop: int | list[int]
    precision: str


Fits = Callable[[Step], bool]


def chosen_batch(network: Network, crop: int | list[int], fits: Fits | None) -> int:
    """The tiles of a batch where the config leaves them to the memory: 32, halved until they fit.

    Args:
        network: the number of devices, and the arithmetic.
        crop: edge of the tiles that are trained on, or their width and height, in pixels.
        fits: whether a step fits into the memory of a device; None: without a GPU, where a batch has 8 tiles.

    Raises:
        UserError: not even one tile fits.
    """
    devices, first = network.devices, LARGEST if fits else ON_CPU
    step = Step(max(1, first // devices), crop, network.precision)
    while fits and not fits(step):
        if step.tiles == 1:
            raise UserError(does_not_fit(network, step, fits))
        step = step._replace(tiles=step.tiles // 2)
    note(f"batch_size: auto: {step.tiles * devices}")
    return step.tiles * devices


def does_not_fit(network: Network, step: Step, fits: Fits | None) -> Problem:
    """What is said of a step that does not fit into memory, with what would.

    Args:
        network: the number of devices.
        step: the step.
        fits: whether another one would; None: cannot be tried.
    """
    batch = step.tiles * network.devices
    what = f"batch_size {batch} with crop {step.crop} and precision {step.precision} does not fit into memory."
    if fits is None:
        return Problem(
            "config, models", what, "Lower batch_size (auto finds what fits) or crop, or use precision auto."
        )
    options = []
    if smaller := _halved(step, _fewer, fits):
        options.append(f"batch_size {smaller.tiles * network.devices}")
    if smaller := _halved(step, _smaller, fits):
        options.append(f"crop {smaller.crop}")
    if step.precision == "32" and fits(step._replace(precision="auto")):
        options.append("precision auto")
    if not options:
        return Problem("config, models", what, "No smaller batch or crop fits either: use a smaller network.")
    return Problem("config, models", what, f"What would fit: {', or '.join(options)}.")


def _halved(step: Step, half: Callable[[Step], Step | None], fits: Fits) -> Step | None:
    """The first step that fits when something of it is halved again and again."""
    smaller = half(step)
    while smaller and not fits(smaller):
        smaller = half(smaller)
    return smaller


def _fewer(step: Step) -> Step | None:
    return step._replace(tiles=step.tiles // 2) if step.tiles > 1 else None


def _smaller(step: Step) -> Step | None:
    width, height = (each // 2 // SMALLEST_CROP * SMALLEST_CROP for each in width_and_height(step.crop))
    return step._replace(crop=width if width == height else [width, height]) if min(width, height) else None


def trial(
    segmenter: Segmenter, network: Network, classes: list[str], edge: int | list[int], device: torch.device
) -> Fits:
    """Tries steps of a training and its validation; the network and the draws to come stay as they are.

    Args:
        segmenter: the network.
        network: how it is trained.
        classes: names of the classes.
        edge: edge of the tiles that are validated, or their width and height, in pixels.
        device: where it is trained.
    """

    def fits(step: Step) -> bool:
        _release(device)
        home, kept = segmenter.mean.device, {name: value.clone() for name, value in segmenter.state_dict().items()}
        options = network.model_copy(update={"batch_size": step.tiles * network.devices})
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                _try(SegmentationTask(segmenter, options, classes, 1).to(device), step, edge)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            found = False
        else:
            found = True
        segmenter.zero_grad()
        segmenter.to(home).train().load_state_dict(kept)
        _release(device)
        return found

    return fits


def _release(device: torch.device) -> None:
    """Give back what nothing uses any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _try(task: SegmentationTask, step: Step, edge: int | list[int]) -> None:
    """A step of training and one of validation, with all that is kept between them."""
    half = half_type(step.precision) if task.device.type == "cuda" else None
    made = optimizer(task.spec, rate_groups(task.spec, task.segmenter))
    with torch.autocast(task.device.type, half) if half else nullcontext():
        task.batch_loss(_blank(task, step.tiles, step.crop), 0).backward()  # type: ignore[no-untyped-call]
        made.step()
        for average in task.averages.values():
            average.update(task.segmenter)
        task.eval()
        with torch.no_grad():
            task.validation_step(_blank(task, step.tiles, edge), 0)


def _blank(task: SegmentationTask, tiles: int, edge: int | list[int]) -> Sample:
    """A batch without anything on it."""
    classes, (width, height) = len(task.classes), width_and_height(edge)
    return Sample(
        torch.zeros(tiles, 3, height, width, dtype=torch.uint8, device=task.device),
        torch.zeros(tiles, height, width, dtype=torch.int32, device=task.device),
        torch.ones(tiles, classes, dtype=torch.bool, device=task.device),
    )
