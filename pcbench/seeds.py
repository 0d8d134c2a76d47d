"""Named axes to independent random streams: no seed is picked by hand and no global generator is used.

A stream is identified by what it is for, as in {dataset: shapes10, ppc: 1, repetition: 0, purpose: init}. Two
streams that differ in any axis are independent; adding an axis value (a method, a repetition) shifts no other
stream. All generators live on the CPU, so that a run draws the same numbers whatever device it computes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from pcbench.common.files import canonical_json

Axis: TypeAlias = str | int


def seed_of(axes: Mapping[str, Axis]) -> int:
    """The first 63 bits of SHA-256 over the axes in canonical JSON; the order of the axes does not matter."""
    text = canonical_json(dict(axes)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Streams:
    """A family of random streams that share some axes."""

    axes: Mapping[str, Axis]

    def within(self, **axes: Axis) -> Streams:
        """The family with further axes; naming an axis that is already fixed raises ValueError."""
        taken = sorted(self.axes.keys() & axes.keys())
        if taken:
            raise ValueError(f"axis {taken[0]!r} is already fixed to {self.axes[taken[0]]!r}")
        return Streams({**self.axes, **axes})

    def stream(self, purpose: str, **axes: Axis) -> torch.Generator:
        """A fresh generator for one purpose, always at its beginning: two calls draw the same numbers."""
        return torch.Generator().manual_seed(seed_of(self.within(purpose=purpose, **axes).axes))
