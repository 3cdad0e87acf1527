"""The objectives that settings ask for; nothing else reads the weights of the losses."""

from collections.abc import Iterator, Sequence

from occfeat.errors import SettingsError
from occfeat.models.lifting.splatting import DepthBins
from occfeat.pretraining.objectives.contract import AnyObjective, require_usable
from occfeat.pretraining.objectives.depth import Depth
from occfeat.pretraining.objectives.features import Features
from occfeat.pretraining.objectives.occupancy import Occupancy
from occfeat.pretraining.objectives.queries import QueryOccupancy
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
        loss: Weights, and what counts.
        head: Whether the features have a branch of their own.
        queries: How query points are drawn.
        student: Its depth bins are those that depth is learned for.

    Raises:
        SettingsError: The depth is to be learned by a student that has none.
    """
    return tuple(_wanted(loss, head, queries, student))


def _wanted(
    loss: PretrainLossConfig, head: HeadConfig, queries: QueryConfig, student: StudentConfig
) -> Iterator[AnyObjective]:
    """Give one objective after the other."""
    if loss.depth:
        yield Depth(loss.depth, _depth_bins(student))
    if loss.occupancy:
        yield Occupancy(loss.occupancy, known_only=loss.unknown == "ignore")
    if loss.queries:
        yield QueryOccupancy(loss.queries, queries)
    if loss.features:
        yield Features(loss.features, head.feature_channels, loss.center_features, loss.center_key_frames)


def _depth_bins(student: StudentConfig) -> DepthBins:
    """Return the depth bins of a student; refuse one that guesses no depth."""
    if not isinstance(student, LssConfig):
        raise SettingsError(
            f"loss.depth is for the student lss, but this student is {student.kind}.",
            hint="Set loss.depth to 0, or student.kind to lss.",
        )
    return DepthBins(*student.depth_m, student.depth_bins)


def add_own(
    objectives: Sequence[AnyObjective], own: Sequence[AnyObjective], names: Sequence[str]
) -> tuple[AnyObjective, ...]:
    """Add a user's objectives to those of the settings.

    Args:
        objectives: Those of the settings.
        own: The user's.
        names: The names that the settings know of the user's, `loss.own`.

    Raises:
        SettingsError: The user's objectives are not those that the settings name, or nothing can be learned.
    """
    handed = [objective.name for objective in own]
    if handed != list(names):
        raise SettingsError(
            f"The settings name objectives of your own: expected {list(names)}, got {handed}.",
            hint="Use Python, and hand the same objects over as `objectives=[…]`, in the same order.",
        )
    require_usable((*objectives, *own))
    return (*objectives, *own)
