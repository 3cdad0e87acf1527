"""The data folder that all tests share, as corruptions change no file."""

from tests.support.small_runs import folder

__all__ = ["folder"]
