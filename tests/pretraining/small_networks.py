"""Small pretraining networks."""

import torch
from torch import nn

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Batch
from occfeat.pretraining.network import PretrainingNetwork, Targets
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import TeacherShape
from occfeat.settings.sections import HeadConfig, PretrainLossConfig, QueryConfig
from tests.support.rigs import GRID

FEATURES = 5
"""Width of the teacher."""


class PlainStudent(nn.Module):
    """A BEV map that is learned directly, whatever the images show."""

    def __init__(self, key_frames: int, channels: int = 6) -> None:
        super().__init__()
        self.channels = channels
        self.bev = nn.Parameter(torch.randn(key_frames, channels, *GRID.bev.shape))

    def forward(self, images: torch.Tensor, cameras: Cameras) -> torch.Tensor:
        return self.bev


def build_network(
    loss: PretrainLossConfig,
    *,
    key_frames: int = 2,
    own: int | None = None,
    blocks: int = 2,
    queries: QueryConfig = QueryConfig(),  # noqa: B008 - settings cannot be changed
) -> PretrainingNetwork:
    """Build the same network every time."""
    torch.manual_seed(0)
    head = HeadConfig(channels=8, blocks=blocks, feature_channels=own)
    objectives = build_objectives(loss, head=head, queries=queries)
    student, sees = PlainStudent(key_frames), TeacherShape((FEATURES,) if loss.features else ())
    return PretrainingNetwork(student, objectives, heights=GRID.shape[2], head=head, teacher=sees)


def learn(
    network: PretrainingNetwork, batch: Batch, targets: Targets, *, steps: int, rate: float
) -> list[dict[str, float]]:
    """Take steps of Adam on one batch; return the metrics of each."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    metrics = []
    for number in range(steps):
        network.begin_step(number)
        step = network(batch, targets)
        metrics.append({name: ratio.value() for name, ratio in step.metrics.items()})
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    return metrics
