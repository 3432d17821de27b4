"""The outlines of slides as a table of run lengths, at any scale: what predictions are compared with.

In: a config with its sheet, images and outlines; or masks that a run has scaled already. Out: a csv with the id of the
slide and its encoding, one row a slide, or one a class where several are written. Pixels are those of the scale, in
the used part of the slide, as in its scaled image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tilewright.masks.rasterize import rasterize
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.rle import encode_coco
from tilewright.pixels.strips import runs_of_bits, strips_of_bits
from tilewright.project.bundled import Bundled
from tilewright.project.config import Config, Dialect
from tilewright.project.configfile import read_config
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.project.places import mask_file, scaled_mask_file
from tilewright.project.project import Project
from tilewright.project.rows import Row
from tilewright.project.sheet import ensure_sheet
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.atomic import atomic_path, private_path
from tilewright.runtime.errors import Problem, UserError, did_you_mean, raise_all
from tilewright.runtime.progress import note, track
from tilewright.scales.downscale import downscale_mask, scale_factor
from tilewright.segments.rlestream import stream_column_major, stream_row_major
from tilewright.slides import open_slide


def truth(
    *,
    config: Path,
    scale: str,
    out: Path,
    classes: list[str] | None = None,
    dialect: Dialect = "column_major",
    data: Path | None = None,
    scaled: Path | None = None,
) -> None:
    """Write the outlines of all slides that have some as run lengths, at a scale of the config.

    A class that is not completely annotated on a slide (``labelled``) has no row there.

    Args:
        config: the config file; its classes say which labels each takes.
        scale: name of the scale, one of the config's.
        out: the csv to write: id, encoding; with several classes id, class, encoding. Appears whole or not at all.
        classes: the classes to write; all unless given.
        dialect: column_major ("start length ...", pixels counted down the columns from 1), row_major (the same along
            the rows) or coco (COCO's counts, zlib, base64).
        data: folder in which images and outlines are looked for first; overrides the config's.
        scaled: folder of the scaled shards of a run, such as ``results/scaled/half``, whose masks are read; without it
            the outlines are drawn anew, which needs the images.

    Raises:
        UserError: no such scale or class, or no slide with outlines of them.
        AnnotationError: outlines that cannot be read.
        DataError: a mask that is missing or has other classes.
    """
    project = _project(read_config(config), data)
    wanted = list(dict.fromkeys(classes or project.classes))
    known = {"--scale": ([scale], list(project.scales)), "--classes": (wanted, project.classes)}
    unknown = [(option, name, there) for option, (names, there) in known.items() for name in names if name not in there]
    problems = [
        Problem(option, f'the config names no "{name}".', did_you_mean(name, there)) for option, name, there in unknown
    ]
    raise_all(UserError, problems)
    rows = _annotated(project, wanted)
    if scaled is not None:
        raise_all(UserError, list(_missing_masks(rows, scaled, scale)))
    with atomic_path(out) as private, private.open("w", newline="", encoding="utf-8") as stream:
        stream.write("id,class,encoding\n" if len(wanted) > 1 else "id,encoding\n")
        for row in track(rows, "truth"):
            labelled = [name for name in wanted if name in row.labelled]
            with private_path(out.with_suffix(".masks")) as drawn:
                mask = scaled_mask_file(scaled / row.shard, row.slide) if scaled else _drawn(project, row, scale, drawn)
                for name in labelled:
                    stream.write(f"{row.slide},{name}," if len(wanted) > 1 else f"{row.slide},")
                    _write_code(stream, mask, name, project.classes, dialect)


def _project(config: Config, data: Path | None) -> Project:
    if data is not None:
        config = config.model_copy(update={"data": str(data)})
    ensure_sheet(config)
    sheet = read_sheet(Path(config.sheet), config.roots, list(config.classes))
    return Project(config, sheet, {}, Bundled.read(config))


def _annotated(project: Project, classes: Sequence[str]) -> list[Row]:
    """The slides with complete outlines of one of some classes; how many others there are is said."""
    rows = [row for row in project.sheet if row.annotations and set(classes) & set(row.labelled)]
    if not rows:
        what = f"no slide has complete outlines of {' or '.join(classes)}."
        raise UserError(Problem(str(project.sheet.path), what, "Look at the columns annotations and labelled."))
    if left := len(project.sheet.rows) - len(rows):
        note(f"{left} slide(s) without outlines of {' or '.join(classes)} have no row")
    return rows


def _missing_masks(rows: Sequence[Row], scaled: Path, scale: str) -> Iterator[Problem]:
    """What a folder lacks that is no folder of scaled shards, or of fewer slides."""
    lacking = [row for row in rows if not scaled_mask_file(scaled / row.shard, row.slide).is_file()]
    if lacking:
        first = scaled_mask_file(scaled / lacking[0].shard, lacking[0].slide)
        what = f"has no masks of {len(lacking)} of {len(rows)} slides, such as {first}."
        remedy = f"Name the folder of the scaled shards of a run, such as results/scaled/{scale}, or leave it out."
        yield Problem(f"--scaled, {scaled}", what, remedy)


def _drawn(project: Project, row: Row, scale: str, folder: Path) -> Path:
    """The mask of a slide at a scale, drawn into a folder that is removed afterwards."""
    own = RasterizeRow.of_project(project, row)
    order = RasterizeOrder.of(project, row.shard).model_copy(update={"rows": [own]})
    limits, crop = project.config.limits, order.crop_to_bounds
    rasterize(order, out=folder, limits=limits)
    with open_slide(
        row.image, region=row.region, mpp=row.mpp, max_pixels=limits.max_pixels, crop_to_bounds=crop
    ) as slide:
        frame = slide.frame.scaled(scale_factor(project.scales[scale], slide))
    out = scaled_mask_file(folder, row.slide)
    downscale_mask(mask_file(folder, row.slide), frame, out, project.classes)
    return out


def _write_code(stream: TextIO, mask: Path, name: str, classes: Sequence[str], dialect: Dialect) -> None:
    bit = classes.index(name)
    with open_raster(mask, classes) as raster:
        width, height = raster.size
    strips = (strip for (strip,) in strips_of_bits(mask, [bit], classes))
    match dialect:
        case "row_major":
            stream.writelines(stream_row_major(strips))
        case "column_major":
            stream.writelines(stream_column_major(strips, height, width, mask.parent))
        case "coco":
            (runs,) = runs_of_bits(mask, [bit], classes)
            stream.write(encode_coco(runs))
    stream.write("\n")
