"""Labels of outlines that belong to no class."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from tilewright.annotations import Annotation
from tilewright.runtime.errors import Problem, did_you_mean


class Unclaimed:
    """Counts outlines whose label no class takes.

    Args:
        classes: the annotation labels that each class takes.
        ignore: labels whose pixels are ignored.
        discard: labels that are left out on purpose.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]], ignore: Collection[str], discard: Collection[str]) -> None:
        self._claimed = dict.fromkeys([*(label for labels in classes.values() for label in labels), *ignore])
        self._discard = frozenset(discard)
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, annotations: Iterable[Annotation]) -> None:
        """Take in some outlines."""
        for annotation in annotations:
            if annotation.label not in self._claimed and annotation.label not in self._discard:
                count, first = self._found.get(annotation.label, (0, annotation.origin))
                self._found[annotation.label] = (count + 1, first)

    def problems(self, where: Callable[[str], str]) -> Iterator[Problem]:
        """A problem for each label, with the number of its outlines and the nearest label that is known.

        Args:
            where: what is named for a label.
        """
        for label, (count, first) in self._found.items():
            subject = "1 outline has" if count == 1 else f"{count} outlines have"
            what = f'{subject} the label "{label}" (first: {first}), which belongs to no class.'
            remedy = f"{did_you_mean(label, self._claimed)} Or add it to a class, or to annotations.ignore or .discard."
            yield Problem(where(label), what, remedy.strip())
