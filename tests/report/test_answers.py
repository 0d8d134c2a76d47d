"""McNemar's test, hard test clouds and majority votes follow from hand-made answers, on pages too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from built_in import CATALOGUE
from record_parts import keep_answers
from report_records import a_run
from scipy.stats import binomtest

from pcbench.protocols.protocol import QUICK, customised
from pcbench.records import layout
from pcbench.report import front
from pcbench.report.answers import Answers
from pcbench.report.front import Front, Pages, Strip
from pcbench.report.gather import gather
from pcbench.report.side_by_side import ComparePage, compare_page
from pcbench.report.site import Built, board_of, build
from pcbench.report.tables import Table
from pcbench.report.viewer import Clouds

TWO = customised(QUICK, {"students": 2})
CHAIRS, TABLES = 10, 20


def answers(*, wrong: list[set[int]]) -> list[list[int]]:
    """What students take ten chairs and twenty tables for, each wrong about some clouds."""
    labels = [0] * CHAIRS + [1] * TABLES
    return [[1 - k if cloud in those else k for cloud, k in enumerate(labels)] for those in wrong]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """random and dm, each with two students on thirty clouds; another of random without answers."""
    out = tmp_path / "results"
    first = a_run(out, method="random", protocol=TWO)
    keep_answers(first, answers(wrong=[{0, 1, 2, 3, 4, 5, 6, 7, 12}, {0, 1, 2, 3}]))
    other = a_run(out, method="dm", protocol=TWO)
    keep_answers(other, answers(wrong=[{0, 20}, {0, 21}]))
    a_run(out, method="dc", protocol=TWO)
    return out


@pytest.mark.usefixtures("results")
def test_compare_has_mcnemars_test_of_every_pair_and_of_all(pcbench) -> None:
    done = pcbench("compare", "random", "dm", "dc", "--json")
    assert done.code == 0, done.err
    by_name = {each["name"]: each for each in json.loads(done.out)["comparisons"]}
    assert by_name["dc"]["mcnemar"] is None
    found = by_name["dm"]["mcnemar"]
    assert found["clouds"] == CHAIRS + TABLES
    assert [(each["repetition"], each["student"]) for each in found["pairs"]] == [(0, 0), (0, 1)]
    counts = [(each["test"]["only_first"], each["test"]["only_other"]) for each in found["pairs"]]
    assert counts == [(1, 8), (1, 3)]
    for each, (one, two) in zip(found["pairs"], counts, strict=True):
        assert each["test"]["p"] == pytest.approx(binomtest(one, one + two).pvalue, rel=1e-12)
    together = found["together"]
    assert (together["only_first"], together["only_other"]) == (2, 11)
    # clouds 1 to 3 differ by two, 4 to 7 and 12 by one, 20 and 21 by one the other way
    sizes = np.array([2, 2, 2, 1, 1, 1, 1, 1, 1, 1])
    signs = 1 - 2 * (np.arange(1 << 10)[:, None] >> np.arange(10) & 1)
    assert together["p"] == pytest.approx((np.abs(signs @ sizes) >= 9).mean(), rel=1e-12)


@pytest.mark.usefixtures("results")
def test_the_table_says_on_how_many_clouds_one_alone_is_right(pcbench) -> None:
    text = pcbench("compare", "random", "dm").out
    (line,) = [line for line in text.splitlines() if line.endswith("0.062")]
    assert line.split() == ["dm", "shapes10", "1", "5.5", "1.0", "30", "1", "of", "2", "0.062"]
    assert "not about other students" in text
    assert "McNemar" not in pcbench("compare", "random", "dc").out


def test_answers_that_are_not_the_records_are_left_out_with_a_warning(pcbench, results: Path) -> None:
    for path in results.glob("dm-*"):
        keep_answers(path, answers(wrong=[{0}, {0}]))
        (kept,) = layout.all_predictions(path)
        kept.write_bytes(kept.read_bytes()[:200])
    done = pcbench("compare", "random", "dm", "--json")
    assert done.code == 0
    assert json.loads(done.out)["comparisons"][0]["mcnemar"] is None
    assert f"warning: left out {kept.relative_to(results.parent)}" in done.err


@pytest.mark.usefixtures("results")
def test_hard_clouds_are_those_that_most_students_miss(pcbench) -> None:
    done = pcbench("results", "hard", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == [
        {
            "dataset": "shapes10",
            "test": "",
            "cloud": 0,
            "true": "chair",
            "students": 4,
            "missed": 4,
            "taken_for": [["table", 4]],
        }
    ]
    text = pcbench("results", "hard").out.splitlines()[1]
    assert text.split() == ["shapes10", "plain", "0", "chair", "4", "of", "4", "table", "(4)"]


def test_an_ensemble_says_what_most_students_say_and_ties_count_by_lot(pcbench, results: Path) -> None:
    three = a_run(results, method="idm", protocol=customised(QUICK, {"students": 3}))
    keep_answers(three, answers(wrong=[{0, 1}, {1, 2}, {3}]))
    done = pcbench("results", "ensembles", "--json")
    assert done.code == 0, done.err
    by_method = {each["method"]: each for each in json.loads(done.out)}
    assert set(by_method) == {"random", "dm", "idm"}
    voted, missed = by_method["idm"]["ensemble_oa"], by_method["idm"]["missed_by_all"]
    assert (voted, missed) == (pytest.approx(100 * 29 / 30), 0)
    assert by_method["idm"]["mean_oa"] == pytest.approx(100 * (1 - 5 / 90))
    # random: clouds 0 to 3 are missed by both; 4 to 7 and 12 by one of the two
    assert by_method["random"]["ensemble_oa"] == pytest.approx(100 * (30 - 4 - 5 / 2) / 30)
    assert by_method["random"]["missed_by_all"] == 4
    assert "+" in pcbench("results", "ensembles").out


def test_a_folder_that_has_kept_no_answers_is_an_error(pcbench, tmp_path: Path) -> None:
    a_run(tmp_path / "results")
    done = pcbench("results", "hard")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines()[-1].startswith("error: results: no result that counts has kept")


# On the site


def a_page(results: Path) -> tuple[Front, ComparePage]:
    """The page of the board of these runs, and the compare page beside it."""
    gathered = gather(results)
    pages, answers = Pages(board_of(gathered)), Answers(gathered.folders)
    (choice,) = pages.choices
    shown = front.page(pages, choice, Strip(), (), answers)
    assert not answers.problems
    return shown, compare_page(shown, answers)


def texts(table: Table) -> list[list[str]]:
    """The lines of a table as text, without small print."""
    return [[line.head.text, *(value.text for value in line.values)] for line in table.lines]


def test_a_page_of_the_board_has_votes_and_hard_clouds_of_what_was_kept(results: Path) -> None:
    shown, _ = a_page(results)
    (block,) = [block for block in shown.charts if block.name == "by-cloud"]
    together, hard = block.tables
    assert texts(together) == [["dm", "93.3", "93.3", "0.0", "1"], ["random", "78.3", "78.3", "0.0", "4"]]
    assert texts(hard) == [["0", "chair", "100", "table"]]
    assert [value.note for value in hard.lines[0].values] == ["", "4 of 4", "4 of 4"]
    assert block.notes[-1] == "1 of 3 rows have not kept the answers."


def test_the_compare_page_has_mcnemars_test_of_every_two_that_kept_answers(results: Path) -> None:
    _, compared = a_page(results)
    assert compared.by_cloud is not None
    (table,) = compared.by_cloud.tables
    assert [heading.title for heading in table.headings] == ["dm", "random"]
    assert texts(table) == [["dm", "–", "5.5 : 1.0"], ["random", "1.0 : 5.5", "–"]]
    assert [table.lines[0].values[1].note, table.lines[1].values[0].note] == ["p 0.062"] * 2
    assert {value.look for line in table.lines for value in line.values} == {""}


def test_more_clouds_that_one_alone_has_right_are_told_apart_in_colour(results: Path) -> None:
    best = a_run(results, method="sadm", protocol=TWO)
    keep_answers(best, answers(wrong=[set(), set()]))
    _, compared = a_page(results)
    assert compared.by_cloud is not None
    (table,) = compared.by_cloud.tables
    looks = {
        (line.head.text, heading.title): value.look
        for line in table.lines
        for heading, value in zip(table.headings, line.values, strict=True)
    }
    assert (looks["sadm", "random"], looks["random", "sadm"]) == ("up", "down")
    assert (looks["sadm", "dm"], looks["sadm", "sadm"]) == ("", "")


def test_without_answers_nothing_of_them_is_shown(tmp_path: Path) -> None:
    for method in ("random", "dm"):
        a_run(tmp_path, method=method)
    shown, compared = a_page(tmp_path)
    assert "by-cloud" not in {block.name for block in shown.charts}
    assert compared.by_cloud is None


def test_the_pages_of_a_built_site_have_them_and_a_damaged_file_is_told_each_time(
    results: Path, tmp_path: Path
) -> None:
    (kept,) = [path for folder in results.glob("dm-*") for path in layout.all_predictions(folder)]

    def built() -> tuple[Built, str]:
        made = build(results, tmp_path / "site", CATALOGUE, Clouds(CATALOGUE.datasets, False))
        return made, (tmp_path / "site" / "runs" / f"{kept.parent.name[-10:]}.html").read_text()

    made, page = built()
    assert not made.problems
    assert "By majority vote the students have 93.3 % right together, 93.3 % one by one." in page
    assert "Of 30 test clouds 1 are missed by all." in page
    assert "On the same test clouds" in "".join(
        path.read_text() for path in (tmp_path / "site" / "compare").glob("*.html")
    )
    kept.write_bytes(kept.read_bytes()[:200])
    for _ in range(2):
        made, page = built()
        assert [line for line in made.problems if str(kept) in line] == list(made.problems)
        assert len(made.problems) == 1
        assert "majority vote" not in page
