"""Linear layers on the neighbours of centres, computed at the points before they are gathered."""

from __future__ import annotations

import torch
from torch import Tensor

from pcbench.ops.layers import Dense, affine
from pcbench.ops.neighbours import gather_points


class NeighbourDense(Dense):
    """Linear, batch norm, ReLU on what a centre sees of a neighbour: relative coordinates, then features.

    W (p_j - c_i, f_j) + b = [W (p_j, f_j) + b] - W_xyz c_i: the brackets are computed at N points and the
    rest at M centres, then gathered and subtracted, instead of one product for each of M·k neighbours.
    """

    def __init__(self, features: int, outputs: int, bias: bool = True) -> None:
        super().__init__(3 + features, outputs, bias)

    def of_neighbours(self, xyz: Tensor, features: Tensor | None, centres: Tensor, index: Tensor) -> Tensor:
        """(..., N, 3), (..., N, C) or none, (..., M, 3), index (..., M, k) -> (..., M, k, D)."""
        norm = self.parts()[1]
        at_points, at_centres = self.terms(xyz, features, centres)
        relative = gather_points(at_points, index) + at_centres.unsqueeze(-2)
        return torch.relu(norm(relative) if norm.training else relative)

    def terms(self, xyz: Tensor, features: Tensor | None, centres: Tensor) -> tuple[Tensor, Tensor]:
        """What neighbours and what centres add before the norm (after it, once frozen): (..., N or M, D)."""
        linear, norm = self.parts()
        weight, bias = (linear.weight, linear.bias) if norm.training else self.folded()
        seen = xyz if features is None else torch.cat([xyz, features], -1)
        at_points = affine(seen, weight, bias, linear.stacked)
        return at_points, affine(centres, -weight[..., :3], None, linear.stacked)
