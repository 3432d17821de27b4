"""TIFFs that are written page by page, tag by tag, as other programs would write them."""

import struct

import numpy as np

HEIGHT, WIDTH = 24, 40
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
PLANES = [np.ascontiguousarray(RGB[..., band]) for band in range(3)]
OTHER = np.full((HEIGHT, WIDTH), 77, np.uint8)
SMALL = RGB[::2, ::2]
TYPES = {
    254: 4,
    256: 4,
    257: 4,
    270: 2,
    273: 4,
    278: 4,
    279: 4,
    282: 5,
    283: 5,
    324: 4,
    325: 4,
    330: 4,
    50838: 9,
    50839: 7,
}
LETTERS = {3: "H", 9: "i"}


class Writer:
    """Uncompressed pages of one strip; page by page, each with its tags."""

    def __init__(self, order="<", *, big=False):
        self.order, self.big = order, big
        start = struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
        self.out = bytearray({"<": b"II", ">": b"MM"}[order] + start)
        self.link = len(self.out) - (8 if big else 4)

    def add(self, pixels, tags=(), children=()):
        """Append a page (rows x columns, or x samples); children become its SubIFDs."""
        main = self.link
        below = []
        for child in children:
            self.link = len(self.out)
            self.out += bytes(8)
            self._page(child, {254: 1})
            below.append(self.start)
        self.link = main
        self._page(pixels, {**dict(tags), **({330: below} if below else {})})
        return self

    def _page(self, pixels, tags):
        place = len(self.out)
        self.out += pixels.astype(pixels.dtype.newbyteorder(self.order)).tobytes()
        height, width, *rest = pixels.shape
        samples, size = rest[0] if rest else 1, pixels.dtype.itemsize
        fields = {
            256: width, 257: height, 258: [size * 8] * samples, 259: 1, 262: 2 if samples >= 3 else 1, 273: place,
            277: samples, 278: height, 279: height * width * samples * size, **tags,
        }  # fmt: skip
        entries = b"".join(self._entry(tag, fields[tag]) for tag in sorted(fields))
        self.start = len(self.out)
        word = self.order + ("Q" if self.big else "I")
        struct.pack_into(word, self.out, self.link, self.start)
        self.out += struct.pack(self.order + ("Q" if self.big else "H"), len(fields)) + entries
        self.link = len(self.out)
        self.out += struct.pack(word, 0)

    def _entry(self, tag, value):
        kind = TYPES.get(tag, 3)
        if kind in (2, 7):
            content = value.encode() + b"\0" if kind == 2 else value
            count = len(content)
        else:
            numbers = value if isinstance(value, list | tuple) else [value]
            count = len(numbers) // (2 if kind == 5 else 1)
            content = struct.pack(f"{self.order}{len(numbers)}{LETTERS.get(kind, 'I')}", *numbers)
        room = 8 if self.big else 4
        if len(content) > room:
            place = len(self.out)
            self.out += content
            content = struct.pack(self.order + ("Q" if self.big else "I"), place)
        return struct.pack(self.order + ("HHQ" if self.big else "HHI"), tag, kind, count) + content.ljust(room, b"\0")

    def save(self, path):
        path.write_bytes(self.out)
        return path


def save_pages(path, pages, description="", **options):
    """Pages with a description on the first."""
    writer = Writer(**options)
    for index, page in enumerate(pages):
        writer.add(page, {270: description} if description and not index else {})
    return writer.save(path)


def ome(channels=3, planes=1, times=1, order="XYCZT", samples=1, data="", pixels="", root=""):
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        f'{root}><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint8" SizeX="{WIDTH}"'
        f' SizeY="{HEIGHT}" SizeC="{channels}" SizeZ="{planes}" SizeT="{times}"{pixels}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="{samples}"/>{data}</Pixels></Image></OME>'
    )
