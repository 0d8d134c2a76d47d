"""A method sees the training clouds alone: nothing leads further, what it reaches for is refused."""

from __future__ import annotations

import functools
import threading
import types
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
from pcbench.datasets.store import cache_root, data_root, splits_hash
from pcbench.engine import guard
from pcbench.engine.distil import Outcome, execute
from pcbench.engine.guard import MethodFault, Trespass
from pcbench.engine.plan import Cell, Request, cells

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


def outcome_of(cell: Cell, act: Callable[[Task], object], out: Path) -> Outcome:
    report = functools.partial(lambda phase, done, total: None)
    return execute(replace(cell, method=method_that(act)), out, torch.device("cpu"), report)


def reason(cell: Cell, act: Callable[[Task], object], out: Path) -> str:
    outcome = outcome_of(cell, act, out)
    assert outcome.run.evaluations == ()
    assert outcome.run.distillation.status == "failed"
    return outcome.run.distillation.reason


def ways_on(value: object) -> list[object]:
    """What a value leads to: closures, bound objects, partials, attributes and members; no globals."""
    on: list[object] = []
    if isinstance(value, types.FunctionType):
        on += [cell.cell_contents for cell in value.__closure__ or ()]
        on += [value.__defaults__, value.__kwdefaults__]
    elif isinstance(value, types.MethodType):
        on += [value.__self__, value.__func__]
    elif isinstance(value, functools.partial):
        on += [value.func, value.args, value.keywords]
    elif isinstance(value, dict | types.MappingProxyType):
        on += [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        on += list(value)
    if isinstance(value, type):
        on += [*value.__bases__, *value.__subclasses__()] if value is not object else []
    if isinstance(value, Tensor):
        on += [value._base, value.grad]
    on += [getattr(value, slot) for slot in getattr(type(value), "__slots__", ()) if hasattr(value, slot)]
    attributes = getattr(value, "__dict__", None)
    return [*on, attributes] if attributes is not None else on


def reachable(start: object) -> list[object]:
    seen: dict[int, object] = {}
    waiting = [start]
    while waiting:
        value = waiting.pop()
        plain = isinstance(value, types.ModuleType | str | bytes | int | float | type(None))
        foreign = isinstance(value, type) and not value.__module__.startswith(("pcbench", "_pcbench", "test"))
        if plain or foreign or id(value) in seen:
            continue
        seen[id(value)] = value
        waiting += ways_on(value)
    return list(seen.values())


def memory(tensor: Tensor) -> bytes:
    """All bytes of the memory that a tensor is a view of."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy().tobytes()


@pytest.mark.parametrize("views", [False, True])
def test_no_way_leads_from_a_task_to_the_test_clouds(cell: Cell, tmp_path: Path, views: bool) -> None:
    """Also where a data set's splits are two views of one tensor."""
    if views:
        both = torch.cat([cell.evaluation.splits.train.points, cell.evaluation.splits.test.points])
        train = replace(cell.evaluation.splits.train, points=both[: len(cell.evaluation.splits.train)])
        test = replace(cell.evaluation.splits.test, points=both[len(cell.evaluation.splits.train) :])
        splits = replace(
            cell.evaluation.splits, train=train, test=test, content_hash=splits_hash(train, test)
        )
        cell = replace(cell, evaluation=replace(cell.evaluation, splits=splits))
    tasks: list[Task] = []
    outcome = outcome_of(cell, tasks.append, tmp_path)
    assert outcome.problem == ""
    found = reachable(tasks[0])
    held = b"".join(memory(value) for value in found if isinstance(value, Tensor))
    bytes_of = [
        clouds.points[k].numpy().tobytes()
        for clouds in (cell.evaluation.splits.train, cell.evaluation.splits.test)
        for k in (0, 250, -1)
    ]
    assert [cloud in held for cloud in bytes_of] == [True] * 3 + [False] * 3
    assert not any(isinstance(value, Cell) or value is cell.evaluation.splits for value in found)


def test_the_walk_finds_what_a_closure_hides() -> None:
    secret = torch.zeros(2)

    class Holder:
        def __init__(self) -> None:
            self.inner = functools.partial(lambda x: secret, {"a": [1]})

        def bound(self) -> None:
            pass

    assert any(value is secret for value in reachable({"report": Holder().bound}))


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

    outcome = execute(
        replace(cell, method=Eager(MethodParams())), tmp_path, torch.device("cpu"), lambda *_: None
    )
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
    given = guard.checked(method, Snapshot(0, task.train), task, [])
    assert given.clouds.labels.tolist() == [0, 1, 0, 1, 0, 1]
    guard.check_complete(method, [given], task)
    with pytest.raises(MethodFault, match="gives 0 alone"):
        guard.check_complete(method, [given, Snapshot(1, task.train)], task)
    part = task.train.select(torch.arange(4))
    with pytest.raises(MethodFault, match="not the training split"):
        guard.checked(method, Snapshot(0, part), task, [])


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
    assert guard.checked(Giving(), Snapshot(0, right), task, []).iteration == 0
    with pytest.raises(MethodFault, match=why):
        guard.checked(Giving(), Snapshot(0, change(right)), task, [])


def test_a_trespass_is_a_fault_of_the_method() -> None:
    assert issubclass(Trespass, MethodFault)


def test_a_method_that_forgets_to_yield_is_told_so(cell: Cell, tmp_path: Path) -> None:
    class Forgetful(Method):
        """Learns and gives nothing."""

        name = "forgetful"

        def distill(self, task: Task) -> Iterator[Snapshot]:
            task.initial_clouds()

    method = Forgetful(MethodParams())
    outcome = execute(replace(cell, method=method), tmp_path, torch.device("cpu"), lambda *_: None)
    assert "distill gives nothing: yield a Snapshot, or yield from task.learn(...)" in str(outcome.problem)
