"""Read config files and say what is wrong with them: the key, its line, and the nearest known key."""

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tilewright.project.bundled import Bundled
from tilewright.project.config import Config, width_and_height
from tilewright.runtime.errors import Problem, UserError, did_you_mean, raise_all

Location = tuple[str | int, ...]


def read_config(path: Path) -> Config:
    """Read and check one config file.

    Raises:
        UserError: everything that is wrong with it.
    """
    return parse_config(load_values(path), [path])


def load_values(path: Path) -> dict[str, Any]:
    """The keys and values of a config file, unchecked.

    Raises:
        UserError: it is not there, no text in UTF-8, no YAML, or holds no keys.
    """
    if not path.is_file():
        what = "the config does not exist." if not path.exists() else "is no file."
        remedy = "Write one with `tilewright plan --sheet SHEET --out FILE`, or by hand from the lines in README.md."
        raise UserError(Problem(str(path.absolute()), what, remedy))
    try:
        values = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        what = f"is no valid YAML: {error}"
        raise UserError(Problem(str(path), what, "Compare it with config/config.yaml.")) from error
    if not isinstance(values, dict):
        raise UserError(Problem(str(path), "holds no keys.", "README.md has the lines that it needs."))
    return values


def overriding(arguments: Sequence[str]) -> dict[str, Any]:
    """What KEY=VALUE say, as Snakemake reads them behind --config: values are YAML.

    Raises:
        UserError: one is not of this form.
    """
    found: dict[str, Any] = {}
    problems = []
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator or not key:
            remedy = "Name a config file by --config FILE." if Path(argument).is_file() else "Write it as KEY=VALUE."
            problems.append(Problem(argument, "is no KEY=VALUE.", remedy))
            continue
        if "." in key:
            first, *rest = key.split(".")
            told = "".join(f"{{{name}: " for name in rest) + value + "}" * len(rest)
            problems.append(Problem(argument, "names a key below another by a dot.", f"Write it as '{first}={told}'."))
            continue
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(Problem(argument, "has a value that is no YAML.", "Write it as KEY={a: 1} or KEY=text."))
    raise_all(UserError, problems)
    return found


def merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others in their place; sections are merged, as Snakemake does."""
    both = {**values, **given}
    return both | {
        key: merged(values[key], one)
        for key, one in given.items() if isinstance(one, Mapping) and isinstance(values.get(key), Mapping)
    }  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        row = error.object.count(b"\n", 0, error.start) + 1
        what = f"is not text in UTF-8 (byte {error.start})."
        remedy = "Save it as UTF-8; letters such as umlauts in comments count too."
        raise UserError(Problem(f"{path}, line {row}", what, remedy)) from error
    except OSError as error:
        raise UserError(
            Problem(str(path), f"cannot be read ({error.strerror}).", "Look at its permissions.")
        ) from error


def parse_config(values: Mapping[str, Any], files: Sequence[Path] = ()) -> Config:
    """Check a merged config.

    Args:
        values: keys and values.
        files: the files that they came from, for line numbers; the last one that has a key is named.

    Raises:
        UserError: everything that is wrong with it.
    """
    twice = [problem for path in files for problem in _keys_given_twice(path)]
    try:
        config = Config.model_validate(dict(values))
    except ValidationError as error:
        raise UserError([*twice, *(_problem(each, files) for each in error.errors())]) from error
    config = with_sheet(Bundled.read(config).complete(config), files)
    raise_all(UserError, [*twice, *_shared_names(config, files), *_dangling(config, files)])
    return config


def _keys_given_twice(path: Path) -> Iterator[Problem]:
    """Keys that a section of a file has twice: YAML takes the last, and what the first says is lost."""
    waiting, seen = [_nodes(path)], set[int]()
    while waiting:
        section = waiting.pop()
        # an alias is the node that it names, and may lie in itself
        if section is None or id(section) in seen:
            continue
        seen.add(id(section))
        if isinstance(section, yaml.SequenceNode):
            waiting += reversed(section.value)
        elif isinstance(section, yaml.MappingNode):
            waiting += [value for _, value in reversed(section.value)]
            first: dict[tuple[str, str], yaml.Node] = {}
            for key, _ in section.value:
                other = first.setdefault((key.tag, str(key.value)), key)
                if other is not key and key.value != "<<":
                    what = f'the key "{key.value}" is in line {other.start_mark.line + 1} already.'
                    remedy = "Put what both say under one of them, and take out the other."
                    yield Problem(f"{path}, line {key.start_mark.line + 1}", what, remedy)


def _nodes(path: Path) -> yaml.Node | None:
    """A config file with the lines of its keys; none where there is no such file."""
    node: yaml.Node | None = yaml.compose(_text(path), Loader=yaml.SafeLoader) if path.is_file() else None
    return node


def with_sheet(config: Config, files: Sequence[Path]) -> Config:
    """The config with its sheet beside a config file, where it is there and not in the working directory."""
    beside = [file.parent / config.sheet for file in reversed(files)]
    found = next((path for path in (Path(config.sheet), *beside) if path.is_file()), None)
    return config if found is None else config.model_copy(update={"sheet": str(found)})


def _problem(error: Any, files: Sequence[Path]) -> Problem:
    location = location_of(error)
    key = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return Problem(_where(location, files), f'unknown key "{key}".', did_you_mean(str(location[-1]), known))
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    shown = error["type"] != "missing" and not isinstance(error["input"], Mapping)
    given = f" (given: {error['input']!r})" if shown else ""
    return Problem(_where(location, files), f"{key}: {message[:1].lower()}{message[1:]}{given}.", _remedy(error))


def _remedy(error: Any) -> str:
    """What to do about a value that YAML or a person wrote otherwise than it is read; empty: the message says it."""
    given = error["input"]
    match error["type"]:
        case "string_pattern_mismatch" if "classes" in error["loc"]:
            plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", given).strip("_") or "name"
            return f"Give it a plain name, and say what the outlines call it: {plain}: {{labels: [{given}]}}."
        case "string_pattern_mismatch":
            return "Names start with a letter or digit and hold letters, digits, dots, hyphens and underscores."
        case "string_type" if isinstance(given, bool):
            return "YAML reads yes, no, on and off as truth values: put the word in quotes."
        case "string_type" if isinstance(given, int | float):
            return f'YAML reads it as a number: put it in quotes, "{given}".'
        case "list_type":
            return f"Write it as a list: [{given}]."
    return ""


def location_of(error: Any) -> Location:
    """The keys that lead to an error of pydantic.

    It marks an error in a dictionary's key by a last part "[key]"; sections mark one of several ways to write a value
    likewise.
    """
    return tuple(part for part in error["loc"] if not str(part).startswith("["))


def _shared_names(config: Config, files: Sequence[Path]) -> Iterator[Problem]:
    """Names of members that are given twice."""
    kinds = {"models": set(config.models), "bundles": set(config.bundles), "predictions": set(config.predictions)}
    for (first, names), (kind, others) in combinations(kinds.items(), 2):
        for name in sorted(names & others):
            what = f'{kind}.{name}: there is a member "{name}" in {first} already.'
            yield Problem(_where((kind, name), files), what, "Models, bundles and predictions share one set of names.")


def _dangling(config: Config, files: Sequence[Path]) -> Iterator[Problem]:
    """Names that refer to nothing."""
    check = partial(_named, files)
    for tiles, tile_set in config.tiles.items():
        yield from check(("tiles", tiles, "scale"), tile_set.scale, "scale", list(config.scales))
    for name in config.one_pass:
        yield from check(("one_pass",), name, "scale", list(config.scales))
    yield from _dangling_of_models(config, files)
    for name, ensemble in config.ensembles.items():
        known = [*config.models, *config.bundles, *config.predictions]
        for model in ensemble.models:
            yield from check(("ensembles", name, "models", model), model, "model", known)
        threshold = ensemble.calibration.threshold
        for each in threshold if isinstance(threshold, dict) else ():
            place = ("ensembles", name, "calibration", "threshold", each)
            yield from check(place, each, "class", list(config.classes))
    for name, predictions in config.predictions.items():
        if predictions.scale is not None:
            yield from check(("predictions", name, "scale"), predictions.scale, "scale", list(config.scales))
    for name in config.report.compare:
        yield from check(("report", "compare"), name, "ensemble", list(config.ensembles))
    for name in config.submission.classes:
        yield from check(("submission", "classes"), name, "class", list(config.classes))


def _dangling_of_models(config: Config, files: Sequence[Path]) -> Iterator[Problem]:
    check = partial(_named, files)
    if config.models and not config.classes:
        what, remedy = "classes: field required.", "Bundles give them only where no model is trained."
        yield Problem(_where(("classes",), files), what, remedy)
    for model, spec in config.models.items():
        yield from check(("models", model, "tiles"), spec.tiles, "tile set", list(config.tiles))
        size = config.tiles[spec.tiles].size if spec.tiles in config.tiles else None
        if size and spec.crop and any(map(operator.gt, width_and_height(spec.crop), width_and_height(size))):
            what = f"models.{model}.crop: {spec.crop} is larger than the tiles ({spec.tiles}: {size})."
            yield Problem(_where(("models", model, "crop"), files), what, "Lower it, or cut larger tiles.")
        if spec.pseudo:
            place = ("models", model, "pseudo", "from")
            yield from check(place, spec.pseudo.source, "ensemble", list(config.ensembles))
            if model in _labelling(config, spec.pseudo.source, set()):
                what = f"the ensemble {spec.pseudo.source} holds {model} itself, or a model that learns from it."
                yield Problem(_where(place, files), what, "Label with an ensemble of models of an earlier round.")
        for name in spec.class_weights:
            yield from check(("models", model, "class_weights", name), name, "class", list(config.classes))


def _named(files: Sequence[Path], location: Location, name: str, kind: str, known: Sequence[str]) -> Iterator[Problem]:
    """The problem of a name that is not known."""
    if name not in known:
        what = f'{".".join(map(str, location))}: no {kind} is named "{name}".'
        yield Problem(_where(location, files), what, did_you_mean(name, known))


def _labelling(config: Config, ensemble: str, seen: set[str]) -> set[str]:
    """Models whose predictions reach an ensemble, by its members and by what labelled their tiles."""
    for model in config.ensembles[ensemble].models if ensemble in config.ensembles else ():
        if model not in seen and model in config.models:
            seen.add(model)
            if pseudo := config.models[model].pseudo:
                _labelling(config, pseudo.source, seen)
    return seen


def _known_keys(location: Location) -> list[str]:
    """Keys of the section at a location of the config."""
    section: Any = Config
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            fields = {field.alias or name: field for name, field in section.model_fields.items()}
            section = fields[str(part)].annotation if part in fields else None
        else:
            section = next((arg for arg in reversed(get_args(section))), None)
    models = [each for each in (section, *get_args(section)) if isinstance(each, type) and issubclass(each, BaseModel)]
    return [field.alias or name for name, field in models[0].model_fields.items()] if models else []


def _where(location: Location, files: Sequence[Path]) -> str:
    """The file and line of a key, or of the innermost section around it that a file has."""
    best: tuple[int, str] = (0, str(files[-1]) if files else "config")
    for path in files:
        depth, line = _find(path, location)
        if depth and depth >= best[0]:
            best = (depth, f"{path}, line {line}")
    return best[1]


def _find(path: Path, location: Location) -> tuple[int, int]:
    node = _nodes(path)
    depth, line = 0, 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
        depth += 1
    return depth, line
