"""What all settings are made of: frozen values that refuse unknown names, and the kinds of values they hold.

This module imports no torch. Sizes are (height, width) in pixels.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Few = Annotated[int, Field(ge=1, le=1000)]
NotNegative = Annotated[float, Field(ge=0)]
ImageSize = tuple[Positive, Positive]


def absolute(path: Path) -> Path:
    """A path that means the same in every folder, `~` written out."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - pathlib's stops at an unknown user


def _absolute_file(weights: str) -> str:
    return weights if weights in ("hub", "none", "packaged") else str(absolute(Path(weights)))


InputPath = Annotated[Path, AfterValidator(absolute)]
"""Written down absolute, so that a run can be resumed from another folder."""
WeightsSource = Annotated[str, AfterValidator(_absolute_file)]
"""Where weights come from: a word such as `hub`, or a file, written down absolute as well."""


class Strict(BaseModel):
    """Frozen settings that refuse names they do not know.

    A validator is built when the first value of its class is made: a command needs those of its own settings.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, defer_build=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """A section of a section is described by its own docstring, which `--help` need not parse again."""
        for info in cls.model_fields.values():
            inner = info.annotation
            if info.description is None and isinstance(inner, type) and issubclass(inner, Strict):
                paragraphs = (inner.__doc__ or "").split("\n\n")
                info.description = "\n\n".join(" ".join(words.split()) for words in paragraphs)
