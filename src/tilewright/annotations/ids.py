"""Whose outlines: which id of a file means a slide.

An id is compared with the path of the slide's image, folders from the end, then with the file's name, then with the
slide's name, as it is and with underscores as ``tilewright sheet`` writes it. What is not certain is an error.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tilewright.project.naming import Identity, Namesake, bare_name, composed, parts_of, stems, valid_names
from tilewright.runtime.errors import AnnotationError, Problem, nearest_name


class Id(NamedTuple):
    """An id of a file of outlines.

    Attributes:
        name: the id, or the file name of an image.
        number: a number that the file gives an image beside its name; empty: none.
    """

    name: str
    number: str = ""

    def __str__(self) -> str:
        return f'"{self.name}"' + (f" (id {self.number})" if self.number else "") if self.name else f"id {self.number}"


class _Fit(NamedTuple):
    """How well an id means a slide; what is compared first stands first.

    Attributes:
        folders: parts of the path that agree, from the end, the file's name among them; 0: the slide's name alone does.
        form: 2: letter by letter but for the ending's case; 1: without endings, or of a slide with underscores.
        whole: nothing of the id's path contradicts.
        slide: the id is the slide's name as well.
        exact: the id is written with the very same characters.
    """

    folders: int
    form: int
    whole: bool
    slide: bool
    exact: bool


class Ids:
    """The ids of a file, looked up by what a slide is called; the cost of a look does not grow with the file.

    Args:
        ids: all of them, each once.
    """

    def __init__(self, ids: Sequence[Id]) -> None:
        self._ids = ids
        self._named: dict[str, list[int]] = {}
        self._numbered: dict[str, list[int]] = {}
        for place, one in enumerate(ids):
            for name in _keys(one.name):
                self._named.setdefault(name, []).append(place)
            if one.number:
                self._numbered.setdefault(one.number, []).append(place)

    def find(self, who: Identity, path: Path) -> int | None:
        """The place of the id that means a slide; None: none does.

        A number counts only where no name means the slide, and where the name beside it does not name another image.

        Args:
            who: the slide.
            path: the file, for messages.

        Raises:
            AnnotationError: two ids mean the slide, or one id means two slides; names both.
        """
        wanted = {who.slide, *_stems_of(who.image)}
        places = sorted({place for name in wanted for place in self._named.get(name, ())})
        found = self._best(who, [(place, self._ids[place].name) for place in places], path)
        if found is not None:
            return found
        places = sorted({place for name in wanted for place in self._numbered.get(name, ())})
        numbered = [(place, self._ids[place].number) for place in places if not self._is_another(place, who)]
        return self._best(who, numbered, path)

    def _best(self, who: Identity, candidates: Iterable[tuple[int, str]], path: Path) -> int | None:
        """The place of the id that fits best and fits no other slide better."""
        fits = []
        for place, text in candidates:
            own = _fit(text, who.slide, who.image)
            others = [(_fit(text, other.slide, other.image), other) for other in who.namesakes]
            if own and not any(fit and fit > own for fit, _ in others):
                fits.append((own, place, next((other for fit, other in others if fit == own), None)))
        if not fits:
            return None
        best = max(own for own, _, _ in fits)
        chosen = [(place, other) for own, place, other in fits if own == best]
        if len(chosen) > 1:
            raise _two_ids(who, [self._ids[place] for place, _ in chosen], path)
        place, other = chosen[0]
        if other is not None:
            raise _two_slides(who, other, self._ids[place], path)
        return place

    def _is_another(self, place: int, who: Identity) -> bool:
        """Whether the name beside a number is that of another image: of a namesake, or numbered in the same way."""
        name = self._ids[place].name
        if not (parts := parts_of(name)):
            return False
        form, numbers = _numbered(stems(parts[-1])[-1])
        own = [_numbered(stem) for stem in (who.slide, *_stems_of(who.image))]
        is_alike = any(form == known and numbers != others for known, others in own)
        return is_alike or any(_fit(name, other.slide, other.image) for other in who.namesakes)

    def missing(self, who: Identity, path: Path) -> AnnotationError:
        """The error for a file in which no id means a slide."""
        names = list(dict.fromkeys(bare_name(one.name or one.number) for one in self._ids))
        near = nearest_name(bare_name(who.image.name), names) if who.image else ""
        near = near or nearest_name(who.slide, names)
        remedy = f'Nearest id there: "{near}".' if near else f"Ids there: {_shortened(names)}."
        return AnnotationError(Problem(str(path), f"holds no outlines of slide {who.slide}{_image_of(who)}.", remedy))


def _keys(name: str) -> list[str]:
    """What an id is looked up by."""
    parts = parts_of(name)
    return list(dict.fromkeys([composed(name), *stems(parts[-1]), *valid_names(parts)])) if parts else []


def _fit(text: str, slide: str, image: Path | None) -> _Fit | None:
    """How well an id means a slide; None: not at all."""
    parts = parts_of(text)
    if not parts:
        return None
    own = stems(parts[-1])
    is_slide = slide in (composed(text), *own)
    if image is not None:
        names = _stems_of(image)
        if not set(own).isdisjoint(names):
            there = parts_of(str(image))
            folders = 1 + _agreeing(parts[:-1], there[:-1])
            whole = folders == min(len(parts), len(there))
            return _Fit(folders, 2 if own[0] == names[0] else 1, whole, is_slide, text.endswith(image.name))
    if is_slide:
        return _Fit(0, 2, True, True, text == slide)
    return _Fit(0, 1, True, True, False) if slide in valid_names(parts) else None


def _agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts agree from the end."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _stems_of(image: Path | None) -> list[str]:
    return stems(parts_of(str(image))[-1]) if image is not None else []


def _numbered(name: str) -> tuple[str, list[int]]:
    """A name without its numbers, and these."""
    return re.sub(r"\d+", "0", name), [int(number) for number in re.findall(r"\d+", name)]


def _two_ids(who: Identity, ids: Sequence[Id], path: Path) -> AnnotationError:
    what = f"{' and '.join(map(str, ids[:5]))} mean slide {who.slide}{_image_of(who)} alike."
    remedy = "Give them ids that tell folders apart as the paths of images do, or leave one in the file."
    return AnnotationError(Problem(str(path), what, remedy))


def _two_slides(who: Identity, other: Namesake, one: Id, path: Path) -> AnnotationError:
    what = f"{one} means slide {who.slide}{_image_of(who)} as well as slide {other.slide} (image {other.image})."
    remedy = "Write the folder of the image before its name in the file, or the name of the slide."
    return AnnotationError(Problem(str(path), what, remedy))


def _image_of(who: Identity) -> str:
    return f" (image {who.image})" if who.image else ""


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
