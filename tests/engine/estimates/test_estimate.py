"""Estimated times follow from records: the nearest comparable run, scaled by what is known, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from built_in import CATALOGUE

from pcbench.engine import machine
from pcbench.engine.cell import Cell
from pcbench.engine.estimates import stand_ins
from pcbench.engine.estimates.estimate import Estimate, estimates
from pcbench.engine.estimates.steps import DistilTrial, StudentTrial
from pcbench.engine.estimates.trials import Trials
from pcbench.engine.plan import Request, cells
from pcbench.protocols.protocol import LITE
from pcbench.records.circumstances import Clock, Memory
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import (
    DistillationRecord,
    EvaluationRecord,
    Run,
    SnapshotEntry,
    SnapshotScores,
    Work,
)

CPU = machine.provenance(torch.device("cpu"))
HARDWARE = CPU.hardware
OTHER = CPU.model_copy(update={"hardware": HARDWARE.model_copy(update={"name": "another processor"})})
MEMORY = Memory(host_bytes=1, device_bytes=None)


@pytest.fixture(scope="module")
def planned() -> Callable[..., Cell]:
    """A cell of `random`, `dm` or `herding` on shapes10, made once for each question."""
    made: dict[str, Cell] = {}

    def cell(method: str = "dm", ppc: int = 1, **settings: Any) -> Cell:
        asked = Request((method,), ("shapes10",), (ppc,), protocol="lite", settings={"points": 16} | settings)
        if repr(asked) not in made:
            (made[repr(asked)],) = cells(CATALOGUE, asked)
        return made[repr(asked)]

    return cell


def estimate(cell: Cell, runs: list[Run], *how: Any, **more: Any) -> Estimate:
    """That of one cell alone."""
    (only,) = estimates([cell], runs, *how, **more)
    return only


def recorded(
    cell: Cell,
    *,
    seconds: float,
    train: float | None = None,
    test: float = 0.0,
    provenance: Any = CPU,
    processor: float | None = None,
) -> Run:
    """A finished run of a cell with three snapshots, evaluated where `train` is given.

    processor: seconds of every clock, where they are known.
    """
    iterations = cell.inputs.snapshots
    entries = [SnapshotEntry(iteration=i, seconds=seconds, clouds=f"{i:064x}") for i in iterations]
    made = DistillationRecord(
        key=cell.inputs.key, status="ok", inputs=cell.inputs, snapshots=entries,
        clock=Clock(seconds=seconds, processor_seconds=processor), memory=MEMORY, provenance=provenance,
    )  # fmt: skip
    folder = Path(f"{cell.inputs.method}-{cell.inputs.ppc}")
    if train is None:
        return Run(folder, made, ())
    inputs = cell.evaluation.inputs(made.key)
    totals = cell.evaluation.splits.test.counts().tolist()
    correct, students = [0] * len(totals), cell.evaluation.protocol.students
    scores = [
        SnapshotScores(
            iteration=entry.iteration,
            clouds=entry.clouds,
            oa=[0] * students,
            macc=[0] * students,
            correct=[correct] * students,
        )
        for entry in entries
    ]
    share = Work(
        iterations=list(iterations), train=Clock(seconds=train, processor_seconds=processor),
        test=Clock(seconds=test), memory=MEMORY, provenance=provenance,
    )  # fmt: skip
    scored = EvaluationRecord(key=inputs.key, inputs=inputs, totals=totals, snapshots=scores, work=[share])
    return Run(folder, made, (scored,))


def test_a_cell_is_finished_when_its_own_evaluation_is_recorded(planned):
    run = recorded(planned(), seconds=5, train=7)
    assert estimate(planned(), [run], HARDWARE).state.word == "done"
    assert estimate(planned(), [run], HARDWARE).seconds == 0
    assert estimate(planned(ppc=3), [run], HARDWARE).state.word == "to do"


def test_nothing_recorded_is_unknown(planned):
    assert estimate(planned(), [], HARDWARE).seconds is None
    assert estimate(planned(), [], HARDWARE).state.word == "to do"


@pytest.mark.parametrize("other", ["method", "iterations", "hardware", "protocol"])
def test_what_cannot_be_compared_gives_no_estimate(planned, other):
    like = {"method": planned("herding"), "iterations": planned(iterations=20), "hardware": planned(lr=2.0)}
    like["protocol"] = planned(**{"recipe.epochs": 7}, lr=2.0)
    run = recorded(like[other], seconds=5, train=7, provenance=OTHER if other == "hardware" else CPU)
    assert estimate(planned(), [run], HARDWARE).seconds is None


def test_other_parameters_of_the_method_cost_the_same(planned):
    run = recorded(planned(lr=2.0), seconds=5, train=7, test=2)
    cost = estimate(planned(), [run], HARDWARE)
    assert (cost.state.word, cost.seconds, cost.based_on) == ("to do", pytest.approx(5 + 7 + 2), ("dm-1",))


def test_students_are_scaled_by_their_gradient_steps(planned):
    """Ten classes in batches of eight: 2 steps an epoch at PPC 1, 13 at PPC 10."""
    run = recorded(planned(ppc=1), seconds=5, train=6, test=2)
    assert estimate(planned(ppc=10), [run], HARDWARE).seconds == pytest.approx(5 + 6 * 13 / 2 + 2)


def test_the_nearest_ppc_counts(planned):
    runs = [recorded(planned(ppc=1), seconds=1, train=1), recorded(planned(ppc=5), seconds=50, train=50)]
    assert estimate(planned(ppc=3), runs, HARDWARE).based_on == ("dm-5",)
    assert estimate(planned(ppc=2), runs, HARDWARE).based_on == ("dm-1",)


def test_once_distilled_any_methods_students_will_do(planned):
    cell = planned("dm")
    cost = estimate(
        cell, [recorded(cell, seconds=100), recorded(planned("herding"), seconds=9, train=7)], HARDWARE
    )
    assert (cost.state.word, cost.seconds, cost.based_on) == ("to evaluate", pytest.approx(7), ("herding-1",))
    assert estimate(cell, [recorded(cell, seconds=100)], HARDWARE).seconds is None


def test_another_methods_students_count_where_there_are_none_of_its_own(planned):
    other = recorded(planned("herding"), seconds=9, train=7)
    runs = [recorded(planned("dm", lr=2.0), seconds=100), other]
    cost = estimate(planned("dm"), runs, HARDWARE)
    assert (cost.seconds, cost.based_on) == (pytest.approx(100 + 7), ("dm-1", "herding-1"))
    runs.append(recorded(planned("dm", lr=3.0), seconds=100, train=8))
    assert estimate(planned("dm"), runs, HARDWARE).seconds == pytest.approx(100 + 8)
    assert estimate(planned("dm"), [other], HARDWARE).seconds is None


def test_one_distillation_for_several_students_costs_once(planned):
    cell = planned()
    other = replace(cell, evaluation=replace(cell.evaluation, protocol=LITE))
    runs = [recorded(planned(lr=2.0), seconds=100, train=7)]
    costs = estimates([cell, cell, other, planned(ppc=2)], runs, HARDWARE)
    assert [cost.seconds for cost in costs[:3]] == [pytest.approx(107), pytest.approx(7), None]
    assert costs[3].seconds > 100


def test_a_failed_distillation_is_to_do_and_no_example(planned):
    run = recorded(planned(), seconds=5, train=7)
    failed = run.distillation.model_copy(update={"status": "failed", "reason": "it diverged"})
    cost = estimate(planned(), [replace(run, distillation=failed, evaluations=())], HARDWARE)
    assert (cost.state.word, cost.seconds) == ("to do", None)


def test_the_protocol_here_is_not_a_standard_one(planned):
    assert planned().evaluation.protocol.changes == {"points": 16}
    assert planned().evaluation.protocol.students == LITE.students


def test_times_of_a_busy_machine_are_no_example(planned):
    """Ten wall seconds in which the process got one: it waited for others."""
    slow = recorded(planned(lr=2.0), seconds=10, train=10, processor=1.0)
    assert estimate(planned(), [slow], HARDWARE).seconds is None
    threads = min(HARDWARE.threads, HARDWARE.cpu_cores)
    quiet = recorded(planned(lr=2.0), seconds=10, train=10, processor=9.0 * threads)
    assert estimate(planned(), [slow, quiet], HARDWARE).seconds == pytest.approx(20)


def test_the_last_snapshot_alone_costs_a_third_of_three(planned):
    runs = [recorded(planned(lr=2.0), seconds=5, train=9)]
    assert estimate(planned(), runs, HARDWARE).seconds == pytest.approx(5 + 9)
    assert estimate(planned(), runs, HARDWARE, "last").seconds == pytest.approx(5 + 3)


def test_a_stale_cell_costs_nothing_unless_it_is_to_be_computed_again(planned):
    cell = planned()
    run = recorded(cell, seconds=5, train=7)
    later = replace(cell, inputs=cell.inputs.model_copy(update={"engine": 2}))
    assert estimate(later, [run], HARDWARE).state.label == "stale: ENGINE 1, now 2"
    assert estimate(later, [run], HARDWARE).seconds == 0
    assert estimate(later, [run], HARDWARE, again=True).seconds == pytest.approx(12)


# First steps


class Tried(Trials):
    """First steps that a test has thought of: of some PPC, a second before and half a second a step."""

    ppcs: tuple[int, ...] = ()
    small: Mapping[int, DistilTrial] = MappingProxyType({})
    any = True

    def of_distillation(self, inputs: DistillationInputs) -> DistilTrial | None:
        if inputs.data.name == stand_ins.NAME:
            return self.small.get(inputs.ppc)
        known = DistilTrial(
            before=1.0, step=0.5 * inputs.ppc, host_bytes=300, set_bytes=1000 * inputs.ppc,
            clouds=10 * inputs.ppc, points=16, iterates=True, start=0.0, prepared=0.0, classes=10, train=1000,
        )  # fmt: skip
        return known if inputs.ppc in self.ppcs else None

    def of_students(self, cell: Cell, clouds: int, points: int) -> StudentTrial | None:
        there = clouds // 10 in self.ppcs
        if cell.inputs.data.name == stand_ins.NAME:
            there = bool(self.small)
        number = cell.evaluation.protocol.students
        known = StudentTrial(
            step=0.02 * number, batch=8, tested=0.0004 * number, host_bytes=100 + 20 * number,
            device_bytes=None, idle_bytes=100, students=number,
        )  # fmt: skip
        return known if there and points == 16 else None


def tried(*ppcs: int, small: Mapping[int, DistilTrial] | None = None) -> Trials:
    """Those of cells of some PPC, on this hardware, and of stand-ins."""
    there = Tried(torch.device("cpu"), HARDWARE)
    object.__setattr__(there, "ppcs", ppcs)
    object.__setattr__(there, "small", small or {})
    return there


def small(ppc: int, **other: Any) -> DistilTrial:
    """Of a stand-in: 0.02 s until it began, 0.1 s and more by PPC a step."""
    values = {
        "before": 0.12 + 0.02 * ppc, "step": 0.1 + 0.01 * ppc, "host_bytes": 300, "set_bytes": 200 * ppc,
        "clouds": 2 * ppc, "points": 16, "iterates": True, "start": 0.02, "prepared": 0.0, "classes": 2,
        "train": 32, **other,
    }  # fmt: skip
    return DistilTrial(**values)


def test_first_steps_tell_what_no_run_does(planned):
    """500 steps, three snapshots, each with 250 epochs of 10 clouds in batches of 8, and 500 test clouds."""
    cell = planned()
    cost = estimate(cell, [], HARDWARE, trials=tried(1))
    distil, students = 1.0 + 499 * 0.5, 0.1 * 10 / 8 * 250 + 500 * 0.002
    assert len(cell.inputs.snapshots) == 3
    assert cost.seconds == pytest.approx(distil + 3 * students)
    assert (cost.based_on, cost.own) == (("its first steps",), True)
    assert cost.memory == 300
    assert cost.disk == pytest.approx(3 * 1000 + 5 * 500, abs=40_000)
    assert cost.disk > 3 * 1000 + 5 * 500
    last = estimate(cell, [], HARDWARE, "last", trials=tried(1))
    assert last.seconds == pytest.approx(distil + students)


def test_a_run_of_the_same_work_tells_more_than_first_steps(planned):
    run = recorded(planned(), seconds=5, train=9)
    repeated = replace(planned(), inputs=planned().inputs.model_copy(update={"repetition": 1}))
    cost = estimate(repeated, [run], HARDWARE, trials=tried(1))
    assert (cost.seconds, cost.based_on, cost.own) == (pytest.approx(14), ("dm-1",), True)


def test_own_first_steps_tell_more_than_a_run_of_another_ppc_and_are_corrected_by_it(planned):
    """The run at PPC 1 took twice as long as its own first steps say: so will PPC 3."""
    at_one = 1.0 + 499 * 0.5
    run = recorded(planned(), seconds=2 * at_one)
    cost = estimate(planned(ppc=3), [run], HARDWARE, trials=tried(1, 3))
    students = 3 * (0.1 * 30 / 8 * 250 + 500 * 0.002)
    assert cost.seconds == pytest.approx(2 * (1.0 + 499 * 1.5) + students)
    assert cost.own


def test_first_steps_of_another_ppc_tell_something_and_are_said_to(planned):
    small, large = estimates([planned(), planned(ppc=3)], [], HARDWARE, trials=tried(1))
    assert small.own
    assert not large.own
    assert large.seconds == pytest.approx(1.0 + 499 * 0.5 + 3 * (0.1 * 30 / 8 * 250 + 500 * 0.002))
    assert large.based_on == ("first steps at PPC 1 on shapes10", "students' first steps at PPC 1")
    (alone,) = estimates([planned(ppc=3)], [], HARDWARE, trials=tried(1))
    assert (alone.seconds, alone.own) == (None, False)


def test_once_distilled_first_steps_of_students_count(planned):
    cell = planned()
    cost = estimate(cell, [recorded(cell, seconds=100)], HARDWARE, trials=tried(1))
    assert (cost.state.word, cost.own) == ("to evaluate", True)
    assert cost.seconds == pytest.approx(3 * (0.1 * 10 / 8 * 250 + 500 * 0.002))
    assert cost.disk < 40_000


# Stand-ins


def test_first_steps_of_two_classes_tell_of_ten(planned):
    """Five times as many classes; what comes before the method began stays; students from two to five."""
    cell = planned()
    cost = estimate(cell, [], HARDWARE, trials=tried(small={1: small(1)}))
    students = 3 * (0.1 * 10 / 8 * 250 + 500 * 0.002)
    assert cost.seconds == pytest.approx(0.02 + 5 * 0.12 + 499 * 5 * 0.11 + students)
    assert cost.based_on == ("first steps on two classes", "first steps of fewer students")
    assert not cost.own
    assert cost.memory == 300 + 12 * 16 * (1000 - 32)
    assert cost.disk == pytest.approx(3 * 1000 + 5 * 500, abs=40_000)


def test_what_a_method_prepares_goes_with_the_training_clouds(planned):
    """1000 of them in place of 32, and the classes are all the same to it."""
    quick = small(1, before=2.02, prepared=2.0, step=0.0, iterates=False)
    cost = estimate(planned("herding"), [], HARDWARE, trials=tried(small={1: quick}))
    assert cost.seconds == pytest.approx(0.02 + 2.0 * 1000 / 32 + 0.1 * 10 / 8 * 250 + 500 * 0.002)


def test_between_two_ppc_lies_a_straight_line(planned):
    low, middle, high = (planned(ppc=ppc) for ppc in (1, 3, 10))
    trials = tried(small={1: small(1), 10: small(10, step=0.2)})
    costs = estimates([low, middle, high], [], HARDWARE, trials=trials)
    assert costs[1].based_on[0] == "first steps at PPC 1 and 10 on two classes"
    step = 5 * (0.11 + (0.2 - 0.11) * 2 / 9)
    students = 3 * (0.1 * 30 / 8 * 250 + 500 * 0.002)
    assert costs[1].seconds == pytest.approx(0.02 + 5 * 0.16 + 499 * step + students)
    beyond = estimates([low, high, planned(ppc=20)], [], HARDWARE, trials=trials)[2]
    assert beyond.based_on[0] == "first steps at PPC 10 on two classes"


def test_own_first_steps_tell_more_than_a_stand_ins(planned):
    cost = estimate(planned(), [], HARDWARE, trials=tried(1, small={1: small(1)}))
    assert (cost.based_on, cost.own) == (("its first steps",), True)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"updates": False}, "first steps on two classes, which tell nothing of its updates"),
        ({"at_least": True}, "first steps on two classes, stopped within an update: at least"),
    ],
)
def test_first_steps_that_say_too_little_are_named(planned, how, words):
    cost = estimate(planned(), [], HARDWARE, trials=tried(small={1: small(1, **how)}))
    assert cost.based_on[0] == words
