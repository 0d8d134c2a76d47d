"""Two copies of one data set on one board: each stands for itself, and every page says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_records import a_run

from pcbench.protocols.protocol import PAPER, QUICK
from pcbench.report import against_papers, comparisons, overview, timing
from pcbench.report.cells import Board
from pcbench.report.gather import gather
from pcbench.report.site import board_of
from pcbench.report.tables import Block, Line

HDF5 = {"name": "modelnet10", "variant": "hdf5", "sampling": "given", "hash": "a" * 64}
TEXT = {"name": "modelnet10", "variant": "text", "sampling": "farthest", "hash": "b" * 64}


def percent(right: float) -> list[tuple[int, int]]:
    """Answers of ten students of which so many of 30 are right in the mean, whole or half."""
    low = int(right)
    counts = [low] * 5 + [low + (right != low)] * 5
    return [(min(count, 10), max(count - 10, 0)) for count in counts]


def made(folder: Path) -> Board:
    gathered = gather(folder)
    assert not gathered.told()
    return board_of(gathered)


def line(block: Block, name: str) -> tuple[Line, dict[str, str]]:
    table = block.tables[0]
    (found,) = [each for each in table.lines if each.head.name == name]
    keys = [heading.key for heading in table.headings]
    return found, dict(zip(keys, (value.text for value in found.values), strict=True))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """m1 scores 91.7 and 31.7 on the two copies, m2 21.7 and 41.7."""
    for method, scores in (("m1", (27.5, 9.5)), ("m2", (6.5, 12.5))):
        for copy, right in zip((HDF5, TEXT), scores, strict=True):
            a_run(tmp_path, method=method, data=copy, right=percent(right))
    return made(tmp_path)


def test_the_method_that_is_better_over_both_is_first_and_no_mean_is_taken_over_copies(board: Board) -> None:
    across = overview.blocks(board)[0]
    assert across.title == "All data sets"
    first, second = (line(across, name)[1] for name in ("m1", "m2"))
    assert (first["mean"], second["mean"]) == ("–", "–")
    assert (first["rank"], second["rank"]) == ("1", "2")
    assert (first["tier"], second["tier"]) == ("1", "2")


def test_every_copy_has_a_column_a_block_and_a_rank_of_its_own(board: Board) -> None:
    across, *each = overview.blocks(board)
    titles = [heading.title for heading in across.tables[0].headings]
    columns = [title for title in titles if title.startswith("modelnet10 (")]
    assert len(set(columns)) == 2
    assert [block.title for block in each] == [title.removesuffix(" PPC 1") for title in columns]
    ranks = {block.title: {name: line(block, name)[1]["rank"] for name in ("m1", "m2")} for block in each}
    assert sorted(ranks.values(), key=str) == [{"m1": "1", "m2": "2"}, {"m1": "2", "m2": "1"}]


def test_the_pages_say_that_there_are_copies_and_what_tells_them_apart(board: Board) -> None:
    across, *each = overview.blocks(board)
    assert "Mean ‡" in [heading.title for heading in across.tables[0].headings]
    assert (
        across.notes[1]
        == "‡ No mean is taken over copies of one data set. Ranks and tiers count each copy for itself."
    )
    for block in (across, *each, *timing.blocks(board)):
        note = block.notes[0]
        assert note.startswith("2 copies of modelnet10 are here")
        assert f"variant hdf5, sampling given, hash {'a' * 10}" in note
        assert f"variant text, sampling farthest, hash {'b' * 10}" in note


def test_one_copy_has_no_note(tmp_path: Path) -> None:
    for data in (HDF5, {"name": "shapes10"}):
        a_run(tmp_path, data=data)
    across, *_ = blocks = overview.blocks(made(tmp_path))
    assert not [note for block in blocks for note in block.notes if "cop" in note]
    assert "Mean" in [heading.title for heading in across.tables[0].headings]


def test_a_papers_figure_stands_beside_each_copy(tmp_path: Path) -> None:
    for copy, right in ((HDF5, 27.5), (TEXT, 9.5)):
        run = {"method": "random", "ppc": 3, "protocol": PAPER, "draw": "authors"}
        a_run(tmp_path, data=copy, right=percent(right), **run)
    (block,) = [each for each in against_papers.blocks(made(tmp_path)) if each.name == "p1-1"]
    start = "1 figures have a counterpart; 1 of 2 lines are comparable; of 1 judged differences"
    assert block.text.startswith(start)  # the other copy's points are not farthest point samples
    assert block.notes[-1].startswith("2 copies of modelnet10 are here")
    lines = [each for each in block.tables[0].lines if each.values[4].value is not None]
    assert sorted(each.values[4].text.split(" ")[0] for each in lines) == ["31.7", "91.7"]
    assert len({each.values[0].text for each in lines}) == 2
    assert all(each.values[0].text.startswith("modelnet10 (") for each in lines)


def test_students_tested_on_two_copies_have_two_columns(tmp_path: Path) -> None:
    for copy, right in (("c", 6.0), ("d", 12.0)):
        tested = {"hash": copy * 64}
        a_run(tmp_path, method="sadm", network="dgcnn", tested=tested, right=percent(right), repetition=0)
        a_run(tmp_path, method="sadm", network="dgcnn", tested=tested, right=percent(right), repetition=1)
    (block,) = comparisons.cross_architecture(made(tmp_path))
    (table,) = block.tables
    assert len({heading.title for heading in table.headings}) == 2
    assert len({heading.key for heading in table.headings}) == 2
    (row,) = table.lines
    assert sorted(value.text for value in row.values) == ["20.0 ± 0.0", "40.0 ± 0.0"]


def test_initialisations_of_two_recipes_stand_apart(tmp_path: Path) -> None:
    """Rows that differ in the recipe of the network that was distilled with are never merged into one."""
    for epochs, right in ((7, 6.0), (8, 12.0)):
        whole = QUICK.whole.model_copy(update={"epochs": epochs})
        for variation in ({}, {"init": "herding"}):
            params = {"init": "random"}
            a_run(tmp_path, whole=whole, params=params, variation=variation, right=percent(right))
    (block,) = comparisons.initialisation(made(tmp_path))
    first, second = block.tables[0].lines
    assert first.head.text != second.head.text
    assert sorted([value.text for value in each.values] for each in (first, second)) == [
        ["20.0 ± 0.0"] * 2,
        ["40.0 ± 0.0"] * 2,
    ]


def test_draws_stand_apart_where_papers_and_initialisations_are_compared(tmp_path: Path) -> None:
    for draw, right in (("authors", 12.0), ("nested", 6.0)):
        for variation in ({}, {"init": "herding"}):
            a_run(tmp_path, draw=draw, params={"init": "random"}, variation=variation, right=percent(right))
        paper = {"method": "random", "ppc": 3, "protocol": PAPER, "data": HDF5, "draw": draw}
        a_run(tmp_path, right=percent(right), **paper)
    board = made(tmp_path)
    (block,) = comparisons.initialisation(board)
    heads = {line.head.remarks[1:2]: line.values[0].text for line in block.tables[0].lines}
    assert heads[("draw authors",)] == "40.0 ± 0.0"
    assert len(heads) == 2
    (block,) = [each for each in against_papers.blocks(board) if each.name == "p1-1"]
    lines = [each for each in block.tables[0].lines if each.values[4].value is not None]
    assert sorted((each.head.remarks, each.values[4].text) for each in lines) == [
        ((), "20.0 ± 0.0"),
        (("draw authors",), "40.0 ± 0.0"),
    ]


@pytest.mark.parametrize("draws", [("nested", "authors"), ("authors", "nested")])
def test_a_table_and_its_anchor_are_of_one_draw(tmp_path: Path, draws: tuple[str, str]) -> None:
    for draw in draws:
        a_run(tmp_path, method="random", draw=draw, right=percent(12.0 if draw == "authors" else 6.0))
    a_run(tmp_path, method="sadm", right=percent(9.0))
    a_run(tmp_path, method="dm", draw="authors", right=percent(9.0))
    nested, authors = overview.blocks(made(tmp_path))
    assert [nested.title, authors.title] == ["shapes10", "shapes10, draw authors"]
    assert line(nested, "sadm")[1]["random-ppc1"] == "+10.0"
    assert line(authors, "dm")[1]["random-ppc1"] == "−10.0"
    assert [len(block.tables[0].lines) for block in (nested, authors)] == [2, 2]
    assert any("the draw authors is a single one" in note for note in authors.notes)
