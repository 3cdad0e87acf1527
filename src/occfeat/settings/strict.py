"""The base class of all settings and the types of their values. Imports no torch.

Sizes are (height, width) in pixels.
"""

import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

T = TypeVar("T")
EXPERT = "expert"
"""Marks a setting that few users change: `--help-all` lists it, `--help` does not."""
Expert = Annotated[T, EXPERT]
Positive = Annotated[int, Field(ge=1)]
Few = Annotated[int, Field(ge=1, le=1000)]
NotNegative = Annotated[float, Field(ge=0)]
ImageSize = tuple[Positive, Positive]


def absolute(path: Path) -> Path:
    """Return a path as an absolute one, with `~` expanded."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - pathlib's stops at an unknown user


def _absolute_file(weights: str) -> str:
    """Return a source of weights with an absolute path, if it is a file."""
    return weights if weights in ("hub", "none", "packaged") else str(absolute(Path(weights)))


InputPath = Annotated[Path, AfterValidator(absolute)]
"""A path that is stored as an absolute one, so that a run can be resumed from another folder."""
WeightsSource = Annotated[str, AfterValidator(_absolute_file)]
"""Where weights come from: a word such as `hub`, or the path of a file."""


class Strict(BaseModel):
    """Frozen settings that refuse unknown names.

    A validator is built when the first value of its class is built. A command needs those of its own settings
    alone.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, defer_build=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Describe each section by its docstring, so that `--help` does not parse it again."""
        for info in cls.model_fields.values():
            inner = info.annotation
            if info.description is None and isinstance(inner, type) and issubclass(inner, Strict):
                paragraphs = (inner.__doc__ or "").split("\n\n")
                info.description = "\n\n".join(" ".join(words.split()) for words in paragraphs)
