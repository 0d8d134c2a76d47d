"""Units on the neighbours of centres, up to their maximum, in evaluation: in parts that stay in cache.

Where norms are frozen and no gradient is asked for, no pair of a centre and a neighbour depends on another
one. Their features then never reach memory: a part of the pairs goes through all units at once. A pair is a
row here, so that gathering copies whole rows and a maximum over neighbours runs along channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pcbench.ops.layers import LinearNorm, columns, from_columns
from pcbench.ops.neighbours import index_of_rows

PART_BYTES = 1 << 20
"""The widest features of a part on the CPU, in bytes: 1 MiB; a GPU takes 256 times as much."""


class RowUnit(Protocol):
    """A unit of a shared MLP but for its last ReLU, for rows of one student: (P, C) -> (P, D)."""

    @property
    def outputs(self) -> int:
        """D."""

    def __call__(self, rows: Tensor, student: int) -> Tensor:
        """May overwrite rows."""


@dataclass(frozen=True)
class Affine:
    """A linear layer with its frozen norm. weight: (S, C, D). bias: (S, D)."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: LinearNorm) -> Affine:
        weight, bias = layer.folded()
        bias = bias if layer.parts()[0].stacked else bias.unsqueeze(0)
        return cls(weight.view(len(bias), *weight.shape[-2:]).mT, bias)

    @property
    def outputs(self) -> int:
        return self.bias.shape[1]

    def __call__(self, rows: Tensor, student: int) -> Tensor:
        return torch.addmm(self.bias[student], rows, self.weight[student])


@dataclass(frozen=True)
class AffineResidual:
    """x + outer(ReLU(inner(x)))."""

    inner: Affine
    outer: Affine

    @property
    def outputs(self) -> int:
        return self.outer.outputs

    def __call__(self, rows: Tensor, student: int) -> Tensor:
        hidden = self.inner(rows, student).relu_()
        return rows.add_(self.outer.bias[student]).addmm_(hidden, self.outer.weight[student])


def in_evaluation(unit: nn.Module) -> bool:
    """Whether a unit's norms are frozen and no gradient is asked for."""
    return not (unit.training or torch.is_grad_enabled())


@torch.no_grad()
def largest_in_parts(a: Tensor, c: Tensor, index: Tensor, units: Sequence[RowUnit], stacked: bool) -> Tensor:
    """The largest over neighbours j of what the units make of ReLU(a_j + c_i), (..., M, D); no gradient.

    a: (..., N, C). c: (..., M, C). index: (..., M, k), its leading axes those of a and c or 1.
    """
    rows, centres = (columns(x, stacked).mT.contiguous() for x in (a, c))
    places = index_of_rows(index, stacked, a.shape[-2])
    k = places.shape[2]
    width = max(c.shape[-1], *(unit.outputs for unit in units))
    size = max(1, _most(a) // (k * width * a.element_size()))
    found = centres.new_empty(*centres.shape[:2], units[-1].outputs)
    for s in range(len(rows)):
        parts = (x.split(size) for x in (places[s % len(places)], centres[s], found[s]))
        for place, centre, largest in zip(*parts, strict=True):
            x = rows[s].index_select(0, place.reshape(-1))
            x.view(-1, k, x.shape[1]).add_(centre.unsqueeze(1))
            for unit in units:
                x = unit(x.relu_(), s)
            torch.amax(x.view(-1, k, x.shape[1]), 1, out=largest)
    return from_columns(found.relu_().mT.contiguous(), c, stacked)


def _most(like: Tensor) -> int:
    return PART_BYTES if like.device.type == "cpu" else 256 * PART_BYTES
