"""Larger structures of a slide, such as cortex, in which objects or tiles of background may have to lie."""

from collections.abc import Collection
from pathlib import Path

import shapely

from tilewright.annotations import read_outlines
from tilewright.pixels.grid import Frame
from tilewright.project.config import Annotations, Limits
from tilewright.project.naming import Identity
from tilewright.runtime.errors import DataError, Problem


def structure(
    slide: Identity, file: Path | None, labels: Collection[str], frame: Frame, limits: Limits
) -> shapely.Geometry | None:
    """The structures of a slide that have one of some labels, as one geometry.

    Args:
        slide: what the slide is called.
        file: outlines of its structures; None: there is no such file.
        labels: names of the structures; none: no structure is asked for.
        frame: where the used part of the slide lies.
        limits: most vertices in a file.

    Returns:
        Their union, in pixels of the slide from the corner of its used part; None where nothing is asked for or known.

    Raises:
        DataError: the file holds none of the labels.
    """
    if not labels or file is None:
        return None
    outlines = read_outlines(file, slide, frame.image, Annotations(), limits).annotations
    chosen = [outline.geometry for outline in outlines if outline.label in labels]
    if not chosen:
        what = f"holds no outline with the label {' or '.join(sorted(labels))}."
        found = ", ".join(sorted({outline.label for outline in outlines})) or "none"
        remedy = f"Labels there: {found}. Correct the config, or leave the slide's anatomy empty."
        raise DataError(Problem(f"{file} (slide {slide.slide})", what, remedy))
    whole = shapely.transform(shapely.union_all(chosen), lambda points: points - (frame.x, frame.y))
    shapely.prepare(whole)
    return whole
