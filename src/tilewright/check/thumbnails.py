"""Slides as small pictures with their outlines, and all of them on one sheet to look at.

The pictures are averaged as ``downscale`` does it, from levels or by blocks: memory does not depend on the slide.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations.read import stream_outlines
from tilewright.check.contact import OTHER, Card, cell_edge, contact_sheet, fitted, page
from tilewright.check.findings import SECTIONS, Findings
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import open_raster
from tilewright.project.config import Config
from tilewright.project.naming import Identity, identity_of, namesakes
from tilewright.project.project import Project
from tilewright.project.rows import Row
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import TilewrightError
from tilewright.runtime.progress import track
from tilewright.scales.downscale import downscale_image
from tilewright.slides import RGB, Slide, open_slide

INDEX, SHEET = "index.html", "contact_sheet.png"
LARGEST, SMALLEST = 1024, 384
"""Longest edge of a picture in pixels, and what a smaller slide is enlarged to, about."""
CASED = 12
"""Edge of an object in pixels of the picture from which a dark line lies beside that of its colour."""
DARK = "#202020"
SHIFT = 4


def write_thumbnails(folder: Path, project: Project, rows: Sequence[Row], findings: Findings) -> Path:
    """Write a picture of each slide with its outlines, a page of all, and all in one picture.

    Args:
        folder: what to write; one that was written before is replaced, another one is not.
        project: config and sheet.
        rows: the slides.
        findings: what was found; said beside the slides that it names.

    Returns:
        The page.
    """
    alike = namesakes(project.sheet, "annotations")
    colors = {label: project.colors[name] for name, labels in project.config.labels.items() for label in labels}
    with atomic_directory(folder) as out:
        edge = cell_edge(len(rows))
        cards = [
            _card(row, identity_of(row, alike), project.config, colors, findings, out, edge)
            for row in track(rows, "thumbnails")
        ]
        (out / INDEX).write_text("".join(page(cards, project.colors)), encoding="utf-8")
        _write(out / SHEET, contact_sheet(cards))
    return folder / INDEX


def _card(
    row: Row, who: Identity, config: Config, colors: Mapping[str, str], findings: Findings, out: Path, edge: int
) -> Card:
    named = f"(slide {row.slide})"
    found = [each for kind in (findings.errors, findings.warnings) for section in SECTIONS for each in kind[section]]
    problems = [f"{each.what} {each.remedy}" for each in dict.fromkeys(found) if named in each.where]
    try:
        with open_slide(
            row.image, region=row.region, mpp=row.mpp, white=row.white, max_pixels=config.limits.max_pixels,
            crop_to_bounds=config.slides.crop_to_bounds,
        ) as slide:  # fmt: skip
            pixels, scale = picture(slide, levels=config.slides.levels)
            frame = slide.frame
    except TilewrightError as error:
        unread = problems or [each.what for each in error.problems]
        return Card(row.slide, f"({row.role})", "", np.full((1, 1, 3), 255, np.uint8), unread)
    drawn = _draw(pixels, scale, row.annotations, who, frame, config, colors)
    _write(out / f"{row.slide}.jpg", pixels)
    mpp = f"{frame.mpp:g} um a pixel" if frame.mpp else "size of a pixel unknown"
    labels = ", ".join(f"{label or 'without label'} {count}" for label, count in drawn.most_common())
    told = f"({row.role}) {frame.width} x {frame.height}, {mpp}; outlines: {labels or 'none'}"
    return Card(row.slide, told, f"{row.slide}.jpg", fitted(pixels, edge), problems)


def _write(path: Path, pixels: RGB) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if path.suffix == ".jpg" else []
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)


def picture(slide: Slide, *, levels: bool = True) -> tuple[RGB, float]:
    """A slide as a small picture (rows x columns x 3), and pixels of it in one of the slide, along an edge.

    Args:
        slide: the open slide.
        levels: whether its levels are used.
    """
    longest = max(slide.size)
    factor, zoom = max(1, math.ceil(longest / LARGEST)), max(1, SMALLEST // longest)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.tif"
        downscale_image(slide, {small: slide.frame.scaled(float(factor))}, levels=levels)
        with open_raster(small) as raster:
            pixels = np.ascontiguousarray(np.moveaxis(raster.read(), 0, -1))
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1), zoom / factor


def _draw(
    pixels: RGB,
    scale: float,
    file: Path | None,
    who: Identity,
    frame: Frame,
    config: Config,
    colors: Mapping[str, str],
) -> Counter[str]:
    """Draw the outlines of a slide on its picture; how many of each label lie in it, as far as they can be read."""
    whole = shapely.box(frame.x, frame.y, frame.x + frame.width, frame.y + frame.height)
    counts = Counter[str]()
    if not file:
        return counts
    try:
        for batch in stream_outlines(file, who, frame.image, config.annotations, config.limits):
            for one in (each for each in batch.annotations if whole.intersects(each.geometry)):
                counts[one.label] += 1
                lines = list(_lines(one.geometry, frame, scale))
                cased = max(np.ptp(lines[0], axis=0)) >= CASED << SHIFT
                for color, width in ((DARK, 4 * cased), (colors.get(one.label, OTHER), 1 + cased)):
                    if width:
                        cv2.polylines(pixels, lines, True, _rgb(color), width, cv2.LINE_AA, SHIFT)
    except TilewrightError:  # the check has said why
        return counts
    return counts


def _lines(area: shapely.Geometry, frame: Frame, scale: float) -> Iterator[NDArray[np.int32]]:
    """Outer and inner lines of an area in fractions of pixels of the picture."""
    for part in shapely.get_parts(area):
        for ring in shapely.get_rings(part):
            places = (shapely.get_coordinates(ring) - (frame.x, frame.y)) * scale - 0.5
            yield np.round(places * (1 << SHIFT)).astype(np.int32)


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue
