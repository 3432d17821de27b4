"""Which pages of a TIFF are the image, and how large its pixels are.

A colour image is one page of three bands or three pages of one band. Programs say which by a description: OME-XML
(``ome``), ImageJ's and tifffile's are read here. Where several pages could be the image and nothing tells, the file is
refused; smaller pages are pyramids, thumbnails and labels, and never channels.
"""

import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from tilewright.slides.ome import Ome, are_colors, parse_ome
from tilewright.slides.pixelsize import ANY, PixelSize, micrometres, number, tagged_size
from tilewright.slides.source import unclear
from tilewright.slides.tiff import MAX_SAMPLE, UNIT, X_RESOLUTION, Y_RESOLUTION, Page, Tiff


@dataclass(frozen=True)
class Image:
    """The image of a TIFF.

    Attributes:
        pages: one page, or three of one band each: red, green, blue.
        pixel: width and height of a pixel.
        white: the value of white in pixels of 16 bits, of which cameras use fewer; None: the file does not say.
    """

    pages: tuple[Page, ...]
    pixel: PixelSize
    white: int | None = None


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
        pixel, white = ome.pixel, ome.white
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
        pixel, white = _imagej_pixel(first, values.get("unit", "")), _of_bits(int(number(values.get("max"))))
    known = pixel.within(*ANY)
    if known == PixelSize():
        known = tagged_size(first.per_unit(X_RESOLUTION), first.per_unit(Y_RESOLUTION), first.first(UNIT, 0))
    return Image(pages, known, white or _largest_sample(pages[0]))


def _imagej_pixel(page: Page, unit: str) -> PixelSize:
    per_unit = (page.per_unit(tag) for tag in (X_RESOLUTION, Y_RESOLUTION))
    return PixelSize(*(micrometres(1 / each if each else 0.0, unit) for each in per_unit))


def _largest_sample(page: Page) -> int | None:
    """MaxSampleValue, if it tells what white is."""
    return _of_bits(page.first(MAX_SAMPLE, 0))


def _of_bits(value: int) -> int | None:
    """A largest value where it is that of a number of bits; else it is what was shown of the image, or is in it."""
    return value if 255 < value < 65_535 and value & (value + 1) == 0 else None


def _ome_pages(path: Path, ome: Ome, pages: list[Page]) -> tuple[int, ...]:
    """Pages of the first focal plane and time of an OME-TIFF."""
    bands = pages[0].samples
    channels = ome.sizes["C"] // bands if ome.sizes["C"] % bands == 0 else 0
    if channels not in (1, 3) or (channels == 3 and bands > 1):
        raise unclear(path, f"{ome.sizes['C']} channels on pages of {bands} bands, by its OME-XML")
    if channels == 3 and not are_colors(ome.names):
        raise unclear(path, f"the channels {', '.join(ome.names)}, which are no colours")
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
    if channels == 1 and len(equal) == 1:
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
