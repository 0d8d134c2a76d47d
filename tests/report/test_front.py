"""The pages of the board: what is shown first, where each choice leads, and what chart and table hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from built_in import CATALOGUE
from report_records import a_run

from pcbench.common.packaged import builtin
from pcbench.protocols.protocol import LITE, PROTOCOLS
from pcbench.records.store import read_run
from pcbench.report import charts, front
from pcbench.report.answers import Answers
from pcbench.report.commands import again
from pcbench.report.current import Current
from pcbench.report.front import Front, Pages, Strip
from pcbench.report.gather import gather
from pcbench.report.pages import Renderer
from pcbench.report.papers import load
from pcbench.report.side_by_side import compare_page
from pcbench.report.site import board_of


def pages(records: Path) -> Pages:
    return Pages(board_of(gather(records, Current.of(CATALOGUE))))


def shown(found: Pages) -> Front:
    assert found.first is not None
    return front.page(found, found.first, Strip(), load(), Answers({}))


def scores(right: int) -> list[tuple[int, int]]:
    return [(right, 2 * right + seed % 2) for seed in range(10)]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for ppc in (1, 3):
        for method, right in (("random", 3), ("dm", 5), ("sadm", 8)):
            a_run(tmp_path, method=method, ppc=ppc, right=scores(right), seconds=1.0 + right)
    a_run(tmp_path, method="whole", ppc=0, right=scores(9))
    a_run(tmp_path, method="sadm", ppc=3, student="canonical", right=scores(6))
    return tmp_path


def test_the_demonstration_is_shown_first_only_where_there_is_nothing_else(records: Path) -> None:
    a_run(records, method="random", ppc=1, protocol=LITE, right=scores(4)[:5])
    found = pages(records)
    assert found.first is not None
    assert (found.first.words["Protocol"], found.first.words["PPC"]) == ("lite", "1")


@pytest.mark.parametrize(("usual", "first"), [(3, "authors"), (4, "nested")])
def test_the_usual_draw_is_shown_first_once_it_compares_enough_methods(
    tmp_path: Path, usual: int, first: str
) -> None:
    methods = ("random", "dm", "sadm", "m3d", "herding")
    for draw, chosen in (("nested", methods[:usual]), ("authors", methods)):
        for method in chosen:
            a_run(tmp_path, method=method, draw=draw, right=scores(5))
    found = pages(tmp_path)
    assert found.first is not None
    assert found.first.words["Draw"] == first


def test_the_page_with_most_methods_is_shown_first_and_every_choice_leads_somewhere(records: Path) -> None:
    found = pages(records)
    assert found.first is not None
    assert found.first.words["PPC"] == "3"
    assert found.first.words["Student"] == "pointnet:paper"
    there = {choice.page for choice in found.choices}
    assert len(there) == len(found.choices) == 3
    for choice in found.choices:
        controls = {control.axis: control for control in found.controls(choice)}
        assert list(controls) == ["Data set", "PPC", "Student", "Protocol"]
        for axis, control in controls.items():
            assert {option.page for option in control.options} <= there
            (chosen,) = [option for option in control.options if option.chosen]
            assert (chosen.words, chosen.page, chosen.also) == (choice.words[axis], choice.page, "")
    other = next(choice for choice in found.choices if choice.words["Student"] == "pointnet:canonical")
    ppc = next(control for control in found.controls(other) if control.axis == "PPC")
    assert [option.also for option in ppc.options] == ["Student pointnet:paper", ""]


def test_the_best_method_its_chart_and_its_table_are_of_one_cell(records: Path) -> None:
    page = shown(pages(records))
    assert page.best is not None
    assert (page.best.head.name, page.best.text, page.best.alone) == ("sadm", "81.7", False)
    assert [row.dot.label for row in page.chart.wide.rows] == ["sadm", "dm", "random"]
    assert [row.dot.text for row in page.chart.wide.rows] == ["81.7", "51.7", "31.7"]
    assert [line.label for line in page.chart.wide.lines] == ["random 31.7", "whole training split 91.7"]
    (table,) = page.block.tables
    assert table.headings[0].title == "Accuracy"
    assert [line.head.name for line in table.lines] == ["sadm", "dm", "random", "whole"]
    assert [line.values[0].text for line in table.lines][::3] == ["81.7 ± 1.8", "91.7 ± 1.8"]
    gains = [line.values[[h.key for h in table.headings].index("gain")].text for line in table.lines]
    assert gains == ["0.83", "0.33", "0.00", "–"]


def test_closer_looks_have_their_numbers(records: Path) -> None:
    blocks = {block.name: block for block in shown(pages(records)).charts}
    assert list(blocks) == ["over-ppc", "over-time", "over-iterations", "by-classes"]
    assert all(block.folded and not block.tables and block.plots for block in blocks.values())
    (ppc,) = blocks["over-ppc"].plots
    assert ppc.kind == "plot"
    assert [tick.label for tick in ppc.wide.x_ticks] == ["1", "3"]
    (time,) = blocks["over-time"].plots
    assert time.kind == "plot"
    assert {mark.label for mark in time.wide.series[0].marks} == {"sadm", "dm", "random"}
    (classes,) = blocks["by-classes"].plots
    assert classes.kind == "heat"
    assert [row.label for row in classes.rows] == ["sadm", "dm"]
    assert [value.text for value in classes.rows[0].values] == ["+50", "+50"]


def test_the_spread_between_draws_is_drawn_where_there_are_several(records: Path) -> None:
    for repetition in (1, 2):
        a_run(records, method="dm", ppc=3, repetition=repetition, right=scores(5 + repetition))
    block = next(block for block in shown(pages(records)).charts if block.name == "spreads")
    (plot,) = block.plots
    assert plot.kind == "plot"
    (mark,) = plot.wide.series[0].marks
    assert (mark.label, mark.page) == ("dm", "methods/dm")


def test_methods_are_compared_pair_by_pair(records: Path) -> None:
    (table,) = compare_page(shown(pages(records)), Answers({})).pairs.tables
    assert [heading.title for heading in table.headings] == ["Accuracy", "− sadm", "− dm", "− random"]
    texts = [[value.text for value in line.values[1:]] for line in table.lines]
    assert texts == [["–", "+30.0", "+50.0"], ["−30.0", "–", "+20.0"], ["−50.0", "−20.0", "–"]]


def test_pages_of_what_reads_alike_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("A b", "a-b", "a b", "x" * 200, "x" * 201):
        a_run(tmp_path, data={"name": name})
    names = [choice.page for choice in pages(tmp_path).choices]
    assert len(set(names)) == len(names) == 5
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_./-") for name in names)


def test_figures_of_papers_stand_beside_with_why_they_cannot_be_compared(tmp_path: Path) -> None:
    data = {"name": "modelnet10", "variant": "hdf5", "hash": "5" * 64, "sampling": "first"}
    for method in ("random", "dm"):
        a_run(tmp_path, method=method, data=data, ppc=3, protocol=PROTOCOLS["lite"], right=[(5, 9)] * 5)
    page = shown(pages(tmp_path))
    assert page.chart.reported.startswith(
        "reported in a paper, not comparable: here it is draw nested, protocol lite"
    )
    words = [text for row in page.chart.wide.rows for _, text in row.reported]
    assert words
    assert all("% reported by" in text and "protocol lite" in text for text in words)


def test_few_methods_have_lines_and_random_is_among_them(tmp_path: Path) -> None:
    for number in range(12):
        a_run(tmp_path, method=f"m{number:02}", ppc=3, right=scores(5))
    a_run(tmp_path, method="random", ppc=3, right=scores(1))
    few = shown(pages(tmp_path)).shown.few
    assert len(few) == charts.MOST
    assert few[-1][2].name == "random"


def test_commands_carry_what_a_run_depended_on_and_no_folder(tmp_path: Path) -> None:
    folder = a_run(tmp_path, method="sadm", variation={"lr": 5.0}, ppc=3, repetition=2, test="so3")
    first = "pcbench run --method sadm --dataset shapes10 --ppc 3 --backbone pointnet:paper --protocol quick"
    run, evaluate = again(read_run(folder)[0]).splitlines()
    assert run == f"{first} --repetition 2 --set lr=5.0"
    assert evaluate == f"pcbench evaluate results/{folder.name} --backbone pointnet:paper --test so3"
    assert str(tmp_path) not in again(read_run(folder)[0])


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first page of a board of 48 rows, two PPCs and two repetitions."""
    records = tmp_path_factory.mktemp("many")
    for number in range(48):
        method, variation = f"method{number % 12}", {"lr": float(number // 12)} if number >= 12 else {}
        for ppc, repetition in ((1, 0), (3, 0), (3, 1)):
            right = [(number % 9, 2 * (seed + repetition) % 19) for seed in range(10)]
            a_run(
                records, method=method, variation=variation, ppc=ppc, repetition=repetition, right=right,
                seconds=1.0 + number,
            )  # fmt: skip
    found = pages(records)
    front_page = shown(found)
    assert len(front_page.block.tables[0].lines) == 48
    return Renderer().front("index", front_page, "")[1]


def test_the_first_page_of_many_rows_weighs_less_than_300_kb_with_all_that_it_loads(long_page: str) -> None:
    loaded = [builtin("leaderboard/static") / name for name in re.findall(r'"static/([a-z.]+)"', long_page)]
    assert {"style.css", "site.js", "charts.js"} <= {path.name for path in loaded}
    assert len(long_page.encode()) + sum(path.stat().st_size for path in loaded) < 300_000


def test_of_a_page_of_many_rows_one_table_links_to_runs(long_page: str) -> None:
    tables = dict(re.findall(r'data-table="([^"]+)">(.*?)</table>', long_page, re.S))
    assert {name for name, text in tables.items() if "<a " in text} == {"board"}
    assert len(tables) > 4


def test_every_link_of_a_drawing_has_words_and_a_wide_one_has_a_title_a_mark(long_page: str) -> None:
    drawings = re.findall(r'<svg class="(wide|narrow)"(.*?)</svg>', long_page, re.S)
    links = [text for _, drawing in drawings for text in re.findall(r"<a .*?</a>", drawing, re.S)]
    assert len(links) >= 4 * 48
    assert all(re.search(r"<(title|text)[^>]*>[^<]+</", text) for text in links)
    for size, drawing in drawings:
        marks = re.findall(r'class="mark".*?</(?:circle|path)>', drawing, re.S)
        assert all(("<title>" in mark) or size == "narrow" for mark in marks)
