"""Where a part runs, with how much, and where it tells what it found."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The repository."""


class LeftOut(Exception):
    """What a part shows cannot be shown here; the text says why."""


@dataclass(frozen=True)
class Setting:
    """What a part is told.

    Attributes:
        device: cuda or cpu.
        small: whether numbers are small, so that each part takes seconds on a CPU.
        folder: for what parts make and share.
        part: the name of the part.
    """

    device: str
    small: bool
    folder: Path
    part: str = ""

    @property
    def on_gpu(self):
        return self.device == "cuda"

    @property
    def cores(self):
        """Cores that this process may use."""
        return len(os.sched_getaffinity(0))

    def of(self, part):
        """The same for a part."""
        return replace(self, part=part)

    def size(self, large, small):
        """A number by whether numbers are small."""
        return small if self.small else large

    def tell(self, what, value, unit="", goal="", met=None):
        """Write a figure at once; ``met``: whether it is as it should be, None where that is not judged."""
        row = {"what": what, "value": value, "unit": unit, "goal": goal, "met": None if met is None else bool(met)}
        with self._file(self.part).open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def tell_ratio(self, what, value, least):
        """Write a rate as a share of another one; judged on a GPU with numbers that mean something."""
        judged = self.on_gpu and not self.small
        self.tell(what, round(value, 4), "", f">= {least}", value >= least if judged else None)

    def rows(self, part):
        """What a part has told so far."""
        path = self._file(part)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def leave_out(self, part, why):
        """Say why a part, or the rest of it, is left out."""
        self._file(part, "left-out").write_text(why)

    def why_left_out(self, part):
        """Why it was; empty: it was not."""
        path = self._file(part, "left-out")
        return path.read_text() if path.is_file() else ""

    def _file(self, part, kind="rows"):
        return self.folder / f"{part}.{kind}"
