"""Students in training are kept: an interrupted training goes on, to the same students, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from interruptions import cell_of, interrupted_at, reported_to
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.catalogue import open_catalogue
from pcbench.clouds import PointClouds
from pcbench.engine import distil as run
from pcbench.engine import machine, students, unfinished
from pcbench.engine.unfinished import Unfinished
from pcbench.protocols.protocol import Augmentation, Recipe
from pcbench.records.models import EvaluationRecord
from pcbench.seeds import Streams

CPU = torch.device("cpu")
STREAMS = [Streams({"test": "unfinished", "repetition": number}) for number in range(3)]
SMALL = {
    "points": "16",
    "iterations": "2",
    "snapshot_every": "2",
    "students": "2",
    "recipe.epochs": "6",
    "whole.epochs": "5",
}

AUGMENTATION = Augmentation(turn="y", jitter=0.1, drop=0.3)
RECIPES = {
    "dropped": Recipe(epochs=6, drop_after=1, batch=4),
    "about to drop": Recipe(epochs=6, drop_after=3, batch=4),
    "adam": Recipe(epochs=6, drop_after=5, batch=4, optimiser="adam", lr=1e-3),
    "augmented": Recipe(
        epochs=6, drop_after=5, batch=4, augmentation=Augmentation(turn="y", jitter=0.1, drop=0.3)
    ),
}


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file after every epoch."""
    monkeypatch.setattr(unfinished, "EVERY", 0.0)


class Halted(Exception):
    """What ends a training between two epochs."""


def halted_after(epochs: int) -> Callable[[int, int], None]:
    """A report that ends the training; the last epoch that it reports is not kept any more."""

    def report(done: int, _: int) -> None:
        if done == epochs + 1:
            raise Halted

    return report


def state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    assert state(ours).keys() == state(theirs).keys()
    for name, value in state(ours).items():
        assert torch.equal(value, state(theirs)[name]), name


def assert_goes_on(
    folder: Path,
    build: Callable[[torch.Generator], Backbone],
    clouds: PointClouds,
    recipe: Recipe,
    redraw: students.Redraw | None = None,
    stacks: int = 1,
) -> None:
    """Interrupted after four epochs, two epochs are left to do, and the students are the same."""

    def train(report: Callable[[int, int], None], keeper: Unfinished | None) -> Backbone:
        return students.train(
            build, clouds, recipe, STREAMS, report, redraw=redraw, stacks=stacks, keeper=keeper
        )

    with pytest.raises(Halted):
        train(halted_after(4), Unfinished(folder / "kept", {}, CPU))
    reported: list[int] = []
    keeper = Unfinished(folder / "kept", {}, CPU)
    network = train(lambda done, _: reported.append(done), keeper)
    assert reported == [4, 5, 6]
    assert_same(network, train(lambda *_: None, None))
    keeper.end()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_training_goes_on_to_the_same_students(pointnet, few_clouds, tmp_path: Path, recipe: str) -> None:
    assert_goes_on(tmp_path, lambda g: pointnet.build(3, "paper", g), few_clouds, RECIPES[recipe])


def test_a_training_of_a_set_that_is_drawn_anew_goes_on_with_its_streams(
    pointnet, few_clouds, tmp_path: Path
) -> None:
    def redraw(generator: torch.Generator) -> Tensor:
        return few_clouds.points + 0.1 * torch.randn(few_clouds.points.shape, generator=generator)

    recipe = RECIPES["dropped"]
    assert_goes_on(tmp_path, lambda g: pointnet.build(3, "paper", g), few_clouds, recipe, redraw)


@pytest.fixture(scope="module")
def plain_dgcnn() -> type[Backbone]:
    """A network of torch's own layers, as a user's file has it."""
    return open_catalogue([Path(__file__).parents[1] / "backbones"]).backbones.load("plain_dgcnn")


def test_a_training_of_plain_modules_goes_on_with_their_statistics_and_dropout(
    plain_dgcnn, few_clouds, tmp_path: Path
) -> None:
    def build(generator: torch.Generator) -> Backbone:
        return plain_dgcnn.build(3, "canonical", generator)

    assert_goes_on(tmp_path, build, few_clouds, RECIPES["dropped"])


def test_every_share_of_the_students_goes_on_from_where_it_stood(
    pointnet, few_clouds, tmp_path: Path
) -> None:
    """The second share may stand elsewhere than the first, and may even have its file lost."""
    recipe = RECIPES["dropped"]

    def train(report: Callable[[int, int], None], keeper: Unfinished | None) -> Backbone:
        return students.train(
            lambda g: pointnet.build(3, "paper", g), few_clouds, recipe, STREAMS, report, 1, 2, None, keeper
        )

    with pytest.raises(Halted):
        train(halted_after(4), Unfinished(tmp_path / "kept", {}, CPU))
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["kept-0.h5", "kept-1.h5"]
    (tmp_path / "kept-1.h5").unlink()
    reported: list[int] = []
    network = train(lambda done, _: reported.append(done), Unfinished(tmp_path / "kept", {}, CPU))
    assert reported == [4, 5, 6]
    assert_same(network, train(lambda *_: None, None))


SHARE = slice(0, 2)


def kept(folder: Path, **about: str) -> Unfinished:
    """Some students who have done seven epochs."""
    keeper = Unfinished(folder / "kept", about, CPU)
    assert keeper.left(SHARE) is None
    keeper.keep(SHARE, 7, lambda: {"value": torch.arange(1000.0)})
    return keeper


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    kept(tmp_path, clouds="some")
    left = Unfinished(tmp_path / "kept", {"clouds": "some"}, CPU).left(SHARE)
    assert left is not None
    assert left.epochs == 7
    assert torch.equal(left.state["value"], torch.arange(1000.0))


def test_other_clouds_students_and_damaged_files_begin_again(tmp_path: Path) -> None:
    kept(tmp_path, clouds="some")
    assert Unfinished(tmp_path / "kept", {"clouds": "others"}, CPU).left(SHARE) is None
    again = Unfinished(tmp_path / "kept", {"clouds": "some"}, CPU)
    assert again.left(slice(0, 3)) is None
    file = tmp_path / "kept-0.h5"
    whole = bytearray(file.read_bytes())
    file.write_bytes(whole[: len(whole) // 2])
    assert again.left(SHARE) is None
    file.write_bytes(b"no HDF5")
    assert again.left(SHARE) is None
    assert again.earlier.seconds == 0


def test_the_clock_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(0.0, 3600.0)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "now", lambda _: next(hours))
        kept(tmp_path)
    again = Unfinished(tmp_path / "kept", {}, CPU)
    again.left(SHARE)
    assert again.earlier.seconds == 3600
    assert 3600 <= again.clock.seconds < 3700


def test_nothing_is_written_before_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 3600.0)
    kept(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_too_large_is_not_kept_and_not_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "MOST", 3999)
    keeper = kept(tmp_path)
    assert not list(tmp_path.iterdir())

    def copied_again() -> dict[str, Tensor]:
        raise AssertionError

    keeper.keep(SHARE, 8, copied_again)


def test_a_disk_that_refuses_costs_no_more_than_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keeper = Unfinished(tmp_path / "file" / "kept", {}, CPU)
    keeper.left(SHARE)
    with pytest.warns(UserWarning, match="costs more"):
        keeper.keep(SHARE, 1, dict)


# Evaluations and feature networks


def evaluated(out: Path, report: Callable[[str, int, int], None]) -> EvaluationRecord:
    """The scores of the only snapshot of a random choice, as a user has them."""
    outcome = run.execute(cell_of("random", SMALL), out, CPU, report)
    assert not outcome.problem
    (record,) = outcome.run.evaluations
    return record


def in_training(out: Path) -> list[Path]:
    """The files of students in training below a folder."""
    return [file for folder in out.iterdir() for file in folder.glob("training-*.h5")]


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_scores(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluated(tmp_path / "one", interrupted_at("train students", 4))
    assert len(in_training(tmp_path / "one")) == 1
    done: list[int] = []
    record = evaluated(tmp_path / "one", reported_to(done, "train students"))
    assert done == [3, 4, 5, 6]
    assert not in_training(tmp_path / "one")
    whole = evaluated(tmp_path / "two", lambda *_: None)
    assert record.snapshots == whole.snapshots
    assert record.predictions == whole.predictions


def test_an_interrupted_feature_network_goes_on_and_its_time_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase, cell = "train feature network", cell_of("herding", SMALL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "one"
    folder.mkdir()
    hours = itertools.count(0.0, 3600.0)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "now", lambda _: next(hours))
        with pytest.raises(KeyboardInterrupt):
            run.distil(cell, folder, CPU, interrupted_at(phase, 4))
    done: list[int] = []
    record = run.distil(cell, folder, CPU, reported_to(done, phase))
    assert done == [3, 4, 5]
    assert record.seconds >= 3600
    assert not list((tmp_path / "cache").rglob("training/*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    (tmp_path / "two").mkdir()
    undisturbed = run.distil(cell, tmp_path / "two", CPU, lambda *_: None)
    assert [each.clouds for each in record.snapshots] == [each.clouds for each in undisturbed.snapshots]
