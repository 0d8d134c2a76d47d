"""Which training clouds a synthetic set starts from: draws by name, reproducible on every machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError, did_you_mean
from pcbench.ops.batches import ClassIndex
from pcbench.ops.names import DRAWS as DRAWS
from pcbench.ops.names import Draw as Draw
from pcbench.seeds import Streams

AUTHORS_SEED = 1999
"""What SADM's public code seeds numpy with, once, before it goes through the classes."""


def named(name: str) -> Draw:
    """The draw of that name; UsageError with the nearest names if there is none."""
    for draw in DRAWS:
        if draw == name:
            return draw
    raise UsageError(f"unknown draw {name!r}. {did_you_mean(name, DRAWS)}")


def nested(clouds: PointClouds, ppc: int, streams: Streams) -> Tensor:
    """Indices (K · ppc,) of training clouds: the first `ppc` of a permutation of every class, in label order.

    streams: without an axis for the PPC, so that every PPC begins the same permutations; the stream is
    `init`. Raises UsageError for a class with fewer clouds.
    """
    ClassIndex(clouds).require(ppc, "ppc")
    generator = streams.stream("init")
    chosen = [
        members[torch.randperm(len(members), generator=generator)[:ppc]] for members in _members(clouds)
    ]
    return torch.cat(chosen)


def authors(clouds: PointClouds, ppc: int, official_order: bool) -> Tensor:
    """Indices (K · ppc,) that the authors of SADM draw: numpy's legacy generator, seeded once with 1999.

    For every class in label order, the first `ppc` of a permutation of its clouds in the order of the
    official lists (yimjae0/SADM, commit db7e139; numpy keeps this generator's stream fixed). DataError where
    the copy of the data set is not in that order, UsageError for a class with fewer clouds.
    """
    if not official_order:
        raise DataError(
            "the authors' draw is of the official lists, in whose order this copy of the data set is not: "
            "import a copy that is, or choose the draw 'nested'"
        )
    ClassIndex(clouds).require(ppc, "ppc")
    generator = np.random.RandomState(AUTHORS_SEED)
    chosen = [generator.permutation(members.numpy())[:ppc] for members in _members(clouds)]
    return torch.from_numpy(np.concatenate(chosen))


def _members(clouds: PointClouds) -> list[Tensor]:
    """The clouds of every class by index, ascending, on the CPU."""
    labels = clouds.labels.cpu()
    return [(labels == label).nonzero().flatten() for label in range(clouds.classes)]
