"""A pretraining step written straightforwardly, as published networks of this kind do it.

The same weights give the same losses as the package (`step.py` checks it). What is plain: every
voxel is sampled in every camera, every voxel's features are projected to the teacher's width, every voxel's
target is sampled in every camera, the teacher runs in every step, memory has PyTorch's default layout, and
norms and activations keep what PyTorch's and timm's keep.

Axes: `B` key frames, `N` cameras, `C` channels, `X Y Z` voxels, `F` teacher channels, `h w` patches.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import TeacherImages
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.encoder import STRIDE_PX
from occfeat.models.lean import ConvolutionNormGelu, LeanNormSilu
from occfeat.models.lifting.projection import project_voxels
from occfeat.models.lifting.sampling import lift_dense
from occfeat.models.students.simplebev import SimpleBev
from occfeat.pretraining.network import PretrainingNetwork
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.pretraining.objectives.occupancy import occupancy_logits
from occfeat.teacher.network import Teacher


class PlainStep(nn.Module):
    """Student, head and teacher; a call gives the loss of a batch.

    Args:
        network: A SimpleBEV student with its pretraining head.
        teacher: The frozen teacher.
        weight: Of the feature loss.
    """

    def __init__(self, network: PretrainingNetwork, teacher: Teacher, weight: float) -> None:
        super().__init__()
        self.student: SimpleBev = network.student
        self.trunk, self.outputs, self.teacher, self.weight = network.trunk, network.outputs, teacher, weight
        self.to(memory_format=torch.contiguous_format)
        for module in self.modules():  # norms and activations as PyTorch and timm have them
            if isinstance(module, LeanNormSilu):
                module.__class__ = BatchNormAct2d
            elif isinstance(module, ConvolutionNormGelu):
                module.__class__ = nn.Sequential

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """Occupancy loss and weighted feature loss."""
        occupied = self._occupied(batch)
        target, seen = self._targets(batch)
        voxels = self.trunk(self._bev(batch))
        logits = occupancy_logits(self.outputs["occupancy"], voxels)
        loss = F.binary_cross_entropy_with_logits(logits, occupied.float())
        predicted = self.outputs["features"].linear(voxels.permute(0, 2, 3, 4, 1))  # (B, X, Y, Z, F)
        similarity = F.cosine_similarity(predicted, target, dim=-1)
        counted = occupied & seen
        return loss - self.weight * similarity[counted].mean()

    def _bev(self, batch: Batch) -> Float[Tensor, "B C X Y"]:
        """Return the BEV features of a batch."""
        features = self.student.encoder(batch.images.flatten(0, 1)).unflatten(0, batch.images.shape[:2])
        volume = lift_dense(features, batch.cameras, STRIDE_PX, self.student.grid)
        return self.student.bev_encoder(self.student.compress(volume.flatten(1, 2)))

    def _occupied(self, batch: Batch) -> Bool[Tensor, "B X Y Z"]:
        """Return the occupied voxels of a batch."""
        assert batch.points is not None
        return occupancy_target(batch.points, len(batch), self.student.grid)

    @torch.no_grad()
    def _targets(self, batch: Batch) -> tuple[Float[Tensor, "B X Y Z F"], Bool[Tensor, "B X Y Z"]]:
        """Mean teacher feature of every voxel over the cameras that see it, and whether one does."""
        assert isinstance(batch.teacher, TeacherImages)
        maps = self.teacher(batch.teacher.images.flatten(0, 1)).unflatten(0, batch.images.shape[:2])
        targets = [
            sample_every_voxel(rig_maps, batch.teacher.cameras.of_key_frame(number), self.student.grid)
            for number, rig_maps in enumerate(maps)
        ]
        return torch.stack([mean for mean, _ in targets]), torch.stack([seen for _, seen in targets])


def sample_every_voxel(
    maps: Float[Tensor, "N F h w"], rig: Cameras, grid: VoxelGrid
) -> tuple[Float[Tensor, "X Y Z F"], Bool[Tensor, "X Y Z"]]:
    """Teacher features at the centres of all voxels, one camera after the other."""
    u, v, visible = project_voxels(rig, grid)  # (N, Z, X, Y)
    height, width = rig.image_size
    total, count = 0, visible.sum(0)
    for camera, features in enumerate(maps):
        position = torch.stack((u[camera] * 2 / width - 1, v[camera] * 2 / height - 1), dim=-1)
        position = torch.where(visible[camera][..., None], position, torch.zeros_like(position))
        sampled = F.grid_sample(
            features[None], position.flatten(0, 1)[None], padding_mode="border", align_corners=False
        )
        total = total + sampled[0].unflatten(1, position.shape[:2]) * visible[camera]
    mean = total / count.clamp(min=1)
    return mean.permute(2, 3, 1, 0), (count > 0).permute(1, 2, 0)
