"""OME-XML: which planes a file holds, where they are, and the size of a pixel."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tilewright.runtime.errors import Problem, SlideError
from tilewright.slides.pixelsize import PixelSize, micrometres, number
from tilewright.slides.source import unclear

UNNAMED = re.compile(r"(c|ch|channel)?[\s_:.-]*[\d:.\s-]*")
"""Names that programs give to channels without one."""
ORDERS = ("XYCZT", "XYCTZ", "XYZCT", "XYZTC", "XYTCZ", "XYTZC")


@dataclass(frozen=True)
class Block:
    """Consecutive pages that hold consecutive planes (TiffData).

    Attributes:
        page: the first page, counted from 0.
        first: place of its plane: C, Z and T.
        count: number of planes; None: all that are left.
    """

    page: int
    first: dict[str, int]
    count: int | None


@dataclass(frozen=True)
class Ome:
    """The first image of an OME-XML.

    Attributes:
        sizes: lengths by dimension: C, Z, T.
        order: dimensions of the planes, the fastest first, such as CZT.
        blocks: where the planes lie in this file; None: one after the other.
        pixel: width and height of a pixel.
        white: the value of white by the number of bits that are used (SignificantBits); None: unknown.
        names: of its channels.
    """

    sizes: dict[str, int]
    order: str
    blocks: tuple[Block, ...] | None
    pixel: PixelSize
    white: int | None
    names: tuple[str, ...] = ()

    def pages(self, channels: int, count: int) -> tuple[int, ...] | None:
        """Pages of all channels at the first focal plane and time; None: some are not in this file.

        Args:
            channels: number of planes that the channels take; bands of one page are one plane.
            count: number of pages in the file.
        """
        lengths = {**self.sizes, "C": channels}
        steps = {"C": 1, "Z": 1, "T": 1}
        for fast, slow in zip(self.order, self.order[1:], strict=False):
            steps[slow] = steps[fast] * lengths[fast]
        wanted = [channel * steps["C"] for channel in range(channels)]
        if self.blocks is None:
            found = {plane: plane for plane in wanted}
        else:
            found = {}
            for block in self.blocks:
                start = sum(block.first[name] * steps[name] for name in "CZT")
                end = start + (count if block.count is None else block.count)
                found.update({plane: block.page + plane - start for plane in wanted if start <= plane < end})
        pages = tuple(found.get(plane, count) for plane in wanted)
        return pages if all(0 <= page < count for page in pages) else None


def parse_ome(path: Path, description: str) -> Ome | None:
    """The OME-XML in a description; None: it is none.

    Args:
        path: the file, for messages.
        description: text of the first page.

    Raises:
        SlideError: the XML is damaged, declares entities, or holds several images of one size.
    """
    if not description.lstrip().startswith("<") or not re.search(r"<(\w+:)?OME[\s>]", description):
        return None
    try:
        if re.search(r"<!\s*(DOCTYPE|ENTITY)", description, re.IGNORECASE):
            raise ValueError("it declares a document type or entities, which no OME-XML needs")
        root = ET.fromstring(description)  # noqa: S314 (no entities: refused above)
        images = root.findall("{*}Image/{*}Pixels")
        if not images:
            raise ValueError("it names no image (metadata in another file?)")
        ome = _ome(root, images[0])
        areas = [int(image.get("SizeX", "0")) * int(image.get("SizeY", "0")) for image in images]
    except (ET.ParseError, ValueError, KeyError) as error:
        remedy = "Export the image again, as OME-TIFF or RGB."
        raise SlideError(Problem(str(path), f"its OME-XML cannot be read: {error}.", remedy)) from error
    if any(area >= areas[0] for area in areas[1:]):
        raise unclear(path, f"{len(areas)} images, by its OME-XML, and the first is not the largest")
    return ome


def _ome(root: Any, pixels: Any) -> Ome:
    order = pixels.get("DimensionOrder", "XYCZT")
    if order not in ORDERS:
        raise ValueError(f"DimensionOrder {order} is unknown")
    blocks = pixels.findall("{*}TiffData")
    own = [_block(element) for element in blocks if not _elsewhere(root, element)]
    return Ome(
        sizes={name: max(1, int(pixels.get(f"Size{name}", "1"))) for name in "CZT"},
        order=order[2:],
        blocks=tuple(own) if blocks else None,
        pixel=PixelSize(*(_length(pixels, axis) for axis in "XY")),
        white=_white(pixels.get("SignificantBits", "")),
        names=tuple(each.get("Name", "") for each in pixels.findall("{*}Channel")),
    )


def are_colors(names: Sequence[str]) -> bool:
    """Whether three channels may be red, green and blue by their names: those, numbers, or none; and no markers."""
    told = [name for name in (name.strip().lower() for name in names) if not UNNAMED.fullmatch(name)]
    return not told or "".join(name[0] for name in told) == "rgb"


def _length(pixels: Any, axis: str) -> float:
    length = number(pixels.get(f"PhysicalSize{axis}"))
    return micrometres(length, pixels.get(f"PhysicalSize{axis}Unit", "µm"))


def _white(bits: str) -> int | None:
    return 2 ** int(bits) - 1 if bits.isdecimal() and 8 <= int(bits) < 16 else None


def _block(element: Any) -> Block:
    first = {name: int(element.get(f"First{name}", "0")) for name in "CZT"}
    count = element.get("PlaneCount") or ("1" if element.get("IFD") else None)
    return Block(int(element.get("IFD", "0")), first, None if count is None else int(count))


def _elsewhere(root: Any, element: Any) -> bool:
    """Whether planes lie in another file; names of files change, so the identifiers count."""
    uuid = element.find("{*}UUID")
    return uuid is not None and bool(root.get("UUID")) and (uuid.text or "").strip() != root.get("UUID")
