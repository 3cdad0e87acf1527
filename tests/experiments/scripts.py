"""The scripts of `experiments/` as modules: they are no package, and import each other by name."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "experiments"
sys.path.append(str(FOLDER))


def load(name: str) -> ModuleType:
    """A script by name."""
    return importlib.import_module(name)
