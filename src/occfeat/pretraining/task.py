"""The paper on one screen: predict where the LiDAR hit, and what the teacher saw there (section 3)."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from occfeat.data.sample import Batch
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting.splatting import DepthBins
from occfeat.models.students.lss import Lss
from occfeat.pretraining.depth import depth_loss, depth_target
from occfeat.pretraining.head import PretrainingHead, Voxels
from occfeat.pretraining.losses import cosine, feature_loss, occupancy_loss
from occfeat.pretraining.queries import QueryTarget, query_loss, query_target, voxel_centers
from occfeat.pretraining.targets import FeatureTarget, feature_target, occupancy_target
from occfeat.pretraining.visibility import known_voxels
from occfeat.settings.sections import PretrainLossConfig, QueryConfig
from occfeat.teacher.network import Teacher
from occfeat.training.overlap import is_positive, overlap
from occfeat.training.step import Ratio, Step, mean_of, ratio_of


@dataclass(frozen=True)
class PretrainingTarget:
    """What the student has to predict for one batch."""

    occupied: Bool[Tensor, "B X Y Z"]
    features: FeatureTarget | None
    """None when nothing is distilled."""
    known: Bool[Tensor, "B X Y Z"] | None = None
    """Voxels that count in the occupancy loss; None: all of them."""
    queries: QueryTarget | None = None
    """None without Img-ALSO."""
    depth: Int64[Tensor, "B N h w"] | None = None
    """Depth bin of each feature cell of the student; None when depth is not supervised."""


@dataclass(frozen=True)
class TargetMaker:
    """Makes the targets of a batch from its LiDAR points and from what the teacher sees."""

    grid: VoxelGrid
    teacher: Teacher | None
    """None when nothing is distilled, or when batches carry what it saw."""
    center: Float[Tensor, " F"] | None = None
    """What is taken off every feature target, such as their mean."""
    unknown: bool = False
    """Find out which voxels the LiDAR knows, so that the others can be left out."""
    queries: QueryConfig | None = None
    """How to draw query points; None without Img-ALSO."""
    depth_bins: DepthBins | None = None
    """The student's depth bins; None when depth is not supervised."""

    @torch.no_grad()
    def __call__(self, batch: Batch) -> PretrainingTarget:
        """Targets of one batch that carries points and, with a teacher, teacher images."""
        points = batch.points
        if points is None:
            raise ValueError("pretraining needs batches with LiDAR points")
        occupied = occupancy_target(points, len(batch), self.grid)
        bins = self.depth_bins
        depth = None if bins is None else depth_target(points, batch.cameras, bins)
        known = known_voxels(occupied, points, self.grid) if self.unknown else None
        queries = query_target(points, len(batch), self.grid, self.queries) if self.queries else None
        return PretrainingTarget(occupied, self._features(batch, occupied), known, queries, depth)

    def _features(self, batch: Batch, occupied: Bool[Tensor, "B X Y Z"]) -> FeatureTarget | None:
        """What the teacher sees, or saw, in the occupied voxels."""
        if batch.teacher_cameras is None:
            if self.teacher is not None:
                raise ValueError("distillation needs batches with teacher images")
            return None
        features = feature_target(occupied, self._maps(batch), batch.teacher_cameras, self.grid)
        if self.center is not None:
            features = replace(features, features=features.features - self.center)
        return features

    def _maps(self, batch: Batch) -> Float[Tensor, "BN F h w"]:
        """What the teacher sees in all images, or saw when it was cached."""
        if batch.teacher_maps is not None:
            return batch.teacher_maps.decode().flatten(0, 1)
        if self.teacher is None or batch.teacher_images is None:
            raise ValueError("distillation needs a teacher and its images, or what it saw")
        return self.teacher(batch.teacher_images.flatten(0, 1))


@dataclass(frozen=True)
class _Term:
    """One summand of the loss, and what is logged with it."""

    name: str
    weight: float
    loss: Float[Tensor, ""]
    metrics: dict[str, Ratio] = field(default_factory=dict)


class PretrainingNetwork(nn.Module):
    """Student and pretraining head; a forward pass gives the losses of a batch.

    Args:
        student: Images and cameras to BEV features (B, C, X, Y).
        head: BEV features to occupancy logits and teacher features.
        weights: Weights of the losses.
    """

    def __init__(self, student: nn.Module, head: PretrainingHead, weights: PretrainLossConfig) -> None:
        super().__init__()
        self.student = student
        self.head = head
        self.weights = weights
        # Several processes wait for the gradient of everything that learns: what no loss reads must not.
        head.occupancy.requires_grad_(weights.occupancy > 0)
        if head.branch is not None and weights.occupancy == weights.queries == 0:
            head.unsplat.requires_grad_(False)
            head.blocks.requires_grad_(False)

    def forward(self, batch: Batch, target: PretrainingTarget) -> Step:
        """The weighted sum of the losses that have a target, and the metrics to log."""
        bev, depth = self._see(batch, target)
        voxels = self.head(bev)
        terms = (
            depth,
            self._occupancy(voxels, target),
            self._queries(voxels, target),
            self._features(voxels, target),
        )
        loss = batch.images.new_zeros((), dtype=torch.float32)
        metrics: dict[str, Ratio] = {}
        for term in terms:
            if term is not None:
                loss = loss + term.weight * term.loss
                metrics |= {f"loss/{term.name}": mean_of(term.loss), **term.metrics}
        return Step(loss, {"loss": mean_of(loss), **metrics})

    def _see(self, batch: Batch, target: PretrainingTarget) -> tuple[Float[Tensor, "B C X Y"], _Term | None]:
        """BEV features; and the loss of the depths they were lifted with, if depth is supervised."""
        if target.depth is None or not isinstance(self.student, Lss):
            return self.student(batch.images, batch.cameras), None
        lifted = self.student.lift_images(batch.images, batch.cameras)
        depth = depth_loss(lifted.depth_logits, target.depth)
        return self.student.encode(lifted.features), _Term("depth", self.weights.depth, depth)

    def _occupancy(self, voxels: Voxels, target: PretrainingTarget) -> _Term | None:
        """Is there matter in each voxel?"""
        if not self.weights.occupancy:
            return None
        logits = self.head.occupancy_logits(voxels)
        loss = occupancy_loss(logits, target.occupied, target.known)
        return _Term("occupancy", self.weights.occupancy, loss, _occupancy_metrics(logits, target))

    def _queries(self, voxels: Voxels, target: PretrainingTarget) -> _Term | None:
        """Is there matter at each query point (Img-ALSO)?"""
        if target.queries is None:
            return None
        logits = self.head.query_logits(voxels, target.queries.queries)
        loss = query_loss(logits, target.queries.occupied)
        found = overlap(is_positive(logits), target.queries.occupied)
        return _Term("queries", self.weights.queries, loss, {"query_iou": found.iou})

    def _features(self, voxels: Voxels, target: PretrainingTarget) -> _Term | None:
        """What does the teacher see in each occupied voxel?"""
        if target.features is None:
            return None
        predicted = self.head.features_at(voxels, target.features.cells)
        similarity = cosine(predicted, target.features.features)
        mean = ratio_of(similarity.detach().sum(), similarity.new_tensor(len(similarity)))
        name = "centered_cosine" if self.weights.center_features else "cosine"
        return _Term("features", self.weights.features, feature_loss(similarity), {name: mean})

    def occupancy_probability(self, voxels: Voxels) -> Float[Tensor, "B X Y Z"] | None:
        """Probability that each voxel, or the query at its centre, is occupied; None if not learned."""
        if self.weights.occupancy:
            return self.head.occupancy_logits(voxels).sigmoid()
        if self.head.queries is None:
            return None
        centers = voxel_centers(voxels.shared)
        return self.head.query_logits(voxels, centers).sigmoid().view_as(voxels.shared[:, 0])


def _occupancy_metrics(logits: Float[Tensor, "B X Y Z"], target: PretrainingTarget) -> dict[str, Ratio]:
    """IoU and recall; where unknown voxels do not count, the name of the IoU says so."""
    occupied, known = target.occupied, target.known
    found = overlap(is_positive(logits if known is None else logits.masked_fill(~known, -1.0)), occupied)
    recall = {"occupancy_recall": found.recall}
    if known is None:
        return {"occupancy_iou": found.iou, **recall}
    share = ratio_of(known.sum(), known.new_tensor(known.numel(), dtype=torch.int64))
    return {"known_occupancy_iou": found.iou, **recall, "known_share": share}
