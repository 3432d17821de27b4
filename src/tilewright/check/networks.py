"""Checks of what the models of a config ask for: networks, their weights, and one batch of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tilewright.check.findings import Findings
from tilewright.project.config import Config, Model, Network, width_and_height
from tilewright.project.places import FINAL, Places, part_of, weights_file
from tilewright.runtime.errors import Problem, TilewrightError
from tilewright.training.architectures import build_network, check_network
from tilewright.training.encoders import successor
from tilewright.training.optimizers import check_optimizer
from tilewright.training.start import load_start
from tilewright.training.tryout import try_batch


def check_networks(config: Config, path: Path, findings: Findings) -> None:
    """Architectures, encoders and their options, optimisers, weights, and one batch of each model."""
    for name, model in config.models.items():
        where, network = f"{path}, models.{name}", Network(**model.model_dump(exclude={"inference"}))
        errors = findings.errors["config"]
        errors += (_at(problem, where) for problem in _refusals(network, model, config))
        findings.warnings["config"] += _doubts(where, model)
        if model.start:
            _check_start(where, model, config, findings)


def _refusals(network: Network, model: Model, config: Config) -> Iterator[Problem]:
    """Why a network cannot be trained; what needs it built is tried last, and only if nothing else is wrong."""
    classes, named = len(config.classes), not model.start and model.encoder_weights not in ("auto", "random")
    edge = network.crop or (config.tiles[model.tiles].size if model.tiles in config.tiles else None)
    found = [*_raised(lambda: check_network(network)), *_raised(lambda: check_optimizer(network))]
    if named and model.encoder_weights != "imagenet" and not Path(model.encoder_weights).is_file():
        what = f'encoder_weights "{Path(model.encoder_weights).absolute()}" not found.'
        found.append(Problem("", what, "Use auto, random, imagenet or a .safetensors file."))
    if not found and edge:
        found += _raised(lambda: try_batch(network, classes, *width_and_height(edge)))
    if not found and named:
        found += _raised(lambda: build_network(network, classes, pretrained=True))
    yield from found


def _at(problem: Problem, where: str) -> Problem:
    """A problem at a place of the config, beside the file that it is in."""
    file = "" if problem.where.startswith("config") else problem.where
    return replace(problem, where=f"{where}, {file}" if file else where)


def _raised(check: Callable[[], object]) -> Sequence[Problem]:
    """What is wrong, by a function that raises it."""
    try:
        check()
    except TilewrightError as error:
        return error.problems
    return ()


def _doubts(where: str, model: Model) -> Iterator[Problem]:
    """What can be trained and is hardly meant."""
    if kept := successor(model.encoder or ""):
        what = f'the library will drop the encoder "{model.encoder}".'
        remedy = f"Use {kept}, which has weights and levels of its own, for models that are trained anew."
        yield Problem(where, what, remedy)
    if model.final and model.inference.members == "folds":
        what = "final: true trains a model that inference.members: folds leaves without any use."
        yield Problem(where, what, "Take out one of them.")
    if model.encoder_rate == 0 and model.encoder_weights == "random" and not model.start:
        what = "encoder_rate: 0 leaves the encoder as it was drawn, by encoder_weights: random."
        yield Problem(where, what, "Give it weights, or train it.")


def _check_start(where: str, model: Model, config: Config, findings: Findings) -> None:
    """Weights that are neither there nor made by the graph; those of one fold for all folds."""
    places, folds = Places.of(config.pathvars), [part_of(fold) for fold in range(config.folds.count)]

    def parts(trained: Model) -> list[str]:
        return [*folds, *([FINAL] if trained.final else [])]

    makers = {Path(places.network(name, part)): name for name, other in config.models.items() for part in parts(other)}
    made = makers.keys()
    files = {part: weights_file(Path(model.start_of(part) or "")) for part in parts(model)}
    for file in dict.fromkeys(files.values()):
        if file not in made and not file.is_file():
            remedy = "Name a .safetensors, .pt or .pth file, a bundle, or a folder that train wrote."
            if file == files.get(FINAL) and len(set(files.values())) > 1:
                remedy = "The training on all slides starts from there: give that model final: true too."
            findings.errors["config"].append(Problem(where, f'start: "{file}" not found.', remedy))
        elif file not in made:
            network = Network(**model.model_dump(exclude={"inference"})).model_copy(update={"start": str(file)})
            problems = _raised(partial(_start, network, len(config.classes)))
            findings.errors["config"] += (_at(problem, where) for problem in problems)
    if any(config.models[makers[file]] is model for file in files.values() if file in makers):
        remedy = "Let it start from another model, or copy the weights elsewhere."
        findings.errors["config"].append(Problem(where, "start: a model cannot start from itself.", remedy))
    if len({files[part] for part in folds}) == 1 and made & set(files.values()):
        what = "start: these weights have seen slides that other folds validate on, whose scores would be too good."
        remedy = "Let each fold start from its own: results/models/NAME/fold{fold}."
        findings.warnings["config"].append(Problem(where, what, remedy))


def _start(network: Network, classes: int) -> None:
    load_start(build_network(network, classes, pretrained=False), network)
