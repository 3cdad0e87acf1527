"""`occfeat cache`: compute the teacher's features once, for pretraining."""

import json
import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

from occfeat.atomic import lock_folder, write_text_atomic
from occfeat.commands.outcome import Outcome
from occfeat.data.check.check import quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.errors import CacheError
from occfeat.geometry.grid import build_grid
from occfeat.runs.output import make_folder, require_empty, require_writable
from occfeat.settings.commands import CacheConfig
from occfeat.settings.sections import GridConfig, ViewConfig
from occfeat.teacher.build import build_teacher
from occfeat.teacher.cache import CARD, CacheCard, read_cache_card, shard_file
from occfeat.teacher.fill import CacheJob, fill_cache, sha256_of
from occfeat.teacher.network import Teacher
from occfeat.training.device import all_alive, build_fabric

logger = logging.getLogger(__name__)

NUSCENES_KEY_FRAMES = 28_130
"""Key frames of nuScenes' training split, as a measure of size."""


def cache(config: CacheConfig) -> Outcome:
    """Make a teacher cache, or finish one that was interrupted.

    Raises:
        OccFeatError: Settings, data, weights or the output folder cannot be used.
        Interrupted: After Ctrl-C or SIGTERM; what is finished stays.
    """
    index = Index.open(config.source)
    rows = index.rows(config.split)
    view = ViewConfig(cameras=config.cameras, image_size=config.teacher.image_size)
    fabric = build_fabric(config.engine)
    if fabric.is_global_zero:
        require_writable(config.out)
    quick_check(index, rows, view=view, needs_lidar=False, allowed=config.engine.max_broken)
    teacher = build_teacher(config.teacher, config.second_teacher)
    key_frames = KeyFrames(index, view, Contents(), grid=build_grid(GridConfig()), rows=rows)
    card = _card(config, index, teacher, key_frames.channels, len(rows))
    job = CacheJob(card, teacher, key_frames, config.batch_size, config.engine)
    with all_alive(fabric), ExitStack() as held:
        if fabric.is_global_zero:
            _begin(config.out, card)
            held.enter_context(lock_folder(config.out))
        fabric.barrier()
        filled = fill_cache(config.out, job, fabric)
    if not fabric.is_global_zero:
        return Outcome("")
    lines = [f"{card.key_frames} key frames, {filled.key_frames} of them now"]
    if filled.key_frames:
        lines.append(f"mean cosine of stored and exact features: {filled.cosine:.5f}")
    return Outcome("\n".join([*lines, str(config.out)]))


def _card(
    config: CacheConfig, index: Index, teacher: Teacher, cameras: tuple[str, ...], key_frames: int
) -> CacheCard:
    """Describe the cache that is to be made."""
    return CacheCard(
        teacher=config.teacher,
        second_teacher=config.second_teacher,
        weights_sha256=sha256_of(teacher),
        channels=teacher.channels,
        parts=teacher.parts if len(teacher.parts) > 1 else (),
        patches=teacher.patches(config.teacher.image_size),
        cameras=cameras,
        data_fingerprint=index.fingerprint,
        split=config.split,
        key_frames=key_frames,
        dtype=config.dtype,
        shard_size=config.shard_size,
    )


def _begin(path: Path, card: CacheCard) -> None:
    """Write the card of a cache that is new, or that is the one to go on with, and that will fit the disk."""
    if (path / CARD).is_file():
        if differences := read_cache_card(path).differences(card):
            hint = "Choose another --out, or use the settings of this cache."
            raise CacheError(f"{path} contains another teacher cache:", first=differences, hint=hint)
    else:
        require_empty(path, hint="Choose another --out.")
        make_folder(path)
    waiting = sum(not shard_file(path, number).is_file() for number in range(card.shards))
    wanted = min(waiting * card.shard_size, card.key_frames) * card.key_frame_bytes
    logger.info("%s", _size(card))
    free = shutil.disk_usage(path).free
    if wanted > free:
        hint = "Free some, choose another --out, a smaller teacher image or `--dtype int8`."
        raise CacheError(f"{_human(wanted)} are needed in {path}, {_human(free)} are free.", hint=hint)
    write_text_atomic(path / CARD, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


def _size(card: CacheCard) -> str:
    """Describe how large a cache will be."""
    rows, columns = card.patches
    whole = _human(card.key_frame_bytes * NUSCENES_KEY_FRAMES)
    return (
        f"{len(card.cameras)} cameras x {rows} x {columns} patches x {card.channels} values of {card.dtype}: "
        f"{_human(card.key_frame_bytes)} per key frame, {_human(card.key_frame_bytes * card.key_frames)} for "
        f"{card.key_frames} ({whole} for the {NUSCENES_KEY_FRAMES} of nuScenes' training split)"
    )


def _human(size_bytes: int) -> str:
    """Return a size in bytes with three digits and a unit."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
