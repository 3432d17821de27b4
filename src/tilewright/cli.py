"""The command line: one verb a step. Options are the parameters of the step's function.

A verb's module is imported when the verb is called, so that ``tilewright --help`` and light verbs start at once.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cyclopts import App, Parameter, Token

from tilewright.project.config import Limits
from tilewright.project.orders import Order, read_order
from tilewright.runtime.ending import exit_code
from tilewright.runtime.errors import Problem, UserError, did_you_mean
from tilewright.runtime.kept import at_most_once

VERBS = {
    "check": ("tilewright.check.check:check", "Find all problems of config, sheet, images and outlines."),
    "why": ("tilewright.check.why:why", "Say why results would be made again: which keys, code, inputs changed."),
    "clean": ("tilewright.check.clean:clean", "Say what is kept and left over in the results, and remove it."),
    "sheet": ("tilewright.project.sheet:sheet", "Write the slide sheet of a folder with a known layout."),
    "plan": ("tilewright.check.plan:plan", "Write a config for the slides of a sheet, with reasons."),
    "rasterize": ("tilewright.masks.rasterize:rasterize", "Draw the outlines of a shard into masks."),
    "downscale": ("tilewright.scales.downscale:downscale", "Write images, masks and tissue of a shard at some scales."),
    "tile": ("tilewright.tiles.tile:tile", "Cut the tiles of a shard into one archive."),
    "split": ("tilewright.tiles.split:split", "Divide the training shards into folds."),
    "pseudo": ("tilewright.inference.pseudo:pseudo", "Cut the tiles of a test shard as an ensemble labels them."),
    "train": ("tilewright.training.train:train", "Train one fold of a model."),
    "refit": ("tilewright.training.refit:refit", "Train a model on all training slides, as its folds were."),
    "predict": ("tilewright.inference.predict:predict", "Predict a shard with a model."),
    "adopt": ("tilewright.inference.adopt:adopt", "Bring saved probabilities of a shard to a scale of the project."),
    "seams": ("tilewright.inference.seams:seams", "Measure how much windows of a model differ where they end."),
    "weigh": ("tilewright.inference.weigh:weigh", "Fit the weights of an ensemble on out-of-fold slides."),
    "ensemble": ("tilewright.inference.ensemble:ensemble", "Average the predictions of a shard."),
    "calibrate": ("tilewright.inference.calibrate:calibrate", "Choose thresholds on out-of-fold slides."),
    "segment": ("tilewright.segments.segment:segment", "Make masks and objects of the probabilities of a shard."),
    "encode": ("tilewright.segments.encode:encode", "Write the run-length-encoded submission."),
    "truth": ("tilewright.segments.truth:truth", "Write the outlines as run lengths, at any scale."),
    "measure": ("tilewright.segments.measure:measure", "Write area, share and density of each class on each slide."),
    "evaluate": ("tilewright.evaluation.evaluate:evaluate", "Compare masks and objects with the outlines."),
    "audit": ("tilewright.evaluation.audit:audit", "Rank the outlines that networks contradict."),
    "corrections": ("tilewright.evaluation.corrections:corrections", "Tell what people have decided about outlines."),
    "pack": ("tilewright.bundles.pack:pack", "Write all that a prediction by an ensemble needs, to be given away."),
    "apply": ("tilewright.bundles.apply:apply", "Predict slides with a bundle, and nothing else."),
    "export": ("tilewright.bundles.export:export", "Write a bundle for other programs: ONNX, bioimage.io, QuPath."),
    "report": ("tilewright.report.report:report", "Draw overlays and tables into one page."),
    "view": ("tilewright.report.viewer.view:view", "Look at slides and results in a browser, down to a pixel."),
}
"""The verbs in the order of the chain: where the function of each is, and what it does."""


def _order(kind: type[Order], tokens: Sequence[Token]) -> Order:
    """The order of a job from the file that a rule names."""
    return read_order(kind, Path(tokens[0].value))


def _limits(kind: type[Limits], tokens: Sequence[Token]) -> Limits:
    """Limits from the JSON that a rule passes."""
    return kind.model_validate_json(tokens[0].value)


def _orders(kind: type[Order]) -> Iterator[type[Order]]:
    for below in kind.__subclasses__():
        yield below
        yield from _orders(below)


ORDER_HELP = "File that says which slides and how: the graph writes it, `snakemake -n -p` names it in each command."
for _kind in _orders(Order):
    Parameter(converter=_order, accepts_keys=False, n_tokens=1, help=ORDER_HELP)(_kind)
Parameter(converter=_limits, accepts_keys=False, n_tokens=1)(Limits)

app = App(
    name="tilewright",
    help="Slides and outlines to segmentations, one step at a time.",
    version=version("tilewright"),
    default_parameter=Parameter(negative=(), consume_multiple=True),
    help_format="plaintext",
    result_action="return_none",
)
for _place, (_verb, (_target, _help)) in enumerate(VERBS.items()):
    app.command(_target, name=_verb, help=_help, sort_key=_place)


def run_step(verb: str, order: Order, **paths: Any) -> None:
    """Run a step in this process; its command says which paths it takes, such as ``out``.

    Raises:
        UserError: there is no such verb, or the order is that of another; and what the step raises.

    Examples:
        >>> from tilewright import make_order, read_project
        >>> order = make_order(read_project("config/config.yaml"), "rasterize", shard="nest_left")
        >>> run_step("rasterize", order, out="masks")
        >>> sorted(path.name for path in Path("masks").glob("nest*"))
        ['nest_left.outlines.parquet', 'nest_left.tif']
    """
    _check_verb(verb)
    module, _, function = VERBS[verb][0].partition(":")
    step = getattr(import_module(module), function)
    kinds = get_type_hints(step)
    wanted = kinds.get("order")
    if wanted is not type(order):
        what = f"{verb} takes {wanted.__name__ if wanted else 'no order'}, not {type(order).__name__}."
        raise UserError(Problem("order", what, f'Make it with make_order(project, "{verb}", ...).'))
    step(order, **{name: _as(kinds.get(name), value) for name, value in paths.items()})


def _as(kind: Any, value: Any) -> Any:
    """A value as a step takes it: texts serve as paths."""
    if kind in (Path, Path | None):
        return Path(value)
    return [Path(one) for one in value] if Path in get_args(kind) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb; print a user's error as a message and leave with its exit code."""
    if code := exit_code(lambda: _run(sys.argv[1:] if arguments is None else arguments)):
        sys.exit(code)


def run() -> None:
    """The program ``tilewright``: the command line in a process of its own."""
    # rasterio would load it, for longer than most steps take to start; Snakemake fetches what lies on object storage
    sys.modules["boto3"] = None  # type: ignore[assignment]
    main()


def _run(arguments: Sequence[str]) -> None:
    """Run a verb. One that does not exist would make the parser load all of them to name the nearest."""
    first = next(iter(arguments), "--help")
    if not first.startswith("-"):
        _check_verb(first)
    job, others = without_job(arguments)
    # Lightning starts the command again for each further device, while the first one computes
    if job is None or "LOCAL_RANK" in os.environ:
        app(others)
    else:
        at_most_once(job, lambda: app(others))


def without_job(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file that a rule names behind ``--job``, read before any step is loaded, and the other arguments."""
    given = list(arguments)
    if "--job" not in given[1:-1]:
        return None, given
    place = given.index("--job")
    return Path(given[place + 1]), given[:place] + given[place + 2 :]


def _check_verb(verb: str) -> None:
    if verb not in VERBS:
        raise UserError(Problem("tilewright", f'there is no verb "{verb}".', did_you_mean(verb, VERBS)))


if __name__ == "__main__":
    run()
