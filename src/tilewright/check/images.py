"""Checks of images: whether they can be read, fit the scales, and show what a slide shows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tilewright.check.findings import Findings
from tilewright.check.looks import judge, look_at
from tilewright.pixels.grid import Frame, Window
from tilewright.project.config import Config, Scale
from tilewright.project.naming import IMAGE_SUFFIXES
from tilewright.project.rows import Region, Row, Sheet
from tilewright.runtime.errors import Problem, TilewrightError
from tilewright.scales.downscale import scale_factor
from tilewright.slides import Slide, open_slide
from tilewright.slides.orientation import TURNS, orientation_of

ALIKE_SHOWN = 5
"""Slides of one kind of finding that are named one by one."""


class ImageCheck:
    """Opens the image of each slide and looks at it; each file and region once."""

    def __init__(self, config: Config, scales: Mapping[str, Scale], sheet: Sheet, findings: Findings) -> None:
        self._config, self._scales, self._sheet, self._findings = config, scales, sheet, findings
        self._whole: set[Path] = set()
        self._seen: set[tuple[Path, Region | None, float | None, int | None]] = set()
        self._turned: set[Path] = set()
        self._kinds: dict[str, list[Problem]] = defaultdict(list)

    def open(self, row: Row) -> Frame | None:
        """Open the image of a slide, look at it, and read its last pixel; where the slide lies in it."""
        limit, crop = self._config.limits.max_pixels, self._config.slides.crop_to_bounds
        errors, frame = self._findings.errors["images"], None
        try:
            with open_slide(
                row.image, region=row.region, mpp=row.mpp, white=row.white, max_pixels=limit, crop_to_bounds=crop
            ) as slide:
                frame = slide.frame
                self._look(row, slide)
                if row.image not in self._whole:
                    self._whole.add(row.image)
                    slide.read(Window(slide.size.width - 1, slide.size.height - 1, 1, 1))
                errors += _scale_problems(self._scales, slide, self._sheet.where(row))
        except TilewrightError as error:
            errors += [replace(problem, where=f"{problem.where} (slide {row.slide})") for problem in error.problems]
        self._check_turns(row)
        return frame

    def _look(self, row: Row, slide: Slide) -> None:
        key = (row.image, row.region, row.mpp, row.white)
        if key in self._seen:
            return
        self._seen.add(key)
        tissue = self._config.tissue
        for kind, problem in judge(look_at(slide, tissue), slide, tissue, f"{row.image} (slide {row.slide})"):
            self._kinds[kind].append(problem)

    def _check_turns(self, row: Row) -> None:
        """Warn of an image and of a label image that other programs turn."""
        labels = row.annotations if row.annotations and row.annotations.suffix.lower() in IMAGE_SUFFIXES else None
        for path in filter(None, (row.image, labels)):
            turn = 1 if path in self._turned else orientation_of(path)
            self._turned.add(path)
            if turn != 1:
                what = f"is stored with orientation {turn} ({TURNS[turn]}) and is read as stored."
                remedy = (
                    "Outlines of QuPath fit; those of CVAT, labelme, VIA and others that turn it do not. Where they do "
                    "not fit, save it turned and without the tag: magick IN -auto-orient OUT."
                )
                self._kinds["turned"].append(Problem(f"{path} (slide {row.slide})", what, remedy))

    def settle(self) -> None:
        """Report what was seen, of each kind the first slides and how many more there are."""
        warnings = self._findings.warnings["images"]
        for kind, problems in self._kinds.items():
            warnings += problems[:ALIKE_SHOWN]
            if (more := len(problems) - ALIKE_SHOWN) > 0:
                what = f"{more} more {'slide is' if more == 1 else 'slides are'} {kind}."
                warnings.append(Problem(str(self._sheet.path), what, problems[0].remedy))


def _scale_problems(scales: Mapping[str, Scale], slide: Slide, where: str) -> Iterator[Problem]:
    for name, scale in scales.items():
        try:
            scale_factor(scale, slide)
        except TilewrightError as error:
            yield from (replace(problem, where=f"{where}, scale {name}") for problem in error.problems)
