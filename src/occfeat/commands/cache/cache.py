"""`occfeat cache`: compute the teacher's features once, or pack the student's images."""

from occfeat.commands.cache.images import cache_images
from occfeat.commands.cache.teacher import cache_teacher
from occfeat.commands.outcome import Outcome
from occfeat.settings.commands import CacheConfig


def cache(config: CacheConfig) -> Outcome:
    """Make a cache, or finish one that was interrupted.

    Raises:
        OccFeatError: Settings, data, weights or the output folder cannot be used.
        Interrupted: After Ctrl-C or SIGTERM; what is finished stays.
    """
    return cache_images(config) if config.images else cache_teacher(config)
