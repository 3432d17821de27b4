"""The command line: one verb a step. Options are the parameters of the step's function.

A verb's module is imported when the verb is called, so that ``tilewright --help`` and light verbs start at once.
"""

import sys
from collections.abc import Sequence

from cyclopts import App, Parameter, Token

from tilewright import __version__
from tilewright.project.config import Limits
from tilewright.project.config.base import Section
from tilewright.project.settings import StepSettings
from tilewright.runtime.ending import exit_code
from tilewright.runtime.errors import Problem, UserError, did_you_mean

VERBS = {
    "check": ("tilewright.check.check:check", "Find all problems of config, sheet, images and outlines."),
    "sheet": ("tilewright.project.sheet:sheet", "Write the slide sheet of a folder with a known layout."),
    "rasterize": ("tilewright.masks.rasterize:rasterize", "Draw the outlines of a shard into masks."),
    "downscale": ("tilewright.scales.downscale:downscale", "Write images, masks and tissue of a shard at some scales."),
    "tile": ("tilewright.tiles.tile:tile", "Cut the tiles of a shard into one archive."),
    "split": ("tilewright.tiles.split:split", "Divide the training shards into folds."),
    "pseudo": ("tilewright.inference.pseudo:pseudo", "Cut the tiles of a test shard as an ensemble labels them."),
    "train": ("tilewright.training.train:train", "Train one fold of a model."),
    "export": ("tilewright.inference.export:export", "Write a trained fold as ONNX, checked against PyTorch."),
    "predict": ("tilewright.inference.predict:predict", "Predict a shard with one fold of a model."),
    "seams": ("tilewright.inference.seams:seams", "Measure how much windows of a model differ where they end."),
    "weigh": ("tilewright.inference.weigh:weigh", "Fit the weights of an ensemble on out-of-fold slides."),
    "ensemble": ("tilewright.inference.ensemble:ensemble", "Average the predictions of a shard."),
    "calibrate": ("tilewright.inference.calibrate:calibrate", "Choose thresholds on out-of-fold slides."),
    "segment": ("tilewright.segments.segment:segment", "Make masks and objects of the probabilities of a shard."),
    "encode": ("tilewright.segments.encode:encode", "Write the run-length-encoded submission."),
    "evaluate": ("tilewright.evaluation.evaluate:evaluate", "Compare masks and objects with the outlines."),
    "report": ("tilewright.report.report:report", "Draw overlays and tables into one page."),
}


def _settings(kind: type[Section], tokens: Sequence[Token]) -> Section:
    """Settings from the JSON that a rule passes."""
    return kind.model_validate_json(tokens[0].value)


for _kind in (*StepSettings.__subclasses__(), Limits):
    Parameter(converter=_settings, accepts_keys=False, n_tokens=1)(_kind)

app = App(
    name="tilewright",
    help="Slides and outlines to segmentations, one step at a time.",
    version=__version__,
    default_parameter=Parameter(negative=(), consume_multiple=True),
    help_format="plaintext",
    result_action="return_none",
)
for _place, (_verb, (_target, _help)) in enumerate(VERBS.items()):
    app.command(_target, name=_verb, help=_help, sort_key=_place)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb; print a user's error as a message and leave with its exit code."""
    if code := exit_code(lambda: _run(sys.argv[1:] if arguments is None else arguments)):
        sys.exit(code)


def _run(arguments: Sequence[str]) -> None:
    """Run a verb. One that does not exist would make the parser load all of them to name the nearest."""
    first = next(iter(arguments), "--help")
    if first not in VERBS and not first.startswith("-"):
        raise UserError(Problem("tilewright", f'there is no verb "{first}".', did_you_mean(first, VERBS)))
    app(arguments)
