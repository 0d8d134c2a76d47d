"""PointMLP (Ma et al. 2022): residual MLPs on neighbours after a geometric affine normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import Dense, Dropout, Layer, Linear, LinearNorm, affine, max_over_points, mlp
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

from ._relations import (
    dense_of_sums,
    difference_deviation,
    max_over_neighbours,
    normalised,
    plus_linear_norm,
)
from ._rows import Affine, AffineResidual, in_evaluation, largest_in_parts

CENTRES = (512, 256, 128, 64)
NEIGHBOURS = 24


class Residual(nn.Module):
    """ReLU(x + F(x)), F: a Dense unit to a share of the width and a linear layer with batch norm back."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        inner = int(width * expansion)
        self.inner = Dense(width, inner, bias=False)
        self.outer = LinearNorm(inner, width, bias=False)

    def forward(self, x: Tensor, relu: bool = True) -> Tensor:
        """relu: False leaves the last ReLU out."""
        return plus_linear_norm(x, self.outer, self.inner(x), relu)


class GeometricAffine(Layer):
    """alpha · (x_j - x_i) / (σ + 1e-5) + beta for the neighbours j of centres i (Ma et al. 2022, Sec. 3.2).

    σ is the standard deviation of all x_j - x_i of one cloud, over centres, neighbours and channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(width))
        self.beta = nn.Parameter(torch.empty(width))

    def reset_parameters(self, generator: torch.Generator) -> None:  # noqa: ARG002
        with torch.no_grad():
            self.alpha.fill_(1)
            self.beta.fill_(0)

    def linear(self, weight: Tensor, x: Tensor, centres: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """weight (D, C) times the above as a_j + c_i: (..., N, D) and (..., M, D), without forming it.

        x: (..., N, C). centres: (..., M, C). index: (..., M, k).
        """
        origin = x.detach().mean(-2, keepdim=True)
        x, centres = x - origin, centres - origin
        scale = 1 / (difference_deviation(x, centres, index) + 1e-5)
        bias = (weight * self.beta.unsqueeze(-2)).sum(-1)
        weight = weight * self.alpha.unsqueeze(-2)
        a = affine(x * scale, weight, None, self.stacked)
        return a, affine(centres * scale, -weight, bias, self.stacked)


class Stage(nn.Module):
    """Grouping and a linear layer, residual units on neighbours, their maximum, residual units on centres.

    The linear layer on the normalised differences and the centre is taken at the points, not the neighbours.
    """

    def __init__(self, inputs: int, outputs: int, units: int, expansion: float) -> None:
        super().__init__()
        self.group = GeometricAffine(inputs)
        self.enter = Dense(2 * inputs, outputs, bias=False)
        self.local = nn.ModuleList(Residual(outputs, expansion) for _ in range(units))
        self.central = nn.ModuleList(Residual(outputs, expansion) for _ in range(units))

    def forward(self, x: Tensor, centres: Tensor, index: Tensor, relu: bool = True) -> Tensor:
        """(..., N, C) of the points, (..., M, C) of the centres, index (..., M, k) -> (..., M, D).

        relu: False leaves the last ReLU out.
        """
        linear, norm = self.enter.parts()
        of_group, of_centre = linear.weight.chunk(2, -1)
        a, c = self.group.linear(of_group, x, centres, index)
        c = c + affine(centres, of_centre, None, linear.stacked)
        if in_evaluation(self):
            residuals = (unit for unit in self.local if isinstance(unit, Residual))
            rows = [AffineResidual(Affine.of(unit.inner), Affine.of(unit.outer)) for unit in residuals]
            y = largest_in_parts(*normalised(norm, a, c, index), index, rows, linear.stacked)
        else:
            y = dense_of_sums(norm, a, c, index)
            *units, last = self.local
            for unit in units:
                y = unit(y)
            y = torch.relu(max_over_neighbours(last(y, relu=False)))
        *units, last = self.central
        for unit in units:
            y = unit(y)
        return last(y, relu)  # type: ignore[no-any-return]


class PointMLP(Backbone):
    """PointMLP: four stages of residual MLPs on neighbours and on their centres (Ma et al. 2022)."""

    name = "pointmlp"
    presets: ClassVar = {
        "elite": {"widths": (32, 64, 128, 256, 256), "units": (1, 1, 2, 1), "expansion": 0.25},
        "canonical": {"widths": (64, 128, 256, 512, 1024), "units": (2, 2, 2, 2), "expansion": 1.0},
    }

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (32, 64, 128, 256, 256),
        units: Sequence[int] = (1, 1, 2, 1),
        expansion: float = 0.25,
    ) -> None:
        super().__init__(classes)
        self.embedding = Dense(3, widths[0], bias=False)
        self.stages = nn.ModuleList(
            Stage(*sides, number, expansion) for sides, number in zip(pairwise(widths), units, strict=True)
        )
        self.head = nn.Sequential(
            *(part for sides in ((widths[-1], 512), (512, 256)) for part in (*mlp(*sides), Dropout(0.5)))
        )
        self.classifier = Linear(256, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Indices of the first level's centres, farthest first, and of every level's neighbours.

        The centres of a later level are the first of the level before, which is farthest point sampling, too.
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
        """The features of the points after the embedding and every stage, the last before its ReLU."""
        chosen, *neighbours = geometry or self.geometry(xyz)
        x = self.embedding(xyz)
        levels, centres = [x], gather_points(x, chosen)
        *stages, last = self.stages
        for stage, index, count in zip(stages, neighbours, CENTRES[1:], strict=False):
            x = stage(x, centres, index)
            levels.append(x)
            centres = x[..., :count, :]
        return *levels, last(x, centres, neighbours[-1], relu=False)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        return self.levels(xyz, ())

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.levels(xyz, ())[-1]

    def pooled(self, xyz: Tensor, geometry: tuple[Tensor, ...]) -> Tensor:
        return torch.relu(max_over_points(self.levels(xyz, geometry)[-1]))

    def global_feature(self, xyz: Tensor) -> Tensor:
        return self.pooled(xyz, ())

    def embed(self, xyz: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.head(self.pooled(xyz, geometry)))  # type: ignore[no-any-return]
