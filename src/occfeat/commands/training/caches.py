"""The caches of each data set that a command reads: opened, or refused."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occfeat.data.augment import ImageChange, zoomed_size
from occfeat.data.check.image_bytes import image_bytes
from occfeat.data.index.index import Index
from occfeat.data.index.sets import DataSet, DataSets
from occfeat.data.stored.images import IMAGES, ImageCache
from occfeat.data.stored.shards import CacheKind, ShardCard
from occfeat.errors import CacheError, SettingsError
from occfeat.pretraining.objectives.contract import Need
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.teacher.cache import TEACHER, TeacherCache

StoredImages = tuple[ImageCache | None, ...]
"""The image cache of each data set, or none."""


def open_image_caches(
    config: PretrainConfig | FinetuneConfig, sets: DataSets, rows: NDArray[np.int64]
) -> StoredImages:
    """Open the image cache of each data set, if there are any.

    Raises:
        CacheError: One is not that of its data set, of its present files, or of these key frames and images.
        SettingsError: Images are to be corrupted, which needs their files.
    """
    caches: list[ImageCache | None] = [None] * len(sets.each)
    paths = config.each(config.image_cache)
    if any(paths) and config.augment.corruptions:
        hint = "Leave out one of them: corruptions change images before they are resized."
        raise SettingsError("augment.corruptions expects image files, got an image_cache.", hint=hint)
    zoom = ImageChange(zoom=config.augment.scale[1])
    for one, of_set in sets.parts(rows):
        place = sets.each.index(one)
        if (path := paths[place]) is None:
            continue
        require_order(IMAGES, path, one, sets)
        with one.named_in_errors():
            cameras, allowed = config.view.cameras or one.index.default_channels, config.engine.max_broken
            cache = ImageCache(path)
            cache.require(
                of_set,
                size=zoomed_size(zoom, config.view.image_size),
                cameras=cameras,
                fingerprint=one.index.fingerprint,
                allowed=allowed,
            )
            cache.require_same_files(of_set, image_bytes(one.index, of_set, cameras), allowed)
            caches[place] = cache
    return tuple(caches)


def require_order(kind: CacheKind[ShardCard], path: Path, one: DataSet, sets: DataSets) -> None:
    """Refuse a cache of another of the data sets."""
    fingerprint = kind.read_card(path).data_fingerprint
    others = [other.name for other in sets.each if other.index.fingerprint == fingerprint]
    if others and others != [one.name]:
        raise CacheError(
            f"The {kind.name} {path} was given for {one.name}, but it is that of {others[0]}.",
            hint="Give the caches in the order of the data sets.",
        )


def open_teacher_caches(
    config: PretrainConfig, sets: DataSets, rows: NDArray[np.int64], needs: frozenset[Need]
) -> tuple[TeacherCache | None, ...]:
    """Open the teacher cache of each data set, if there are any and an objective needs the teacher.

    Raises:
        CacheError: One is not that of this teacher, its data set and these key frames.
    """
    caches: list[TeacherCache | None] = [None] * len(sets.each)
    paths = config.each(config.teacher_cache)
    for one, of_set in sets.parts(rows):
        place = sets.each.index(one)
        path = paths[place]
        if path is not None and "teacher" in needs:
            require_order(TEACHER, path, one, sets)
            with one.named_in_errors():
                caches[place] = open_teacher_cache(path, config, one.index, of_set)
    return tuple(caches)


def open_teacher_cache(
    path: Path, config: PretrainConfig, index: Index, rows: NDArray[np.int64]
) -> TeacherCache:
    """Open the teacher cache of a data set.

    Raises:
        CacheError: It is not that of this teacher and these key frames.
    """
    cache = TeacherCache(path)
    cache.require(
        rows,
        teachers=(config.teacher, config.second_teacher),
        cameras=config.view.cameras or index.default_channels,
        fingerprint=index.fingerprint,
        allowed=config.engine.max_broken,
    )
    return cache
