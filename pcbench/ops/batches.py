"""Batches by class: which clouds are drawn, for all classes at once, and how much is worked on together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError
from pcbench.seeds import Streams

CHUNK_POINTS = 1 << 14
"""Points that go through a network at once on a CPU: 64 MiB for a float32 layer of 1024 channels."""

POINT_BYTES = 1 << 15
"""What a GPU is planned to need for a point: eight float32 copies of a layer of 1024 channels."""

GPU_SHARE = 0.5
"""The part of a GPU's free memory that is planned with."""

T = TypeVar("T")


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


def groups_at_once(device: torch.device, on_cpu: int, group_bytes: int) -> int:
    """How many groups to work on together: `on_cpu` on a CPU, what its free memory takes on a GPU, or 1.

    group_bytes: what the work on one group needs, roughly; `in_chunks` mends a plan that was too bold.
    """
    if device.type == "cpu":
        return max(1, on_cpu)
    return max(1, int(GPU_SHARE * free_memory(device)) // group_bytes)


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that a tensor can have: free ones, and those that torch holds unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def in_chunks(work: Callable[[slice], T], groups: int, size: int) -> list[T]:
    """work(slice) for consecutive slices, of at most `size`, of groups that do not depend on one another.

    Where a slice is more than the GPU's memory takes, it is tried again by halves. Raises OutOfMemoryError
    with what to do where one group alone does not fit.
    """
    results: list[T] = []
    start = 0
    while start < groups:
        try:
            results.append(work(slice(start, min(start + size, groups))))
            start += size
            continue
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise torch.OutOfMemoryError(
                    "the GPU has too little free memory for the clouds of one class: end what else runs "
                    f"there, take fewer points or a smaller real batch, or the device cpu ({error})"
                ) from error
        size = -(-size // 2)  # outside the handler, which would keep the failed slice's tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results
