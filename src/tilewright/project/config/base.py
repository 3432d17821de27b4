"""What all sections of the config share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

ANY, IGNORE = "any", "ignore"
"""Names that no class may have: that of all classes together, and that of pixels that do not count."""


def _not_reserved(name: str) -> str:
    if name in (ANY, IGNORE):
        raise ValueError("is reserved: any stands for all classes together, ignore for pixels that do not count")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ClassName = Annotated[Name, AfterValidator(_not_reserved)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
