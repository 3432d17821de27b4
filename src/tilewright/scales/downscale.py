"""Slides and masks at lower resolutions.

One pixel of a scaled raster covers ``factor`` x ``factor`` pixels of the slide, counted from the corner of the slide's
region. Images are averaged over that area, or interpolated at its centre; of masks, the pixel in its centre is taken. A
slide is read once for all scales whose blocks can be filled from the same windows of it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tilewright.pixels.grid import BLOCK, Frame, Size, Window, blocks
from tilewright.pixels.rasters import Raster, create_raster, open_raster
from tilewright.project.config import DEFAULT_LIMITS, Limits, Scale
from tilewright.project.config.data import Resampling
from tilewright.project.orders import DownscaleOrder, DownscaleRow
from tilewright.project.places import image_file, mask_file, scaled_mask_file, tissue_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import Problem, SlideError
from tilewright.runtime.hashed import FILE_TAG, file_print
from tilewright.runtime.progress import note, track
from tilewright.scales.levels import Plane, planes_of
from tilewright.scales.resample import average_image, cubic_image, nearest, source_window
from tilewright.scales.tissue import find_tissue
from tilewright.slides import Slide, open_slide

READ = 2048
MOST_CELLS = 4096
WHOLE = 1e-5
"""Of a factor, what is lost where a pixel size is written with six digits: a pixel in 100,000."""


def downscale(
    order: DownscaleOrder,
    *,
    masks: Path,
    out: Sequence[Path],
    limits: Limits = DEFAULT_LIMITS,
    threads: int = 1,
) -> None:
    """Write image, mask and tissue of every slide of a shard at some scales.

    Args:
        order: the slides, the scales, and what counts as tissue.
        masks: the shard's folder of masks, as ``rasterize`` writes it; not read where the order says that there are
            none, and then no mask is written.
        out: a folder to write for each scale, in the order of their names: ``{slide}.image.tif``, ``{slide}.mask.tif``
            and ``{slide}.tissue.tif``. The tags of the image hold a hash of the slide's file (``file_print``).
        limits: the most pixels and vertices that are read; they refuse input and change no result.
        threads: how many decode and compress; they do not change the result.

    Raises:
        SlideError: an image cannot be read, or its pixel size is needed and unknown.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(atomic_directory(folder)) for folder in out]
        scales = dict(zip(folders, (order.scales[name] for name in sorted(order.scales)), strict=True))
        for row in order.rows:
            _downscale_slide(row, masks, order, scales, limits, threads)


def _downscale_slide(
    row: DownscaleRow, masks: Path, order: DownscaleOrder, scales: Mapping[Path, Scale], limits: Limits, threads: int
) -> None:
    """Write the files of a slide into the folder of each scale."""
    limit, crop = limits.max_pixels, order.slides.crop_to_bounds
    with open_slide(
        row.image, region=row.region, mpp=row.mpp, white=row.white, max_pixels=limit, crop_to_bounds=crop,
        threads=threads,
    ) as slide:  # fmt: skip
        frames = {folder: slide.frame.scaled(scale_factor(scale, slide)) for folder, scale in scales.items()}
        for resample in sorted({scale.resample for scale in scales.values()}):
            outs = {
                image_file(folder, row.slide): frames[folder]
                for folder, scale in scales.items()
                if scale.resample == resample
            }
            downscale_image(slide, outs, threads, levels=order.slides.levels, resample=resample)
    for folder, frame in frames.items():
        if order.masks:
            downscale_mask(mask_file(masks, row.slide), frame, scaled_mask_file(folder, row.slide), order.classes)
        _find_tissue(row.slide, frame, order, folder)


def _find_tissue(slide: str, frame: Frame, order: DownscaleOrder, folder: Path) -> None:
    """Write the tissue of a slide, and say in the log where there is none."""
    if not find_tissue(image_file(folder, slide), frame, order.tissue, tissue_file(folder, slide)):
        width, height = frame.size
        note(
            f"{slide}: 0 of {width * height} pixels are tissue, so nothing is predicted there and no tile is cut; "
            "see tissue.method: none and inference.skip_background"
        )


def scale_factor(scale: Scale, slide: Slide) -> float:
    """Pixels of the slide in one pixel of the scale.

    Raises:
        SlideError: the scale is a pixel size that the slide does not have, or finer than the slide's.
    """
    if scale.factor is not None:
        return scale.factor
    assert scale.mpp is not None
    if slide.frame.mpp is None:
        what = f"its pixel size is unknown, and a scale of {scale.mpp} micrometres a pixel was asked for."
        remedy = "Give mpp in the sheet (tilewright apply: --mpp), or use a factor for the scale."
        raise SlideError(Problem(str(slide.path), what, remedy))
    factor = scale.mpp / slide.frame.mpp
    if factor < 0.999:
        what = f"its pixels of {slide.frame.mpp} micrometres are coarser than the scale's {scale.mpp}."
        remedy = "Use a finer image of the slide, or a model of a coarser scale; correct mpp if it is wrong."
        raise SlideError(Problem(str(slide.path), what, remedy))
    return max(float(round(factor)) if abs(factor - round(factor)) < WHOLE * factor else factor, 1.0)


class Averaged(NamedTuple):
    """A scale that is being written: pixels of what it is averaged from in one of its own, and its raster."""

    factor: float
    raster: Raster


def downscale_image(
    slide: Slide,
    outs: Mapping[Path, Frame],
    threads: int = 1,
    *,
    levels: bool = True,
    resample: Resampling = "area",
) -> None:
    """Write a slide at some scales, window by window.

    Args:
        slide: the open slide.
        outs: the RGB TIFFs to write, each with the place and factor of the result.
        threads: how many compress.
        levels: average each scale from the coarsest level of the slide that is fine enough, not from level 0.
        resample: area or bicubic, which takes pixels of level 0.
    """
    tags = {FILE_TAG: file_print(slide.path)}
    levels = levels and resample == "area"
    by_factor = sorted(outs.items(), key=lambda item: item[1].factor)
    for plane, factors in planes_of(slide, [frame.factor for _, frame in by_factor], levels=levels):
        for passed in passes([factor / plane.factor for factor in factors]):
            with ExitStack() as stack:
                scales = [
                    Averaged(
                        frame.factor / plane.factor,
                        stack.enter_context(
                            create_raster(path, frame.size, bands=3, tags=frame.tags() | tags, threads=threads)
                        ),
                    )
                    for path, frame in by_factor
                    if frame.factor in factors and frame.factor / plane.factor in passed
                ]
                for pieces in track(list(_chunks(plane, scales)), f"downscale {slide.path.name}"):
                    _downscale_chunk(plane, pieces, scales, resample)


def passes(factors: Sequence[float]) -> list[list[float]]:
    """Factors that are computed in one pass over a slide or a level of it.

    Whole factors share a pass: of a square of ``step(factors)`` pixels each fills whole blocks, as long as no scale
    fills more than ``MOST_CELLS`` cells along its edge. Other factors have windows of their own.
    """
    result: list[list[float]] = []
    for factor in sorted(set(factors)):
        fitting = (each for each in result if _whole([*each, factor]) and step([*each, factor]) / each[0] <= MOST_CELLS)
        group = next(fitting, None)
        if group is None:
            result.append([factor])
        else:
            group.append(factor)
    return result


def step(factors: Sequence[float]) -> int:
    """Edge in pixels of the smallest square that fills whole blocks at each of some whole factors."""
    return BLOCK * math.lcm(*map(int, factors))


def _whole(factors: Sequence[float]) -> bool:
    return all(factor == int(factor) for factor in factors)


def _chunks(plane: Plane, scales: Sequence[Averaged]) -> Iterator[list[Window]]:
    """What is worked on at a time, in cells of the finest scale: whole blocks at each scale, in pieces to be read.

    A file whose rows are stored one after the other is read in whole rows, because a window of it costs as much.
    """
    factors = sorted({scale.factor for scale in scales})
    finest, size = scales[0].factor, scales[0].raster.size
    edge = step(factors) // int(finest) if _whole(factors) else BLOCK
    unit = math.lcm(*map(int, factors)) // int(finest) if _whole(factors) else 1
    if plane.block.width >= plane.size.width:
        whole = (size.width, edge)
        piece = (size.width, _multiple(READ * READ / plane.size.width / finest, unit))
    else:
        whole = (_multiple(READ / finest, edge),) * 2
        piece = (_multiple(READ / finest, unit),) * 2
    for chunk in blocks(size, whole):
        parts = blocks(Size(chunk.width, chunk.height), piece)
        yield [replace(part, x=chunk.x + part.x, y=chunk.y + part.y) for part in parts]


def _multiple(most: float, unit: int) -> int:
    """The largest multiple of ``unit`` up to ``most``, and at least one."""
    return max(1, int(most) // unit) * unit


def _downscale_chunk(plane: Plane, pieces: Sequence[Window], scales: Sequence[Averaged], resample: Resampling) -> None:
    """Read the pixels under a chunk piece by piece and write its cells at each scale."""
    finest = scales[0].factor
    chunk = replace(
        pieces[0],
        width=pieces[-1].x + pieces[-1].width - pieces[0].x,
        height=pieces[-1].y + pieces[-1].height - pieces[0].y,
    )
    whole = [_cells(chunk, finest, scale) for scale in scales]
    results = [np.empty((cells.height, cells.width, 3), np.uint8) for cells in whole]
    for piece in pieces:
        source = _widened(plane.under(piece, finest), 2 if resample == "bicubic" else 0, plane.size)
        pixels = plane.read(source)
        for scale, cells, result in zip(scales, whole, results, strict=True):
            part = _cells(piece, finest, scale)
            place = replace(part, x=part.x - cells.x, y=part.y - cells.y)
            result[place.slices] = RESAMPLED[resample](pixels, part, scale.factor, source, plane.corner)
    for scale, cells, result in zip(scales, whole, results, strict=True):
        scale.raster.write(np.moveaxis(result, -1, 0), cells.x, cells.y)


RESAMPLED = {"area": average_image, "bicubic": cubic_image}


def _widened(window: Window, margin: int, size: Size) -> Window:
    """A window with a margin on each side, as far as the image goes."""
    return Window(window.x - margin, window.y - margin, window.width + 2 * margin, window.height + 2 * margin).clipped(
        size
    )


def _cells(window: Window, factor: float, scale: Averaged) -> Window:
    """A window in cells of one scale as cells of another one, whose cells it covers as a whole."""
    if scale.factor == factor:
        return window
    ratio, size = int(scale.factor) / int(factor), scale.raster.size
    left, top = round(window.x / ratio), round(window.y / ratio)
    right = min(math.ceil((window.x + window.width) / ratio - 1e-9), size.width)
    bottom = min(math.ceil((window.y + window.height) / ratio - 1e-9), size.height)
    return Window(left, top, right - left, bottom - top)


def downscale_mask(source: Path, frame: Frame, out: Path, classes: Sequence[str]) -> None:
    """Write a mask at the scale of ``frame``: each cell has the bits of the pixel in its centre.

    Of real nuclei and vessels, that keeps the area within 0.5 % and nearly all thin objects at factors from 2 to 16; a
    majority makes them up to 4 % larger at 2, and loses lines of two pixels at 8.

    Args:
        source: the full-size bit mask.
        frame: the place and factor of the result.
        out: the bit mask to write; blocks without any bit are left out.
        classes: what the bits stand for.
    """
    with (
        open_raster(source, classes) as full,
        create_raster(out, frame.size, dtype=full.dtype, tags=frame.tags(classes)) as small,
    ):
        for cells in blocks(frame.size, _multiple(READ / frame.factor, BLOCK)):
            under = source_window(cells, frame.factor, full.size)
            pixels = full.read(under)[0]
            if pixels.any():
                rows = nearest(cells.y, cells.height, frame.factor, full.size.height) - under.y
                columns = nearest(cells.x, cells.width, frame.factor, full.size.width) - under.x
                found = pixels[rows[:, np.newaxis], columns]
                if found.any():
                    small.write(found, cells.x, cells.y)
