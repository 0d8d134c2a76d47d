"""Papers against here: which rows belong to a figure, and by which rule they agree."""

from __future__ import annotations

from typing import Any

import pytest

from pcbench import stats
from pcbench.report.cells import Place
from pcbench.report.counterparts import MeasuredRow, Ours, beside
from pcbench.report.papers import Reported

STUDENTS = [80.0, 81.0, 79.5, 82.0, 80.5]


def place(name: str, ppc: int, copy: str = "a") -> Place:
    return Place(name=name, data=copy, training=copy, ppc=ppc, standard=True, sampling="farthest")


MN10_3 = place("modelnet10", 3)


def figure(**changes: Any) -> Reported:
    standing: dict[str, Any] = {
        "source": "Nobody 1900", "table": 1, "label": "Ours", "method": "sadm", "variation": {},
        "data": ("modelnet10",), "ppc": (3,), "backbone": "pointnet", "metric": "oa", "printed": "80.0 ± 1.0",
        "value": 80.0, "std": 1.0, "students": 10,
    }  # fmt: skip
    return Reported(**(standing | changes))


def row(**changes: Any) -> MeasuredRow:
    standing: dict[str, Any] = {
        "method": "sadm", "params": {"init": "random", "rotate": True}, "variation": [],
        "network": "pointnet:paper", "student": "pointnet:paper", "protocol": "paper", "draw": "authors",
        "cells": {MN10_3: Ours([STUDENTS], 0.5, ("run",), "run here")},
    }  # fmt: skip
    return MeasuredRow(**(standing | changes))


def test_a_figure_stands_beside_the_row_of_its_cell():
    (found,) = beside([figure()], [row(method="dm"), row()])
    assert found.measured == row()
    assert found.ours == stats.t_interval(STUDENTS)
    assert found.difference == stats.printed_difference([found.ours], 80.0, 1.0, 10)
    assert (found.inside, found.rule) == (True, "students")


def test_a_row_with_what_the_appendix_states_stands_beside_it_too():
    stated = figure(stated={"lr": 0.01})
    paper = row(params={"init": "random", "rotate": True, "lr": 0.01}, variation=["lr"])
    assert [each.measured for each in beside([stated], [paper, row()])] == [paper, row()]
    other = row(params={"init": "random", "rotate": True, "lr": 0.1}, variation=["lr"])
    assert beside([stated], [other]) == []
    assert beside([figure()], [paper]) == []


@pytest.mark.parametrize(
    "other",
    [
        {"method": "dm"},
        {"network": "dgcnn:paper"},
        {"student": "pointnet:canonical"},
        {"student": "dgcnn:paper"},
        {"variation": ["lr"]},
        {
            "cells": {
                place("modelnet10", 1): Ours([STUDENTS], 1, ("run",), "run here"),
                place("modelnet40", 3): Ours([STUDENTS], 1, ("run",), "run here"),
            }
        },
    ],
)
def test_rows_of_another_kind_are_not_compared(other):
    assert beside([figure()], [row(**other)]) == []


def test_a_named_parameter_must_have_the_papers_value_default_or_not():
    default, own = figure(variation={"init": "random"}), figure(variation={"rotate": False})
    assert len(beside([default], [row()])) == 1
    assert beside([own], [row()]) == []
    without = row(params={"init": "random", "rotate": False}, variation=["rotate"])
    assert len(beside([own], [without])) == 1
    assert beside([default, figure()], [without]) == []
    assert beside([figure(variation={"unheard": 1})], [row()]) == []


def test_other_students_stand_beside_their_own_column():
    of_dgcnn = figure(backbone="dgcnn")
    assert [each.measured.student for each in beside([of_dgcnn], [row(), row(student="dgcnn:paper")])] == [
        "dgcnn:paper"
    ]


def test_a_mean_over_cells_needs_all_of_them():
    mean = figure(ppc=(1, 3), data=("modelnet10", "shapenet55"), std=None)
    names = [place(data, ppc) for data in ("modelnet10", "shapenet55") for ppc in (1, 3)]
    cells = {name: Ours([[s + i for s in STUDENTS]], 1, ("run",), "run here") for i, name in enumerate(names)}
    (found,) = beside([mean], [row(cells=cells)])
    assert found.ours.mean == pytest.approx(80.6 + 1.5)
    assert (found.difference.mean, found.rule) == (pytest.approx(2.1), "students, none reported")
    for name in names:
        assert beside([mean], [row(cells={key: cells[key] for key in names if key != name})]) == []


def test_inside_and_outside():
    near, far = figure(value=81.5), figure(value=85.0)
    assert [each.inside for each in beside([near, far], [row()])] == [True, False]


@pytest.mark.parametrize(
    ("other", "sampling", "reasons"),
    [
        ({"protocol": "lite"}, "farthest", ("protocol lite",)),
        ({"draw": "nested"}, "farthest", ("draw nested",)),
        ({}, "first", ("sampling first",)),
        (
            {"protocol": "quick", "draw": "per-ppc"},
            "random",
            ("protocol quick", "draw per-ppc", "sampling random"),
        ),
    ],
)
def test_nothing_is_outside_under_another_protocol_draw_or_sampling(other, sampling, reasons):
    there = Place(name="modelnet10", data="a", training="a", ppc=3, standard=True, sampling=sampling)
    measured = row(cells={there: Ours([STUDENTS], 0.5, ("run",), "run here")}, **other)
    for value in (80.0, 20.0):
        (found,) = beside([figure(value=value)], [measured])
        assert (found.inside, found.rule, found.unlike) == (None, "", reasons)
    assert beside([figure(value=20.0)], [row()])[0].inside is False


def test_the_whole_split_is_of_no_draw():
    whole = place("modelnet10", 0)
    of_whole = row(method="whole", draw="nested", cells={whole: Ours([STUDENTS], 0.5, ("run",), "run here")})
    (found,) = beside([figure(method="whole", ppc=(0,))], [of_whole])
    assert (found.unlike, found.inside) == ((), True)


def test_several_distillations_make_the_rule():
    several = row(cells={MN10_3: Ours([[80, 81], [84, 83], [79, 80]], 1, ("run",), "run here")})
    (found,) = beside([figure(value=84.0)], [several])
    assert (found.rule, found.inside, found.difference.covers) == ("distillations", True, "distillation")


def test_one_student_alone_decides_nothing():
    (found,) = beside([figure()], [row(cells={MN10_3: Ours([[80.0]], 1, ("run",), "run here")})])
    assert (found.ours.mean, found.difference.mean, found.inside, found.rule) == (80, 0, None, "")


def test_hours_are_shown_and_not_compared():
    (found,) = beside([figure(metric="hours", value=0.08, std=None, students=None)], [row()])
    assert (found.ours.mean, found.difference, found.inside, found.rule) == (0.5, None, None, "")


def test_versions_of_a_method_each_get_a_line_in_the_order_of_the_figures():
    first, second = (
        row(),
        row(
            cells={
                MN10_3: Ours([[70.0, 71.0]], 1, ("run",), "run here"),
                place("modelnet10", 1): Ours([[40.0, 41.0]], 1, ("run",), "run here"),
            }
        ),
    )
    found = beside([figure(ppc=(1,)), figure()], [first, second])
    assert [(each.reported.ppc, each.measured) for each in found] == [
        ((1,), second),
        ((3,), first),
        ((3,), second),
    ]


def test_a_figure_stands_beside_every_copy_and_a_mean_is_of_one_copy_at_all_ppc():
    cells = {
        place("modelnet10", ppc, copy): Ours([[start + ppc]], 1, (f"{copy}{ppc}",), "run here")
        for copy, start in (("a", 70.0), ("b", 80.0))
        for ppc in (1, 3)
    }
    cells |= {place("modelnet10", 10, "b"): Ours([[99.0]], 1, ("b10",), "run here")}
    found = beside([figure(ppc=(1, 3), std=None), figure(ppc=(3, 10), std=None)], [row(cells=cells)])
    assert [(each.ours.mean, each.pages) for each in found] == [
        (72.0, ["a1", "a3"]),
        (82.0, ["b1", "b3"]),
        (91.0, ["b3", "b10"]),
    ]


def test_copies_of_two_data_sets_make_every_pair():
    cells = {
        place(name, 3, copy): Ours([[value]], 1, (name + copy,), "run here")
        for name, copy, value in (
            ("modelnet10", "a", 10.0),
            ("modelnet10", "b", 20.0),
            ("shapenet55", "a", 1.0),
            ("shapenet55", "b", 3.0),
        )
    }
    found = beside([figure(data=("modelnet10", "shapenet55"), std=None)], [row(cells=cells)])
    assert [each.ours.mean for each in found] == [5.5, 6.5, 10.5, 11.5]
