"""What all tests share: a cache of their own, one small data set, and the built-in PointNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from pcbench import plugins
from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.seeds import Streams

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache, data or plugins."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.delenv("PCBENCH_DATA", raising=False)
        patch.delenv("PCBENCH_PLUGINS", raising=False)
        yield folder


@pytest.fixture(scope="session")
def pointnet() -> type[Backbone]:
    return plugins.backbones().load("pointnet")


@pytest.fixture(scope="session")
def few_clouds() -> PointClouds:
    """Nine clouds of 32 points in three classes, easily told apart by their proportions."""
    generator = Streams({"test": "few clouds"}).stream("points")
    scale = torch.tensor([[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.6, 0.6, 0.6]])
    points = torch.randn(9, 32, 3, generator=generator) * scale.repeat(3, 1).unsqueeze(1)
    return PointClouds(points, torch.arange(3).repeat(3), ("long", "tall", "round")).normalised()
