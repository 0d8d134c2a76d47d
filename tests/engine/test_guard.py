"""A method sees the training clouds alone: nothing leads further, what it reaches for is refused."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from built_in import CATALOGUE
from torch import Tensor

from pcbench.api import Method, MethodParams, PointClouds, Snapshot, Task
from pcbench.clouds import save_clouds
from pcbench.datasets.store import cache_root, data_root
from pcbench.engine import guard, methods
from pcbench.engine.cell import Cell
from pcbench.engine.distil import Outcome, execute
from pcbench.engine.guard import MethodFault, Trespass
from pcbench.engine.plan import Request, cells

TINY = {"points": "16", "iterations": "1", "recipe.epochs": "1", "whole.epochs": "1"}


@pytest.fixture(scope="module")
def cell() -> Cell:
    request = Request(("random",), ("shapes10",), (1,), protocol="quick", students=1, settings=TINY)
    (made,) = cells(CATALOGUE, request)
    return made


def first_of_each(clouds: PointClouds) -> PointClouds:
    return clouds.select(
        torch.tensor([int((clouds.labels == k).nonzero()[0]) for k in range(clouds.classes)])
    )


def method_that(act: Callable[[Task], object]) -> Method:
    """A method that does something before it gives the first cloud of every class."""

    class Acting(Method):
        """Does what it is told."""

        name = "acting"

        def distill(self, task: Task) -> Iterator[Snapshot]:
            act(task)
            yield Snapshot(0, first_of_each(task.train))

    return Acting(MethodParams())


def outcome_with(cell: Cell, method: Method, out: Path) -> Outcome:
    """What becomes of a cell whose method is this one, in the process of the test."""
    report = functools.partial(lambda phase, done, total: None)
    choice = replace(cell.method, name=method.name, whole=method.whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "instance", lambda *_: method)
        return execute(replace(cell, method=choice), out, torch.device("cpu"), report, in_process=True)


def outcome_of(cell: Cell, act: Callable[[Task], object], out: Path) -> Outcome:
    return outcome_with(cell, method_that(act), out)


def reason(cell: Cell, act: Callable[[Task], object], out: Path) -> str:
    outcome = outcome_of(cell, act, out)
    assert outcome.run.evaluations == ()
    assert outcome.run.distillation.status == "failed"
    return outcome.run.distillation.reason


def test_what_a_method_does_to_its_clouds_reaches_no_one_else(cell: Cell, tmp_path: Path) -> None:
    before = cell.evaluation.splits.train.content_hash()
    assert outcome_of(cell, lambda task: task.train.points.zero_(), tmp_path).problem == ""
    assert cell.evaluation.splits.train.content_hash() == before


def load(_: Task) -> None:
    CATALOGUE.datasets.load("shapes10")().load(16)


def load_and_hide_the_error(task: Task) -> None:
    try:
        load(task)
    except Exception:  # noqa: BLE001
        return


def load_in_a_thread(task: Task) -> None:
    thread = threading.Thread(target=load_and_hide_the_error, args=(task,))
    thread.start()
    thread.join()


def load_and_raise_another_error(task: Task) -> None:
    try:
        load(task)
    except Exception as error:
        raise ValueError("something else") from error


def load_while_the_runner_serves(task: Task) -> None:
    def make(*_: Any) -> dict[str, Tensor]:
        load(task)
        return {"x": torch.zeros(1)}

    task.cached({}, make)


@pytest.mark.parametrize(
    "act",
    [
        load,
        load_and_hide_the_error,
        load_in_a_thread,
        load_and_raise_another_error,
        load_while_the_runner_serves,
    ],
)
def test_loading_a_data_set_is_refused_however_it_is_done(
    cell: Cell, tmp_path: Path, act: Callable[[Task], object]
) -> None:
    expected = "method 'acting' loaded data set 'shapes10': a method sees the training clouds alone"
    assert reason(cell, act, tmp_path) == expected
    CATALOGUE.datasets.load("shapes10")().load(16)


def test_work_before_the_first_snapshot_of_a_plain_function_is_guarded_too(
    cell: Cell, tmp_path: Path
) -> None:
    """A method whose `distill` is no generator does all its work when it is called."""

    class Eager(Method):
        """Gives a list."""

        name = "eager"

        def distill(self, task: Task) -> Iterator[Snapshot]:
            load(task)
            return iter([Snapshot(0, first_of_each(task.train))])

    outcome = outcome_with(cell, Eager(MethodParams()), tmp_path)
    assert "method 'eager' loaded data set 'shapes10'" in outcome.problem


def test_opening_a_file_of_the_store_is_refused(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for root in (data_root(), cache_root(), tmp_path / "link"):
        path = root / "modelnet40" / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        expected = f"method 'acting' opened {path.resolve()}: a method sees the training clouds alone"
        assert reason(cell, lambda _, path=path: path.read_text(), tmp_path / "out") == expected
        assert path.read_text() == ""


def test_opening_an_hdf5_file_is_refused_anywhere(cell: Cell, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.h5"
    save_clouds(path, cell.evaluation.splits.test)
    refused = f"method 'acting' opened {path}: a method sees the training clouds alone"
    assert reason(cell, lambda _: h5py.File(path), tmp_path / "out") == refused
    assert reason(cell, lambda _: h5py.h5f.open(str(path).encode()), tmp_path / "out") == refused
    with h5py.File(path) as file:
        assert "points" in file


def test_what_the_runner_serves_is_not_refused(cell: Cell, tmp_path: Path) -> None:
    """The trained network and cached tensors come through files of the cache, at first and again."""
    kept: list[Tensor] = []

    def served(task: Task) -> None:
        task.trained_network()
        kept.append(task.cached({"n": 1}, lambda streams, report: {"x": torch.full((2,), 0.5)})["x"])

    for out in ("one", "two"):
        assert outcome_of(cell, served, tmp_path / out).problem == ""
    assert torch.equal(kept[0], kept[1])


def test_other_files_may_be_opened_and_nothing_stays_behind(tmp_path: Path) -> None:
    load_before, open_before = CATALOGUE.datasets.load("shapes10").load, h5py.h5f.open
    with guard.guarded("x"):
        (tmp_path / "note").write_text("fine")
        with pytest.raises(RuntimeError, match="its own"), guard.guarded("y"):
            raise RuntimeError("its own")
        with guard.suspended():
            CATALOGUE.datasets.load("shapes10")().load(16)
    assert CATALOGUE.datasets.load("shapes10").load is load_before
    assert h5py.h5f.open is open_before
    with guard.suspended(), guard.resumed():
        CATALOGUE.datasets.load("shapes10")().load(16)


def test_an_interruption_passes_through_the_guard() -> None:
    with pytest.raises(KeyboardInterrupt), guard.guarded("x"):
        raise KeyboardInterrupt


class Giving(Method):
    """Gives what it was made with."""

    name = "giving"

    def __init__(self, *given: object) -> None:
        self.given = given

    def distill(self, task: Task) -> Iterator[Any]:  # noqa: ARG002
        yield from self.given


@pytest.mark.parametrize("given", [None, 3, (0, "clouds")])
def test_what_is_no_snapshot_is_a_fault(given: object) -> None:
    with pytest.raises(MethodFault, match=f"gave a {type(given).__name__} instead of a Snapshot"):
        list(guard.watched(Giving(given), task_of(few=1)))


def task_of(few: int, ppc: int = 1) -> Task:
    clouds = PointClouds(torch.arange(36.0).reshape(6, 2, 3), torch.arange(2).repeat(3), ("a", "b"))
    nothing: Any = None
    return Task(clouds, ppc, few, (0, few), torch.device("cpu"), nothing, nothing, nothing, nothing, nothing)


class Whole(Giving):
    """Claims to give the training split."""

    name = "everything"
    whole = True


def test_a_method_of_the_whole_split_gives_that_split_once() -> None:
    task = task_of(few=1, ppc=0)
    method = Whole()
    expected = guard.Expected.of(method, task)
    given = guard.checked(expected, Snapshot(0, task.train), [])
    assert given.clouds.labels.tolist() == [0, 1, 0, 1, 0, 1]
    guard.check_complete(expected, [0])
    with pytest.raises(MethodFault, match="gives 0 alone"):
        guard.check_complete(expected, [0, 1])
    part = task.train.select(torch.arange(4))
    with pytest.raises(MethodFault, match="not the training split"):
        guard.checked(expected, Snapshot(0, part), [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: replace(c, class_names=("b", "a")), "other classes"),
        (lambda c: replace(c, points=c.points[:, :1]), "1 points a cloud instead of 2"),
        (lambda c: c.select(torch.tensor([0, 0])), r"\[2, 0\] clouds per class instead of 1"),
    ],
)
def test_wrong_clouds_are_a_fault(change: Callable[[PointClouds], PointClouds], why: str) -> None:
    task = task_of(few=1)
    right = task.train.select(torch.tensor([0, 1]))
    expected = guard.Expected.of(Giving(), task)
    assert guard.checked(expected, Snapshot(0, right), []).iteration == 0
    with pytest.raises(MethodFault, match=why):
        guard.checked(expected, Snapshot(0, change(right)), [])


def test_a_trespass_is_a_fault_of_the_method() -> None:
    assert issubclass(Trespass, MethodFault)


def test_a_method_that_forgets_to_yield_is_told_so(cell: Cell, tmp_path: Path) -> None:
    class Forgetful(Method):
        """Learns and gives nothing."""

        name = "forgetful"

        def distill(self, task: Task) -> Iterator[Snapshot]:
            task.initial_clouds()

    method = Forgetful(MethodParams())
    outcome = outcome_with(cell, method, tmp_path)
    assert "distill gives nothing: yield a Snapshot, or yield from task.learn(...)" in str(outcome.problem)
