"""Two classes and few clouds stand in for a cell: one trial for all data sets, draws and repetitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from built_in import CATALOGUE

from pcbench.engine import machine
from pcbench.engine.apart import MethodFailed
from pcbench.engine.cell import Cell
from pcbench.engine.estimates import order, stand_ins, trials
from pcbench.engine.estimates.steps import BRISK, DistilTrial, Pace, StudentTrial
from pcbench.engine.plan import Request, cells

CPU = torch.device("cpu")


def planned(method: str = "dm", *ppcs: int, **asked: object) -> list[Cell]:
    request = Request((method,), ("shapes10",), ppcs or (1,), protocol="lite", settings={"points": 16})
    return cells(CATALOGUE, replace(request, **asked))  # type: ignore[arg-type]


def test_a_stand_in_is_the_same_whatever_data_set_draw_and_repetition() -> None:
    (cell,) = planned()
    small = stand_ins.inputs_of(cell.inputs)
    for other in (
        planned(datasets=("shapes10_rotated",)),
        planned(repetition=3),
        planned(draw="per-ppc"),
    ):
        assert stand_ins.inputs_of(other[0].inputs).key == small.key
        assert stand_ins.work(other[0].inputs) == stand_ins.work(cell.inputs)
    for other in (planned("m3d"), planned("dm", 3), planned(settings={"points": 32}), planned("dm:paper")):
        assert stand_ins.inputs_of(other[0].inputs).key != small.key
        assert stand_ins.work(other[0].inputs) != stand_ins.work(cell.inputs)


def test_a_stand_in_has_two_classes_few_clouds_and_few_students() -> None:
    (cell,) = planned("dm", 20)
    small = stand_ins.of_cell(cell, threads=1)
    assert small.evaluation.splits.train.counts().tolist() == [20, 20]
    assert small.evaluation.splits.train.points_per_cloud == 16
    assert small.evaluation.splits.test.counts().tolist() == [2, 2]
    assert (small.evaluation.protocol.students, cell.evaluation.protocol.students) == (2, 5)
    assert stand_ins.of_cell(cell, threads=4).evaluation.protocol.students == 4
    assert stand_ins.of_cell(cell, threads=1, train=stand_ins.MORE).evaluation.splits.train.counts()[0] == 256
    assert (small.inputs.whole.batch, small.evaluation.protocol.recipe.batch) == (32, 8)
    (paper,) = planned(protocol="paper", settings={})
    at_paper = stand_ins.of_cell(paper, threads=1)
    assert (at_paper.inputs.whole.batch, at_paper.evaluation.protocol.recipe.batch) == (8, 4)
    assert small.inputs.whole.epochs == cell.inputs.whole.epochs


class Timed(trials.Trials):
    """Trials that take no time."""

    seen: list[tuple[str, int, bool]]
    """The data set, the training clouds, and whether it was at the pace of a stand-in."""
    step = 0.01
    """Seconds of a step, and of what precedes it."""
    needed = 0
    """Training clouds without which the method fails."""

    def _measure(self, cell: Cell, _: float, pace: Pace) -> None:
        train = cell.evaluation.splits.train
        self.seen.append((cell.inputs.data.name, len(train), pace is BRISK))
        if len(train) < self.needed:
            raise MethodFailed("so few clouds")
        distil = DistilTrial(
            before=self.step, step=self.step, host_bytes=1, set_bytes=1, clouds=2 * cell.inputs.ppc,
            points=16, iterates=True, start=0.0, prepared=0.0, classes=train.classes, train=len(train),
        )  # fmt: skip
        students = StudentTrial(
            step=0.001, batch=8, tested=0.001, host_bytes=2, device_bytes=None, idle_bytes=1, students=2
        )
        self._write(self._distillation(cell.inputs), distil)
        self._write(self._students(cell, trials._taught(cell, distil), 16), students)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Timed]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def made(device: str = "cpu", **how: float) -> Timed:
        there = Timed(CPU, machine.hardware(CPU).model_copy(update={"device": device}))
        for name, value in {"seen": [], **how}.items():
            object.__setattr__(there, name, value)
        return there

    return made


def test_where_a_stand_ins_steps_are_quick_the_cells_own_are_timed_too(timed: Callable[..., Timed]) -> None:
    (cell,) = planned()
    there = timed()
    assert there.lacks(cell)
    there.measure_soon(cell, 4.0)
    assert there.seen == [("stand-in", 32, True)]  # of others, too, before any is timed itself
    assert there.lacks(cell)
    there.measure_soon(cell, 4.0)
    assert there.seen == [("stand-in", 32, True), ("shapes10", 1000, False)]
    assert not there.lacks(cell)


def test_where_they_are_slow_the_stand_in_is_all(timed: Callable[..., Timed]) -> None:
    """A fifth of a second, and a second for ten classes: three of these are not waited for."""
    (cell,), (other,) = planned(), planned(datasets=("shapes10_rotated",))
    there = timed(step=0.2)
    there.measure_soon(cell, 4.0)
    assert there.seen == [("stand-in", 32, True)]
    assert not there.lacks(cell)
    assert not there.lacks(other)


def test_a_method_that_refuses_so_few_clouds_gets_more(timed: Callable[..., Timed]) -> None:
    (cell,) = planned()
    there = timed(step=0.2, needed=100)
    there.measure_soon(cell, 4.0)
    assert there.seen == [("stand-in", 32, True), ("stand-in", 512, True)]
    with pytest.raises(MethodFailed):
        timed(needed=1000).measure_soon(planned("m3d")[0], 4.0)


def test_what_was_stopped_within_an_update_is_tried_again(timed: Callable[..., Timed]) -> None:
    """The machine may have been busy; what it said counts until then."""
    (cell,) = planned()
    there = timed(step=0.2)
    there.measure_soon(cell, 4.0)
    known = there.of_stand_in(cell.inputs)
    assert known is not None
    stopped = known.model_copy(update={"at_least": True})
    there._write(there._distillation(stand_ins.inputs_of(cell.inputs)), stopped)
    assert there.lacks(cell)


def test_on_a_gpu_nothing_stands_in(timed: Callable[..., Timed]) -> None:
    (cell,) = planned()
    there = timed("cuda")
    assert there.lacks(cell)
    there.measure_soon(cell, 4.0)
    assert there.seen == [("shapes10", 1000, False)]
    assert not there.lacks(cell)


def test_what_tells_of_most_cells_is_timed_first() -> None:
    """dm on two data sets and m3d on one: smallest PPC, largest, what lies between, then what is alike."""
    both = ("shapes10", "shapes10_rotated")
    asked = [*planned("m3d", 1, 3, 10), *planned("dm", 1, 3, 10, datasets=both)]
    words = [f"{c.inputs.method} {c.inputs.ppc} {c.inputs.data.name}" for c in order.by_use(asked)]
    assert words[:4] == ["dm 1 shapes10", "m3d 1 shapes10", "dm 10 shapes10", "m3d 10 shapes10"]
    assert words[4:6] == ["dm 3 shapes10", "m3d 3 shapes10"]
    assert sorted(words[6:]) == [f"dm {ppc} shapes10_rotated" for ppc in (1, 10, 3)]
