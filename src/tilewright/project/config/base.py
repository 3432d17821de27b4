"""What all sections of the config share."""

from functools import partial
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from tilewright.project.storage import expanded

ANY, IGNORE = "any", "ignore"
"""Names that no class may have: that of all classes together, and that of pixels that do not count."""
MULTIPLE = 32
"""Of which rows and columns must be multiples for every network: encoders halve them five times."""


def _not_reserved(name: str) -> str:
    if name in (ANY, IGNORE):
        raise ValueError("is reserved: any stands for all classes together, ignore for pixels that do not count")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Label = Annotated[str, AfterValidator(partial(normalize, "NFC"))]
"""A label of outlines, as Unicode composes it: some systems store letters with accents in two parts."""
ClassName = Annotated[Name, AfterValidator(_not_reserved)]
Share = Annotated[float, Field(ge=0, le=1)]
UserPath = Annotated[str, AfterValidator(expanded)]
"""A path of the user, in which ~ and $NAME stand for what they stand for in a shell."""


def _way(edge: Any) -> str:
    return "[width, height]" if isinstance(edge, list | tuple) else "[number]"


def _plain(edge: int | list[int]) -> int | list[int]:
    """A square by its one number, where that is possible, so that it is written in one way."""
    return edge[0] if isinstance(edge, list) and edge[0] == edge[1] and edge[0] % MULTIPLE == 0 else edge


Edge = Annotated[
    Annotated[int, Field(ge=MULTIPLE, multiple_of=MULTIPLE), Tag("[number]")]
    | Annotated[list[Annotated[int, Field(ge=MULTIPLE)]], Field(min_length=2, max_length=2), Tag("[width, height]")],
    Discriminator(_way),
    AfterValidator(_plain),
]
"""Of tiles, crops and windows: the edge of a square, or width and height."""


def width_and_height(edge: int | list[int]) -> tuple[int, int]:
    """Both, of an edge as the config has it."""
    return (edge, edge) if isinstance(edge, int) else (edge[0], edge[1])


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
