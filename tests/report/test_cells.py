"""Records become the right cells in the right tables, and nothing is mixed or lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from report_records import a_run

from pcbench.protocols.asked import asked
from pcbench.protocols.protocol import PAPER, QUICK, customised
from pcbench.records.store import read_runs
from pcbench.report.board import board
from pcbench.report.cells import Board, BoardSection, MeasuredCell
from pcbench.report.compared import grounded
from pcbench.report.gather import gather
from pcbench.report.results import results, unfinished
from pcbench.report.site import markdown_of
from pcbench.report.text import plain


def made(folder: Path) -> Board:
    runs, problems = read_runs(folder)
    assert not problems
    without = [unfinished(run) for run in runs]
    return board([r for run in runs for r in results(run)], [each for each in without if each])


def sections(folder: Path) -> list[BoardSection]:
    return list(made(folder).sections)


def only(folder: Path) -> BoardSection:
    (section,) = sections(folder)
    return section


def cell(section: BoardSection, row: int = 0, column: int = 0) -> MeasuredCell:
    return section.rows[row].cells[section.places[column]]


def test_one_run_is_one_cell(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(10, 4)] * 5 + [(6, 4)] * 5, seconds=12.5)
    section = only(tmp_path)
    setting = section.setting
    assert (setting.protocol, setting.student, setting.test, setting.division) == (
        "quick",
        "pointnet:paper",
        "",
        "closed",
    )
    assert [(place.name, place.ppc, place.standard) for place in section.places] == [("shapes10", 1, True)]
    found = cell(section)
    # 14 or 10 of 30 clouds; 10/10 and 4/20, or 6/10 and 4/20 by class
    scores = [100 * 14 / 30] * 5 + [100 * 10 / 30] * 5
    assert found.oa.mean == pytest.approx(sum(scores) / 10)
    assert found.oa.interval.std == pytest.approx(
        math.sqrt(sum((s - sum(scores) / 10) ** 2 for s in scores) / 9)
    )
    assert found.macc.mean == pytest.approx(100 * (0.6 + 0.4) / 2)
    assert found.counts == "1 × 10"
    assert section.hardware == ["A CPU, 2 threads"]
    assert found.seconds("A CPU, 2 threads") == 12.5
    assert found.seconds("another") is None
    ground = grounded(section.rows, section.places, asked("quick"))
    assert ground.basis.mean(section.rows[0]) == pytest.approx(found.oa.mean)


def test_the_headline_is_the_last_snapshot_not_the_best(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(1, 1)] * 10, earlier=(10, 20))
    assert cell(only(tmp_path)).oa.mean == pytest.approx(100 * 2 / 30)


def test_several_distillations_are_the_units_of_the_interval(tmp_path: Path) -> None:
    for repetition, right in enumerate([(10, 20), (0, 0), (5, 10)]):
        a_run(tmp_path, repetition=repetition, right=[right] * 10, seconds=repetition + 1.0)
    found = cell(only(tmp_path))
    assert found.counts == "3 × 10"
    interval = found.oa.interval
    assert (interval.mean, interval.std, interval.n, interval.covers) == (50.0, 50.0, 3, "distillation")
    assert found.seconds("A CPU, 2 threads") == 2.0


def test_a_student_of_a_distillation_counts_once(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(10, 20)] * 10)
    runs, _ = read_runs(tmp_path)
    twice = [result for run in runs for result in results(run)] * 2
    ((row,),) = [section.rows for section in board(twice).sections]
    assert [c.counts for c in row.cells.values()] == ["1 × 10"]


def test_protocols_students_tests_and_divisions_are_never_mixed(tmp_path: Path) -> None:
    custom = customised(QUICK, {"recipe.epochs": 7})
    other = customised(QUICK, {"recipe.epochs": 8})
    for protocol in (QUICK, custom, other, PAPER):
        a_run(tmp_path, protocol=protocol)
    a_run(tmp_path, student="canonical")
    a_run(tmp_path, data={"standard": False, "hash": "8" * 64})
    for test in ("points=512", "points=1024", "jitter:2", "so3", "jitter:1", "up"):
        a_run(tmp_path, test=test)
    found = [
        (s.setting.protocol, s.setting.student, s.setting.test, s.setting.division)
        for s in sections(tmp_path)
    ]
    assert found == [
        ("paper", "pointnet:paper", "", "closed"),
        ("quick", "pointnet:canonical", "", "closed"),
        ("quick", "pointnet:paper", "", "closed"),
        ("quick", "pointnet:paper", "up", "closed"),
        ("quick", "pointnet:paper", "so3", "closed"),
        ("quick", "pointnet:paper", "jitter:1", "closed"),
        ("quick", "pointnet:paper", "jitter:2", "closed"),
        ("quick", "pointnet:paper", "points=512", "closed"),
        ("quick", "pointnet:paper", "points=1024", "closed"),
        ("quick", "pointnet:paper", "", "open"),
        ("custom (quick with recipe.epochs=7)", "pointnet:paper", "", "open"),
        ("custom (quick with recipe.epochs=8)", "pointnet:paper", "", "open"),
    ]
    assert all(len(section.rows) == 1 for section in sections(tmp_path))


def test_students_of_different_source_are_told_apart(tmp_path: Path) -> None:
    a_run(tmp_path, student_source="a" * 64)
    a_run(tmp_path, student_source="b" * 64)
    found = made(tmp_path)
    assert [found.versions[s.setting.student_source] for s in found.sections] == ["a" * 10, "b" * 10]


def test_variations_networks_and_sources_make_rows(tmp_path: Path) -> None:
    a_run(tmp_path)
    a_run(tmp_path, variation={"lr": 1.0, "init": "herding"})
    a_run(tmp_path, network="dgcnn")
    a_run(tmp_path, method="dm", source="a" * 64)
    a_run(tmp_path, method="dm", source="b" * 64)
    found = made(tmp_path)
    entries = [row.entry for row in found.sections[0].rows]
    assert {(e.method, e.variation, e.network, bool(found.versions[e.digest])) for e in entries} == {
        ("sadm", (), "pointnet:paper", False),
        ("sadm", (("init", "herding"), ("lr", "1.0")), "pointnet:paper", False),
        ("sadm", (), "dgcnn:paper", False),
        ("dm", (), "pointnet:paper", True),
    }
    assert len({found.versions[e.digest] for e in entries if e.method == "dm"}) == 2


def test_places_are_data_sets_and_ppc_and_different_data_never_meet(tmp_path: Path) -> None:
    a_run(tmp_path, ppc=10)
    a_run(tmp_path, ppc=3)
    a_run(tmp_path, data={"name": "modelnet10"})
    a_run(tmp_path, ppc=3, data={"hash": "e" * 64})
    found = made(tmp_path)
    (section,) = found.sections
    assert [(p.name, p.ppc, bool(found.versions[p.data])) for p in section.places[:1]] == [
        ("modelnet10", 1, False)
    ]
    assert sorted((p.name, p.ppc) for p in section.places[1:]) == [
        ("shapes10", 3),
        ("shapes10", 3),
        ("shapes10", 10),
    ]
    assert len({found.versions[p.data] for p in section.places[1:]} - {""}) == 2
    assert sorted(len(places) for places in section.data.values()) == [1, 1, 2]


def test_what_a_copy_is_called_does_not_make_it_another(tmp_path: Path) -> None:
    for method, variant in (("sadm", "generated"), ("dm", "made here")):
        a_run(tmp_path, method=method, data={"variant": variant})
    section = only(tmp_path)
    assert len(section.places) == 1
    assert all(row.complete(section.places) for row in section.rows)


def test_data_that_pass_for_standard_and_those_that_do_not_are_two_places(tmp_path: Path) -> None:
    """Also where their content is one: in the open division both may stand in one table."""
    other = customised(QUICK, {"recipe.epochs": 7})
    for method, standard in (("sadm", True), ("dm", False)):
        a_run(tmp_path, method=method, protocol=other, data={"standard": standard})
    section = only(tmp_path)
    assert len({place.key for place in section.places}) == len(section.places) == 2
    assert len(section.data) == 2


def test_complete_rows_come_first_by_mean_then_incomplete_ones_then_whole(tmp_path: Path) -> None:
    for method, right in (("low", 1), ("high", 9)):
        for ppc in (1, 3):
            a_run(tmp_path, method=method, ppc=ppc, right=[(right, right)] * 10)
    a_run(tmp_path, method="partial", ppc=1, right=[(10, 20)] * 10)
    a_run(tmp_path, method="whole", ppc=0, right=[(10, 20)] * 10)
    section = only(tmp_path)
    ground = grounded(section.rows, section.places, asked("quick"))
    assert [row.entry.method for row in ground.rows] == ["high", "low", "partial", "whole"]
    assert [row.entry.method for row in ground.ranked] == ["high", "low"]
    assert [place.ppc for place in ground.basis.places] == [1, 3]


def test_times_stay_with_their_hardware(tmp_path: Path) -> None:
    for repetition, (name, seconds) in enumerate([("X", 1.0), ("Y", 100.0), ("X", 3.0)]):
        a_run(tmp_path, repetition=repetition, hardware=name, seconds=seconds)
    section = only(tmp_path)
    assert section.hardware == ["X, 2 threads", "Y, 2 threads"]
    assert [cell(section).seconds(each) for each in section.hardware] == [2.0, 100.0]


def test_runs_without_a_score_are_listed(tmp_path: Path) -> None:
    a_run(tmp_path)
    a_run(tmp_path, method="dm", status="oom", reason="out of memory", ppc=50)
    a_run(tmp_path, method="kcenter", evaluated=False)
    assert [(u.method, u.ppc, u.status, u.reason) for u in made(tmp_path).unfinished] == [
        ("dm", 50, "oom", "out of memory"),
        ("kcenter", 1, "ok", "distilled, not evaluated"),
    ]


def test_a_copied_folder_counts_once(tmp_path: Path) -> None:
    a_run(tmp_path / "one")
    folder = next((tmp_path / "one").iterdir())
    copy = folder.with_name("zz-copy")
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    found = gather(tmp_path / "one")
    assert [slim.folder for slim in found.runs] == [folder]
    assert found.told() == [f"{copy}: the same distillation as in {folder}, counted once"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\t c", "a b c"),
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("x\u202ey", "x�y"),
        ("PointNet ✓ é", "PointNet ✓ é"),
    ],
)
def test_plain(text: str, shown: Any) -> None:
    assert plain(text) == shown


def test_draws_are_rows_of_their_own_and_are_named_where_they_are_not_the_usual_one(tmp_path):
    a_run(tmp_path, right=[(9, 9)] * 10)
    a_run(tmp_path, right=[(1, 1)] * 10, draw="authors")
    (section,) = sections(tmp_path)
    assert sorted(row.entry.draw for row in section.rows) == ["authors", "nested"]
    text = markdown_of(gather(tmp_path))
    assert "| sadm, draw authors |" in text
    assert "| sadm |" in text
