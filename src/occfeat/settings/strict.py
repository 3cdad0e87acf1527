"""The base class of all settings and the types of their values. Imports no torch.

Sizes are (height, width) in pixels.
"""

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")
EXPERT = "expert"
"""Marks a setting that few users change; only `--help-all` lists it."""
Expert = Annotated[T, EXPERT]
Positive = Annotated[int, Field(ge=1)]
Few = Annotated[int, Field(ge=1, le=1000)]
NotNegative = Annotated[float, Field(ge=0)]
ImageSize = tuple[Positive, Positive]


def absolute(path: Path) -> Path:
    """Return a path as an absolute one, with `~` expanded."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - pathlib's stops at an unknown user


def _absolute_file(weights: str) -> str:
    """Return a source of weights, with the path of a file made absolute."""
    return weights if weights in ("hub", "none", "packaged") else str(absolute(Path(weights)))


InputPath = Annotated[Path, AfterValidator(absolute)]
"""A path that is stored as absolute: a run can be resumed from any folder."""
WeightsSource = Annotated[str, AfterValidator(_absolute_file)]
"""Source of weights: a keyword such as `hub`, or the path of a file."""


def _takes_truth(annotation: object) -> bool:
    """Return whether a value of some type may be true or false."""
    return annotation in (bool, Any) or any(map(_takes_truth, get_args(annotation)))


class Strict(BaseModel):
    """Frozen settings that refuse unknown names.

    The validator of a class is built on its first use, because a command uses only some of the classes.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, defer_build=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Describe each section by its docstring, which saves `--help` from parsing it again."""
        for info in cls.model_fields.values():
            inner = info.annotation
            if info.description is None and isinstance(inner, type) and issubclass(inner, Strict):
                paragraphs = (inner.__doc__ or "").split("\n\n")
                info.description = "\n\n".join(" ".join(words.split()) for words in paragraphs)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truths(cls, values: Any) -> Any:
        """Refuse `true` where a number is wanted: it would count as 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and not _takes_truth(field.annotation):
                raise ValueError(f"{name}: expected another value than {str(value).lower()}")
        return values
