"""Objectives from settings; only this module reads the weights of the losses."""

from collections.abc import Iterator, Sequence

from occfeat.errors import SettingsError
from occfeat.models.lifting.splatting import DepthBins
from occfeat.pretraining.objectives.contract import AnyObjective, require_usable
from occfeat.pretraining.objectives.depth import Depth
from occfeat.pretraining.objectives.features import Features
from occfeat.pretraining.objectives.occupancy import Occupancy
from occfeat.pretraining.objectives.over_time import FeaturesOverTime
from occfeat.pretraining.objectives.path import DrivenPath
from occfeat.pretraining.objectives.queries import QueryOccupancy
from occfeat.pretraining.objectives.times import TimedOccupancy
from occfeat.settings.sections import HeadConfig, PretrainLossConfig, QueryConfig
from occfeat.settings.students import LssConfig, SimpleBevConfig, StudentConfig


def build_objectives(
    loss: PretrainLossConfig,
    *,
    head: HeadConfig = HeadConfig(),  # noqa: B008 - settings cannot be changed
    queries: QueryConfig = QueryConfig(),  # noqa: B008
    student: StudentConfig = SimpleBevConfig(),  # noqa: B008
) -> tuple[AnyObjective, ...]:
    """Build the objectives whose weight is above 0, in the order in which their losses are summed.

    Args:
        loss: Weights and options of the losses.
        head: Whether the features have a separate branch.
        queries: Options of query points.
        student: The student, whose depth bins are the classes of depth.

    Raises:
        SettingsError: Depth is supervised, but the student does not predict it.
    """
    return tuple(_wanted(loss, head, queries, student))


def _wanted(
    loss: PretrainLossConfig, head: HeadConfig, queries: QueryConfig, student: StudentConfig
) -> Iterator[AnyObjective]:
    """Yield the objectives."""
    if loss.depth:
        yield Depth(loss.depth, _depth_bins(student))
    if loss.occupancy:
        yield Occupancy(
            loss.occupancy,
            known_only=loss.unknown == "ignore" and not loss.window_s,
            seen_only=loss.unseen == "ignore",
            of_window=loss.window_s > 0,
        )
    if loss.times:
        yield TimedOccupancy(loss.times, loss.times_s, loss.times_weights)
    if loss.queries:
        yield QueryOccupancy(loss.queries, queries)
    if loss.path:
        yield DrivenPath(loss.path)
    if loss.features:
        kind = FeaturesOverTime if loss.features_window_s else Features
        yield kind(
            1.0 if loss.features == "auto" else loss.features,
            head.feature_channels,
            center=loss.center,
            survey=loss.center_key_frames,
            ratio=loss.ratio if loss.features == "auto" else None,
        )


def _depth_bins(student: StudentConfig) -> DepthBins:
    """Return the depth bins of a student; refuse a student without depth."""
    if not isinstance(student, LssConfig):
        raise SettingsError(
            f"loss.depth expects the student lss, got {student.kind}.",
            hint="Set loss.depth to 0, or student.kind to lss.",
        )
    return DepthBins(*student.depth_m, student.depth_bins)


def add_own(
    objectives: Sequence[AnyObjective], own: Sequence[AnyObjective], names: Sequence[str]
) -> tuple[AnyObjective, ...]:
    """Add a user's objectives to those of the settings.

    Args:
        objectives: Objectives of the settings.
        own: The user's objectives.
        names: Names of the user's objectives in the settings, `loss.own`.

    Raises:
        SettingsError: The user's objectives do not match the names in the settings, or nothing can be
            learned.
    """
    handed = [objective.name for objective in own]
    if handed != list(names):
        raise SettingsError(
            f"Expected the custom objectives {list(names)} of the settings, got {handed}.",
            hint="Use Python, and pass the same objects as `objectives=[…]`, in the same order.",
        )
    require_usable((*objectives, *own))
    return (*objectives, *own)
