"""Key frames for pretraining: what a sample holds follows from the needs of the objectives."""

from occfeat.data.corruptions.augment import training_effect
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import (
    Contents,
    ImagesForTeacher,
    PathRequest,
    TimesRequest,
    ViewsRequest,
    WindowRequest,
)
from occfeat.data.source.source import Footprint
from occfeat.data.stored.images import ImageCache
from occfeat.errors import SettingsError
from occfeat.geometry.grid import build_grid
from occfeat.pretraining.objectives.contract import Need
from occfeat.settings.commands import PretrainConfig
from occfeat.settings.sections import PretrainLossConfig
from occfeat.teacher.cache import TeacherCache


def key_frames_of(
    config: PretrainConfig,
    index: Index,
    cache: TeacherCache | None,
    needs: frozenset[Need],
    *,
    learn: bool,
    stored: ImageCache | None = None,
) -> KeyFrames:
    """Return key frames with all that objectives need, changed at random if they are to learn from."""
    return KeyFrames(
        index,
        config.view,
        _contents(config, index, cache, needs),
        grid=build_grid(config.grid),
        augment=config.augment if learn else None,
        seed=config.engine.seed,
        effect=training_effect(config.augment, index.channels, config.engine.seed) if learn else None,
        stored=stored,
    )


def _contents(
    config: PretrainConfig, index: Index, cache: TeacherCache | None, needs: frozenset[Need]
) -> Contents:
    """Return what a sample has to hold for the needs of objectives.

    Raises:
        SettingsError: Features of other key frames are needed, and there is no teacher cache; or the size of
            the car, and it is not known.
    """
    loss, teacher = config.loss, _teacher_part(config, cache, needs)
    return Contents(
        points="points" in needs,
        teacher=teacher,
        window=WindowRequest(loss.window_s, loss.conflicts) if "window" in needs else None,
        times=TimesRequest(loss.times_s, loss.times_tolerance_s) if "times" in needs else None,
        path=PathRequest(loss.path_window_s, *_car_m(loss, index)) if "path" in needs else None,
    )


def _car_m(loss: PretrainLossConfig, index: Index) -> Footprint:
    """Return the footprint of the car of a data set, from the settings or as it is known.

    Raises:
        SettingsError: It is not known.
    """
    if loss.car_lower_m and loss.car_upper_m:
        return loss.car_lower_m, loss.car_upper_m
    if index.source.car_m is None:
        hint = "Give the back right and front left corner of the car in its ego frame, or `--loss.path 0`."
        what = f"loss.path expects loss.car_lower_m and loss.car_upper_m for {index.source.title}, got none."
        raise SettingsError(what, hint=hint)
    return index.source.car_m


def _teacher_part(
    config: PretrainConfig, cache: TeacherCache | None, needs: frozenset[Need]
) -> ImagesForTeacher | TeacherCache | ViewsRequest | None:
    """Return what a sample has to hold of the teacher."""
    if "teacher" not in needs:
        return None
    if "views" in needs:
        if cache is None:
            hint = "Make one with `occfeat cache`, and give it as `--teacher-cache`."
            raise SettingsError("loss.features_window_s expects a teacher cache, got none.", hint=hint)
        return ViewsRequest(cache, config.loss.features_window_s)
    return cache if cache is not None else ImagesForTeacher(config.teacher.image_size)
