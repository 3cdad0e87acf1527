"""The command `world` as a Python function, apart from those of `api.py` that import torch.

Importing torch takes seconds, and processes that build a world import what their script imports.
"""

from pathlib import Path
from typing import Any

from occfeat.commands import world as command
from occfeat.commands.outcome import Outcome
from occfeat.settings.layers import build
from streetworld.config import WorldConfig


def build_world(out: str | Path, **settings: Any) -> Outcome:
    """Build a procedural street world in nuScenes format; see `WorldConfig`.

    It starts processes that import the calling script, so call it below `if __name__ == "__main__":` there.
    """
    return command.world(build(WorldConfig, {"out": out, **settings}))
