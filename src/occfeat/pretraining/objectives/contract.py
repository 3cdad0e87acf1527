"""The interface of an objective of pretraining.

Axes: `B` key frames, `N` cameras, `C` BEV channels, `X Y Z` voxels, `K` chosen voxels, `F` teacher channels,
`h w` teacher feature map. Objectives read one of three tensors of the network:

- `bev`: the student's BEV features (B, C, X, Y), x forward and y left;
- `voxels`: features (B, D, X, Y, Z) of the trunk;
- `depth`: depth logits (B, N, D, h, w) of an LSS student.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.position import UsualMaps
from occfeat.training.step import Ratio

Need = Literal["points", "teacher", "views", "window", "times", "path"]
"""Parts of a sample that targets can need: LiDAR points; teacher images or stored teacher features, also of
the key frames around; what the sweeps around the key frame say together, or at several times; the path of
the car."""
Reads = Literal["bev", "voxels", "depth"]
"""The tensor of the network that an objective reads."""
POINTS: frozenset[Need] = frozenset({"points"})
"""The needs of most objectives."""
WINDOW: frozenset[Need] = frozenset({"points", "window"})
"""The needs of an objective that learns from several sweeps."""
TEACHER: frozenset[Need] = frozenset({"points", "teacher"})
"""The needs of an objective that compares voxels with teacher features."""
TIMES: frozenset[Need] = frozenset({"points", "times"})
"""The needs of an objective that learns what is where at several times."""
VIEWS: frozenset[Need] = frozenset({"points", "teacher", "views", "window"})
"""The needs of an objective that compares voxels with teacher features of several key frames."""
PATH: frozenset[Need] = frozenset({"points", "path"})
"""The needs of an objective that learns where the car drives."""

Output = TypeVar("Output", bound=nn.Module)
Target = TypeVar("Target")


@dataclass(frozen=True)
class TeacherShape:
    """Sizes of the feature maps of one key frame."""

    parts: tuple[int, ...] = ()
    """Width of each teacher; empty if no objective needs one."""
    cameras: int = 0
    """Cameras of the rig; of several, the largest number."""
    patches: tuple[int, int] = (0, 0)
    """Rows and columns of patches of an image."""
    data_sets: tuple[str, ...] = ("",)
    """Names of the data sets, each with a rig of its own; that of a single one is empty."""

    @property
    def channels(self) -> int:
        """Width of all teachers; 0 if no objective needs one."""
        return sum(self.parts)


@dataclass(frozen=True)
class HeadShape:
    """Sizes for which an output is built."""

    bev_channels: int
    """Channels of the student's BEV features."""
    voxel_channels: int
    """Channels per voxel of the trunk."""
    heights: int
    """Number of voxels along z."""
    teacher: TeacherShape = TeacherShape()
    """Sizes of what the teacher sees."""


@dataclass(frozen=True)
class Term:
    """An unweighted loss and its metrics."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Ratio] = field(default_factory=dict)
    """Metrics by their name in `metrics.jsonl`; the loss itself is logged as `loss/NAME`."""


class ComparedFeatures(NamedTuple):
    """Predicted and true teacher features of voxels, comparable by cosine."""

    cells: Int64[Tensor, "K 4"]
    """Each voxel as (key frame, x, y, z)."""
    predicted: Float[Tensor, "K F"]
    taught: Float[Tensor, "K F"]
    centered: bool
    """Whether the mean teacher feature of the training set is subtracted from both."""


class Panel(NamedTuple):
    """What an objective predicts of a batch beside what is true, seen from above."""

    title: str
    probability: Float[Tensor, "B X Y"]
    """NaN where nothing is to be drawn."""
    true: Bool[Tensor, "B X Y"]
    known: Bool[Tensor, "B X Y"]
    """Whether the truth of each cell is known."""

    @staticmethod
    def of_voxels(
        title: str,
        probability: Float[Tensor, "B X Y Z"],
        true: Bool[Tensor, "B X Y Z"],
        known: Bool[Tensor, "B X Y Z"],
    ) -> "Panel":
        """Return the most likely of the known voxels of each column, and whether one of them is true."""
        likeliest, is_known = probability.float().masked_fill(~known, 0).amax(-1), known.any(-1)
        return Panel(title, likeliest.masked_fill(~is_known, torch.nan), (true & known).any(-1), is_known)


class Objective(ABC, Generic[Output, Target]):
    """Base class of objectives: something that pretraining learns to predict.

    An objective is a value without parameters. Its parameters are those of its output, a module that the
    network stores under the name of the objective. Subclasses set `name` and `weight`, and override `needs`,
    `reads` and `survey` if necessary.
    """

    name: str
    """Name in metrics and checkpoint: a unique lower-case Python identifier."""
    weight: float
    """Weight of its loss in the sum."""
    ratio: float | None = None
    """Ratio of its gradient at the BEV features to that of occupancy, which its weight is adjusted to hold.
    None: the weight stays."""
    needs: frozenset[Need] = POINTS
    """Parts of a sample that its target needs."""
    reads: Reads = "voxels"
    """Tensor of the network that it reads."""
    survey: int = 0
    """Number of key frames, spread over the training set, that `prepare` gets. 0: do not call it."""

    @abstractmethod
    def build_output(self, shape: HeadShape) -> Output:
        """Build the module that predicts; `nn.Identity()` if the tensor read is the prediction itself."""

    @abstractmethod
    def target(self, evidence: Evidence) -> Target:
        """Compute the target of a batch; called without gradients, under autocast."""

    @abstractmethod
    def loss(self, output: Output, read: Tensor, target: Target) -> Term:
        """Predict, and compare with the target of the same batch.

        Args:
            output: The module that `build_output` returned. All its parameters must be used.
            read: The tensor that `reads` names.
            target: The target of the batch.
        """

    def of_key_frames(self, target: Target, chosen: Int64[Tensor, " b"]) -> Target | None:
        """Return the target of some key frames of a batch, in increasing order.

        Metrics per data set need it. None: there are none of this objective.
        """
        return None

    def prepare(self, output: Output, survey: Iterable[Evidence]) -> dict[str, Any]:
        """Compute statistics of some key frames, without augmentation, before the first step of a run.

        Store what training needs in buffers of the output, which checkpoints contain: a resumed run does not
        call this again. The output is still on the CPU, evidence is on the device.

        Args:
            output: The module that `build_output` returned.
            survey: Evidence of the key frames, batch by batch. It is read again for each iteration.

        Returns:
            Numbers and lists of numbers, which the run writes to `prepared.json`.
        """
        return {}

    def usual_maps(self, output: Output) -> UsualMaps | None:
        """Return what is subtracted from the teacher's feature maps in all evidence; None for nothing."""
        return None

    def occupancy_probability(self, output: Output, read: Tensor) -> Float[Tensor, "B X Y Z"] | None:
        """Return the occupancy probability of each voxel; None if it is not predicted."""
        return None

    def features_at(
        self, output: Output, read: Tensor, cells: Int64[Tensor, "K 4"]
    ) -> Float[Tensor, "K F"] | None:
        """Return predicted teacher features of voxels (key frame, x, y, z), or None if not predicted."""
        return None

    def panels(self, output: Output, read: Tensor, target: Target) -> list[Panel]:
        """Return what is drawn, besides occupancy and features, when a run has ended."""
        return []

    def compare_features(self, output: Output, read: Tensor, evidence: Evidence) -> ComparedFeatures | None:
        """Return predicted and true teacher features of occupied voxels; None if they are not predicted."""
        return None


AnyObjective = Objective[Any, Any]
"""An objective with any types of output and target."""


def needs_of(objectives: Iterable[AnyObjective]) -> frozenset[Need]:
    """Return the parts of a sample that the objectives need."""
    return frozenset().union(*(objective.needs for objective in objectives))


def require_usable(objectives: Sequence[AnyObjective]) -> None:
    """Refuse a list of objectives from which no network can be built.

    Raises:
        SettingsError: No objective trains the whole student, or a name is invalid or used twice.
    """
    if all(objective.reads == "depth" for objective in objectives):
        raise SettingsError(
            "All weights except that of depth are 0: there is nothing to learn."
            if objectives
            else "All weights are 0: there is nothing to learn.",
            hint="Set loss.occupancy, loss.features or loss.queries above 0, or pass `objectives=`.",
        )
    names = [objective.name for objective in objectives]
    for name in names:
        if not name.isidentifier() or name != name.lower() or hasattr(nn.ModuleDict, name):
            hint = "Use a lower-case Python identifier, such as mean_height."
            raise SettingsError(f"An objective cannot be named {name!r}.", hint=hint)
        if names.count(name) > 1:
            hint = "Give each objective a unique name."
            raise SettingsError(f"{names.count(name)} objectives are named {name}.", hint=hint)
