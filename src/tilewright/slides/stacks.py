"""Which pages of a TIFF are the image, and how large its pixels are.

A colour image is one page of three bands or three pages of one band. Programs say which by a description: OME-XML
(``ome``), ImageJ's and tifffile's are read here. Where several pages could be the image and nothing tells, the file is
refused; smaller pages are pyramids, thumbnails and labels, and never channels.
"""

import json
import re
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

from tilewright.slides.ome import Ome, parse_ome
from tilewright.slides.source import unclear
from tilewright.slides.tiff import UNIT, Page, Tiff

MICROMETRES = {
    "pm": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400.0, "inch": 25_400.0,
}  # fmt: skip
INCH, CENTIMETRE = 2, 3


@dataclass(frozen=True)
class Image:
    """The image of a TIFF.

    Attributes:
        pages: one page, or three of one band each: red, green, blue.
        mpp: micrometres a pixel; None: unknown.
    """

    pages: tuple[Page, ...]
    mpp: float | None


def find_image(path: Path, tiff: Tiff) -> Image:
    """The image of a TIFF.

    Args:
        path: the file, for messages.
        tiff: its pages.

    Raises:
        SlideError: several pages could be the image, or its channels are not red, green and blue.
    """
    first = tiff.pages[0]
    if ome := parse_ome(path, tiff.description):
        pages = tuple(tiff.pages[index] for index in _ome_pages(path, ome, tiff.pages))
        mpp = micrometres(ome.pixel_size, ome.unit)
    else:
        whole = [page for page in tiff.pages if page.whole]
        if larger := [
            page for page in whole if page.size.width * page.size.height > first.size.width * first.size.height
        ]:
            raise unclear(
                path, f"a page ({larger[0].index + 1}) larger than the first, and nothing says which one counts"
            )
        equal = [page for page in whole if page.size == first.size] or [first]
        values = _imagej(tiff.description)
        pages = _imagej_pages(path, values, equal) if values else _unnamed_pages(path, tiff.description, equal)
        mpp = micrometres(first.per_unit and 1 / first.per_unit, values.get("unit", "")) if values else None
    return Image(pages, mpp or _resolution_mpp(first))


def _ome_pages(path: Path, ome: Ome, pages: list[Page]) -> tuple[int, ...]:
    """Pages of the first focal plane and time of an OME-TIFF."""
    bands = pages[0].samples
    channels = ome.sizes["C"] // bands if ome.sizes["C"] % bands == 0 else 0
    if channels not in (1, 3) or (channels == 3 and bands > 1):
        raise unclear(path, f"{ome.sizes['C']} channels on pages of {bands} bands, by its OME-XML")
    found = ome.pages(channels, len(pages))
    if found is None:
        raise unclear(path, "only some planes of an OME-TIFF of several files, or fewer pages than its OME-XML says")
    if len({(pages[index].size, pages[index].samples) for index in found}) > 1:
        raise unclear(path, "channels of different sizes")
    return found


def _imagej(description: str) -> dict[str, str]:
    """The values of an ImageJ description; none: it is no such description."""
    if not description.startswith("ImageJ="):
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in description.splitlines())}


def _imagej_pages(path: Path, values: dict[str, str], equal: list[Page]) -> tuple[Page, ...]:
    """Channels lie next to each other, then focal planes, then times."""
    counts = {key: _count(values.get(key, "1")) for key in ("images", "channels", "slices", "frames")}
    if counts["images"] > len(equal):
        what = f"{counts['images']} planes behind one page, as ImageJ writes more than 4 GB" if len(equal) == 1 else ""
        raise unclear(path, what or f"{len(equal)} of the {counts['images']} pages of an ImageJ stack")
    channels, bands = counts["channels"], equal[0].samples
    if bands == 1 and channels == 3 and len(equal) >= 3:
        return tuple(equal[:3])
    stacked = len(equal) > 1 and bands == 1
    if channels == 1 and not stacked:
        return (equal[0],)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if kind != "images" and count > 1)
    raise unclear(path, f"an ImageJ stack of {kinds or f'{len(equal)} images'}")


def _count(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else 1


def _unnamed_pages(path: Path, description: str, equal: list[Page]) -> tuple[Page, ...]:
    """Pages of a file that says nothing, or its shape alone (tifffile)."""
    size, bands = equal[0].size, equal[0].samples
    planes = _shaped(description) // max(1, size.width * size.height * bands)
    if planes > len(equal):
        raise unclear(path, f"{planes} planes behind {_pages(len(equal))}")
    if len(equal) == 1:
        return (equal[0],)
    if len(equal) == 3 and all(page.samples == 1 for page in equal):
        return tuple(equal)
    each = f"{bands} band{'' if bands == 1 else 's'}"
    raise unclear(path, f"{len(equal)} pages of {size.width} x {size.height} pixels with {each} each")


def _shaped(description: str) -> int:
    """Numbers in the array that tifffile wrote; 0: another program wrote it."""
    if not description.startswith('{"shape":'):
        return 0
    try:
        return prod(int(length) for length in json.loads(description)["shape"])
    except (ValueError, TypeError, KeyError):
        return 0


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count} pages"


def micrometres(length: float, unit: str) -> float | None:
    """A length in micrometres; None where the unit is none, or the length no size of a pixel."""
    # the micro sign, the Greek letter, and the sign as ImageJ spells it out
    plain = re.sub("\u00b5|\u03bc|\\\\u00B5", "u", unit).strip().lower()
    value = length * MICROMETRES.get(plain, 0.0)
    return value if isfinite(value) and 1e-3 <= value <= 1e3 else None


def _resolution_mpp(page: Page) -> float | None:
    return resolution_mpp(page.per_unit, page.first(UNIT, 0))


def resolution_mpp(per_unit: float, unit: int) -> float | None:
    """Micrometres a pixel from a resolution; those that screens and printers use say nothing.

    Args:
        per_unit: pixels an inch or a centimetre.
        unit: 2: inch; 3: centimetre.
    """
    length = {INCH: 25_400.0, CENTIMETRE: 10_000.0}.get(unit, 0.0)
    mpp = length / per_unit if per_unit > 0 else 0.0
    return mpp if 0.05 <= mpp <= 20 else None
