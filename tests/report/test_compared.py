"""Ranks, tiers, differences and order are of what rows share; honest extra work costs nobody a rank."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from built_in import CATALOGUE
from hypothesis import given, settings
from hypothesis import strategies as st
from report_records import a_run

from pcbench.protocols.asked import asked
from pcbench.protocols.protocol import PROTOCOLS, QUICK
from pcbench.records import layout
from pcbench.records.layout import run_folder
from pcbench.records.models import EvaluationRecord, Run, SnapshotScores
from pcbench.records.store import read_run, read_runs, write_record
from pcbench.records.values import accuracies
from pcbench.report import comparisons, overview, timing
from pcbench.report.board import board
from pcbench.report.cells import Board, Result
from pcbench.report.compared import Standing, grounded, standing
from pcbench.report.current import Current
from pcbench.report.gather import gather
from pcbench.report.results import result_of
from pcbench.report.site import board_of
from pcbench.report.tables import Block, Line

QUICKS = asked("quick")
Made = Mapping[tuple[str, int, int], float]
"""Scores in percent by method, PPC and repetition."""


def made(folder: Path) -> Board:
    return board_of(gather(folder))


@cache
def base() -> Result:
    with TemporaryDirectory() as folder:
        run, _ = read_run(a_run(Path(folder)))
        return result_of(run, run.evaluations[0])


def standing_of(scores: Made) -> Standing:
    """How methods stand; students spread evenly about their scores, in an order of each method's own."""
    one = base()
    results = []
    for (method, ppc, repetition), score in scores.items():
        spread = [score + ((7 * n + len(method)) % 10 - 4.5) / 5 for n in range(QUICK.students)]
        results.append(
            replace(
                one,
                page=f"{method}-{ppc}-{repetition}",
                entry=replace(one.entry, method=method, digest=method),
                place=replace(one.place, ppc=ppc),
                repetition=repetition,
                curve=(tuple(spread),),
            )
        )
    (section,) = board(results).sections
    return standing(grounded(section.rows, section.places, QUICKS))


def ranked(stand: Standing) -> dict[str, float]:
    return {name: ranks.median for name, ranks in stand.ranks.items()}


def somehow(stand: Standing) -> set[str]:
    """Who has a rank of either kind."""
    return {*stand.ranks, *stand.partial}


def right(score: int) -> list[tuple[int, int]]:
    """Answers of ten students of whom each has so many of 30 right, more or less."""
    return [(min(score + n % 3 - 1, 10), max(score + n % 3 - 11, 0)) for n in range(10)]


def lines(block: Block) -> dict[str, dict[str, str]]:
    table = block.tables[0]
    keys = [heading.key for heading in table.headings]
    return {
        line.head.name: dict(zip(keys, (value.text for value in line.values), strict=True))
        for line in table.lines
    }


# The cases that were measured


def test_one_algorithm_under_two_names_has_one_rank_however_many_repetitions(tmp_path: Path) -> None:
    """Repetition 0 is a good draw for everybody: who stops there must gain nothing by it."""
    for method, repetitions in (("lazy", 1), ("honest", 3)):
        for repetition in range(repetitions):
            a_run(tmp_path, method=method, repetition=repetition, right=right(20 if repetition == 0 else 10))
    for method, score in (("between", 17), ("beside", 15)):
        a_run(tmp_path, method=method, right=right(score))
    (block,) = overview.blocks(made(tmp_path))
    found = lines(block)
    assert found["lazy"]["rank"] == found["honest"]["rank"] == "1.5"
    assert found["lazy"]["tier"] == found["honest"]["tier"] == "1"
    assert [found[name]["rank"] for name in ("between", "beside")] == ["3", "4"]
    assert block.notes[0].endswith("on what all ranked rows have: PPC 1 (repetition 0).")
    assert block.notes[-1] == "The protocol asks for 5 repetitions at PPC 1 and 3 at PPC 3, 10."
    cell = block.tables[0].lines[1 if block.tables[0].lines[0].head.name == "lazy" else 0].values[0]
    assert "compared: 66.3, repetition 0" in cell.note


def test_repetitions_of_random_take_nobodys_comparison_with_it(tmp_path: Path) -> None:
    a_run(tmp_path, method="random", right=right(8))
    for method, score in (("sadm", 20), ("dm", 15)):
        a_run(tmp_path, method=method, right=right(score))
    (block,) = overview.blocks(made(tmp_path))
    before = lines(block)
    for repetition in (1, 2):
        a_run(tmp_path, method="random", repetition=repetition, right=right(3))
    (block,) = overview.blocks(made(tmp_path))
    after = lines(block)
    for name in ("sadm", "dm"):
        assert after[name]["random-ppc1"] == before[name]["random-ppc1"] != "–"
        assert {key: after[name][key] for key in ("rank", "tier")} == {
            key: before[name][key] for key in ("rank", "tier")
        }


def test_what_two_have_more_is_compared_and_named(tmp_path: Path) -> None:
    for method, score in (("random", 8), ("sadm", 20)):
        for repetition in range(3):
            a_run(tmp_path, method=method, repetition=repetition, right=right(score - repetition))
    a_run(tmp_path, method="dm", right=right(15))
    (block,) = overview.blocks(made(tmp_path))
    keys = [heading.key for heading in block.tables[0].headings]
    notes = {line.head.name: line.values[keys.index("random-ppc1")].note for line in block.tables[0].lines}
    assert notes["sadm"].endswith("repetitions 0 to 2")
    assert "repetition" not in notes["dm"]


def test_one_extra_cell_of_random_changes_nothing_in_the_published_table(tmp_path: Path) -> None:
    """With PPC 2 of random alone all other rows were incomplete, and 87.0 stood above 89.9."""
    scores = {"sadm": (20, 26), "dm": (17, 24), "herding": (16, 23), "random": (8, 19)}
    for method, those in scores.items():
        for ppc, score in zip((1, 3), those, strict=True):
            a_run(tmp_path, method=method, ppc=ppc, right=right(score))
    (block,) = overview.blocks(made(tmp_path))
    before, order = lines(block), [line.head.name for line in block.tables[0].lines]
    a_run(tmp_path, method="random", ppc=2, right=right(12))
    (block,) = overview.blocks(made(tmp_path))
    after = lines(block)
    assert [line.head.name for line in block.tables[0].lines] == order == [*scores]
    assert not [line for line in block.tables[0].lines if line.last or "incomplete" in line.head.remarks]
    for name, values in before.items():
        assert {key: after[name][key] for key in values} == values
    assert after["random"]["ppc2"] != "–"
    assert any(note.startswith("Shown beside and not counted") and "PPC 2" in note for note in block.notes)


# The published table


PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "results"


def derived(run: Run, out: Path, more: int = 0, **inputs: Any) -> Path:
    """A run with other inputs, and so many test clouds more for every student of its last snapshot."""
    changed = run.distillation.inputs.model_copy(update=inputs)
    distillation = run.distillation.model_copy(update={"inputs": changed, "key": changed.key})
    folder = run_folder(out, changed)
    write_record(layout.distillation(folder), distillation)
    for evaluation in run.evaluations:
        scored = evaluation.inputs.model_copy(update={"distillation": changed.key})
        snapshots = [*evaluation.snapshots[:-1], _raised(evaluation, more)]
        update = {"inputs": scored, "key": scored.key, "snapshots": snapshots, "confusion": None}
        write_record(layout.evaluation(folder, scored.key), evaluation.model_copy(update=update))
    return folder


def _raised(evaluation: EvaluationRecord, more: int) -> SnapshotScores:
    counts = []
    for right_ in evaluation.headline.correct:
        room = [total - n for n, total in zip(right_, evaluation.totals, strict=True)]
        place = room.index(max(room))
        counts.append([n + more * (at == place) for at, n in enumerate(right_)])
    shares = [accuracies(each, evaluation.totals) for each in counts]
    update = {"correct": counts, "oa": [oa for oa, _ in shares], "macc": [macc for _, macc in shares]}
    return evaluation.headline.model_copy(update=update)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A copy of the published records of ModelNet10: one data set, so that a protocol has one table."""
    runs, _ = read_runs(PUBLISHED)
    for run in runs:
        if run.distillation.inputs.data.name == "modelnet10":
            shutil.copytree(run.folder, tmp_path / "records" / run.folder.relative_to(PUBLISHED))
    return tmp_path / "records"


def of_lite(records: Path) -> Block:
    (block,) = [
        block
        for block in overview.blocks(board_of(gather(records, Current.of(CATALOGUE))))
        if "Protocol lite" in block.group and "per-ppc" in block.title
    ]
    return block


def published_run(method: str, ppc: int) -> Run:
    runs, _ = read_runs(PUBLISHED)
    (run,) = [
        run
        for run in runs
        if (run.distillation.inputs.method, run.distillation.inputs.ppc) == (method, ppc)
        and run.distillation.inputs.data.name == "modelnet10"
        and run.distillation.inputs.data.points == 256
        and run.distillation.inputs.draw == "per-ppc"
    ]
    return run


@pytest.mark.parametrize("method", ["random", "sadm"])
def test_a_foreign_cell_changes_nothing_else_in_the_published_table(published: Path, method: str) -> None:
    before = of_lite(published)
    derived(published_run(method, 1), published, ppc=2)
    after = of_lite(published)
    assert [line.head for line in after.tables[0].lines] == [line.head for line in before.tables[0].lines]
    expected, found = lines(before), lines(after)
    for name, values in expected.items():
        assert {key: found[name][key] for key in values} == values
    assert [name for name in found if found[name]["ppc2"] != "–"] == [method]
    assert not any("incomplete" in line.head.remarks for line in after.tables[0].lines)


def test_a_copy_of_the_best_raised_by_one_test_cloud_is_in_no_tier_of_its_own(published: Path) -> None:
    before = lines(of_lite(published))
    for ppc in (1, 3):
        derived(published_run("sadm", ppc), published, more=1, method="copy", source="c" * 64)
    found = lines(of_lite(published))
    assert found["copy"]["ppc3"] == "78.5 ± 1.8"
    for key in ("tier", "tier-ppc1", "tier-ppc3"):
        assert found["copy"][key] == found["sadm"][key] == before["sadm"][key] == "1"
        assert {found[name][key] for name in before if name != "whole"} >= {"1"}


def test_further_repetitions_of_one_method_change_no_other_row(published: Path) -> None:
    before = of_lite(published)
    for repetition in (1, 2):
        derived(published_run("random", 1), published, more=40, repetition=repetition)
    after = of_lite(published)
    expected, found = lines(before), lines(after)
    for name in expected.keys() - {"random"}:
        assert found[name] == expected[name]
    for key in ("rank", "tier", "tier-ppc1", "mean"):
        assert found["random"][key] == expected["random"][key]


# Honest extra work


methods = st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee"])


@st.composite
def boards(draw: st.DrawFn) -> dict[tuple[str, int, int], float]:
    names = draw(st.lists(methods, min_size=2, max_size=5, unique=True))
    scores = {}
    for name in names:
        for ppc in draw(st.lists(st.sampled_from([1, 2, 3, 10]), min_size=1, max_size=4, unique=True)):
            for repetition in range(draw(st.integers(1, 3))):
                scores[name, ppc, repetition] = draw(st.integers(20, 80)) + 0.5
    return scores


@settings(max_examples=60, deadline=None)
@given(boards(), st.data())
def test_a_cell_that_nobody_else_has_takes_nothing_from_anybody(scores: Made, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted({name for name, _, _ in scores})))
    others = {ppc for other, ppc, _ in scores if other != name}
    own = {ppc for other, ppc, _ in scores if other == name}
    foreign = data.draw(st.sampled_from(sorted({1, 2, 3, 10, 50} - others - own)))
    before = standing_of(scores)
    after = standing_of({**scores, (name, foreign, 0): data.draw(st.sampled_from([1.5, 99.5]))})
    assert after.ranks == before.ranks
    assert after.tiers == before.tiers
    assert after.partial == before.partial
    assert after.ground.basis == before.ground.basis
    for place, tiers in before.by_place.items():
        assert after.by_place[place] == tiers
    assert [row.entry.method for row in after.ground.rows] == [row.entry.method for row in before.ground.rows]


@settings(max_examples=60, deadline=None)
@given(boards(), st.data())
def test_a_further_repetition_takes_nobodys_rank(scores: Made, data: st.DataObject) -> None:
    name, ppc = data.draw(st.sampled_from(sorted({(name, ppc) for name, ppc, _ in scores})))
    depth = sum((other, p) == (name, ppc) for other, p, _ in scores)
    before = standing_of(scores)
    after = standing_of({**scores, (name, ppc, depth): data.draw(st.sampled_from([1.5, 99.5]))})
    assert after.ranks.keys() == before.ranks.keys()
    assert after.partial.keys() == before.partial.keys()
    assert after.ground.basis.places == before.ground.basis.places
    fewest = min(sum((o, p) == (other, ppc) for o, p, _ in scores) for other, p, _ in scores if p == ppc)
    if depth > fewest:
        assert ranked(after) == ranked(before)
        assert after.by_place == before.by_place


@settings(max_examples=60, deadline=None)
@given(boards(), st.data())
def test_a_cell_that_others_have_takes_nobodys_rank_either(scores: Made, data: st.DataObject) -> None:
    name, ppc = data.draw(
        st.tuples(st.sampled_from(sorted({name for name, _, _ in scores})), st.sampled_from([1, 2, 3, 10]))
    )
    before = somehow(standing_of(scores))
    assert before <= somehow(standing_of({**scores, (name, ppc, 0): 50.5}))


def test_rows_are_in_the_order_of_what_was_compared() -> None:
    """The mean over all repetitions would put `many` first: its later draws are better ones."""
    scores = {("many", 1, 0): 50.5, ("many", 1, 1): 90.5, ("many", 1, 2): 90.5, ("once", 1, 0): 60.5}
    stand = standing_of({**scores, ("third", 1, 0): 10.5})
    assert [row.entry.method for row in stand.ground.rows] == ["once", "many", "third"]
    assert ranked(stand) == {"once": 1, "many": 2, "third": 3}
    assert stand.ground.basis.text == "PPC 1 (repetition 0)"


def test_a_row_that_lacks_a_cell_has_its_rank_on_those_that_it_has() -> None:
    scores = {(name, ppc, 0): 70.5 - 10 * n for n, name in enumerate("abc") for ppc in (1, 3)}
    stand = standing_of({**scores, ("late", 1, 0): 65.5})
    assert ranked(stand) == {"a": 1, "b": 2, "c": 3}
    late = stand.partial["late"]
    assert (late.ranks.median, late.among, late.basis.text) == (2, 4, "PPC 1 (repetition 0)")
    assert [row.entry.method for row in stand.ground.rows] == ["a", "b", "c", "late"]


def test_repetitions_beyond_those_asked_for_do_not_count() -> None:
    """Else the best of thirty draws could be made to count."""
    many = {(name, 1, repetition): 50.5 for name in "ab" for repetition in range(8)}
    assert standing_of(many).ground.basis.text == "PPC 1 (repetitions 0 to 4)"
    assert asked("paper").text == "5 repetitions at PPC 1 and 3 at PPC 3, 10"
    assert all(asked(name).repetitions(1) >= 1 for name in PROTOCOLS)
    assert asked("standard").text == "1 repetition at PPC 1, 3, 10"


def test_without_repetition_0_nothing_is_ranked() -> None:
    stand = standing_of({("a", 1, 0): 50.5, ("b", 1, 0): 40.5, ("lucky", 1, 7): 99.5})
    assert ranked(stand) == {"a": 1, "b": 2}
    assert "lucky" not in somehow(stand)


def test_tiers_of_cells_stand_beside_those_of_the_mean(tmp_path: Path) -> None:
    """Told apart in one cell, not by the mean, where the other cell is noise."""
    wild = [(n % 2 * 10, n % 3 * 10) for n in range(10)]
    other = [(10 - a, 20 - b) for a, b in wild]
    for method, ppc, those in (
        ("good", 1, wild), ("bad", 1, other), ("good", 3, right(26)), ("bad", 3, right(18)),
    ):  # fmt: skip
        a_run(tmp_path, method=method, ppc=ppc, right=those)
    (block,) = overview.blocks(made(tmp_path))
    found = lines(block)
    assert {name: found[name]["tier"] for name in found} == {"good": "1", "bad": "1"}
    assert {name: found[name]["tier-ppc1"] for name in found} == {"good": "1", "bad": "1"}
    assert {name: found[name]["tier-ppc3"] for name in found} == {"good": "1", "bad": "2"}
    titles = {heading.key: heading.note for heading in block.tables[0].headings}
    assert titles["tier"] == "of the mean"
    assert titles["tier-ppc3"] == "of this cell"


def test_a_copy_with_a_test_cloud_more_is_never_alone_in_a_tier(tmp_path: Path) -> None:
    honest = [(5 + n % 4, 9 + n % 7) for n in range(10)]
    for ppc in (1, 3):
        a_run(tmp_path, method="honest", ppc=ppc, right=honest)
        a_run(tmp_path, method="copy", ppc=ppc, right=[(a, b + 1) for a, b in honest])
        a_run(tmp_path, method="random", ppc=ppc, right=[(1, 1 + n % 2) for n in range(10)])
    (block,) = overview.blocks(made(tmp_path))
    found = lines(block)
    for key in ("tier", "tier-ppc1", "tier-ppc3"):
        assert found["copy"][key] == found["honest"][key] == "1"
        assert found["random"][key] == "2"


def test_one_more_test_makes_nobody_incomplete(tmp_path: Path) -> None:
    for method, score in (("sadm", 20), ("dm", 15), ("random", 8)):
        for test in ("plain", "so3"):
            a_run(tmp_path, method=method, test=test, right=right(score))
    a_run(tmp_path, method="random", test="jitter:3", right=right(7))
    (block,) = comparisons.robustness(made(tmp_path))
    assert [(line.head.name, line.last, line.head.remarks) for line in block.tables[0].lines] == [
        ("sadm", False, ()),
        ("dm", False, ()),
        ("random", False, ()),
    ]


# Spreads


def test_the_spread_between_draws_stands_beside_that_between_students(tmp_path: Path) -> None:
    for repetition, score in enumerate((10, 20)):
        a_run(tmp_path, method="sadm", repetition=repetition, right=right(score))
    a_run(tmp_path, method="dm", right=right(15))
    (block,) = overview.blocks(made(tmp_path))
    (table,) = [table for table in block.folded if table.name.endswith("-spread")]
    found = {line.head.name: line.values for line in table.lines}
    draws, students, covers = found["sadm"]
    assert draws.value == pytest.approx(100 * 10 / 30 / 2**0.5, abs=1)
    assert (draws.note, students.note, covers.text) == ("2 draws", "10 students", "draws and students")
    assert isinstance(students.value, float)
    assert 2 < students.value < 4
    draws, _, covers = found["dm"]
    assert (draws.text, draws.note, covers.text) == ("–", "one draw", "students of one draw")


# The anchor


def by_name(block: Block, name: str) -> Line:
    (found,) = [line for line in block.tables[0].lines if line.head.name == name]
    return found


def test_parameters_that_somebody_chose_are_marked_and_not_ranked(tmp_path: Path) -> None:
    a_run(tmp_path, method="sadm", right=right(20))
    a_run(tmp_path, method="dm", right=right(15))
    a_run(tmp_path, method="sadm", variation={"lr": 5}, right=right(28))
    (block,) = overview.blocks(made(tmp_path))
    first, second, third = block.tables[0].lines
    assert [first.head.text, second.head.text] == ["sadm", "dm"]
    assert third.head.text == "sadm (lr=5), parameters chosen by hand, not ranked"
    assert [line.values[-3].text for line in (first, second, third)] == ["1", "2", "–"]
    assert [line.values[0].best for line in (first, second, third)] == [True, False, False]
    anchor = [heading.title for heading in block.tables[0].headings if heading.anchor == "leader"]
    assert anchor == ["PPC 1 against sadm (the leader)"]


def test_parameters_that_somebody_chose_are_marked_on_other_pages_too(tmp_path: Path) -> None:
    for variation, score in (({}, 20), ({"lr": 5}, 28)):
        for test in ("plain", "so3"):
            a_run(tmp_path, variation=variation, test=test, right=right(score))
    a_run(tmp_path, method="dm", test="so3", right=right(15))
    found = made(tmp_path)
    (block,) = comparisons.robustness(found)
    chosen, default, other = block.tables[0].lines
    assert chosen.head.remarks == ("parameters chosen by hand",)
    assert (default.head.remarks, other.head.remarks) == ((), ("incomplete",))
    assert [value.best for line in (chosen, default) for value in line.values] == [False, False, False, True]
    heads = [line.head.text for block in timing.blocks(found) for line in block.tables[0].lines]
    assert "sadm (lr=5), parameters chosen by hand" in heads


def test_the_submitter_chose_them_where_there_is_one(tmp_path: Path) -> None:
    made_by = tmp_path / "all"
    a_run(made_by, method="dm")
    folder = a_run(tmp_path / "theirs", method="sadm", variation={"lr": 5})
    shutil.move(folder, made_by / f"submissions-lab-runs-{folder.name}")
    (block,) = overview.blocks(made(made_by))
    assert "parameters chosen by the submitter" in by_name(block, "sadm").head.remarks
