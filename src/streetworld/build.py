"""Build a whole world: all scenes on all cores, resumable, the tables last."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
from rich.progress import Progress

from occfeat.data.formats.nuscenes.writer.scene import rows_file, rows_folder
from occfeat.data.formats.nuscenes.writer.tables import write_tables
from occfeat.errors import RunError, SettingsError
from occfeat.geometry.lens import PINHOLE
from occfeat.machine.allocator import keep_freed_memory
from occfeat.machine.atomic import lock_folder, write_bytes_atomic
from occfeat.machine.extras import require_extra
from occfeat.machine.interrupt import sigterm_like_ctrl_c
from occfeat.machine.processes import require_helpers, start_helpers
from occfeat.machine.processor import usable_cores
from streetworld.config import WorldConfig
from streetworld.custom_rigs import load_rig
from streetworld.output.maps import write_maps
from streetworld.output.scene_files import VERSION, write_scene
from streetworld.request import SceneRequest
from streetworld.rigs import RIGS
from streetworld.town.lots import TownRequest

logger = logging.getLogger(__name__)

FORMAT = 2
"""Raised whenever the same settings make another world than before."""
SPLIT_TOWNS: dict[str, tuple[int, ...]] = {"train": (0, 1), "val": (2,), "test": (3,)}
"""Towns of each split: validation and test towns are never trained in."""
SMALLEST_PX = 16
DESCRIPTION = "world.json"
SCENES = rows_folder(Path(), VERSION).name
"""Folder that only an unfinished world has: the rows of its finished scenes, and a lock."""
UNBORN = {SCENES, f".{DESCRIPTION}.partial"}
"""All that a world holds whose build was killed before it was described."""


def build_world(config: WorldConfig) -> Path:
    """Build a world in nuScenes format, or finish one that was interrupted.

    Finished scenes are kept. The tables are written last, so a folder without them is unfinished. The same
    settings give the same bytes on one machine, whatever the number of processes; other kinds of processors
    may round differently. SIGTERM stops it like Ctrl-C: at once, and its processes with it.

    Returns:
        The folder, which is `config.out`.

    Raises:
        SettingsError: For settings no world can be made from, and where embreex is missing.
        RunError: If the folder holds anything else, cannot be written, or another process builds in it.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; finished scenes stay.
    """
    require_extra("world", what="The street world")
    _check(config)
    if _is_complete(config):
        logger.info("The world in %s is complete.", config.out)
        return config.out
    with sigterm_like_ctrl_c(), _lock(config.out):
        if not _is_complete(config):  # another process may have been faster
            _build(config)
    shutil.rmtree(config.out / SCENES, ignore_errors=True)  # the lock is in it, so not before its release
    return config.out


def _build(config: WorldConfig) -> None:
    """Write the scenes that are missing, the maps and the tables."""
    requests, splits = plan_scenes(config)
    write_bytes_atomic(config.out / DESCRIPTION, _description(config))
    missing = [request for request in requests if not _is_finished(config.out, request)]
    if len(missing) < len(requests):
        logger.info("%d of %d scenes are finished already.", len(requests) - len(missing), len(requests))
    with Progress(transient=True) as progress:
        task = progress.add_task(
            "Building scenes", total=len(requests), completed=len(requests) - len(missing)
        )
        for _ in _write_all(requests, missing, config.out, config.workers or usable_cores()):
            progress.advance(task)
    write_tables(config.out, VERSION, [request.name for request in requests], splits)


def _is_finished(out: Path, request: SceneRequest) -> bool:
    """Tell whether a scene was finished, if by an earlier build."""
    return rows_file(out, VERSION, request.name).is_file()


def plan_scenes(config: WorldConfig) -> tuple[list[SceneRequest], dict[str, list[str]]]:
    """Plan what scenes a world has, and which split each belongs to.

    A scene depends on the seed, its split and its number there, not on how many others there are.
    """
    fifth = max(1, config.scenes // 5) if config.scenes >= 3 else 0
    val = fifth if config.val_scenes is None else config.val_scenes
    test = fifth if config.test_scenes is None else config.test_scenes
    counts = {"train": config.scenes - val - test, "val": val, "test": test}
    if counts["train"] < 0:
        raise SettingsError(
            f"{val} val and {test} test scenes are more than {config.scenes} scenes.",
            hint="Raise `scenes`, or lower `val_scenes` or `test_scenes`.",
        )
    requests, splits = [], {}
    for split, count in counts.items():
        names = [f"street-{split}-{number:04d}" for number in range(count)]
        splits[split] = names
        for number, name in enumerate(names):
            towns = [TownRequest(town, config.seed, config.town_size) for town in SPLIT_TOWNS[split]]
            requests.append(
                SceneRequest(
                    name=name, town=towns[number % len(towns)], number=number,
                    key_frames=config.key_frames, rig=config.rig, image_size=config.image_size,
                    lights=config.lights, sweeps=config.sweeps, truth=config.truth,
                    sweep_hz=config.sweep_hz,
                )
            )  # fmt: skip
    return requests, splits


def _check(config: WorldConfig) -> None:
    """Refuse settings that no world can be made from."""
    plan_scenes(config)
    rig = load_rig(config.rig)
    for camera in rig.cameras:
        if min(camera.image_size(config.image_size)) < SMALLEST_PX:
            height, width = camera.image_size(config.image_size)
            raise SettingsError(
                f"Images of {camera.channel} would be {height} x {width} px.",
                hint=f"Choose an `image_size` that gives every camera at least {SMALLEST_PX} px each way.",
            )


def _is_complete(config: WorldConfig) -> bool:
    """Tell whether the folder holds this very world; it must hold nothing else."""
    out, path = config.out, config.out / DESCRIPTION
    with _clear_errors(out):
        if path.is_file():
            if path.read_bytes() != _description(config):
                hint = "Choose another folder, or remove this one first."
                raise RunError(f"{out} holds another world.", hint=hint)
            return (out / VERSION).is_dir()
        if out.exists() and not out.is_dir():
            raise RunError(f"{out} is a file, not a folder.", hint="Choose a new or empty folder.")
        if out.is_dir() and not {file.name for file in out.iterdir()} <= UNBORN:
            hint = "Choose a new or empty folder."
            raise RunError(f"{out} is not empty, and is not a street world.", hint=hint)
    return False


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Keep other processes from building in the folder, which is made if need be."""
    with ExitStack() as held:
        with _clear_errors(out):
            (out / SCENES).mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_folder(out / SCENES))
        yield


@contextmanager
def _clear_errors(out: Path) -> Iterator[None]:
    """Say what is wrong with a folder that cannot be read or written."""
    try:
        yield
    except OSError as error:
        hint = "Check the rights of the folder, or choose another one."
        raise RunError(f"The folder {out} cannot be used: {error}.", hint=hint) from error


def _description(config: WorldConfig) -> bytes:
    """Return everything a world depends on, in a fixed order."""
    rig = load_rig(config.rig)
    settings = config.model_dump(mode="json", exclude={"out", "workers"})
    settings["rig"] = Path(config.rig).name  # of a file, wherever it lies
    if config.sweep_hz == WorldConfig.model_fields["sweep_hz"].default:
        del settings["sweep_hz"]  # worlds of earlier versions have none
    content = {"format": FORMAT, **settings, "rig_cameras": [str(camera) for camera in rig.cameras]}
    lenses = [str(camera.lens) for camera in rig.cameras]
    if set(lenses) != {str(PINHOLE)}:
        content["rig_lenses"] = lenses
    if config.rig not in RIGS:  # a file may change, a name stands for its LiDARs
        content["rig_lidar_m"] = rig.lidar_m
        if rig.more_lidars:
            content["rig_more_lidars"] = [str(lidar) for lidar in rig.more_lidars]
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _write_all(
    requests: list[SceneRequest], missing: list[SceneRequest], out: Path, workers: int
) -> Iterator[None]:
    """Write missing scenes and all maps; yields once per scene."""
    towns = sorted({request.town for request in requests})
    if workers == 1 or len(missing) < 2:
        keep_freed_memory()
        for request in missing:
            write_scene(request, out)
            yield
        write_maps(out, towns)
        return
    require_helpers()
    with start_helpers(min(workers, len(missing))) as pool:
        maps = pool.submit(write_maps, out, towns)
        scenes = [pool.submit(write_scene, request, out) for request in missing]
        for future in as_completed(scenes):
            future.result()
            yield
        maps.result()
