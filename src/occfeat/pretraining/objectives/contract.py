"""What an objective is: the one contract between pretraining and anything that it can learn from.

Axes: `B` key frames, `C` BEV channels, `X Y Z` voxels, `K` chosen voxels, `F` teacher channels. Objectives
read one of three tensors of the network:

- `bev`: the student's BEV features (B, C, X, Y), x forward and y left;
- `voxels`: features (B, D, X, Y, Z) that the trunk makes of them;
- `depth`: depth logits (B, N, D, h, w) by which an LSS student lifts its feature cells.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.training.step import Ratio

Need = Literal["points", "teacher"]
"""What a sample can hold for targets: LiDAR points; teacher images, or what the teacher saw in them."""
Reads = Literal["bev", "voxels", "depth"]
"""What an objective reads of the network."""
POINTS: frozenset[Need] = frozenset({"points"})
"""The needs of most objectives."""
TEACHER: frozenset[Need] = frozenset({"points", "teacher"})
"""The needs of an objective that compares voxels with what the teacher sees."""

Output = TypeVar("Output", bound=nn.Module)
Target = TypeVar("Target")


@dataclass(frozen=True)
class HeadShape:
    """What an output is built for."""

    bev_channels: int
    """Channels of the student's BEV features."""
    voxel_channels: int
    """Channels per voxel of the trunk."""
    heights: int
    """Number of voxels along z."""
    teacher_channels: int
    """Width of the teacher; 0 if no objective needs one."""


@dataclass(frozen=True)
class Term:
    """A loss, not yet weighted, and what is logged with it."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Ratio] = field(default_factory=dict)
    """Metrics by the name they have in `metrics.jsonl`; the loss itself is logged as `loss/NAME`."""


class ComparedFeatures(NamedTuple):
    """What the student predicts in voxels beside what the teacher sees there, comparable by cosine."""

    cells: Int64[Tensor, "K 4"]
    """Each voxel as (key frame, x, y, z)."""
    predicted: Float[Tensor, "K F"]
    taught: Float[Tensor, "K F"]
    centered: bool
    """Both are less the mean teacher feature of the training set."""


class Objective(ABC, Generic[Output, Target]):
    """Something that is predicted and learned in pretraining.

    An objective is a value: what learns is its output, a module that the network holds under the name of the
    objective. Subclasses set `name` and `weight`, and `needs`, `reads` and `survey` if theirs differ.
    """

    name: str
    """Name in the metrics and in the checkpoint: lower case, a Python identifier, used once per network."""
    weight: float
    """Weight of its loss in the sum."""
    needs: frozenset[Need] = POINTS
    """What a sample has to hold for its target."""
    reads: Reads = "voxels"
    """What it reads of the network."""
    survey: int = 0
    """Key frames, spread over the training set, whose targets `prepare` looks at; 0 does not call it."""

    @abstractmethod
    def build_output(self, shape: HeadShape) -> Output:
        """Build the module that predicts; `nn.Identity()` if what is read is the prediction itself."""

    @abstractmethod
    def target(self, evidence: Evidence) -> Target:
        """Make the target of a batch; called without gradients, under autocast."""

    @abstractmethod
    def loss(self, output: Output, read: Tensor, target: Target) -> Term:
        """Predict, and compare with the target of the same batch.

        Args:
            output: The module that `build_output` made; every parameter of it has to take part.
            read: The tensor that `reads` names.
            target: The target of the batch.
        """

    def prepare(self, output: Output, targets: Iterable[Target]) -> dict[str, Any]:
        """Look at some targets before the first step of a run, without augmentation.

        What training needs of it belongs into buffers of the output, so that checkpoints hold it: a resumed
        run does not call this again. The output is still on the processor, targets are on the device.

        Returns:
            What the run writes down in `prepared.json`: numbers and lists of numbers.
        """
        return {}

    def occupancy_probability(self, output: Output, read: Tensor) -> Float[Tensor, "B X Y Z"] | None:
        """Return the probability that each voxel is occupied; None if that is not predicted."""
        return None

    def features_at(
        self, output: Output, read: Tensor, cells: Int64[Tensor, "K 4"]
    ) -> Float[Tensor, "K F"] | None:
        """Return the teacher features predicted in voxels (key frame, x, y, z); None if they are not."""
        return None

    def compare_features(self, output: Output, read: Tensor, evidence: Evidence) -> ComparedFeatures | None:
        """Return predicted and true teacher features of occupied voxels; None if they are not predicted."""
        return None


AnyObjective = Objective[Any, Any]
"""An objective whose output and target only itself knows."""


def needs_of(objectives: Iterable[AnyObjective]) -> frozenset[Need]:
    """Return what samples have to hold for all objectives."""
    return frozenset().union(*(objective.needs for objective in objectives))


def require_usable(objectives: Sequence[AnyObjective]) -> None:
    """Refuse a list of objectives that no network can be built of.

    Raises:
        SettingsError: Nothing trains the whole student, or a name is impossible or used twice.
    """
    if all(objective.reads == "depth" for objective in objectives):
        raise SettingsError(
            "All weights but that of the depth are 0: there is nothing to learn."
            if objectives
            else "All weights are 0: there is nothing to learn.",
            hint="Set loss.occupancy, loss.features or loss.queries above 0, or hand over `objectives=`.",
        )
    names = [objective.name for objective in objectives]
    for name in names:
        if not name.isidentifier() or name != name.lower() or hasattr(nn.ModuleDict, name):
            hint = "Take a lower-case Python identifier, such as mean_height."
            raise SettingsError(f"An objective cannot be named {name!r}.", hint=hint)
        if names.count(name) > 1:
            hint = "Give each objective a name of its own."
            raise SettingsError(f"{names.count(name)} objectives are named {name}.", hint=hint)
