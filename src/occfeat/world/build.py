"""Build a whole world: all scenes on all cores, resumable, tables last."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.context import SpawnContext
from pathlib import Path

import orjson
from rich.progress import Progress

from occfeat.errors import RunError, SettingsError
from occfeat.world.config import WorldConfig
from occfeat.world.lots import TownRequest, plan_town, share_plans
from occfeat.world.maps import write_map
from occfeat.world.request import SceneRequest
from occfeat.world.rigs import load_rig
from occfeat.world.tables import VERSION, write_tables
from occfeat.world.tracer import require_embree
from occfeat.world.writer import rows_file, write_bytes, write_scene

logger = logging.getLogger(__name__)

FORMAT = 1
"""Raised whenever the same settings make another world than before."""
SPLIT_TOWNS: dict[str, tuple[int, ...]] = {"train": (0, 1), "val": (2,), "test": (3,)}
"""Towns of each split: validation and test towns are never trained in."""
SMALLEST_PX = 16


def build_world(config: WorldConfig) -> Path:
    """Build a world in nuScenes format, or finish one that was interrupted.

    Finished scenes are kept. The tables are written last, so a folder without them is unfinished. The same
    settings give the same bytes on one machine, whatever the number of processes; other kinds of processors
    may round differently.

    Returns:
        The folder, which is `config.out`.

    Raises:
        SettingsError: For settings no world can be made from, and where embreex is missing.
        RunError: If the folder holds anything else.
    """
    require_embree()
    _check(config)
    requests, splits = plan_scenes(config)
    _claim(config)
    if (config.out / VERSION).is_dir():
        logger.info("The world in %s is complete.", config.out)
        return config.out
    missing = [request for request in requests if not rows_file(config.out, request.name).is_file()]
    if len(missing) < len(requests):
        logger.info("%d of %d scenes are finished already.", len(requests) - len(missing), len(requests))
    with Progress(transient=True) as progress:
        task = progress.add_task(
            "Building scenes", total=len(requests), completed=len(requests) - len(missing)
        )
        for _ in _write_all(requests, missing, config.out, config.workers or os.cpu_count() or 1):
            progress.advance(task)
    write_tables(config.out, requests, splits)
    for request in requests:
        rows_file(config.out, request.name).unlink()
    (config.out / ".scenes").rmdir()
    return config.out


def plan_scenes(config: WorldConfig) -> tuple[list[SceneRequest], dict[str, list[str]]]:
    """What scenes a world has, and which split each belongs to.

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
                )
            )  # fmt: skip
    return requests, splits


def _check(config: WorldConfig) -> None:
    rig = load_rig(config.rig)
    for camera in rig.cameras:
        if min(camera.image_size(config.image_size)) < SMALLEST_PX:
            height, width = camera.image_size(config.image_size)
            raise SettingsError(
                f"Images of {camera.channel} would be {height} x {width} px.",
                hint=f"Choose an `image_size` that gives every camera at least {SMALLEST_PX} px each way.",
            )


def _claim(config: WorldConfig) -> None:
    """Make sure the folder is new, empty or holds this very world."""
    own = _description(config)
    path = config.out / "world.json"
    if path.is_file():
        if path.read_bytes() != own:
            raise RunError(
                f"{config.out} holds another world.", hint="Choose another folder, or remove this one first."
            )
        return
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise RunError(
            f"{config.out} is not empty, and no world of this program.", hint="Choose a new or empty folder."
        )
    config.out.mkdir(parents=True, exist_ok=True)
    write_bytes(path, own)


def _description(config: WorldConfig) -> bytes:
    """Everything a world depends on, in a fixed order."""
    rig = load_rig(config.rig)
    settings = config.model_dump(mode="json", exclude={"out", "workers"})
    content = {"format": FORMAT, **settings, "rig_cameras": [str(camera) for camera in rig.cameras]}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _write_all(
    requests: list[SceneRequest], missing: list[SceneRequest], out: Path, workers: int
) -> Iterator[None]:
    """Write missing scenes and all maps; yields once per scene."""
    towns = sorted({request.town for request in requests})
    if workers == 1 or len(missing) < 2:
        for request in missing:
            write_scene(request, out)
            yield
        for town in towns:
            write_map(out, town)
        return
    context = multiprocessing.get_context("spawn")
    _require_helpers(context)
    plans = {town: plan_town(town) for town in towns}
    processes = min(workers, len(missing))
    with ProcessPoolExecutor(processes, context, initializer=share_plans, initargs=(plans,)) as pool:
        maps = [pool.submit(write_map, out, town) for town in towns]
        scenes = [pool.submit(write_scene, request, out) for request in missing]
        try:
            for future in as_completed(scenes):
                future.result()
                yield
            for future in maps:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _require_helpers(context: SpawnContext) -> None:
    """Make sure that helper processes can start: a pool would wait for ever for one that ends at once.

    Each helper imports the script that asked for it. A script that works while it is imported asks again.
    """
    helper = context.Process(target=int)
    helper.start()
    helper.join()
    if helper.exitcode:
        hint = 'In a script, do this below `if __name__ == "__main__":`.'
        raise RunError("No helper processes could be started.", hint=hint)
