"""BEVFormer for single frames (arXiv 2203.17270): BEV queries that attend to each other and to the images.

Self-attention on the BEV plane replaces the paper's temporal attention, as key frames here stand alone. This
project's choices: one scale of image features (stride 8); no embedding of cameras, so that any rig works;
normalisation before each step instead of after it, which trains without a long warm-up; no dropout; and the
BEV network of the other students at the end.

Axes: `B` key frames, `N` cameras, `C` channels, `h w` feature cells, `Q` queries, one per BEV cell (X Y), `H`
queries listed per camera, `X Y` BEV cells (x forward, y left).
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import numbers_like
from occfeat.models.encoders.encoder import STRIDE_PX, ImageEncoder, feature_size
from occfeat.models.encoders.present import encode_present
from occfeat.models.lifting.deformable import PositionChooser, deformable_attention, split_heads
from occfeat.models.lifting.hits import QueryHits, build_hits, stack_hits
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.recompute import Recomputable
from occfeat.models.students.bev_encoder import BevEncoder
from occfeat.models.students.student import Student
from occfeat.settings.students import BevFormerConfig

SELF_POSITIONS = 4
"""BEV positions that each head of a query reads in self-attention (the paper's)."""
FEED_FORWARD = 2
"""Width of the feed-forward networks in widths of the queries (the paper's)."""
INITIAL_STD = 0.02
"""Standard deviation of the queries and their position embedding at first (this project's choice)."""


class BevFormer(Student):
    """A camera-only BEV network made of attention.

    Args:
        encoder: Image encoder at stride 8.
        grid: Its cells seen from above are the queries, its heights the span of the pillars.
        config: Widths and numbers of layers, heads and reference points.
    """

    def __init__(self, encoder: ImageEncoder, grid: VoxelGrid, config: BevFormerConfig) -> None:
        super().__init__()
        channels = config.bev_channels
        self.channels = channels
        self.grid = grid
        self.heights = config.heights
        self.plans = PlanCache(build_hits)
        self.encoder = encoder
        self.queries = nn.Parameter(INITIAL_STD * torch.randn(grid.shape[0] * grid.shape[1], channels))
        self.positions = PositionEmbedding(grid.bev.shape, channels)
        self.to_values = nn.Conv2d(encoder.channels, channels, 1)
        self.layers = nn.ModuleList(Layer(config, grid.bev.shape) for _ in range(config.layers))
        self.norm = nn.LayerNorm(channels)
        self.bev_encoder = BevEncoder(channels)

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C X Y"]:
        """Return BEV features of key frames whose calibration belongs to these very images."""
        maps = encode_present(self.encoder, images, cameras.on_host().present)
        return self.attend(maps.flatten(0, 1), self.hits(cameras))

    def attend(self, maps: Float[Tensor, "BN C2 h w"], hits: QueryHits) -> Float[Tensor, "B C X Y"]:
        """Return BEV features of image features whose rigs the queries are listed for."""
        features = self.to_values(maps)
        positions = self.positions()
        bev = self.queries.expand(len(hits.queries), -1, -1)
        for layer in self.layers:
            bev = layer(bev, positions, features, hits)
        plane = self.norm(bev).mT.unflatten(2, self.grid.bev.shape)
        return self.bev_encoder(plane)

    def hits(self, cameras: Cameras) -> QueryHits:
        """Return the queries that each camera of the batch sees."""
        size = feature_size(cameras.image_size)
        return stack_hits(self.plans.plans(cameras, size, STRIDE_PX, self.grid, self.heights))


class PositionEmbedding(nn.Module):
    """Tells the queries of different cells apart: half the channels for the row, half for the column.

    Args:
        shape: Number of BEV cells along x and y.
        channels: Channels of the queries, an even number.
    """

    def __init__(self, shape: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.along_x = nn.Parameter(INITIAL_STD * torch.randn(shape[0], channels // 2))
        self.along_y = nn.Parameter(INITIAL_STD * torch.randn(shape[1], channels // 2))

    def forward(self) -> Float[Tensor, "Q C"]:
        """Return one vector per query."""
        x, y = len(self.along_x), len(self.along_y)
        rows, columns = self.along_x[:, None].expand(x, y, -1), self.along_y.expand(x, y, -1)
        return torch.cat((rows, columns), dim=-1).flatten(0, 1)


class Layer(Recomputable):
    """Self-attention, spatial cross-attention and a feed-forward network, each added to the queries.

    Args:
        config: Widths and numbers.
        shape: Number of BEV cells along x and y.
    """

    def __init__(self, config: BevFormerConfig, shape: tuple[int, int]) -> None:
        super().__init__()
        channels = config.bev_channels
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.self_attention = BevSelfAttention(channels, config.heads, shape)
        self.cross_attention = SpatialCrossAttention(
            channels, config.heads, config.heights, config.points_per_height
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, FEED_FORWARD * channels),
            nn.ReLU(),
            nn.Linear(FEED_FORWARD * channels, channels),
        )

    def forward(
        self,
        bev: Float[Tensor, "B Q C"],
        positions: Float[Tensor, "Q C"],
        features: Float[Tensor, "BN C h w"],
        hits: QueryHits,
    ) -> Float[Tensor, "B Q C"]:
        """Return the queries after one layer."""
        before_self, before_cross, before_feed_forward = self.norms
        bev = bev + self.self_attention(before_self(bev), positions)
        bev = bev + self.cross_attention(before_cross(bev) + positions, features, hits)
        return bev + self.feed_forward(before_feed_forward(bev))


class BevSelfAttention(nn.Module):
    """Every BEV cell reads a few positions around it on the BEV plane.

    Args:
        channels: Channels of the queries.
        heads: Attention heads.
        shape: Number of BEV cells along x and y.
    """

    def __init__(self, channels: int, heads: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.shape = shape
        self.choose = PositionChooser(channels, heads, SELF_POSITIONS)
        self.to_values = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, bev: Float[Tensor, "B Q C"], positions: Float[Tensor, "Q C"]) -> Float[Tensor, "B Q C"]:
        """Return what is added to each query."""
        plane = self.to_values(bev).mT.unflatten(2, self.shape)  # rows are x, columns are y
        offsets, logits = self.choose(bev + positions)
        size = numbers_like((self.shape[1], self.shape[0]), offsets)
        at = (self._centers(offsets)[:, None] + offsets) / size
        with torch.autocast(bev.device.type, enabled=False):
            read = deformable_attention(split_heads(plane, self.heads), at, logits.softmax(-1))
        return self.out(read)

    def _centers(self, like: Tensor) -> Float[Tensor, "Q 2"]:
        """Return (column, row) of the centre of each cell, in cells from the outer corner."""
        x, y = (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5 for count in self.shape)
        return torch.stack((y.expand(len(x), -1), x[:, None].expand(-1, len(y))), dim=-1).flatten(0, 1)


class SpatialCrossAttention(nn.Module):
    """Every query reads image features around its reference points, in the cameras that see it.

    The mean over these cameras is what it gets (paper equation 3); queries that no camera sees get only the
    bias of the last linear layer. A head attends to positions around reference points that the camera sees
    and to no others (this project's choice: behind a camera a projection means nothing).

    Args:
        channels: Channels of the queries and of the image features.
        heads: Attention heads.
        heights: Reference points per query.
        points_per_height: Positions per head and reference point.
    """

    def __init__(self, channels: int, heads: int, heights: int, points_per_height: int) -> None:
        super().__init__()
        self.heads = heads
        self.points_per_height = points_per_height
        self.choose = PositionChooser(channels, heads, heights * points_per_height)
        self.to_values = nn.Conv2d(channels, channels, 1)
        self.out = nn.Linear(channels, channels)

    def forward(
        self, queries: Float[Tensor, "B Q C"], features: Float[Tensor, "BN C h w"], hits: QueryHits
    ) -> Float[Tensor, "B Q C"]:
        """Return what is added to each query."""
        return self.out(self.read(queries, features, hits))

    def read(
        self, queries: Float[Tensor, "B Q C"], features: Float[Tensor, "BN C h w"], hits: QueryHits
    ) -> Float[Tensor, "B Q C"]:
        """Return the mean over the cameras that see a query; 0 if none does."""
        batch, count, channels = queries.shape
        first = count * torch.arange(batch, device=queries.device)[:, None, None]
        rows = (first + hits.queries).flatten()  # in the queries of the whole batch
        listed = queries.reshape(-1, channels).index_select(0, rows)
        offsets, logits = self.choose(listed.view(len(features), -1, channels))  # (B N, G, H, K P, ...)
        at, seen = self._around(offsets, hits, (features.shape[-2], features.shape[-1]))
        attention = logits.masked_fill(~seen, torch.finfo(logits.dtype).min).softmax(-1)
        values = split_heads(self.to_values(features), self.heads)
        with torch.autocast(queries.device.type, enabled=False):
            read = deformable_attention(values, at, attention).flatten(0, 1)
            shares = hits.shares.flatten()[:, None]
            total = read.new_zeros(batch * count, channels).index_add(0, rows, shares * read)
        return total.view(batch, count, channels)

    def _around(
        self, offsets: Float[Tensor, "BN G H P 2"], hits: QueryHits, feature_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return positions as shares of the image, and whether their reference points are seen."""
        height, width = feature_size
        reference = hits.positions.flatten(0, 1).repeat_interleave(self.points_per_height, dim=2)
        seen = hits.seen.flatten(0, 1).repeat_interleave(self.points_per_height, dim=2)
        return reference[:, None] + offsets / numbers_like((width, height), offsets), seen[:, None]
