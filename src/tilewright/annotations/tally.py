"""What became of the outlines of a slide: whether any can be used, and why not."""

from dataclasses import dataclass, field

from tilewright.annotations.model import Finding, Outlines
from tilewright.runtime.errors import Problem

OTHER_IMAGE = "Outlines count in pixels of the whole image at full size; were they drawn on another image?"


@dataclass
class Tally:
    """Counts the outlines of a slide, a batch at a time.

    Attributes:
        slide: its name.
        usable: outlines that can be drawn.
        unusable: those that cannot.
        first: the first finding of each kind that tells of some that are not drawn.
    """

    slide: str
    usable: int = 0
    unusable: int = 0
    first: dict[str, Finding] = field(default_factory=dict)

    def add(self, batch: Outlines) -> None:
        """Take in some outlines."""
        self.usable += len(batch.annotations)
        for finding in batch.findings:
            if finding.kind != "repaired":
                self.unusable += finding.kind == "unusable"
                self.first.setdefault(finding.kind, finding)

    def problems(self, file: str) -> list[Problem]:
        """That none of the outlines of a file can be used, if there are any: the slide would pass for background."""
        if self.usable or not self.first:
            return []
        where = f"{file} (slide {self.slide})"
        if self.unusable:
            first = self.first["unusable"]
            what = f"of its {self.unusable} outline(s) none can be drawn; the first{first.where.removeprefix(file)}: "
            remedy = "Mend them or export them again; without outlines it can be a test slide."
            return [Problem(where, what + first.what, remedy)]
        remedy = "Name these kinds by the key annotations.objects, or export annotations."
        return [Problem(where, f"holds nothing but {self.first['left out'].what}", remedy)]
