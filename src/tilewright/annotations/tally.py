"""What became of the outlines of a slide: whether any can be used, and why not."""

from dataclasses import dataclass, field

from tilewright.annotations.model import Annotation, Finding, Outlines
from tilewright.pixels.grid import Frame
from tilewright.project.config import Annotations
from tilewright.runtime.errors import Problem

OTHER_IMAGE = "Outlines count in pixels of the whole image at full size; were they drawn on another image?"


@dataclass
class Tally:
    """Counts the outlines of a slide, a batch at a time.

    Attributes:
        slide: its name.
        options: how outlines are read; regions and ignored ones are no objects.
        frame: where the slide lies; None: it is a part of its image, or is not known.
        usable: outlines that can be drawn.
        objects: those of them that are neither regions nor ignored.
        unusable: those that cannot be drawn.
        first: the first finding of each kind that tells of some that are not drawn.
        lost: annotated regions that are not drawn, or lie outside of the slide: place in the file, and why.
    """

    slide: str
    options: Annotations
    frame: Frame | None = None
    usable: int = 0
    objects: int = 0
    unusable: int = 0
    first: dict[str, Finding] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)

    def add(self, batch: Outlines) -> None:
        """Take in some outlines."""
        beside = {*self.options.region, *self.options.ignored}
        self.usable += len(batch.annotations)
        self.objects += sum(one.label not in beside for one in batch.annotations)
        for finding in batch.findings:
            if finding.kind in ("unusable", "left out"):
                self.unusable += finding.kind == "unusable"
                self.first.setdefault(finding.kind, finding)
            elif finding.kind == "lost":
                self.lost.append((finding.where, finding.what))
        regions = (one for one in batch.annotations if one.label in self.options.region)
        self.lost += [(one.origin, "lies outside of the image.") for one in regions if self._is_outside(one)]

    def _is_outside(self, one: Annotation) -> bool:
        """Whether an outline lies outside of the slide wholly."""
        if self.frame is None:
            return False
        left, top, right, bottom = one.geometry.bounds
        x, y, width, height = self.frame.x, self.frame.y, self.frame.width, self.frame.height
        return bool(right <= x or bottom <= y or left >= x + width or top >= y + height)

    def problems(self, file: str) -> list[Problem]:
        """That none of the objects of a file can be used, if there are any, or that a region is lost.

        The slide would pass for background, or for ignored.
        """
        where = f"{file} (slide {self.slide})"
        remedy = "Draw the region again, as an area; without it other pixels would count than were meant."
        found = [
            Problem(where, f"its annotated region, {place.removeprefix(f'{file}, ')}, {what}", remedy)
            for place, what in self.lost
        ]
        return found + self._nothing_left(file, where)

    def _nothing_left(self, file: str, where: str) -> list[Problem]:
        if self.objects or not self.first:
            return []
        if self.unusable:
            first = self.first["unusable"]
            what = f"of its {self.unusable} outline(s) none can be drawn; the first{first.where.removeprefix(file)}: "
            remedy = "Mend them or export them again; without outlines it can be a test slide."
            return [Problem(where, what + first.what, remedy)]
        beside = " regions or ignored areas, and" if self.usable else ""
        remedy = "Name these kinds by the key annotations.objects, or export annotations."
        return [Problem(where, f"holds nothing but{beside} {self.first['left out'].what}", remedy)]
