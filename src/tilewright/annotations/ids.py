"""Whose outlines: which id of a file means a slide.

An id is compared with the path of the slide's image, folders from the end, then with the file's name, then with the
slide's name, as it is and with underscores as ``tilewright sheet`` writes it. What is not certain is an error.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tilewright.project.naming import Identity, Namesake, bare_name, composed, parts_of, stems, valid_names
from tilewright.runtime.errors import AnnotationError, Problem, listed, nearest_name


class Id(NamedTuple):
    """An id of a file of outlines.

    Attributes:
        name: the id, or the file name of an image.
        number: a number that the file gives an image beside its name, which means no slide; empty: none.
    """

    name: str
    number: str = ""

    def __str__(self) -> str:
        return f'"{self.name}"' + (f" (id {self.number})" if self.number else "") if self.name else f"id {self.number}"


class _Fit(NamedTuple):
    """How well an id means a slide; what is compared first stands first.

    Attributes:
        folders: parts of the path that agree, from the end, the file's name among them; 0: the slide's name alone does.
        form: 2: letter by letter but for the ending's case; 1: without endings, or of a slide with underscores; 0: with
            the ending of another file.
        whole: nothing of the id's path contradicts.
        slide: the id is the slide's name as well.
        exact: the id is written with the very same characters.
    """

    folders: int
    form: int
    whole: bool
    slide: bool
    exact: bool


class _Found(NamedTuple):
    """An id that means a slide: its place, how well it does, and another slide that it means alike."""

    place: int
    fit: _Fit
    other: Namesake | None


class Ids:
    """The ids of a file, looked up by what a slide is called; the cost of a look does not grow with the file.

    Args:
        ids: all of them, each once.
    """

    def __init__(self, ids: Sequence[Id]) -> None:
        self._ids = ids
        self._named: dict[str, list[int]] = {}
        for place, one in enumerate(ids):
            for name in _keys(one.name):
                self._named.setdefault(name, []).append(place)

    @cached_property
    def _folders(self) -> set[tuple[str, ...]]:
        """The folders that ids name, each alone and with those above it."""
        folders = {parts_of(one.name)[:-1] for one in self._ids}
        return {parts[start:] for parts in folders for start in range(len(parts))}

    def find(self, who: Identity, path: Path) -> int | None:
        """The place of the id that means a slide; None: none does.

        Args:
            who: the slide.
            path: the file, for messages.

        Raises:
            AnnotationError: two ids mean the slide, or one id means two slides; names both.
        """
        fitting = self._fitting(who)
        found = [one for one in fitting if one.fit.whole] or [
            one for one in fitting if not self._is_elsewhere(one, who)
        ]
        found = [one for one in found if one.fit.form] or found
        if len(found) > 1:
            raise _two_ids(who, [self._ids[one.place] for one in found], path)
        if found and found[0].other is not None:
            raise _two_slides(who, found[0].other, self._ids[found[0].place], path)
        return found[0].place if found else None

    def moved(self, who: Identity, path: Path) -> str:
        """What is to be said of the id that means a slide where its folder is another one; empty: nothing."""
        place = self.find(who, path)
        if place is None or who.image is None:
            return ""
        fit = _fit(name := self._ids[place].name, who.slide, who.image)
        if fit is None or fit.whole:
            return ""
        there, here = (parts_of(one)[-1 - fit.folders] for one in (name, str(who.image)))
        return f'its ids name the folder "{there}" where images lie in "{here}", and are taken for these.'

    def _fitting(self, who: Identity) -> list[_Found]:
        """The ids that mean a slide, and no other slide better."""
        wanted = {who.slide, *_stems_of(who.image)}
        found = []
        for place in sorted({place for name in wanted for place in self._named.get(name, ())}):
            name = self._ids[place].name
            own = _fit(name, who.slide, who.image)
            others = [(_fit(name, other.slide, other.image), other) for other in who.namesakes]
            if own and not any(fit and fit > own for fit, _ in others):
                found.append(_Found(place, own, next((other for fit, other in others if fit == own), None)))
        return found

    def _is_elsewhere(self, one: _Found, who: Identity) -> bool:
        """Whether the folder of an id that contradicts that of a slide's image is another one, and not just renamed.

        It is where the file names the slide's folder too, or where the sheet has a folder of the id's name.
        """
        there, here = parts_of(self._ids[one.place].name)[:-1], parts_of(str(who.image))[:-1]
        count = one.fit.folders
        known = (parts_of(str(other.image))[:-1][-count:] for other in who.namesakes)
        return here[-count:] in self._folders or there[-count:] in known

    def missing(self, who: Identity, path: Path) -> AnnotationError:
        """The error for a file in which no id means a slide."""
        elsewhere = [str(self._ids[one.place]) for one in self._fitting(who) if not one.fit.whole]
        if elsewhere:
            what = (
                f"holds no outlines of slide {who.slide}{_image_of(who)}, but of {listed(elsewhere)}: another folder."
            )
            return AnnotationError(Problem(str(path), what, "Correct the folders in the file, or the sheet."))
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
            form = 2 if own[0] == names[0] else int(len(own) == 1 or own[0] in names)
            return _Fit(folders, form, whole, is_slide, text.endswith(image.name))
    if is_slide:
        is_file = image is not None and len(own) > 1
        return _Fit(0, 0 if is_file else 2, True, True, text == slide)
    return _Fit(0, 1, True, True, False) if slide in valid_names(parts) else None


def _agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts agree from the end."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _stems_of(image: Path | None) -> list[str]:
    return stems(parts_of(str(image))[-1]) if image is not None else []


def _two_ids(who: Identity, ids: Sequence[Id], path: Path) -> AnnotationError:
    what = f"{' and '.join(map(str, ids[:5]))} mean slide {who.slide}{_image_of(who)} alike."
    remedy = "Give what is of one image one id alone, and images of one name their folders before it."
    return AnnotationError(Problem(str(path), what, remedy))


def _two_slides(who: Identity, other: Namesake, one: Id, path: Path) -> AnnotationError:
    what = f"{one} means slide {who.slide}{_image_of(who)} as well as slide {other.slide} (image {other.image})."
    remedy = "Write the folder of the image before its name in the file, or the name of the slide."
    return AnnotationError(Problem(str(path), what, remedy))


def _image_of(who: Identity) -> str:
    return f" (image {who.image})" if who.image else ""


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
