"""PCT (Guo, Cai, Liu, Mu, Martin, Hu 2021): neighbour embedding, four offset-attention layers, a maximum."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import Dense, Dropout, Linear, LinearNorm, affine, max_over_points, mlp
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

from ._relations import largest_of_sums

CENTRES = (512, 256)
NEIGHBOURS = 32
SLOPE = 0.2


class Group(nn.Module):
    """Two Dense units on (x_j - x_i, x_i) of the neighbours j of centres i, and their maximum (Sec. 3.4).

    The first product, U (x_j - x_i) + V x_i, is U x_j + (V - U) x_i: taken at the points, not the neighbours.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Dense(2 * inputs, outputs, bias=False)
        self.second = Dense(outputs, outputs, bias=False)

    def forward(self, x: Tensor, centres: Tensor, index: Tensor) -> Tensor:
        """(..., N, C) of the points, (..., M, C) of the centres, index (..., M, k) -> (..., M, D)."""
        linear, norm = self.first.parts()
        of_difference, of_centre = linear.weight.chunk(2, -1)
        a = affine(x, of_difference, None, linear.stacked)
        c = affine(centres, of_centre - of_difference, None, linear.stacked)
        return largest_of_sums(norm, self.second, a, c, index)


class OffsetAttention(nn.Module):
    """x + Dense(x - attention(x)), queries and keys by one matrix (Guo et al. 2021, Sec. 3.3, Eq. 4 to 6).

    Weights are a softmax over keys, then divided by their sum over queries. As the energies e_ij are
    symmetric, that is one softmax over i of e_ij - log Σ_j exp e_ij. Public code adds 1e-9 to the sums, which
    cuts off points that no query attends to, some in the last layers of an untrained network; the paper does
    not, nor does this.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = Linear(width, width // 4, bias=False)
        self.value = Linear(width, width)
        self.offset = Dense(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)
        energy = query @ query.mT
        weights = (energy - energy.logsumexp(-2, keepdim=True)).softmax(-1)
        return x + self.offset(x - weights @ self.value(x))  # type: ignore[no-any-return]


class PCT(Backbone):
    """Point Cloud Transformer: offset attention over 256 embedded neighbourhoods (Guo et al. 2021)."""

    name = "pct"

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.embedding = mlp(3, 64, 64, bias=False)
        self.groups = nn.ModuleList([Group(64, 128), Group(128, 256)])
        self.enter = mlp(256, 256, 256, bias=False)
        self.attention = nn.ModuleList(OffsetAttention(256) for _ in range(4))
        self.fuse = LinearNorm(5 * 256, 1024, bias=False)
        self.head = nn.Sequential(
            LinearNorm(1024, 512, bias=False),
            nn.LeakyReLU(SLOPE),
            Dropout(0.5),
            LinearNorm(512, 256),
            nn.LeakyReLU(SLOPE),
            Dropout(0.5),
        )
        self.classifier = Linear(256, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Indices of the first level's centres, farthest first, and of both levels' neighbours.

        The centres of the second level are the first of the first, which is farthest point sampling, too.
        """
        xyz = xyz.detach()
        chosen = farthest_point_sample(xyz, min(CENTRES[0], xyz.shape[-2]))
        points, centres = xyz, gather_points(xyz, chosen)
        neighbours = []
        for count in CENTRES:
            centres = centres[..., :count, :]
            neighbours.append(nearest(centres, points, min(NEIGHBOURS, points.shape[-2])))
            points = centres
        return chosen, *neighbours

    def levels(self, xyz: Tensor, geometry: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The features after the embedding, both groups and every attention layer."""
        chosen, first, second = geometry or self.geometry(xyz)
        x = self.embedding(xyz)
        levels = [x, self.groups[0](x, gather_points(x, chosen), first)]
        x = levels[-1]
        levels.append(self.groups[1](x, x[..., : CENTRES[1], :], second))
        x = self.enter(levels[-1])
        for layer in self.attention:
            x = layer(x)
            levels.append(x)
        return tuple(levels)

    def joined(self, xyz: Tensor, geometry: tuple[Tensor, ...]) -> Tensor:
        """What the last shared layer sees: the outputs of the attention layers and of the last group."""
        _, _, group, *attended = self.levels(xyz, geometry)
        return torch.cat([*attended, group], -1)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        levels = self.levels(xyz, ())
        joined = torch.cat([*levels[3:], levels[2]], -1)
        return *levels, F.leaky_relu(self.fuse(joined), SLOPE)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def pooled(self, xyz: Tensor, geometry: tuple[Tensor, ...]) -> Tensor:
        return F.leaky_relu(max_over_points(self.fuse(self.joined(xyz, geometry))), SLOPE)

    def global_feature(self, xyz: Tensor) -> Tensor:
        return self.pooled(xyz, ())

    def embed(self, xyz: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.head(self.pooled(xyz, geometry)))  # type: ignore[no-any-return]
