"""A task built by hand: three classes of eight clouds of sixteen points, and a PointNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from pcbench.api import Backbone, Task
from pcbench.clouds import PointClouds
from pcbench.seeds import Streams


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Work this small is faster on one thread, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def training_clouds() -> PointClouds:
    generator = torch.Generator().manual_seed(11)
    scale = torch.tensor([[1.0, 0.3, 0.2], [0.2, 1.0, 0.4], [0.6, 0.5, 0.7]])
    points = torch.randn(24, 16, 3, generator=generator) * scale.repeat(8, 1).unsqueeze(1)
    return PointClouds(points, torch.arange(3).repeat(8), ("bed", "chair", "sofa")).normalised()


@pytest.fixture
def make_task(training_clouds: PointClouds, pointnet: type[Backbone]) -> Callable[..., Task]:
    def make(
        ppc: int = 1,
        snapshots: tuple[int, ...] = (0, 1),
        repetition: int = 0,
        train: PointClouds = training_clouds,
    ) -> Task:
        def network(generator: torch.Generator) -> Backbone:
            return pointnet.build(train.classes, "paper", generator)

        streams = Streams({"dataset": "hand-made", "ppc": ppc, "repetition": repetition})
        return Task(
            train=train,
            ppc=ppc,
            iterations=snapshots[-1],
            snapshots=snapshots,
            device=torch.device("cpu"),
            streams=streams,
            network=network,
            trained_network=lambda: network(streams.stream("trained")),
            cached=lambda inputs, make: dict(make(streams.within(level="cached"), lambda done, total: None)),
            report=lambda _: None,
        )

    return make
