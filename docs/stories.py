"""The README's table of what runs again when, from what the tests of reruns have found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tilewright.cli import VERBS

START, END = "<!-- what runs again when: made by `make docs` -->\n", "<!-- end -->\n"
MANY = 5
"""Steps from which on they are counted instead of named."""


def with_stories(readme: str, tests: Path) -> str:
    """A text with the table between its marks.

    Args:
        readme: the text of the README.
        tests: folder with ``stories.yaml`` and ``reruns.yaml``.
    """
    rows = yaml.safe_load((tests / "stories.yaml").read_text("utf-8"))
    keys = yaml.safe_load((tests / "reruns.yaml").read_text("utf-8"))["keys"]
    before, rest = readme.split(START)
    _, after = rest.split(END)
    lines = ["| you change | is planned | is computed |", "| --- | --- | --- |", *(_row(row, keys) for row in rows)]
    return before + START + "".join(f"{line}\n" for line in lines) + END + after


def _row(row: Mapping[str, Any], keys: Mapping[str, Any]) -> str:
    found = keys[row["key"]] if "key" in row else row
    planned, computed = _ordered(found["planned"]), _ordered(found["computed"])
    said = _said(computed)
    if "key" in row and set(planned) > set(computed) and computed:
        said += ", and what then has other inputs"
    return f"| {row['change']} | {_said(planned)} | {said} |"


def _ordered(rules: Sequence[str]) -> list[str]:
    """Rules in the order of the chain."""
    return [verb for verb in VERBS if verb in rules]


def _said(rules: Sequence[str]) -> str:
    if len(rules) <= MANY:
        return ", ".join(f"`{rule}`" for rule in rules) or "nothing"
    return f"{len(rules)} steps, from `{rules[0]}` to `{rules[-1]}`"
