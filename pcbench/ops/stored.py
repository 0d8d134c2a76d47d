"""A synthetic set that is kept as parameters: its tensors, their bytes and hash, the clouds they stand for.

A method may learn fewer numbers than its clouds have, or other ones, and say more of a cloud than its class.
What it hands over, what is hashed and counted in bytes, is `Stored`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.common.files import canonical_json
from pcbench.errors import DataError
from pcbench.ops.expansions import DRAWN, EXPANSIONS, MOST_VALUES
from pcbench.ops.names import OWN

PROBABILITIES: Final = "probabilities"
"""The tensor (B, K) that says what students answer to each of the B clouds, in place of its class alone."""
CLOUD_WEIGHTS: Final = "cloud_weights"
"""The tensor (B,) that says how much each cloud counts in the students' loss; scaled to 1 in the mean."""
STUDENT_LR: Final = "student_lr"
"""The tensor () with the learning rate that students take instead of the recipe's."""
EXPANDED: Final = "expanded points"
"""The name, beside those of the tensors, of the points (S, C, n, 3) that a method's own expansion made."""
DTYPES: Mapping[torch.dtype, str] = {
    torch.float32: "<f4",
    torch.float16: "<f2",
    torch.int32: "<i4",
    torch.int16: "<i2",
    torch.int8: "|i1",
    torch.uint8: "|u1",
    torch.bool: "|b1",
}
"""The types of elements that may be stored, as NumPy spells them."""


@dataclass(frozen=True)
class Stored:
    """A synthetic set as its parameters; DataError where they are not such as the expansion takes."""

    expansion: str
    """What makes clouds of it: a name in `EXPANSIONS`, or `own`."""
    tensors: Mapping[str, Tensor] = field(repr=False)
    """Its numbers by name, of the shapes that the expansion says and the types in `DTYPES`.

    Beside those of the expansion there may be `probabilities`, `cloud_weights` and `student_lr`.
    """
    points: Tensor | None = field(default=None, repr=False)
    """What a method's own expansion made of the tensors, float32 (S, C, n, 3); None of the named ones."""

    @classmethod
    def of(cls, expansion: str, arrays: Mapping[str, Tensor]) -> Stored:
        """The set of which these are all `arrays`."""
        tensors = {name: tensor for name, tensor in arrays.items() if name != EXPANDED}
        return cls(expansion, tensors, arrays.get(EXPANDED))

    @property
    def arrays(self) -> dict[str, Tensor]:
        """All that is kept, by name: the tensors and then, of an own expansion, the points that it made."""
        return dict(self.tensors) if self.points is None else {**self.tensors, EXPANDED: self.points}

    @property
    def bytes(self) -> int:
        """What it takes to keep it, without names and shapes, and without what an own expansion made."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def soft(self) -> bool:
        """Whether students learn probabilities of the classes."""
        return PROBABILITIES in self.tensors

    @property
    def weighted(self) -> bool:
        """Whether clouds count differently in the students' loss."""
        return CLOUD_WEIGHTS in self.tensors

    @property
    def student_lr(self) -> float | None:
        """The learning rate of its students; None: the recipe's. DataError for what is none."""
        if STUDENT_LR not in self.tensors:
            return None
        rate = self.tensors[STUDENT_LR]
        if rate.dim() or not rate.is_floating_point() or not 0 < float(rate) < math.inf:
            raise DataError(f"{STUDENT_LR!r} is not one positive number")
        return float(rate)

    def described(self, clouds: PointClouds) -> dict[str, Any]:
        """What a record says of it beside its hash, by the fields of a snapshot there.

        clouds: what it expands to.
        """
        return {
            "expansion": self.expansion,
            "bytes": self.bytes,
            "trained_on": len(clouds),
            "trained_points": clouds.points_per_cloud,
            "soft": self.soft,
            "weighted": self.weighted,
            "student_lr": self.student_lr,
        }

    def content_hash(self) -> str:
        """SHA-256 over expansion, names, types and shapes, as canonical JSON, then the values: 64 digits.

        A shape stands without its type where that is float32; points of an own expansion come last.
        """
        tensors = dict(sorted(self.arrays.items(), key=lambda item: (item[0] == EXPANDED, item[0])))
        shapes = {name: _described(name, tensor) for name, tensor in tensors.items()}
        state = hashlib.sha256(canonical_json({"expansion": self.expansion, "tensors": shapes}).encode())
        for name, tensor in tensors.items():
            state.update(as_array(name, tensor).data)
        return state.hexdigest()

    def expand(self, class_names: tuple[str, ...], ppc: int | None = None) -> PointClouds:
        """The clouds that students train on, as many of every class, ordered by class.

        ppc: how many slots a class must have; None for any number, the same for all.
        """
        for name, tensor in self.tensors.items():
            _described(name, tensor)
        points = self._expanded()
        slots, classes = len(points), len(class_names)
        if slots % classes or not slots or ppc not in (None, slots // classes):
            wanted = "as many" if ppc is None else f"{ppc}"
            raise DataError(f"{slots} slots are not {wanted} of each of {classes} classes")
        labels = torch.arange(classes, device=points.device).repeat_interleave(len(points) // classes)
        count = slots * points.shape[1]
        return PointClouds(
            points.flatten(0, 1),
            labels.repeat_interleave(points.shape[1]),
            class_names,
            self._answers(count, classes),
            self._weights(count),
        )

    def redraw(self) -> Callable[[torch.Generator], Tensor] | None:
        """What draws the points (B, N, 3) of a student's clouds for an epoch, from a stream of the student's.

        None where the clouds are the same in every epoch. Clouds stand in the order of `expand`.
        """
        if self.expansion not in DRAWN:
            return None
        draw, tensors = DRAWN[self.expansion], self._for_expansion()
        return lambda generator: draw(tensors, generator).flatten(0, 1)

    def _for_expansion(self) -> dict[str, Tensor]:
        """The tensors that the expansion takes."""
        beside = (PROBABILITIES, CLOUD_WEIGHTS, STUDENT_LR)
        return {name: tensor for name, tensor in self.tensors.items() if name not in beside}

    def _expanded(self) -> Tensor:
        """Points of the clouds of every slot, (S, C, n, 3)."""
        if self.expansion == OWN:
            points = self.points
            if points is None or points.dtype != torch.float32 or points.dim() != 4 or not points.numel():
                raise DataError("an own expansion gives points, float32 (S, C, n, 3), beside its tensors")
            if points.numel() > MOST_VALUES:
                raise DataError(f"an expansion makes more than {MOST_VALUES} coordinates")
            return points
        if self.expansion not in EXPANSIONS:
            known = ", ".join([*EXPANSIONS, OWN])
            raise DataError(f"there is no expansion {self.expansion[:40]!r}: known are {known}")
        if self.points is not None:
            raise DataError(f"points beside the tensors are of an own expansion, not of {self.expansion}")
        return EXPANSIONS[self.expansion](self._for_expansion())

    def _answers(self, count: int, classes: int) -> Tensor | None:
        """Probabilities (B, K) that sum to one; None where students learn the classes."""
        if not self.soft:
            return None
        shares = self._floats(PROBABILITIES, (count, classes))
        sums = shares.sum(1, keepdim=True)
        if not bool((shares >= 0).all()) or not bool((sums > 0).all()):
            raise DataError(f"{PROBABILITIES!r} has rows that are no probabilities")
        return shares / sums

    def _weights(self, count: int) -> Tensor | None:
        """How much each cloud counts, (B,), 1 in the mean; None where all count alike."""
        if not self.weighted:
            return None
        weights = self._floats(CLOUD_WEIGHTS, (count,))
        if not bool((weights >= 0).all()) or not float(weights.sum()) > 0:
            raise DataError(f"{CLOUD_WEIGHTS!r} must not be negative, nor all zero")
        return weights / weights.mean()

    def _floats(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self.tensors[name]
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise DataError(f"{name!r} is {tensor.dtype} {tuple(tensor.shape)}, not floats {shape}")
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{name!r} holds a number that is not finite")
        return tensor.float()

    def to(self, device: torch.device | str) -> Stored:
        """The same on a device, apart from any graph."""
        return self._with(lambda tensor: tensor.detach().to(device))

    def copy(self) -> Stored:
        """The same in memory of its own, apart from any graph."""
        return self._with(lambda tensor: tensor.detach().clone())

    def _with(self, change: Callable[[Tensor], Tensor]) -> Stored:
        """The set with everything that is kept changed alike."""
        return Stored.of(self.expansion, {name: change(tensor) for name, tensor in self.arrays.items()})


def as_array(name: str, tensor: Tensor) -> NDArray[np.generic]:
    """A tensor as a file and the hash have it, little-endian; DataError for a type that is not stored."""
    if tensor.dtype not in DTYPES:
        listed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise DataError(f"{name!r} is {tensor.dtype}: what is stored is of {listed}")
    return np.asarray(tensor.detach().cpu().numpy(), DTYPES[tensor.dtype], order="C")


def _described(name: str, tensor: Tensor) -> list[int | str]:
    """The shape of a tensor, after its type where that is not float32."""
    spelled = [] if tensor.dtype == torch.float32 else [as_array(name, tensor).dtype.str]
    return [*spelled, *tensor.shape]
