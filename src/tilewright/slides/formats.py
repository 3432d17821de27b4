"""What a file is, by its first bytes; its name does not count, except for slides that are a folder beside a file."""

from dataclasses import dataclass
from pathlib import Path

from tilewright.runtime.errors import Problem, SlideError, no_such_file
from tilewright.slides.source import damaged, unreadable

TIFF = "GTiff"
HEAD = 512


@dataclass(frozen=True)
class Kind:
    """What a file looks like.

    Attributes:
        name: in words.
        driver: of GDAL, which reads it; empty: none does.
        vendor_possible: OpenSlide may know the file.
    """

    name: str
    driver: str = ""
    vendor_possible: bool = False


# (start, bytes at the start, what it is); of GDAL's many formats only those of pictures, as inputs are not trusted
SIGNATURES = (
    (0, b"II*\0", Kind("TIFF", TIFF, vendor_possible=True)),
    (0, b"MM\0*", Kind("TIFF", TIFF, vendor_possible=True)),
    (0, b"II+\0", Kind("BigTIFF", TIFF, vendor_possible=True)),
    (0, b"MM\0+", Kind("BigTIFF", TIFF, vendor_possible=True)),
    (0, b"\x89PNG\r\n\x1a\n", Kind("PNG", "PNG")),
    (0, b"\xff\xd8\xff", Kind("JPEG", "JPEG")),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", Kind("JPEG 2000", "JP2OpenJPEG")),
    (0, b"\xff\x4f\xff\x51", Kind("JPEG 2000", "JP2OpenJPEG")),
    (8, b"WEBP", Kind("WebP", "WEBP")),
    (0, b"BM", Kind("BMP", "BMP")),
    (0, b"P5", Kind("PGM", "PNM")),
    (0, b"P6", Kind("PPM", "PNM")),
    (128, b"DICM", Kind("a DICOM file", vendor_possible=True)),
    (0, b"SQLite format 3", Kind("an SQLite database", vendor_possible=True)),
    (0, b"ZISRAWFILE", Kind("a Zeiss CZI slide", vendor_possible=True)),
    (0, b"GIF8", Kind("a GIF picture")),
    (0, b"\xda\xce\xbe\x0a", Kind("a Nikon ND2 image")),
    (0, b"\x6a\x0c\0\0", Kind("an Olympus VSI image")),
    (0, b"\x89HDF", Kind("an HDF5 file")),
    (0, b"\x93NUMPY", Kind("a NumPy array")),
    (0, b"%PDF", Kind("a PDF document")),
    (0, b"PK\x03\x04", Kind("a ZIP archive")),
    (0, b"\x1f\x8b", Kind("a gzip archive")),
    (4, b"ftyp", Kind("an HEIF picture or a film")),
)


def look_at(path: Path) -> Kind:
    """What a file looks like.

    Raises:
        SlideError: the file is missing, empty, a directory or not readable.
    """
    if path.is_dir():
        remedy = "Give the image file itself: of MIRAX the .mrxs file, of DICOM one of the files of the slide."
        raise SlideError(Problem(str(path), "is a directory, not an image file.", remedy))
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        raise SlideError(no_such_file(path)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not head:
        raise damaged(path, "the file is empty")
    kind = next((kind for start, magic, kind in SIGNATURES if head[start:].startswith(magic)), None)
    if path.suffix.lower() == ".mrxs":
        # the file is a small picture; the slide lies in the folder beside it
        return Kind("a MIRAX slide without the folder of its pixels", vendor_possible=True)
    return kind or _other(head)


def _other(head: bytes) -> Kind:
    if b"\0" in head:
        return Kind("nothing known", vendor_possible=True)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    name = "XML or HTML" if start.startswith(b"<") else "JSON" if start.startswith((b"{", b"[")) else "text"
    return Kind(name, vendor_possible=True)


def no_image(path: Path, kind: Kind) -> SlideError:
    """The error for a file that nothing reads."""
    remedy = "Export it as TIFF, PNG or JPEG, or correct the sheet."
    if path.suffix.lower() == ".mrxs":
        remedy = f"Copy the folder {path.stem} of the scanner to beside the file."
    return SlideError(Problem(str(path), f"cannot be read as an image: it looks like {kind.name}.", remedy))
