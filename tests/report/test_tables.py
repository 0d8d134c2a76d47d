"""Records become the right cells in the right tables, and nothing is mixed or lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from report_records import a_run

from pcbench.protocol import PAPER, QUICK, customised
from pcbench.records import read_runs
from pcbench.report.render import render
from pcbench.report.tables import Cell, Score, Table, board, distinct, plain


def tables(folder: Path) -> list[Table]:
    runs, problems = read_runs(folder)
    assert not problems
    return list(board(runs).tables)


def only(folder: Path) -> Table:
    (table,) = tables(folder)
    return table


def cell(table: Table, row: int = 0, column: int = 0) -> Cell:
    found = table.rows[row].cells[column]
    assert found is not None
    return found


def test_a_score_is_mean_and_sample_deviation_in_percent() -> None:
    values = [0.5, 0.25, 0.75, 0.1]
    mean = sum(values) / 4
    score = Score.of(values)
    assert score.mean == pytest.approx(100 * mean)
    assert score.std == pytest.approx(100 * math.sqrt(sum((v - mean) ** 2 for v in values) / 3))
    assert Score.of([0.5]) == Score(50.0, None)


def test_one_run_is_one_cell(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(10, 4)] * 5 + [(6, 4)] * 5, seconds=12.5)
    table = only(tmp_path)
    assert (table.protocol, table.student, table.version) == ("quick", "pointnet:paper", "")
    assert [(c.data, c.version, c.ppc, c.standard) for c in table.columns] == [("shapes10", "", 1, True)]
    found = cell(table)
    # 14 or 10 of 30 clouds; 10/10 and 4/20, or 6/10 and 4/20 by class
    assert found.oa.mean == pytest.approx(100 * (14 / 30 + 10 / 30) / 2)
    assert found.macc.mean == pytest.approx(100 * (0.6 + 0.4) / 2)
    assert (found.distillations, found.evaluations) == (1, (10, 10))
    assert [(time.seconds, table.hardware[time.hardware]) for time in found.times] == [
        (12.5, "A CPU, 2 threads")
    ]
    assert not found.oa.best
    assert table.rows[0].mean == pytest.approx(found.oa.mean)


def test_the_headline_is_the_last_snapshot_not_the_best(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(1, 1)] * 10, earlier=(10, 20))
    assert cell(only(tmp_path)).oa.mean == pytest.approx(100 * 2 / 30)


def test_repetitions_are_pooled(tmp_path: Path) -> None:
    for repetition, right in enumerate([(10, 20), (0, 0), (5, 10)]):
        a_run(tmp_path, repetition=repetition, right=[right] * 10, seconds=repetition + 1.0)
    found = cell(only(tmp_path))
    assert (found.distillations, found.evaluations) == (3, (10, 10))
    assert found.oa == Score.of([1.0] * 10 + [0.0] * 10 + [0.5] * 10)
    assert [time.seconds for time in found.times] == [2.0]


def test_protocols_and_students_are_never_mixed(tmp_path: Path) -> None:
    custom = customised(QUICK, {"recipe.epochs": 7})
    other = customised(QUICK, {"recipe.epochs": 8})
    for protocol in (QUICK, custom, other, PAPER):
        a_run(tmp_path, protocol=protocol)
    a_run(tmp_path, student="canonical")
    found = tables(tmp_path)
    assert [(table.protocol, table.student) for table in found] == [
        ("paper", "pointnet:paper"),
        ("quick", "pointnet:canonical"),
        ("quick", "pointnet:paper"),
        ("custom (quick with recipe.epochs=7)", "pointnet:paper"),
        ("custom (quick with recipe.epochs=8)", "pointnet:paper"),
    ]
    assert all(len(table.rows) == 1 for table in found)


def test_tests_are_never_mixed_and_plain_ones_stay_as_they_are(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(5, 10)] * 10)
    (before,) = tables(tmp_path)
    for test in ("points=512", "points=1024", "jitter:2", "so3", "jitter:1", "up"):
        a_run(tmp_path, right=[(1, 1)] * 10, test=test)
    found = tables(tmp_path)
    labels = ["", "up", "so3", "jitter:1", "jitter:2", "points=512", "points=1024"]
    assert [table.test for table in found] == labels
    assert found[0] == before
    assert {column.data for table in found for column in table.columns} == {"shapes10"}
    assert all(cell(table).evaluations == (10, 10) for table in found)
    runs, _ = read_runs(tmp_path)
    page = render(board(runs))
    for name, mark in (("index.html", "<h2 "), ("leaderboard.md", "## Protocol")):
        titles = [line for line in page[name].splitlines() if line.startswith(("    " + mark, mark))]
        assert sum("test " in title for title in titles) == 6
        assert "student pointnet:paper, test so3" in page[name]


def test_students_of_different_source_are_told_apart(tmp_path: Path) -> None:
    a_run(tmp_path, student_source="a" * 64)
    a_run(tmp_path, student_source="b" * 64)
    assert [table.version for table in tables(tmp_path)] == ["a" * 8, "b" * 8]


def test_variations_networks_and_sources_make_rows(tmp_path: Path) -> None:
    a_run(tmp_path)
    a_run(tmp_path, variation={"lr": 1.0, "init": "herding"})
    a_run(tmp_path, network="dgcnn")
    a_run(tmp_path, method="dm", source="a" * 64)
    a_run(tmp_path, method="dm", source="b" * 64)
    rows = only(tmp_path).rows
    labels = {(row.method, row.variation, row.distilled_with, bool(row.version)) for row in rows}
    assert labels == {
        ("sadm", (), "", False),
        ("sadm", (("init", "herding"), ("lr", "1.0")), "", False),
        ("sadm", (), "dgcnn:paper", False),
        ("dm", (), "", True),
    }
    assert len({row.version for row in rows if row.method == "dm"}) == 2


def test_columns_are_data_sets_and_ppc_and_different_data_never_meet(tmp_path: Path) -> None:
    a_run(tmp_path, ppc=10)
    a_run(tmp_path, ppc=3)
    a_run(tmp_path, data={"name": "modelnet10", "standard": False})
    a_run(tmp_path, ppc=3, data={"hash": "e" * 64})
    columns = only(tmp_path).columns
    assert [(c.data, c.ppc, c.standard, bool(c.version)) for c in columns[:1]] == [
        ("modelnet10", 1, False, False)
    ]
    assert sorted((c.data, c.ppc) for c in columns[1:]) == [
        ("shapes10", 3),
        ("shapes10", 3),
        ("shapes10", 10),
    ]
    assert len({c.version for c in columns[1:]}) == 2
    assert all(c.version for c in columns[1:])


def test_best_is_marked_where_there_is_a_contest(tmp_path: Path) -> None:
    a_run(tmp_path, method="a", right=[(9, 0)] * 10)
    a_run(tmp_path, method="b", right=[(0, 12)] * 10)
    a_run(tmp_path, method="c", right=[(0, 12)] * 10)
    a_run(tmp_path, method="a", right=[(9, 0)] * 10, ppc=3)
    marks = {
        row.method: [(c.oa.best, c.macc.best) if c else None for c in row.cells]
        for row in only(tmp_path).rows
    }
    assert marks == {
        "a": [(False, True), (False, False)],
        "b": [(True, False), None],
        "c": [(True, False), None],
    }


def test_complete_rows_come_first_by_mean_then_incomplete_ones(tmp_path: Path) -> None:
    for method, right in (("low", 1), ("high", 9)):
        for ppc in (1, 3):
            a_run(tmp_path, method=method, ppc=ppc, right=[(right, right)] * 10)
    a_run(tmp_path, method="partial", ppc=1, right=[(10, 20)] * 10)
    rows = only(tmp_path).rows
    assert [row.method for row in rows] == ["high", "low", "partial"]
    assert [row.mean is None for row in rows] == [False, False, True]
    assert [row.incomplete for row in rows] == [False, False, True]
    assert rows[2].cells[1] is None


def test_times_stay_with_their_hardware(tmp_path: Path) -> None:
    for repetition, (name, seconds) in enumerate([("X", 1.0), ("Y", 100.0), ("X", 3.0)]):
        a_run(tmp_path, repetition=repetition, hardware=name, seconds=seconds)
    table = only(tmp_path)
    assert table.hardware == ("X, 2 threads", "Y, 2 threads")
    assert [(time.seconds, time.hardware) for time in cell(table).times] == [(2.0, 0), (100.0, 1)]


def test_runs_without_a_score_are_listed(tmp_path: Path) -> None:
    a_run(tmp_path)
    a_run(tmp_path, method="dm", status="oom", reason="out of\nmemory", ppc=50)
    a_run(tmp_path, method="kcenter", evaluated=False)
    runs, _ = read_runs(tmp_path)
    unfinished = board(runs).unfinished
    assert [(u.method, u.ppc, u.status, u.reason) for u in unfinished] == [
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
    runs, problems = distinct(read_runs(tmp_path / "one")[0])
    assert [run.folder for run in runs] == [folder]
    assert problems == [f"{copy}: the same distillation as in {folder}, counted once"]


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
