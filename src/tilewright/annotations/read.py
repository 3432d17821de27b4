"""Which reader a file of outlines needs, by its suffix and, where that leaves a doubt, by what is in it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tilewright.annotations import files
from tilewright.annotations.coco import COCO, group_images, is_coco, read_image
from tilewright.annotations.collect import collect
from tilewright.annotations.geojson import holds_features, is_single, not_outlines, read_single, stream_features
from tilewright.annotations.jsonl import LINES, group_lines, read_lines
from tilewright.annotations.labels import LABEL_IMAGES, read_labels
from tilewright.annotations.model import Draft, Finding, Outlines
from tilewright.annotations.shared import Group, Grouped, open_shared
from tilewright.annotations.tables import TABLE, group_table, read_run_lengths, refuse_rivals
from tilewright.pixels.grid import Size
from tilewright.project.config import DEFAULT_LIMITS, Annotations, Limits
from tilewright.project.naming import Identity
from tilewright.project.zipped import only_inside
from tilewright.runtime.errors import AnnotationError, Problem, no_such_file

FORMATS = (
    "Known: GeoJSON and COCO (.geojson, .json), JSON lines (.jsonl, .ndjson), tables of run lengths (.csv, .tsv), "
    "label images (.png, .tif, .tiff); text may be gzipped (.gz), GeoJSON zipped (.zip)."
)
AS_THEY_ARE = Annotations(objects=["annotation", "detection", "cell"])
SINGLE = "single"


def read_outlines(
    path: str | Path,
    slide: str | Identity,
    size: tuple[int, int],
    options: Annotations = AS_THEY_ARE,
    limits: Limits = DEFAULT_LIMITS,
) -> Outlines:
    """All outlines of one slide at once; arguments and errors as of ``stream_outlines``, or the slide's name alone.

    Examples:
        >>> outlines = read_outlines("config/demo/hgsc_nest.geojson", "hgsc_nest", (1500, 1500))
        >>> len(outlines.annotations), outlines.findings
        (1295, ())
        >>> outlines.annotations[0].label
        'connective'
    """
    who = Identity(slide) if isinstance(slide, str) else slide
    batches = list(stream_outlines(Path(path), who, Size(*size), options, limits))
    return Outlines(
        tuple(annotation for batch in batches for annotation in batch.annotations),
        tuple(finding for batch in batches for finding in batch.findings),
    )


def stream_outlines(
    path: Path, slide: Identity, size: Size, options: Annotations, limits: Limits, index: Path | None = None
) -> Iterator[Outlines]:
    """Read the outlines of one slide, a batch at a time.

    Args:
        path: GeoJSON, JSONL, COCO, a table of run lengths, or a label image.
        slide: what it is called; in files that hold several slides, the id of the outlines to take must mean it.
        size: width and height of the whole image in pixels; run lengths and label images must fit it.
        options: how outlines are read.
        limits: most vertices in a file.
        index: folder in which an index of a large file that slides share is left for other processes; None: nowhere.

    Yields:
        Outlines in pixels of level 0 of the whole image, each valid, none twice; and what was repaired or left out.

    Raises:
        AnnotationError: the file cannot be read, holds no outlines of the slide, leaves it uncertain whose they are, or
            does not fit the image.
    """
    return collect(_drafts(path, slide, size, options, limits, index), path, options, limits)


def _drafts(
    path: Path, slide: Identity, size: Size, options: Annotations, limits: Limits, index: Path | None
) -> Iterable[Draft | Finding]:
    if not path.is_file():
        raise AnnotationError(no_such_file(path))
    group: Group
    match files.suffix_of(path):
        case ".geojson" | ".json":
            if holds_features(path, limits):
                return stream_features(path, limits, slide)
            group = _group_json
        case ".jsonl" | ".ndjson":
            group = group_lines
        case ".csv" | ".tsv":
            group = group_table
        case suffix if suffix in LABEL_IMAGES:
            return read_labels(path, size, options.values)
        case suffix:
            if suffix == ".zip":
                only_inside(path)
            what = f'is of no known format ("{suffix}").'
            raise AnnotationError(Problem(str(path), what, FORMATS))
    return _of_shared(path, slide, size, options, limits, group, index)


def _of_shared(
    path: Path, slide: Identity, size: Size, options: Annotations, limits: Limits, group: Group, index: Path | None
) -> Iterator[Draft | Finding]:
    """The drafts of one slide of a file that slides share."""
    shared = open_shared(path, limits, group, index)
    if shared.kind == SINGLE:
        yield from read_single(shared.common, path, slide)
        return
    entries = shared.entries_of(slide)
    if shared.kind == TABLE:
        refuse_rivals(shared.common, slide, path, entries)
    if entries is None:
        list(read_lines(shared.common if shared.kind == LINES else (), path))  # a line that is broken is why
        raise shared.ids.missing(slide, path)
    told = [shared.ids.moved(slide, path), *([shared.common["told"]] if shared.kind == TABLE else ())]
    yield from (Finding("noticed", str(path), each) for each in told if each)
    if shared.kind == COCO:
        yield from read_image(entries, shared.common, path, slide.slide, size)
    elif shared.kind == LINES:
        yield from read_lines(entries, path)
    else:
        yield from read_run_lengths(entries, path, size, options)


def _group_json(path: Path, limits: Limits) -> Grouped:
    """What a file of JSON holds that is no list of features."""
    try:
        document = files.parse_json(files.read_bytes(path, limits), path)
    except AnnotationError as error:
        if "Extra data" in str(error):
            return group_lines(path, limits)
        raise
    if is_coco(document):
        return group_images(document, path)
    if is_single(document):
        return Grouped(SINGLE, (), (), document)
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        remedy = "Export the outlines from QuPath as GeoJSON, as a FeatureCollection."
        raise AnnotationError(Problem(str(path), "is a FeatureCollection without a list of features.", remedy))
    if isinstance(document, dict) and {"id", "annotations"} <= set(document):
        return group_lines(path, limits)
    raise not_outlines(path)
