"""Which reader a file of outlines needs, by its suffix and, where that leaves a doubt, by what is in it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tilewright.annotations import files
from tilewright.annotations.coco import is_coco, read_coco
from tilewright.annotations.collect import collect
from tilewright.annotations.geojson import holds_features, is_single, not_outlines, read_single, stream_features
from tilewright.annotations.jsonl import read_jsonl
from tilewright.annotations.labels import LABEL_IMAGES, read_labels
from tilewright.annotations.model import Draft, Outlines
from tilewright.annotations.tables import read_run_lengths
from tilewright.pixels.grid import Size
from tilewright.project.config import DEFAULT_LIMITS, Annotations, Limits
from tilewright.runtime.errors import AnnotationError, Problem, no_such_file

FORMATS = (
    "Known: GeoJSON and COCO (.geojson, .json), JSON lines (.jsonl, .ndjson), tables of run lengths (.csv, .tsv), "
    "label images (.png, .tif, .tiff); text may be gzipped (.gz)."
)
AS_THEY_ARE = Annotations(objects=["annotation", "detection", "cell"])


def read_outlines(
    path: str | Path,
    slide: str,
    size: tuple[int, int],
    options: Annotations = AS_THEY_ARE,
    limits: Limits = DEFAULT_LIMITS,
) -> Outlines:
    """All outlines of one slide at once; arguments and errors as of ``stream_outlines``.

    Examples:
        >>> outlines = read_outlines("config/demo/hgsc_nest.geojson", "hgsc_nest", (1500, 1500))
        >>> len(outlines.annotations), outlines.findings
        (1295, ())
        >>> outlines.annotations[0].label
        'connective'
    """
    batches = list(stream_outlines(Path(path), slide, Size(*size), options, limits))
    return Outlines(
        tuple(annotation for batch in batches for annotation in batch.annotations),
        tuple(finding for batch in batches for finding in batch.findings),
    )


def stream_outlines(path: Path, slide: str, size: Size, options: Annotations, limits: Limits) -> Iterator[Outlines]:
    """Read the outlines of one slide, a batch at a time.

    Args:
        path: GeoJSON, JSONL, COCO, a table of run lengths, or a label image.
        slide: its name; in files that hold several slides, the id of the outlines to take.
        size: width and height of the whole image in pixels; run lengths and label images must fit it.
        options: how outlines are read.
        limits: most vertices in a file.

    Yields:
        Outlines in pixels of level 0 of the whole image, each valid, none twice; and what was repaired or left out.

    Raises:
        AnnotationError: the file cannot be read, holds no outlines of the slide, or does not fit the image.
    """
    return collect(_drafts(path, slide, size, options, limits), path, options, limits)


def _drafts(path: Path, slide: str, size: Size, options: Annotations, limits: Limits) -> Iterable[Draft]:
    if not path.is_file():
        raise AnnotationError(no_such_file(path))
    match files.suffix_of(path):
        case ".geojson" | ".json":
            return _json(path, slide, size, limits)
        case ".jsonl" | ".ndjson":
            return read_jsonl(files.read_bytes(path, limits), path, slide)
        case ".csv" | ".tsv":
            return read_run_lengths(path, slide, size, options)
        case suffix if suffix in LABEL_IMAGES:
            return read_labels(path, size, options.values)
        case suffix:
            what = f'is of no known format ("{suffix}").'
            raise AnnotationError(Problem(str(path), what, FORMATS))


def _json(path: Path, slide: str, size: Size, limits: Limits) -> Iterable[Draft]:
    if holds_features(path, limits):
        return stream_features(path, limits)
    try:
        document = files.load_json(path, limits)
    except AnnotationError as error:
        if "Extra data" in str(error):
            return read_jsonl(files.read_bytes(path, limits), path, slide)
        raise
    if is_coco(document):
        return read_coco(document, path, slide, size)
    files.forget()
    if is_single(document):
        return read_single(document)
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        remedy = "Export the outlines from QuPath as GeoJSON, as a FeatureCollection."
        raise AnnotationError(Problem(str(path), "is a FeatureCollection without a list of features.", remedy))
    if isinstance(document, dict) and {"id", "annotations"} <= set(document):
        return read_jsonl(files.read_bytes(path, limits), path, slide)
    raise not_outlines(path)
