"""Errors that a user can cause; each says what is wrong, where, and what to do next.

Everything that derives from `OccFeatError` is printed as a few plain lines and ends a command with exit
code 2. Any other exception is a bug of this package and ends it with exit code 1.
"""

import difflib
from collections.abc import Iterable, Sequence


class OccFeatError(Exception):
    """A problem the user can solve.

    Args:
        message: What is wrong and where, in one sentence.
        first: The first few things concerned (paths, tokens, names), one per line.
        hint: What to do next.
    """

    def __init__(self, message: str, *, first: Sequence[object] = (), hint: str = "") -> None:
        lines = [message, *(f"  {item}" for item in first)]
        if hint:
            lines.append(f"Hint: {hint}")
        super().__init__("\n".join(lines))
        self.message = message
        self.first = tuple(str(item) for item in first)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to rebuild the error in another process, such as that of a data loader."""
        return _rebuild, (type(self), self.message, self.first, self.hint)


def _rebuild(kind: type[OccFeatError], message: str, first: tuple[str, ...], hint: str) -> OccFeatError:
    """Return an error that was sent from another process."""
    return kind(message, first=first, hint=hint)


def closest(name: str, names: Iterable[str]) -> str:
    """Return the name that was probably meant, or an empty string."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), "")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return "Did you mean NAME? " for the closest name, or an empty string."""
    close = closest(name, names)
    return f"Did you mean {close}? " if close else ""


class SettingsError(OccFeatError):
    """A setting, flag or settings file that is not valid."""


class MissingExtraError(OccFeatError):
    """An optional package that is not installed; the hint names the extra that installs it."""


class DatasetError(OccFeatError):
    """A data set that is incomplete, damaged or not what it claims to be."""


class UnusableSetError(DatasetError):
    """A data set that may be whole, but has nothing that can be learned from here."""


class KeyFrameError(DatasetError):
    """A key frame that cannot be read; training can skip a limited number of them."""


class LostImageError(KeyFrameError):
    """An image of a data set that cannot be read; its camera is left out of its key frame."""


class MessageError(DatasetError):
    """A message of a recording that cannot be used; it is left out and counted."""


class FrameError(DatasetError):
    """Frames of a recording that are unknown, not connected or in a loop, or whose transform is not known."""


class LensError(OccFeatError):
    """A lens of a model that does not exist, or with coefficients that it cannot have."""


class WeightsError(OccFeatError):
    """Weights that cannot be read, or do not fit the network they are loaded into."""


class CacheError(OccFeatError):
    """A cache of teacher features or images that is incomplete, damaged or made for something else."""


class RunError(OccFeatError):
    """A run folder that is in use, cannot be written or cannot be continued."""


class ExportError(OccFeatError):
    """A network that cannot be exported, or whose exported file computes something else."""


class TrainingError(OccFeatError):
    """Training that cannot continue, because a loss is not finite or too many key frames are broken."""


class Interrupted(Exception):  # noqa: N818 - a wish, not an error
    """A run that was stopped by the user and has saved its state; the message says how to resume it."""
