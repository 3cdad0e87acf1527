"""The network of pretraining: student, trunk and the outputs of a list of objectives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Batch
from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.students.lss import Lss
from occfeat.pretraining.balance import Balance, measured_at, pull
from occfeat.pretraining.objectives.contract import (
    AnyObjective,
    ComparedFeatures,
    HeadShape,
    Panel,
    TeacherShape,
    Term,
)
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.occupancy import Occupancy
from occfeat.pretraining.objectives.position import UsualMaps
from occfeat.pretraining.trunk import Trunk
from occfeat.settings.sections import HeadConfig
from occfeat.teacher.network import Teacher
from occfeat.training.step import Ratio, Step, mean_of, ratio_of

Targets = dict[str, Any]
"""Target of each objective, by its name."""
Views = dict[str, Tensor]
"""Tensors that objectives read: `bev`, `voxels`, `depth`; see `objectives.contract`."""
Answer = TypeVar("Answer")
OCCUPANCY = Occupancy.name
"""Name of the objective that the gradients of others are compared with."""


@dataclass(frozen=True)
class TargetMaker:
    """Makes the targets of a batch from its LiDAR points and teacher features."""

    objectives: Sequence[AnyObjective]
    grid: VoxelGrid
    teacher: Teacher | None = None
    """None if no objective needs a teacher, or if batches carry its features."""
    usual_maps: Callable[[], UsualMaps | None] = lambda: None
    """Returns what is subtracted from the teacher's feature maps."""

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Targets:
        """Return the targets of a batch."""
        return self.targets(self.evidence(batch))

    def targets(self, evidence: Evidence) -> Targets:
        """Return the targets that evidence of a batch gives."""
        return {objective.name: objective.target(evidence) for objective in self.objectives}

    def evidence(self, batch: Batch) -> Evidence:
        """Return the evidence from which targets of a batch are made."""
        return Evidence(batch, self.grid, self.teacher, self.usual_maps())


class PretrainingNetwork(nn.Module):
    """Student and pretraining head; a forward pass gives the losses of a batch.

    Only the parts that an objective reads are built, because distributed training needs a gradient for every
    trainable parameter.

    Args:
        student: Images and cameras to BEV features (B, C, X, Y), C being its attribute `channels`.
        objectives: Losses are summed, and outputs are initialised, in this order.
        heights: Number of voxels along z.
        head: Sizes of the trunk.
        teacher: Sizes of what the teacher sees.
        ratio_every: Steps between two measurements of the ratio of gradients.

    Raises:
        SettingsError: An objective reads the depth of a student that does not predict depth.
    """

    def __init__(
        self,
        student: nn.Module,
        objectives: Sequence[AnyObjective],
        *,
        heights: int,
        head: HeadConfig,
        teacher: TeacherShape = TeacherShape(),  # noqa: B008 - it cannot be changed
        ratio_every: int = 50,
    ) -> None:
        super().__init__()
        self.student: Any = student
        self.objectives = tuple(objectives)
        reads, bev_channels = {one.reads for one in objectives}, cast("int", student.channels)
        self.reads_depth = "depth" in reads
        if self.reads_depth and not isinstance(student, Lss):
            hint = "Use the student lss, or leave out objectives that read depth."
            raise SettingsError(f"The student {type(student).__name__} predicts no depth.", hint=hint)
        self.trunk = Trunk(bev_channels, heights, head) if "voxels" in reads else None
        shape = HeadShape(bev_channels, head.channels, heights, teacher)
        self.outputs = nn.ModuleDict({one.name: one.build_output(shape) for one in objectives})
        self.ratio_every, self.measures = ratio_every, False
        self.balances = nn.ModuleDict(
            {one.name: Balance(one.ratio) for one in objectives if one.ratio is not None}
        )

    def begin_step(self, step: int) -> None:
        """Adjust weights after a step that measured gradients, and decide whether this one does."""
        if step and self._measures_at(step - 1):
            for name in self.balances:
                self._balance(name).adjust()
        self.measures = self._measures_at(step)

    def _measures_at(self, step: int) -> bool:
        """Return whether a step measures; the first one does if it has to set a weight."""
        return measured_at(step, self.ratio_every) or (step == 0 and len(self.balances) > 0)

    def forward(self, batch: Batch, targets: Targets) -> Step:
        """Return the weighted sum of the losses, and metrics to log, also of each of several data sets."""
        views = self.see(batch.images, batch.cameras)
        terms = self._terms(views, targets)
        step = self._sum(terms)
        for name, chosen in batch.by_data_set().items():
            of_set = step if len(chosen) == len(batch) else self._compare_some(views, targets, chosen)
            step.metrics.update({f"{name}/{metric}": ratio for metric, ratio in of_set.metrics.items()})
        step.metrics.update({f"weight/{name}": mean_of(self._balance(name).weight) for name in self.balances})
        if self.measures:
            step.metrics.update(self._ratios(terms, views["bev"]))
        return step

    def _terms(self, views: Views, targets: Targets) -> dict[str, Term]:
        """Return the losses of the objectives that have a target, by their names."""
        return {
            one.name: one.loss(self.outputs[one.name], views[one.reads], targets[one.name])
            for one in self.objectives
            if one.name in targets
        }

    def _sum(self, terms: dict[str, Term]) -> Step:
        """Return the weighted sum of losses, and all metrics."""
        loss = next(self.parameters()).new_zeros((), dtype=torch.float32)
        metrics: dict[str, Ratio] = {}
        for name, term in terms.items():
            loss = loss + self._weight(name) * term.loss
            metrics |= {f"loss/{name}": mean_of(term.loss), **term.metrics}
        return Step(loss, {"loss": mean_of(loss), **metrics})

    def _weight(self, name: str) -> Float[Tensor, ""] | float:
        """Return the weight of an objective in the sum."""
        if name in self.balances:
            return self._balance(name).weight
        return next(one.weight for one in self.objectives if one.name == name)

    def _balance(self, name: str) -> Balance:
        """Return what adjusts the weight of an objective."""
        return cast("Balance", self.balances[name])

    def _ratios(self, terms: dict[str, Term], bev: Float[Tensor, "B C X Y"]) -> dict[str, Ratio]:
        """Return how strongly each loss pulls at the BEV features, relative to occupancy."""
        if OCCUPANCY not in terms or not bev.requires_grad:
            return {}
        occupancy = pull(self._weight(OCCUPANCY) * terms[OCCUPANCY].loss, bev)
        ratios = {}
        for one in self.objectives:
            if one.name in terms and one.name != OCCUPANCY and one.reads != "depth":
                own = pull(terms[one.name].loss, bev)
                ratios[f"ratio/{one.name}"] = ratio_of(self._weight(one.name) * own, occupancy)
                if one.name in self.balances:
                    self._balance(one.name).observe(own, occupancy)
        return ratios

    @torch.no_grad()
    def _compare_some(self, views: Views, targets: Targets, chosen: Int64[Tensor, " b"]) -> Step:
        """Return loss and metrics of some key frames, where `of_key_frames` gives a target."""
        parts = {one.name: one.of_key_frames(targets[one.name], chosen) for one in self.objectives}
        some = {name: part for name, part in parts.items() if part is not None}
        return self._sum(self._terms({name: view[chosen] for name, view in views.items()}, some))

    def see(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Views:
        """Return the tensors that objectives read."""
        if self.reads_depth:
            lifted = self.student.lift_images(images, cameras)
            views = {"depth": lifted.depth_logits, "bev": self.student.encode(lifted.features)}
        else:
            views = {"bev": self.student(images, cameras)}
        if self.trunk is not None:
            views["voxels"] = self.trunk(views["bev"])
        return views

    def usual_maps(self) -> UsualMaps | None:
        """Return what is subtracted from the teacher's feature maps in all evidence; None for nothing."""
        maps = (one.usual_maps(self.outputs[one.name]) for one in self.objectives)
        return next((found for found in maps if found is not None), None)

    def occupancy_probability(self, views: Views) -> Float[Tensor, "B X Y Z"] | None:
        """Return the occupancy probability of each voxel; None if no objective predicts it."""
        return self._first(lambda one, *read: one.occupancy_probability(*read), views)

    def features_at(self, views: Views, cells: Int64[Tensor, "K 4"]) -> Float[Tensor, "K F"] | None:
        """Return the teacher features predicted in voxels (key frame, x, y, z); None if none are.

        If targets are centred, the mean teacher feature is subtracted.
        """
        return self._first(lambda one, *read: one.features_at(*read, cells), views)

    def compare_features(self, views: Views, evidence: Evidence) -> ComparedFeatures | None:
        """Return predicted and true teacher features of occupied voxels; None if none are predicted."""
        return self._first(lambda one, *read: one.compare_features(*read, evidence), views)

    def panels(self, views: Views, targets: Targets) -> list[Panel]:
        """Return what the objectives want drawn besides occupancy and features."""
        return [
            panel
            for one in self.objectives
            for panel in one.panels(self.outputs[one.name], views[one.reads], targets[one.name])
        ]

    def _first(self, ask: Callable[..., Answer | None], views: Views) -> Answer | None:
        """Return the first result of an objective that is not None."""
        answers = (ask(one, self.outputs[one.name], views[one.reads]) for one in self.objectives)
        return next((answer for answer in answers if answer is not None), None)
