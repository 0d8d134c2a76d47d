"""Synthetic sets that are stored as parameters: what is stored, and how training clouds are made of it.

A method may learn fewer numbers than its clouds have, or other ones. What it hands over, what is hashed and
counted in bytes, is `Stored`; students train on what an expansion makes of it, a pure function of this
module, which whoever evaluates or verifies has too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.common.files import canonical_json
from pcbench.errors import DataError

MOST_VALUES = 1 << 28
"""Coordinates that an expansion may make."""


@dataclass(frozen=True)
class Stored:
    """A synthetic set as its parameters; DataError where they are not such as the expansion takes."""

    expansion: str
    """What makes clouds of it: a name in `EXPANSIONS`."""
    tensors: Mapping[str, Tensor] = field(repr=False)
    """Its numbers by name, float32, of the shapes that the expansion says."""

    @property
    def bytes(self) -> int:
        """What it takes to keep it, without names and shapes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def content_hash(self) -> str:
        """SHA-256 over expansion, names and shapes, as canonical JSON, then the values: 64 digits."""
        shapes = {name: list(self.tensors[name].shape) for name in sorted(self.tensors)}
        state = hashlib.sha256(canonical_json({"expansion": self.expansion, "tensors": shapes}).encode())
        for name in shapes:
            values = self.tensors[name].detach().cpu().numpy()
            state.update(np.ascontiguousarray(values, "<f4").data)
        return state.hexdigest()

    def expand(self, class_names: tuple[str, ...], ppc: int | None = None) -> PointClouds:
        """The clouds that students train on, as many of every class, ordered by class.

        ppc: how many slots a class must have; None for any number, the same for all.
        """
        if self.expansion not in EXPANSIONS:
            known = ", ".join(EXPANSIONS)
            raise DataError(f"there is no expansion {self.expansion[:40]!r}: known are {known}")
        for name, tensor in self.tensors.items():
            if tensor.dtype != torch.float32:
                raise DataError(f"{name!r} is {tensor.dtype}, not float32")
        points = EXPANSIONS[self.expansion](self.tensors)
        slots, classes = len(points), len(class_names)
        if slots % classes or not slots or ppc not in (None, slots // classes):
            wanted = "as many" if ppc is None else f"{ppc}"
            raise DataError(f"{slots} slots are not {wanted} of each of {classes} classes")
        labels = torch.arange(classes, device=points.device).repeat_interleave(slots // classes)
        return PointClouds(points.flatten(0, 1), labels.repeat_interleave(points.shape[1]), class_names)

    def to(self, device: torch.device | str) -> Stored:
        """The same on a device, apart from any graph."""
        return Stored(self.expansion, {name: t.detach().to(device) for name, t in self.tensors.items()})


def morph(tensors: Mapping[str, Tensor]) -> Tensor:
    """Anchors and their mixtures (3DDP, ICLR 2026): anchors (S, M, n, 3), weights (S, L, M − 1).

    Gives (S, M + L, n, 3), of every slot the M anchors first. Mixture l is Σ_j softmax(w_l, 0)_j · anchor_j,
    point by point: the last weight of the softmax is 0, so that M − 1 numbers are all that a mixture takes.
    """
    anchors, weights = _shaped(tensors, {"anchors": 4, "weights": 3})
    slots, count, points = anchors.shape[:3]
    wanted = (slots, count, points, 3), (slots, weights.shape[1], count - 1)
    if (anchors.shape, weights.shape) != wanted or not count or not points:
        shapes = f"anchors {tuple(anchors.shape)} and weights {tuple(weights.shape)}"
        raise DataError(f"{shapes} are not (S, M, n, 3) and (S, L, M - 1)")
    if slots * (count + weights.shape[1]) * points * 3 > MOST_VALUES:
        raise DataError(f"an expansion makes more than {MOST_VALUES} coordinates")
    shares = torch.cat([weights, weights.new_zeros(*weights.shape[:2], 1)], 2).softmax(2)  # (S, L, M)
    mixtures = torch.bmm(shares, anchors.flatten(2)).unflatten(2, (points, 3))
    return torch.cat([anchors, mixtures], 1)


def _shaped(tensors: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> list[Tensor]:
    """The tensors of these names; DataError for others, or for another number of axes."""
    if tensors.keys() != dimensions.keys():
        raise DataError(f"the stored tensors are {sorted(tensors)} instead of {sorted(dimensions)}")
    for name, axes in dimensions.items():
        tensor = tensors[name]
        if tensor.dim() != axes:
            raise DataError(f"{name!r} is {tuple(tensor.shape)} instead of having {axes} axes")
    return [tensors[name] for name in dimensions]


EXPANSIONS: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]] = {"morph": morph}
"""By the name of an expansion: tensors -> points of the clouds of every slot, (S, C, n, 3), S = K · PPC."""
