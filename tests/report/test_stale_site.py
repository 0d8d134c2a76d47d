"""Stale results stand in a table of their own, times of a busy machine in none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from built_in import CATALOGUE
from report_records import a_run

from pcbench.protocols.protocol import QUICK
from pcbench.records import identity
from pcbench.records.store import read_run
from pcbench.report import against_papers, check, comparisons, overview, runs, stale, timing
from pcbench.report.answers import Answers
from pcbench.report.cells import Board
from pcbench.report.current import Current
from pcbench.report.gather import gather
from pcbench.report.results import MeasuredRun
from pcbench.report.site import Built, board_of, build
from pcbench.report.viewer import Clouds

METHOD_CHANGED = "the method's code has changed"
STUDENTS_CHANGED = "students: the network's code has changed"


def made(folder: Path) -> Board:
    gathered = gather(folder, Current.of(CATALOGUE))
    assert not gathered.told()
    return board_of(gathered)


def reasons(board: Board) -> dict[str, str]:
    """Why the cells of every method are stale."""
    return {
        row.entry.method: stale.why(cell)
        for section in board.stale
        for row in section.rows
        for cell in row.cells.values()
    }


def current(board: Board) -> set[str]:
    return {row.entry.method for section in board.sections for row in section.rows}


def site(records: Path, out: Path) -> Built:
    return build(records, out, CATALOGUE, Clouds(CATALOGUE.datasets, False))


def test_results_of_another_engine_are_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "ENGINE", 2)
    a_run(tmp_path, method="sadm", engine=2)
    a_run(tmp_path, method="dm", engine=1)
    board = made(tmp_path)
    assert current(board) == {"sadm"}
    assert reasons(board) == {"dm": "ENGINE 1, now 2"}


def test_results_of_other_code_than_the_built_in_are_stale(tmp_path: Path) -> None:
    a_run(tmp_path, method="sadm")
    a_run(tmp_path, method="dm", source="a" * 64)
    a_run(tmp_path, method="random", student_source="b" * 64)
    a_run(tmp_path, method="theirs", source="c" * 64)
    board = made(tmp_path)
    assert current(board) == {"sadm", "theirs"}
    assert reasons(board) == {"dm": METHOD_CHANGED, "random": STUDENTS_CHANGED}


def test_a_method_of_two_versions_has_the_stale_one_in_no_table_of_current_ones(tmp_path: Path) -> None:
    for source in (None, "a" * 64):
        for ppc in (1, 3):
            a_run(tmp_path, method="dm", source=source, ppc=ppc, right=[(9 if source else 3, 3)] * 10)
    board = made(tmp_path)
    views = [view(board) for view in comparisons.VIEWS.values()]
    for blocks in (overview.blocks(board), timing.blocks(board), against_papers.blocks(board), *views):
        texts = [v.text for b in blocks for t in b.tables for line in t.lines for v in line.values]
        assert "40.0 ± 0.0" not in texts
    (block,) = stale.blocks(board)
    assert [line.values[3].text for line in block.tables[0].lines] == ["40.0 ± 0.0"] * 2
    assert [line.values[4].text for line in block.tables[0].lines] == [METHOD_CHANGED] * 2
    (row,) = board.sections[0].rows
    assert board.versions[row.entry.digest] == ""


def test_the_site_shows_them_with_their_reasons(tmp_path: Path) -> None:
    records, out = tmp_path / "records", tmp_path / "site"
    a_run(records, method="sadm")
    old = a_run(records, method="dm", source="a" * 64)
    assert not site(records, out).problems
    for page in ("tables.html", "methods/dm.html"):
        text = (out / page).read_text()
        assert 'data-table="stale-results"' in text
        assert METHOD_CHANGED in text.replace("&#39;", "'")
    assert "stale-results" not in (out / "methods" / "sadm.html").read_text()
    page = out / "runs" / f"{old.name[-10:]}.html"
    assert f"Stale: {METHOD_CHANGED}." in page.read_text().replace("&#39;", "'")
    assert "Apart from these there are 1 stale results." in (out / "index.html").read_text()
    assert "ok, stale" in (out / "runs" / "index.html").read_text()
    markdown = (out / "leaderboard.md").read_text()
    assert markdown.index("| sadm |") < markdown.index("## Stale results") < markdown.index("| dm |")
    assert list(check.records(CATALOGUE, records, out / "leaderboard.md")) == []
    exported = json.loads((out / "data" / "leaderboard.json").read_text())
    ((fresh,), (kept,)) = ([c for s in exported[key] for c in s["cells"]] for key in ("sections", "stale"))
    assert (fresh["method"], kept["method"], kept["stale"]) == ("sadm", "dm", METHOD_CHANGED)
    assert "stale" not in fresh


def test_nothing_but_stale_results_is_a_site(tmp_path: Path) -> None:
    a_run(tmp_path / "records", method="dm", source="a" * 64)
    assert not site(tmp_path / "records", tmp_path / "site").problems
    assert "Stale results" in (tmp_path / "site" / "tables.html").read_text()
    assert "Nothing can be compared yet" in (tmp_path / "site" / "index.html").read_text()


def test_the_page_of_an_evaluation_says_that_its_students_are_stale(tmp_path: Path) -> None:
    run, _ = read_run(a_run(tmp_path, method="dm", student_source="b" * 64))
    page = runs.page(MeasuredRun(run, Current.of(CATALOGUE)), Answers({}))
    assert page.stale == ""
    assert page.evaluations[0].block.text.startswith(f"Stale: {STUDENTS_CHANGED}. Run here by ")


def test_times_of_a_busy_machine_are_in_no_time_table(tmp_path: Path) -> None:
    a_run(tmp_path, method="sadm", seconds=10.0, processor_seconds=19.0)
    a_run(tmp_path, method="sadm", seconds=90.0, processor_seconds=19.0, repetition=1)
    a_run(tmp_path, method="dm", seconds=90.0, beginning=0.1, processor_seconds=19.0)
    board = made(tmp_path)
    (block,) = timing.blocks(board)
    assert {line.head.name: line.values[1].text for line in block.tables[0].lines} == {"sadm": "10 s"}
    assert block.notes == ("Times left out because the machine was busy: 2.",)
    assert len(block.plots[0].series[0].marks) == 1
    assert len(overview.blocks(board)[0].tables[0].lines) == 2


def test_a_busy_machine_alone_leaves_a_note_and_no_table(tmp_path: Path) -> None:
    folder = a_run(tmp_path, method="dm", seconds=90.0, beginning=0.1, processor_seconds=19.0)
    (block,) = timing.blocks(made(tmp_path))
    assert (block.tables, block.notes) == ((), ("Times left out because the machine was busy: 1.",))
    facts = dict(runs.page(MeasuredRun(read_run(folder)[0]), Answers({})).inputs)
    assert facts["Time"] == "1 min 30 s (busy machine, not comparable)"


def test_an_evaluation_without_the_last_snapshot_is_in_no_table(tmp_path: Path) -> None:
    first, *_, last = QUICK.snapshots
    a_run(tmp_path, method="dm", snapshots=[first])
    folder = a_run(tmp_path, method="sadm", snapshots=[last], right=[(5, 10)] * 10)
    board = made(tmp_path)
    assert current(board) == {"sadm"}
    assert [(each.method, each.reason) for each in board.unfinished] == [
        ("dm", "its last snapshot is not evaluated")
    ]
    headings = (
        runs.page(MeasuredRun(read_run(folder)[0]), Answers({})).evaluations[0].block.folded[0].headings
    )
    assert [heading.title for heading in headings] == [f"OA at {last}", f"mAcc at {last}"]


def test_a_learning_curve_is_of_the_distillations_with_all_snapshots(tmp_path: Path) -> None:
    from pcbench.report.details import curve

    a_run(tmp_path, method="sadm", snapshots=[QUICK.snapshots[-1]])
    a_run(tmp_path, method="sadm", repetition=1)
    ((row,),) = [section.rows for section in made(tmp_path).sections]
    (cell,) = row.cells.values()
    assert [iteration for iteration, _ in curve(cell)] == list(QUICK.snapshots)
    assert cell.counts == "2 × 10"
