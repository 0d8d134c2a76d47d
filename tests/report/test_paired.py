"""Rows that somebody names are compared as the site compares them, or an error says why they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_records import a_run

from pcbench.errors import DataError, UsageError
from pcbench.report import overview
from pcbench.report.cells import Board
from pcbench.report.gather import gather
from pcbench.report.paired import Pair, pairs, side
from pcbench.report.site import board_of
from pcbench.report.values import difference


def right(score: int) -> list[tuple[int, int]]:
    """Answers of ten students of whom each has so many of 30 right, more or less."""
    return [(min(score + n * n % 4 - 1, 10), max(score + n * n % 4 - 11, 0)) for n in range(10)]


def compared(folder: Path, *names: str) -> list[Pair]:
    gathered = gather(folder)
    board = board_of(gathered)
    runs = {slim.folder.name: page for page, slim in gathered.kept.items()}
    return pairs(board, [side(board, name, runs) for name in names])


def shown_by_site(board: Board, method: str, ppc: int) -> str:
    """What the overview's column against random says of a method."""
    (block,) = overview.blocks(board)
    table = block.tables[0]
    column = [heading.key for heading in table.headings].index(f"random-ppc{ppc}")
    (line,) = [line for line in table.lines if line.head.name == method]
    return f"{line.values[column].text} {line.values[column].note}"


def test_terminal_and_site_say_the_same(tmp_path: Path) -> None:
    for ppc in (1, 3):
        for repetition in range(3 if ppc == 1 else 1):
            a_run(tmp_path, method="random", ppc=ppc, repetition=repetition, right=right(9 + repetition))
        a_run(tmp_path, method="dm", ppc=ppc, right=right(14 + ppc))
    board = board_of(gather(tmp_path))
    found = compared(tmp_path, "random", "dm")
    assert [(pair.place.ppc, pair.repetitions, pair.name) for pair in found] == [(1, 1, "dm"), (3, 1, "dm")]
    for pair in found:
        value = difference((pair.comparison, pair.repetitions))
        assert f"{value.text} {value.note}" == shown_by_site(board, "dm", pair.place.ppc)


def test_all_repetitions_in_common_count_and_a_run_stands_for_its_row(tmp_path: Path) -> None:
    for repetition in range(3):
        a_run(tmp_path, method="random", repetition=repetition, right=right(9))
        run = a_run(tmp_path, method="dm", repetition=repetition, right=right(12))
    a_run(tmp_path, method="dm", ppc=3, right=right(20))
    a_run(tmp_path, method="random", ppc=3, right=right(20))
    (pair,) = compared(tmp_path, "random", run.name)
    assert (pair.place.ppc, pair.repetitions) == (1, 3)
    assert pair.comparison.difference.mean == pytest.approx(10)
    assert pair.comparison.difference.covers == "distillation"


def test_parameters_name_a_row_and_several_without_them_are_refused(tmp_path: Path) -> None:
    a_run(tmp_path, method="random", right=right(9))
    a_run(tmp_path, method="dm", variation={"lr": 5.0}, right=right(12))
    (only,) = compared(tmp_path, "random", "dm")
    assert only.row.entry.title == "dm lr=5.0"
    a_run(tmp_path, method="dm", variation={"lr": 1.0, "init": "noise"}, right=right(15))
    with pytest.raises(
        UsageError, match=r"several parameters: name one of 'dm init=noise lr=1\.0', 'dm lr=5\.0'"
    ):
        compared(tmp_path, "random", "dm")
    (pair,) = compared(tmp_path, "random", "dm lr=1.0 init=noise")
    assert pair.comparison.difference.mean == pytest.approx(20)


def test_two_versions_of_a_plugin_are_told_apart_by_their_runs(tmp_path: Path) -> None:
    first = a_run(tmp_path, method="mine", source="1" * 64, right=right(9))
    second = a_run(tmp_path, method="mine", source="2" * 64, right=right(12))
    with pytest.raises(UsageError, match="mine on shapes10, PPC 1, is 2 versions of its code: name a run"):
        compared(tmp_path, first.name, "mine")
    (pair,) = compared(tmp_path, first.name, second.name)
    assert pair.comparison.difference.mean == pytest.approx(10)


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    a_run(tmp_path, method="random")
    a_run(tmp_path, method="dm", ppc=3)
    a_run(tmp_path, method="dc", engine=99)
    a_run(tmp_path, method="m3d", status="failed", reason="ValueError: no")
    with pytest.raises(
        DataError, match=r"no cell to compare.*random has shapes10 PPC 1 \(quick.*dm has .*PPC 3"
    ):
        compared(tmp_path, "random", "dm")
    with pytest.raises(DataError, match="dc cannot be compared: stale: ENGINE 99, now"):
        compared(tmp_path, "random", "dc")
    with pytest.raises(DataError, match="m3d cannot be compared: ValueError: no"):
        compared(tmp_path, "random", "m3d")
    with pytest.raises(UsageError, match=r"called 'ramdom'\. Did you mean random"):
        compared(tmp_path, "dm", "ramdom")
