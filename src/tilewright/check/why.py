"""Why results would be made again: what differs between the last run and the next.

In: a config file, and what Snakemake wrote down of its jobs (``.snakemake/metadata``, in the folder it runs in). Out: a
line for each key, module or input that changed, with the jobs that it concerns.
"""

import hashlib
import json
import re
from ast import literal_eval
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilewright.project.configfile import load_values, merged, overriding, parse_config
from tilewright.project.jobs import Glance, glancing, seen_files
from tilewright.project.orders import make_order, wildcards_of
from tilewright.project.places import Places
from tilewright.project.project import Project
from tilewright.runtime.atomic import SNAKEMAKES_MARK
from tilewright.runtime.codeversion import PACKAGE, code_version, reached_modules
from tilewright.runtime.digests import SET_BACK, Digests, day_of
from tilewright.runtime.errors import DataError, Problem, TilewrightError, listed
from tilewright.tiles.folding import project_of

METADATA = Path(".snakemake/metadata")
MOST = 3
"""Jobs and modules that are named."""
LONGEST = 60
"""Characters of a value that is told."""


@dataclass(frozen=True)
class Made:
    """A result as Snakemake wrote it down when a job had made it.

    Attributes:
        path: the file or folder.
        rule: the rule of the job.
        wildcards: what the job was about.
        inputs: files and folders that it took, each with its hash where Snakemake has kept one.
        order: what it was told.
        params: its parameters, as Snakemake writes them.
        verb: the step that it ran.
        ended: when, in seconds since 1970.
    """

    path: str
    rule: str
    wildcards: Mapping[str, str]
    inputs: Mapping[str, str | None]
    order: Path
    params: frozenset[str]
    verb: str
    ended: float

    @property
    def name(self) -> str:
        """Rule and what the job was about."""
        return " ".join([self.rule, *(f"fold {value}" if key == "fold" else value for key, value in self.about)])

    @property
    def about(self) -> list[tuple[str, str]]:
        """Its wildcards, the slides last."""
        return sorted(self.wildcards.items(), key=lambda item: item[0] == "shard")


def why(*arguments: str, config: Path = Path("config/config.yaml")) -> None:
    """Print why results would be made again, a line for each reason with the jobs that it concerns.

    Args:
        arguments: files or folders of results, as Snakemake names them, none: all that were made; and KEY=VALUE, as
            behind Snakemake's --config, which count in place of the file's values.
        config: the config file of the next run.

    Raises:
        UserError: everything that is wrong with the config, or with the sheet.
        DataError: no run has made a target.
    """
    made = _all_made()
    targets = [name for name in arguments if "=" not in name or name.rstrip("/") in made]
    given = overriding([name for name in arguments if name not in targets])
    wanted = [target.rstrip("/") for target in targets or (name for name in made if Path(name).exists())]
    if not made:
        print("No run in this folder has made results; `snakemake --dry-run` says what would run, and why.")  # noqa: T201
        return
    if unknown := [target for target in wanted if target not in made]:
        what, remedy = "no run in this folder has made it.", "Name a result as snakemake -n does, where snakemake runs."
        raise DataError([Problem(target, what, remedy) for target in unknown])
    project = project_of(parse_config(merged(load_values(config), given), [config]))
    jobs: dict[str, dict[str, None]] = {}
    glance = glancing(Places.of(project.config.pathvars))
    for name in _on_the_way(wanted, made):
        for reason in _reasons(made[name], project, glance):
            jobs.setdefault(reason, {})[made[name].name] = None
    for name in wanted:
        if not Path(name).exists():
            jobs.setdefault(f"{name} is gone", {})[made[name].name] = None
    lines = [f"{reason} ({listed(sorted(names), MOST)})" for reason, names in jobs.items()]
    print("\n".join(lines) or "Nothing has changed of what results were made of.")  # noqa: T201
    if taken := _taken(wanted, made, project):
        print(f"taken from what was kept, not computed: {listed(taken, MOST)}")  # noqa: T201


def _taken(wanted: list[str], made: Mapping[str, Made], project: Project) -> list[str]:
    """Jobs, with the day, whose results an earlier one of the same has computed."""
    digests = Digests(Path(Places.of(project.config.pathvars).results))
    known = {name: digests.recall(Path(name)).made for name in wanted if Path(name).exists()}
    return sorted({f"{made[name].name} of {day_of(how.computed)}" for name, how in known.items() if how.taken})


def _all_made() -> dict[str, Made]:
    """The results in Snakemake's records, by their paths."""
    found = {}
    for path in METADATA.rglob("*"):
        if path.is_file():
            coded = "".join(part.removeprefix("@") for part in path.relative_to(METADATA).parts)
            name = urlsafe_b64decode(coded).decode()
            if made := _made(name, json.loads(path.read_text("utf-8"))):
                found[name] = made
    return found


def _made(path: str, record: Mapping[str, Any]) -> Made | None:
    """A result by its record; None: of a rule that runs no step."""
    rule, params, logs = record.get("rule", ""), record.get("params") or [], record.get("log") or []
    order = re.search(rf"'([^']*/\.orders/{rule}/[0-9a-f]+\.json)'", " ".join(params))
    if order is None or not logs:
        return None
    hashes = record.get("input_checksums") or {}
    inputs = {name: hashes.get(name) for name in record["input"]}
    names = sorted(wildcards_of(rule), key="shard".__eq__)
    parts = Path(logs[0]).with_suffix("").parts
    values = (part.removeprefix("fold") for part in parts[len(parts) - len(names) :])
    return Made(
        path, rule, dict(zip(names, values, strict=True)), inputs, Path(order[1]), frozenset(params),
        record["shellcmd"].split()[1], record["endtime"],
    )  # fmt: skip


def _on_the_way(targets: list[str], made: Mapping[str, Made]) -> list[str]:
    """Results and those that they were made of, the first of them first."""
    found: dict[str, None] = {}
    waiting = list(targets)
    while waiting:
        name = waiting.pop()
        if name in made and name not in found:
            found[name] = None
            waiting += made[name].inputs
    return sorted(found, key=lambda name: made[name].ended)


def _reasons(made: Made, project: Project, glance: Glance) -> Iterator[str]:
    try:
        after = make_order(project, made.rule, **made.wildcards).model_dump(mode="json")
    except (TilewrightError, KeyError, StopIteration):
        yield "config and sheet do not ask for it any more"
        return
    if made.order.is_file():
        yield from differences(json.loads(made.order.read_text("utf-8")), after)
    else:
        yield f"{made.order} is gone, which says how it was made"
    (module,) = (".".join(each.with_suffix("").parts[-2:]) for each in PACKAGE.glob(f"*/{made.verb}.py"))
    if project.config.rerun_on_code_change and repr(code_version(module)) not in made.params:
        yield f"code of {listed(_edited(module, made.ended) or [module], MOST)}"
    if _is_set_back(Path(made.path)):
        yield f"{made.path} was made of other content than there is now (tilewright clean --rehash)"
    put_back = _put_back(made, Places.of(project.config.pathvars), glance)
    for name, known in made.inputs.items():
        file = Path(name)
        if file.is_file() and file.stat().st_mtime > made.ended and not (known and known == _hash(file)):
            yield f"{name} is newer"
        elif name in put_back:
            yield f"{name} is another file than the one that was read"


def _is_set_back(output: Path) -> bool:
    stamp = output / SNAKEMAKES_MARK
    place = stamp if stamp.is_file() else output
    return place.exists() and place.stat().st_mtime == SET_BACK


def _put_back(made: Made, places: Places, glance: Glance) -> set[str]:
    """Inputs of users that are others than they were when the job ran, newer or not."""
    texts = [literal_eval(text) for text in made.params if text.startswith("'{")]
    before: Mapping[str, Any] = next(map(json.loads, texts), {})
    seen = json.loads(seen_files(made.inputs, places, glance))
    return {name for name, now in seen.items() if now != before.get(name, now)}


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _edited(module: str, since: float) -> list[str]:
    """Modules that a step runs, of which the file is newer."""
    files = (PACKAGE.joinpath(*name.split(".")).with_suffix(".py") for name in reached_modules(module))
    return sorted(
        f"{file.parent.name}/{file.name}" for file in files if file.is_file() and file.stat().st_mtime > since
    )


def differences(before: Any, after: Any, key: str = "") -> Iterator[str]:
    """What differs between two documents, a line for each value: ``key: old -> new``.

    Entries of lists that have a slide or a shard are compared with those of the same one.
    """
    if isinstance(before, list) and isinstance(after, list):
        before, after = _by_slide(before), _by_slide(after)
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            below = f"{key}.{name}" if key else str(name)
            yield from differences(before.get(name), after.get(name), below)
    elif before is None and isinstance(after, dict):
        yield f"{key} was added"
    elif after is None and isinstance(before, dict):
        yield f"{key} was taken out"
    elif before != after:
        yield f"{key}: {_text(before)} -> {_text(after)}"


def _by_slide(entries: list[Any]) -> Any:
    for name in ("slide", "shard"):
        if entries and all(isinstance(entry, dict) and name in entry for entry in entries):
            return {entry[name]: entry for entry in entries}
    return entries or {}


def _text(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
