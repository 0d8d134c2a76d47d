"""Parameters that validation parts chose are ranked and say so; others that somebody chose are not."""

from __future__ import annotations

from pathlib import Path

from report_records import a_run

from pcbench.report.cells import Board, BoardSection
from pcbench.report.compared import rankable
from pcbench.report.gather import gather
from pcbench.report.site import board_of

VALIDATION = {"name": "shapes10:validation", "standard": False}
GOOD, POOR = [(9, 18)] * 10, [(2, 4)] * 10


def a_trial(out: Path, lr: int, right: list[tuple[int, int]], ppc: int = 1) -> None:
    """A score of sadm with another learning rate on the validation part of shapes10; 10 is the default."""
    a_run(
        out,
        variation={} if lr == 10 else {"lr": lr},
        params={"lr": lr},
        right=right,
        data=VALIDATION,
        ppc=ppc,
    )


def a_score(out: Path, lr: int, data: str = "shapes10") -> None:
    """A score of sadm with another learning rate on a test split."""
    a_run(out, variation={"lr": lr}, params={"lr": lr}, right=POOR, data={"name": data})


def section_of_scores(board: Board) -> BoardSection:
    (section,) = (section for section in board.sections if not section.setting.validation)
    return section


def remarks(out: Path) -> dict[tuple[tuple[str, str], ...], tuple[list[str], bool]]:
    """What is said of the rows with test scores, and whether they may be ranked, by their variation."""
    section = section_of_scores(board_of(gather(out)))
    return {row.entry.variation: (row.chosen, rankable(row)) for row in section.rows}


def test_the_best_of_the_validation_part_is_ranked_and_the_others_are_not(tmp_path: Path) -> None:
    a_trial(tmp_path, 10, POOR)
    a_trial(tmp_path, 5, GOOD)
    a_trial(tmp_path, 1, POOR)
    a_score(tmp_path, 5)
    a_score(tmp_path, 1)
    assert remarks(tmp_path) == {
        (("lr", "5"),): (["parameters chosen on the validation part, of 3 tried"], True),
        (("lr", "1"),): (["parameters chosen by hand"], False),
    }


def test_one_trial_alone_chooses_nothing(tmp_path: Path) -> None:
    a_trial(tmp_path, 5, GOOD)
    a_score(tmp_path, 5)
    assert remarks(tmp_path) == {(("lr", "5"),): (["parameters chosen by hand"], False)}


def test_trials_without_a_cell_in_common_choose_nothing(tmp_path: Path) -> None:
    a_trial(tmp_path, 10, POOR, ppc=3)
    a_trial(tmp_path, 5, GOOD, ppc=1)
    a_score(tmp_path, 5)
    assert remarks(tmp_path) == {(("lr", "5"),): (["parameters chosen by hand"], False)}


def test_a_choice_holds_for_the_data_sets_that_it_was_made_on(tmp_path: Path) -> None:
    a_trial(tmp_path, 10, POOR)
    a_trial(tmp_path, 5, GOOD)
    a_score(tmp_path, 5)
    a_score(tmp_path, 5, data="modelnet10")
    assert remarks(tmp_path) == {(("lr", "5"),): (["parameters chosen by hand"], False)}


def test_scores_of_validation_parts_stand_in_sections_of_their_own_behind_the_others(tmp_path: Path) -> None:
    a_trial(tmp_path, 10, POOR)
    a_trial(tmp_path, 5, GOOD)
    a_run(tmp_path, data={"standard": False})
    sections = board_of(gather(tmp_path)).sections
    assert [[place.name for place in section.places] for section in sections] == [
        ["shapes10"],
        ["shapes10:validation"],
    ]
    assert all(rankable(row) and not row.chosen for row in sections[1].rows)
