"""The pages of a TIFF and their tags, without pixels: classic and BigTIFF, either byte order.

GDAL and libvips name neither the kind of a page (reduced, mask) nor where its data lie, which tells channels from a
pyramid and a whole file from one that is cut short.

By hand: tifffile (2026.3.3, and 2026.11.8 alike) unfolds lists and texts of a page as soon as it reads it, the first
on opening. 0.2 MB of ImageJ's metadata took 1.2 GB, 1 MB more than 11 GB; 10,000 pages in 2.6 MB that share a long list
took 30 s, here 0.5 s. Sound files take 2 to 5 times as long with it (10,000 pages: 0.77 s, here 0.34 s).
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Size
from tilewright.slides.source import damaged

MAX_PAGES = 100_000
MAX_TEXT = 64_000_000
FEW = 32
WHITE_IS_ZERO = 0
"""The photometric interpretation of grey images that store white as 0."""
SUBFILE, WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, DESCRIPTION, STRIPS = 254, 256, 257, 259, 262, 270, 273
ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, MAX_SAMPLE = 274, 277, 278, 279, 281
X_RESOLUTION, Y_RESOLUTION, PLANES, UNIT, TILE_WIDTH, TILE_HEIGHT = 282, 283, 284, 296, 322, 323
TILES, TILE_BYTES, SUBIFDS, EXTRA_SAMPLES, JPEG_TABLES = 324, 325, 330, 338, 347
JPEG, SEPARATE = 7, 2
REDUCED, MASK = 1, 4
# code of a type: as numpy writes it, and numbers in one value
TYPES = {
    1: ("u1", 1), 2: ("u1", 1), 3: ("u2", 1), 4: ("u4", 1), 5: ("u4", 2), 6: ("i1", 1), 7: ("u1", 1), 8: ("i2", 1),
    9: ("i4", 1), 10: ("i4", 2), 11: ("f4", 1), 12: ("f8", 1), 13: ("u4", 1), 16: ("u8", 1), 17: ("i8", 1),
    18: ("u8", 1),
}  # fmt: skip
Numbers = NDArray[np.generic]


@dataclass(frozen=True)
class Page:
    """A page (image file directory).

    Attributes:
        index: its number in the chain, from 0; of a page below another one (SubIFD), that of the other one.
        size: width and height in pixels.
        tags: tags of few numbers, by their code; a rational number is two.
        places: type, count and place in the file of longer tags.
        place: where it stands in the file.
    """

    index: int
    place: int
    size: Size
    tags: dict[int, tuple[float, ...]]
    places: dict[int, tuple[int, int, int]]

    def first(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return int((self.tags.get(tag) or (default,))[0])

    @property
    def samples(self) -> int:
        """Bands of a pixel."""
        return self.first(SAMPLES, 1)

    @property
    def whole(self) -> bool:
        """Whether the page is an image of its own, neither a reduced one nor a mask."""
        return not self.first(SUBFILE, 0) & (REDUCED | MASK)

    @property
    def tiled(self) -> bool:
        """Whether it is stored in tiles."""
        return TILES in self.tags or TILES in self.places

    def per_unit(self, tag: int) -> float:
        """Pixels in the unit of ``UNIT`` along the axis of a tag; 0: unknown."""
        pair = self.tags.get(tag, (0, 1))
        value = pair[0] / pair[1] if len(pair) == 2 and pair[1] else 0.0
        return value if value > 0 else 0.0


class Tiff:
    """A TIFF file opened to look at its pages.

    Attributes:
        pages: in the order of the chain; pages below others (SubIFDs) are not among them.
        description: text of the first page (ImageDescription).
    """

    def __init__(self, path: Path) -> None:
        """Read the tags of all pages.

        Raises:
            SlideError: the chain of pages is broken.
        """
        self._path = path
        self._bytes = path.stat().st_size
        self._tables = 0
        try:
            with path.open("rb") as file:
                self._order, self._big, place = _header(file)
                self.pages = self._read_pages(file, place)
                self.description = self._text(file, self.pages[0])
        except (struct.error, KeyError, IndexError, ValueError) as error:
            raise damaged(path, "its pages are damaged or cut short") from error

    def _read_pages(self, file: BinaryIO, place: int) -> list[Page]:
        pages: list[Page] = []
        seen: set[int] = set()
        while place:
            if place in seen or len(pages) == MAX_PAGES:
                raise ValueError("endless")
            seen.add(place)
            page, place = self._read_page(file, place, len(pages))
            pages.append(page)
        return pages

    def _read_page(self, file: BinaryIO, place: int, index: int) -> tuple[Page, int]:
        """A page and the place of the next one."""
        word, entry, step = ("Q", "HHQ", 20) if self._big else ("I", "HHI", 12)
        count_format = "Q" if self._big else "H"
        (count,) = self._unpack(file, place, count_format)
        start = place + struct.calcsize("=" + count_format)
        # tables that overlap could make a small file one of thousands of pages with thousands of tags each
        self._tables += count * step
        if max(start + count * step, self._tables) > self._bytes:
            raise ValueError("beyond the end")
        tags: dict[int, tuple[float, ...]] = {}
        places: dict[int, tuple[int, int, int]] = {}
        for at in range(start, start + count * step, step):
            tag, kind, length = self._unpack(file, at, entry)
            if kind not in TYPES:
                continue
            inline = at + struct.calcsize("=" + entry)
            code, numbers = TYPES[kind]
            fits = np.dtype(code).itemsize * numbers * length <= struct.calcsize("=" + word)
            where = inline if fits else self._unpack(file, inline, word)[0]
            if length <= FEW and tag != DESCRIPTION:
                tags[tag] = tuple(self._numbers(file, kind, length, where).tolist())
            else:
                places[tag] = (kind, length, where)
        size = Size(int(tags[WIDTH][0]), int(tags[HEIGHT][0]))
        return Page(index, place, size, tags, places), self._unpack(file, start + count * step, word)[0]

    def _unpack(self, file: BinaryIO, place: int, layout: str) -> tuple[int, ...]:
        file.seek(min(place, self._bytes))  # a place of 2^63 is none
        return struct.unpack(self._order + layout, file.read(struct.calcsize("=" + layout)))

    def _numbers(self, file: BinaryIO, kind: int, length: int, place: int) -> Numbers:
        code, numbers = TYPES[kind]
        dtype = np.dtype(self._order + code)
        if place + length * numbers * dtype.itemsize > self._bytes:
            raise ValueError("beyond the end")
        file.seek(place)
        return np.frombuffer(file.read(length * numbers * dtype.itemsize), dtype)

    def _text(self, file: BinaryIO, page: Page) -> str:
        kind, length, place = page.places.get(DESCRIPTION, (2, 0, 0))
        raw = self._numbers(file, kind, min(length, MAX_TEXT), place).tobytes().split(b"\0")[0]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def below(self, page: Page) -> list[Page]:
        """The pages below a page (SubIFDs); none where they are damaged, as nothing depends on them."""
        try:
            with self._path.open("rb") as file:
                return [self._read_page(file, int(place), page.index)[0] for place in page.tags.get(SUBIFDS, ())]
        except (struct.error, KeyError, IndexError, ValueError):
            return []

    def blocks(self, page: Page) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Places of the strips or tiles of a page in the file, and their lengths in bytes."""
        found = []
        for tag in (TILES, TILE_BYTES) if page.tiled else (STRIPS, STRIP_BYTES):
            if tag in page.tags:
                found.append(np.array(page.tags[tag], np.uint64))
            else:
                found.append(self._stored(page.places[tag]).astype(np.uint64))
        return found[0], found[1]

    def _stored(self, place: tuple[int, int, int]) -> Numbers:
        with self._path.open("rb") as file:
            return self._numbers(file, *place)

    def start_of_block(self, page: Page, most: int) -> bytes:
        """The first bytes of the first strip or tile of a page that is stored; none where there is none."""
        for place, length in zip(*self.blocks(page), strict=True):
            if place and length:
                with self._path.open("rb") as file:
                    file.seek(int(place))
                    return file.read(min(int(length), most))
        return b""

    def refuse_cut_short(self, page: Page, *, empty: bool = False) -> None:
        """Look whether all strips or tiles of a page lie in the file.

        Args:
            page: the page.
            empty: those with a place and a length of 0 are left out on purpose, as by some scanners. Those without
                either always are.

        Raises:
            SlideError: some lie beyond its end, or are not named.
        """
        kind = "tiles" if page.tiled else "strips"
        try:
            places, lengths = self.blocks(page)
            if places.size != lengths.size:
                raise ValueError("two lists of different lengths")
            missing = int((places + lengths > self._bytes).sum())
            lost = 0 if empty else int(((places > 0) & (lengths == 0)).sum())
            missing += int(((places == 0) & (lengths > 0)).sum())
            if JPEG_TABLES in page.places:
                self._stored(page.places[JPEG_TABLES])
        except KeyError as error:
            raise damaged(self._path, f"it does not say where its {kind} are, or how long") from error
        except ValueError as error:
            raise damaged(self._path, f"the list of its {kind} is damaged or cut short") from error
        if missing:
            why = (
                f"cut short: of {places.size} {kind} of page {page.index + 1}, {missing} lie beyond its end or nowhere"
            )
            raise damaged(self._path, why)
        if lost:
            why = f"{lost} of {places.size} {kind} of page {page.index + 1} have a place and a length of 0"
            raise damaged(self._path, why)
        if places.size < (wanted := _blocks_of(page)):
            raise damaged(self._path, f"only {places.size} of {wanted} {kind} of page {page.index + 1} are there")


def _blocks_of(page: Page) -> int:
    """How many strips or tiles a page takes; 0: unknown."""
    width, height = page.size
    across, down = width, page.first(STRIP_ROWS, height)
    if page.tiled:
        across, down = page.first(TILE_WIDTH, 0), page.first(TILE_HEIGHT, 0)
    if across < 1 or down < 1:
        return 0
    planes = page.samples if page.first(PLANES, 1) == SEPARATE else 1
    return -(-width // across) * -(-height // down) * planes


def _header(file: BinaryIO) -> tuple[str, bool, int]:
    """Byte order, whether a BigTIFF, and the place of the first page."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", head, 2)[0] == 43:
        return order, True, struct.unpack_from(order + "Q", head, 8)[0]
    return order, False, struct.unpack_from(order + "I", head, 4)[0]
