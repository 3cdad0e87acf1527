"""`occfeat world`: build a procedural street world in nuScenes format."""

from occfeat.commands.outcome import Outcome
from streetworld.build import build_world
from streetworld.config import WorldConfig


def world(config: WorldConfig) -> Outcome:
    """Build a world, or finish one that was interrupted.

    Raises:
        OccFeatError: Settings are not valid, embreex is missing, or the folder holds something else, cannot
            be written or is in use.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; the same command continues.
    """
    built = build_world(config)
    return Outcome(f"{config.scenes} scenes of {config.key_frames} key frames, seed {config.seed}\n{built}")
