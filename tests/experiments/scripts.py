"""The scripts of `experiments/` as modules: that folder is on the path, as it is for them."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "experiments"
sys.path.append(str(FOLDER))


def load(name: str) -> ModuleType:
    """A script, or a module that scripts share, by its name below `experiments/`."""
    return importlib.import_module(name)
