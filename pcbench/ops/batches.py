"""Batches by class: which clouds are drawn, for all classes at once, and how much is worked on together."""

from __future__ import annotations

import torch
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError
from pcbench.seeds import Streams

CHUNK_POINTS = 1 << 14
"""Points that go through a network at once: 64 MiB for a float32 layer of 1024 channels."""


class ClassIndex:
    """Where the clouds of every class stand in a labelled set, so that draws touch all classes at once.

    counts: clouds per class, (K,) int64. Raises DataError for a class without clouds.
    """

    def __init__(self, clouds: PointClouds) -> None:
        labels = clouds.labels.cpu()
        self.class_names = clouds.class_names
        self.counts = torch.bincount(labels, minlength=clouds.classes)
        if int(self.counts.min()) == 0:
            raise DataError(
                f"class {self.class_names[int(self.counts.argmin())]!r} has no training cloud: "
                "leave the class out or add clouds to it"
            )
        self._order = labels.argsort(stable=True)
        self._start = self.counts.cumsum(0) - self.counts

    def require(self, per_class: int, what: str) -> None:
        """Raise UsageError unless every class has `per_class` clouds; `what` names the setting that asks."""
        smallest = int(self.counts.argmin())
        available = int(self.counts[smallest])
        if available < per_class:
            raise UsageError(
                f"class {self.class_names[smallest]!r} has {available} training clouds, "
                f"fewer than {what} = {per_class}: choose {what} of at most {available}"
            )

    def draw(self, per_class: int, generator: torch.Generator, what: str) -> Tensor:
        """Indices (K, per_class) int64 of clouds drawn uniformly without replacement within every class.

        Floyd's algorithm (Bentley and Floyd 1987): the cost does not grow with the number of clouds. Raises
        UsageError as `require` does.
        """
        self.require(per_class, what)
        uniform = torch.rand(len(self.counts), per_class, dtype=torch.float64, generator=generator)
        drawn = torch.empty(len(self.counts), per_class, dtype=torch.int64)
        for i in range(per_class):
            last = self.counts - per_class + i
            candidate = (uniform[:, i] * (last + 1)).long()
            taken = (drawn[:, :i] == candidate.unsqueeze(1)).any(1)
            drawn[:, i] = torch.where(taken, last, candidate)
        return self._order[self._start.unsqueeze(1) + drawn]

    def table(self) -> Tensor:
        """Indices of every class's clouds in ascending order, (K, largest class) int64, padded with -1."""
        column = torch.arange(int(self.counts.max()))
        inside = column < self.counts.unsqueeze(1)
        position = (self._start.unsqueeze(1) + column).where(inside, torch.zeros((), dtype=torch.int64))
        return self._order[position].where(inside, torch.tensor(-1))


class RealBatches:
    """Fresh batches of training clouds for every iteration, drawn for a parameter by a stream of its name."""

    def __init__(self, clouds: PointClouds, streams: Streams) -> None:
        self.clouds, self.streams = clouds, streams
        self.index = ClassIndex(clouds)

    def draw(self, parameter: str, iteration: int, per_class: int) -> Tensor:
        """Clouds (K, per_class, N, 3), each at most once in a batch; raises UsageError for a small class."""
        stream = self.streams.stream(parameter, iteration=iteration)
        index = self.index.draw(per_class, stream, parameter)
        return self.clouds.points[index.to(self.clouds.points.device)]


def chunks(groups: int, points: int) -> list[slice]:
    """Consecutive slices of `groups` groups of `points` points: at most CHUNK_POINTS, at least one group."""
    size = max(1, CHUNK_POINTS // points)
    return [slice(start, start + size) for start in range(0, groups, size)]
