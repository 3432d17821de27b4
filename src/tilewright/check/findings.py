"""What a check has found, section by section."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tilewright.runtime.errors import Problem

SECTIONS = ("config", "sheet", "images", "outlines")


@dataclass
class Findings:
    """What is wrong, by section; each problem once."""

    errors: dict[str, list[Problem]] = field(default_factory=lambda: {name: [] for name in SECTIONS})
    warnings: dict[str, list[Problem]] = field(default_factory=lambda: {name: [] for name in SECTIONS})

    def count(self) -> tuple[int, int]:
        """Numbers of errors and of warnings."""
        return sum(map(len, self.errors.values())), sum(map(len, self.warnings.values()))

    def lines(self) -> Iterator[str]:
        """The report: errors by section, then warnings by section."""
        for title, problems in (("", self.errors), ("warnings, ", self.warnings)):
            for section in SECTIONS:
                if unique := list(dict.fromkeys(problems[section])):
                    yield f"{title}{section} ({len(unique)})"
                    yield from ("  " + str(problem).replace("\n", "\n  ") for problem in unique)
                    yield ""

    def settle(self) -> None:
        """Drop what is there twice, as when two slides share a file."""
        for problems in (self.errors, self.warnings):
            for section in SECTIONS:
                problems[section] = list(dict.fromkeys(problems[section]))
