"""What all tests share: a cache of their own, a small data set, the built-in PointNet, and the command."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import typer.main
import typer.testing
from built_in import CATALOGUE
from hypothesis import settings

from benchmarks import slurm
from pcbench.api import Backbone
from pcbench.cli.main import main
from pcbench.clouds import PointClouds
from pcbench.seeds import Streams

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


CHROMIUM = shutil.which("chromium")
GET_CHROMIUM = "apt-get install --no-install-recommends chromium"
SLURM = not slurm.missing()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="no Chromium is an error, not a reason to leave tests out",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-browser") and not CHROMIUM:
        raise pytest.UsageError(f"--require-browser, and there is no chromium: {GET_CHROMIUM}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu`, `browser` or `slurm` are left out, and counted as such, where there is none.

    Files with tests marked `slow` come first: the last file that is begun has one core to itself.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    absent = {"gpu": not torch.cuda.is_available(), "browser": not CHROMIUM, "slurm": not SLURM}
    without = [item for item in items if any(absent.get(mark.name) for mark in item.iter_markers())]
    left_out = set(without)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=without)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not CHROMIUM:
        terminalreporter.write_line(f"no chromium: the tests in a browser were left out ({GET_CHROMIUM})")
    if not SLURM:
        terminalreporter.write_line(f"no Slurm: the tests on a cluster were left out (root, {slurm.GET})")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache, data or plugins."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.delenv("PCBENCH_DATA", raising=False)
        patch.delenv("PCBENCH_PLUGINS", raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def nothing_is_timed_unasked() -> Iterator[None]:
    """Dry runs time no first steps, but where a test wants it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pcbench.cli.estimating.UNASKED", 0.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def commands_are_described_once() -> Iterator[None]:
    """Typer reads every command's annotations at each call: a twentieth of a second, thousands of times."""
    described = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", described)
        patch.setattr("typer.testing._get_command", described)
        yield


@pytest.fixture(scope="session")
def pointnet() -> type[Backbone]:
    return CATALOGUE.backbones.load("pointnet")


@pytest.fixture(scope="session")
def few_clouds() -> PointClouds:
    """Nine clouds of 32 points in three classes, easily told apart by their proportions."""
    generator = Streams({"test": "few clouds"}).stream("points")
    scale = torch.tensor([[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.6, 0.6, 0.6]])
    points = torch.randn(9, 32, 3, generator=generator) * scale.repeat(3, 1).unsqueeze(1)
    return PointClouds(points, torch.arange(3).repeat(3), ("long", "tall", "round")).normalised()


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def pcbench(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Done]:
    """Call `pcbench` with the given words in an empty folder; its lines are as long as they need to be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["pcbench", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1 if leave.code else 0
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call
