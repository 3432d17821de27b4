"""What images, slides and the ids of outlines are called, and which slides a name may stand for. Imports nothing heavy.

Names are compared as Unicode composes them (NFC), as some systems store letters with accents in two parts; endings of
images in lower case.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from tilewright.project.rows import Row

IMAGE_SUFFIXES = (
    ".tif", ".tiff", ".btf", ".tf2", ".tf8", ".qptiff", ".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".bmp", ".webp",
    ".pgm", ".ppm", ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".czi",
)  # fmt: skip
"""How the names of images end, in lower case; what a file is, its content says."""
DOUBLE = ".ome"
"""What may stand before such an ending and belongs to it."""
FOLDERS = 3
"""Folders above an image that may stand in the name of its slide, to tell it from others, and one for the image."""

MOST = 8
"""Namesakes of a slide that are told."""


@dataclass(frozen=True)
class Namesake:
    """Another slide of the sheet, whose outlines lie in the same file, that the same id might mean.

    Or one that stands for another folder of the sheet, which an id might name.

    Attributes:
        slide: its name.
        image: its image.
    """

    slide: str
    image: Path


@dataclass(frozen=True)
class Identity:
    """What a slide is called.

    Attributes:
        slide: its name.
        image: its image; None: not known.
        namesakes: other slides of the sheet that the same id might mean.
    """

    slide: str
    image: Path | None = None
    namesakes: Sequence[Namesake] = ()


def identity_of(row: Row, alike: Mapping[str, Sequence[Namesake]]) -> Identity:
    """What the slide of a row is called, beside its namesakes (``namesakes``)."""
    return Identity(row.slide, row.image, alike.get(row.slide, ()))


def composed(text: str) -> str:
    """A name as Unicode composes it, without white space around it."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()


def parts_of(name: str) -> tuple[str, ...]:
    """The folders of a path and its last part; a backslash divides as well, as in files that were made elsewhere."""
    parts = composed(name).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


def stems(name: str) -> list[str]:
    """The name of a file, with its ending in lower case, then without it, then without ``DOUBLE`` before that."""
    name = composed(name)
    stem, dot, ending = name.rpartition(".")
    if not stem or f"{dot}{ending.lower()}" not in IMAGE_SUFFIXES:
        return [name]
    short = stem[: -len(DOUBLE)] if stem.lower().endswith(DOUBLE) else ""
    return [f"{stem}.{ending.lower()}", stem, *([short] if short else [])]


def bare_name(name: str) -> str:
    """A file name, or the last part of a path, without what tells that it is an image."""
    return stems((parts_of(name) or ("",))[-1])[-1]


def valid_name(name: str) -> str:
    """A name that the sheet takes, with underscores for what it does not; empty where nothing is left."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", composed(name)).lstrip("_.-")


def valid_names(parts: Sequence[str]) -> list[str]:
    """The names of a slide that ``valid_name`` makes of an image or an id.

    Args:
        parts: its folders and its name.
    """
    joined = ["_".join([*parts[-count:-1], stems(parts[-1])[-1]]) for count in range(2, min(len(parts), FOLDERS) + 1)]
    return [name for name in map(valid_name, [*stems(parts[-1]), *joined]) if name]


def unique_names(images: Sequence[Path], taken: Collection[str] = ()) -> list[str]:
    """A name of a slide for each image, none alike; case does not count.

    That of its file; where names are alike, with those of its folders, or with its ending, or with a number.

    Args:
        images: paths, each once.
        taken: names that other slides have.
    """
    used = {name.lower() for name in taken}
    forms = {image: _forms(image) for image in images}
    names: dict[Path, str] = {}
    for place in range(FOLDERS + 1):
        tried = {image: form[place] for image, form in forms.items() if image not in names and form[place]}
        counts = Counter(name.lower() for name in tried.values())
        alone = {name for name in tried.values() if counts[name.lower()] == 1 and name.lower() not in used}
        names |= {image: name for image, name in tried.items() if name in alone}
        used |= {name.lower() for name in names.values()}
    for image in images:
        if image not in names:
            start = forms[image][0] or "slide"
            names[image] = next(name for number in count(1) if (name := f"{start}_{number}").lower() not in used)
            used.add(names[image].lower())
    return [names[image] for image in images]


def _forms(image: Path) -> list[str]:
    """How the slide of an image may be called: without folders, with some, with its ending; empty where it cannot."""
    name, folders = bare_name(image.name), image.parent.parts
    above = ["_".join([*folders[-depth:], name]) if len(folders) >= depth else "" for depth in range(1, FOLDERS)]
    ending = f"{name}_{image.suffix[1:].lower()}" if valid_name(name) else ""
    return [valid_name(form) for form in (name, *above, ending)]


def namesakes(rows: Iterable[Row], column: str) -> Mapping[str, list[Namesake]]:
    """Of each slide the others that an id in its file of outlines might mean as well; slides without any are left out.

    Args:
        rows: all slides of a sheet.
        column: the column that names the files.
    """
    files: dict[str, list[Row]] = {}
    for row in rows:
        if (file := getattr(row, column)) is not None:
            files.setdefault(str(file), []).append(row)
    found: dict[str, list[Namesake]] = {}
    for together in files.values():
        if len({row.image for row in together}) > 1:
            found |= _alike(together)
    return found


def _alike(rows: Sequence[Row]) -> dict[str, list[Namesake]]:
    """The namesakes of the slides of one file, at most ``MOST`` of each: those with most folders in common come first.

    Last come slides of other folders, one of each.

    More are never needed to know that an id is not certain, and as those of a thousand folders with an ``image.tif``
    each they would be a million.
    """
    by_slide = {row.slide: row for row in rows}
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        for name in _names_of(row.image):
            if len(alike := by_name.setdefault(name, [])) <= MOST:
                alike.append(row)
    folders: dict[Path, Row] = {}
    for row in rows:
        folders.setdefault(row.image.parent, row)
    apart = list(folders.values())[: MOST + 1]
    found = {}
    for row in rows:
        names = _names_of(row.image)
        near = [by_slide[name] for name in names if name in by_slide]
        near += [other for name in (*names, row.slide) for other in by_name.get(name, ())]
        near += [other for other in apart if other.image.parent != row.image.parent]
        others = {other.slide: other for other in near if other.image != row.image}
        if others:
            found[row.slide] = [
                Namesake(slide=other.slide, image=other.image) for other in list(others.values())[:MOST]
            ]
    return found


@cache
def _names_of(image: Path) -> tuple[str, ...]:
    """What an id of an image may be called, with folders, without, and in the form of the sheet."""
    parts = parts_of(str(image))
    tails = ["/".join(parts[-count:]) for count in range(min(len(parts), FOLDERS), 1, -1)]
    return tuple(dict.fromkeys([*tails, *stems(parts[-1]), *valid_names(parts)]))
