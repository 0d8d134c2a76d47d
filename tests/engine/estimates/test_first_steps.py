"""First steps are timed, extrapolated and kept; nothing is asked of the plugin, and nothing else is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from built_in import CATALOGUE

from pcbench.api import Snapshot
from pcbench.catalogue import open_catalogue
from pcbench.engine import apart, machine, students
from pcbench.engine.cell import Cell
from pcbench.engine.estimates import first_steps, trials
from pcbench.engine.estimates.first_steps import try_distillation
from pcbench.engine.estimates.steps import CAREFUL, DistilTrial, Pace, StudentTrial, undisturbed
from pcbench.engine.estimates.trials import Trials
from pcbench.engine.plan import Request, cells
from pcbench.errors import PcbenchError
from pcbench.records.circumstances import Clock, Memory

CPU = torch.device("cpu")
SMALL = {"points": 16, "recipe.epochs": 30, "recipe.batch": 8}


def planned(method: str = "dm", ppc: int = 1, catalogue: object = CATALOGUE, **settings: object) -> Cell:
    asked = Request((method,), ("shapes10",), (ppc,), protocol="lite", students=2, settings=SMALL | settings)
    (cell,) = cells(catalogue, asked)  # type: ignore[arg-type]
    return cell


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock, and one of the processor, that stand still until a test moves them."""
    now = [100.0]
    monkeypatch.setattr(machine, "now", lambda _: now[0])
    monkeypatch.setattr(machine.Stopwatch, "_processor_now", lambda _: now[0])
    return now


def observer(cell: Cell, part: float = 1.0) -> first_steps._Observer:
    return first_steps._Observer(cell, cell.evaluation.splits.train, CPU, part, machine.Stopwatch(CPU))


def snapshot(cell: Cell, iteration: int) -> Snapshot:
    return Snapshot(iteration, cell.evaluation.splits.train.select(torch.arange(10)))


def test_a_step_is_what_lies_between_the_last_snapshots_that_are_far_enough_apart(clock: list[float]) -> None:
    """Begins after half a second, a first step of 1 s, then steps of 0.1 s: before the first is no step."""
    cell = planned(iterations=500)
    watching = observer(cell)
    for iteration, when in ((0, 100.5), (1, 101.5), (2, 101.6), (4, 101.8)):
        clock[0] = when
        watching.snapshot(snapshot(cell, iteration))
    clock[0] = 102.2
    with pytest.raises(first_steps._Enough):
        watching.snapshot(snapshot(cell, 8))
    trial = watching.trial(watching.watch.read())
    assert (trial.step, trial.before) == (pytest.approx(0.1), pytest.approx(1.5))
    assert trial.seconds(500) == pytest.approx(1.5 + 499 * 0.1)
    assert (trial.clouds, trial.points, trial.iterates) == (10, 16, True)
    assert trial.set_bytes == 10 * 16 * 12 + 10 * 8


def test_a_method_without_iterations_takes_what_it_took(clock: list[float]) -> None:
    cell = planned("herding")
    watching = observer(cell)
    clock[0] = 104.0
    watching.snapshot(snapshot(cell, 0))
    clock[0] = 105.0
    trial = watching.trial(watching.watch.read())
    assert (trial.before, trial.step, trial.iterates) == (5.0, 0.0, False)
    assert trial.seconds(1500) == 5.0


def test_the_network_that_a_method_asks_for_is_trained_for_some_steps_and_counts_in_full(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1000 clouds in batches of 8 for 60 epochs: 7500 steps of 0.25 s, less the 2 s that were spent."""
    cell = planned("herding", **{"whole.epochs": 60, "whole.batch": 8})
    network = students.stack([cell.evaluation.build(torch.Generator())])

    def trained(*_: object) -> tuple[object, float]:
        clock[0] += 2.0
        return network, 0.25

    monkeypatch.setattr(first_steps, "trained", trained)
    watching = observer(cell)
    assert all(values.shape for values in watching.trained_network().values())
    assert watching.spared == pytest.approx(7500 * 0.25 - 2.0)


def test_what_is_made_of_a_part_of_the_training_clouds_counts_for_all(clock: list[float]) -> None:
    watching = observer(planned("el2n"), part=0.25)

    def make() -> dict[str, torch.Tensor]:
        clock[0] += 3.0
        watching.report("prepare", 5, 10)  # however long that takes, now
        return {"scores": torch.zeros(3)}

    assert list(watching.cached({}, make)) == ["scores"]
    assert watching.spared == pytest.approx(9.0)


@pytest.mark.parametrize("iterates", [False, True])
def test_long_work_before_the_first_step_is_not_waited_for(clock: list[float], iterates: bool) -> None:
    """Four seconds for one of ten parts: the other nine will take as long."""
    watching = observer(planned("el2n"))
    if iterates:
        watching.snapshot(snapshot(watching.cell, 0))
    watching.report("prepare", 1, 10)
    clock[0] += CAREFUL.patience + 1
    watching.report("distil", 0, 500)
    with pytest.raises(first_steps._TooLong) as caught:
        watching.report("prepare", 2, 10)
    trial = caught.value.trial
    assert trial is not None
    assert trial.seconds(1500) == pytest.approx(10 * (CAREFUL.patience + 1))
    assert (trial.updates, trial.iterates, trial.clouds) == (False, iterates, 10)


LONG = DistilTrial(
    before=0,
    step=0,
    host_bytes=1,
    set_bytes=1,
    clouds=10,
    points=16,
    iterates=True,
    updates=False,
    start=0,
    prepared=0,
    classes=10,
    train=1000,
)


@pytest.mark.parametrize(("whole", "times"), [(30.0, 2), (500.0, 1)])
def test_fewer_clouds_are_tried_where_that_is_worth_its_while(
    monkeypatch: pytest.MonkeyPatch, whole: float, times: int
) -> None:
    """About half of the clouds are few: half of 30 s are waited for, half of 500 s are not."""
    sizes = []

    def observed(*given: object) -> DistilTrial:
        sizes.append(len(given[1]))  # type: ignore[arg-type]
        known = LONG.model_copy(update={"before": whole})
        raise first_steps._TooLong("prepares for long", known)

    monkeypatch.setattr(first_steps, "_observed", observed)
    trial = try_distillation(planned("dance"), CPU)
    assert (trial.before, trial.updates) == (whole, False)
    assert sizes == [1000, 520][:times]


def test_the_first_steps_of_a_method_and_of_its_students(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real ones: 500 iterations of dm are stopped after some, and no step is waited for twice."""
    monkeypatch.setattr(trials, "CAREFUL", Pace(patience=3.0, enough=0.02))
    seen: list[int] = []
    take = first_steps._Observer.snapshot

    def noted(self: first_steps._Observer, snapshot: Snapshot) -> None:
        seen.append(snapshot.iteration)
        take(self, snapshot)

    monkeypatch.setattr(first_steps._Observer, "snapshot", noted)
    there = trials.on(CPU)
    cell = planned(iterations=500)
    there.measure(cell)
    assert seen[:3] == [0, 1, 2]
    assert seen[-1] < 500
    trial = there.of_distillation(cell.inputs)
    assert trial is not None
    assert trial.step > 0
    assert 0 < trial.before < 30
    assert trial.host_bytes is None or trial.host_bytes > 50 << 20
    scored = there.of_students(cell, trial.clouds, trial.points)
    assert scored is not None
    assert (scored.batch, scored.device_bytes) == (8, None)
    assert min(scored.step, scored.tested) > 0
    count = len(seen)
    there.measure(cell)
    assert len(seen) == count


def stored(there: Trials, cell: Cell) -> None:
    """Let a cell have been tried."""
    trial = LONG.model_copy(update={"before": 1.0, "step": 0.5, "updates": True})
    there._write(there._distillation(cell.inputs), trial)


def test_a_trial_is_of_code_parameters_shape_and_machine_and_of_no_repetition() -> None:
    cell, there = planned("m3d"), trials.on(CPU)
    stored(there, cell)
    assert there.of_distillation(cell.inputs) is not None
    again = cell.inputs.model_copy(update={"repetition": 3, "iterations": 7, "snapshots": [0, 7]})
    assert there.of_distillation(again) is not None
    for change in ({"ppc": 2}, {"params": {"lr": 3}}, {"source": "0" * 64}):
        assert there.of_distillation(cell.inputs.model_copy(update=change)) is None
    other = there.hardware.model_copy(update={"name": "another"})
    assert replace(there, hardware=other).of_distillation(cell.inputs) is None


def test_a_trial_that_cannot_be_read_is_made_again() -> None:
    cell, there = planned("m3d", ppc=3), trials.on(CPU)
    stored(there, cell)
    there._distillation(cell.inputs).write_text('{"before": 1}')
    assert there.of_distillation(cell.inputs) is None


@pytest.mark.parametrize(
    ("threads", "processor", "seconds"),
    [(1, 9.9, 9.9), (1, 2.0, 2.0), (4, 39.0, 10.0), (4, 12.0, 5.0), (4, None, 10.0)],
)
def test_a_busy_machine_is_told_by_the_processor(
    threads: int, processor: float | None, seconds: float
) -> None:
    """Ten wall seconds: one thread alone works all the time, and four at least for 60 % of it."""
    there = machine.hardware(CPU).model_copy(update={"threads": threads, "cpu_cores": 8})
    clock = Clock(seconds=10.0, processor_seconds=processor)
    assert undisturbed(clock, there) == pytest.approx(seconds)
    gpu = there.model_copy(update={"device": "cuda"})
    assert undisturbed(clock, gpu) == 10.0


def test_students_take_a_step_for_every_batch_of_every_epoch() -> None:
    trial = StudentTrial(
        step=0.5, batch=8, tested=0.01, host_bytes=1, device_bytes=None, idle_bytes=0, students=2
    )
    assert trial.seconds(clouds=20, epochs=30, tests=100) == pytest.approx(0.5 * 2.5 * 30 + 1.0)


PREPARING = '''
"""A method that prepares for long."""

import time

import torch


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


from pcbench.api import Method, Snapshot


class Slow(Method):
    """Prepares for a millisecond a training cloud."""

    name = "slow"

    def distill(self, task):
        def make(streams, report):
            for done in range(len(task.train)):
                work(0.001)
                report(done, len(task.train))
            return {"nothing": torch.zeros(1)}

        points = task.initial_clouds().points.clone().requires_grad_()
        task.cached({}, make)
        yield from task.learn(
            lambda _: work(0.01),
            torch.optim.SGD([points]),
            lambda: task.initial_clouds(),
        )


class Fails(Method):
    """Fails at once."""

    name = "fails"

    def distill(self, task):
        raise RuntimeError("no such luck")
'''


@pytest.fixture
def plugins(tmp_path: Path) -> object:
    slow, fails = PREPARING.split("\n\nclass Fails")
    (tmp_path / "slow.py").write_text(slow)
    (tmp_path / "fails.py").write_text(f"from pcbench.api import Method\n\n\nclass Fails{fails}")
    return open_catalogue([tmp_path])


def test_where_preparing_is_long_fewer_training_clouds_stand_for_all(
    plugins: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1000 clouds of a millisecond and more: a second and a half at most, told from half of them."""
    sizes: list[int] = []
    distil = apart.distil

    def noted(*given: object) -> Memory:
        sizes.append(len(given[3].train))  # type: ignore[attr-defined]
        return distil(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(apart, "distil", noted)
    trial = try_distillation(planned("slow", catalogue=plugins), CPU, pace=Pace(0.2, 0.2))
    assert sizes == [1000, 520]
    assert 1.0 <= trial.before < 10
    assert 0.006 < trial.step < 0.03  # a step of ten milliseconds


def test_a_method_that_fails_cannot_be_timed(plugins: object) -> None:
    with pytest.raises(PcbenchError, match="no such luck"):
        try_distillation(planned("fails", catalogue=plugins), CPU)


def test_a_method_that_is_stopped_within_its_first_update_takes_at_least_that_long(
    clock: list[float],
) -> None:
    """It began after half a second, and an update after another half; three seconds later it was killed."""
    cell = planned(iterations=500)
    watching = observer(cell)
    clock[0] = 100.5
    watching.report("distil", 0, 500)
    clock[0] = 101.0
    watching.snapshot(snapshot(cell, 0))
    clock[0] = 104.0
    watching.stopped = watching.watch.read()
    trial = watching.within()
    assert trial is not None
    assert (trial.start, trial.step, trial.at_least) == (0.5, 3.0, True)


def test_one_step_tells_what_a_step_takes_where_there_was_no_time_for_two(clock: list[float]) -> None:
    cell = planned(iterations=500)
    watching = observer(cell)
    for iteration, when in ((0, 101.0), (1, 103.0)):
        clock[0] = when
        watching.snapshot(snapshot(cell, iteration))
    trial = watching.trial(watching.watch.read())
    assert (trial.before, trial.step) == (3.0, 2.0)


def test_a_method_that_is_stopped_while_it_prepares_tells_nothing_of_its_updates(clock: list[float]) -> None:
    cell = planned(iterations=500)
    watching = observer(cell)
    watching.snapshot(snapshot(cell, 0))

    def make() -> dict[str, torch.Tensor]:
        clock[0] += 4.0
        watching.stopped = watching.watch.read()
        raise apart.MethodFailed("killed")

    with pytest.raises(apart.MethodFailed):
        watching.cached({}, make)
    trial = watching.within()
    assert trial is not None
    assert (trial.before, trial.prepared, trial.step, trial.updates) == (4.0, 4.0, 0.0, False)


@pytest.mark.usefixtures("clock")
def test_a_network_is_trained_once_for_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = planned("herding")
    network, times = students.stack([cell.evaluation.build(torch.Generator())]), []

    def trained(*_: object) -> tuple[object, float]:
        times.append(1)
        return network, 0.25

    monkeypatch.setattr(first_steps, "trained", trained)
    one, two = observer(cell), observer(planned("kcenter"))
    two.networks = one.networks
    assert one.trained_network().keys() == two.trained_network().keys()
    assert len(times) == 1
    assert one.asked == two.asked > 0
