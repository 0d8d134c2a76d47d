"""Tables in the browser: sorted, filtered, narrowed and exported by mouse and keyboard, shared by address."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

START = [
    "random",
    "sadm re-evaluated",
    "sadm init=herding run here",
    "dm reported",
    "weird",
    "Herding incomplete",
]


def methods(page: Page, table: str = "first") -> list[str]:
    """The row headers on the screen, in their order."""
    names = page.locator(f"table[data-table={table}] tbody tr:visible th").all_inner_texts()
    return [re.sub(r"\s+", " ", "weird" if name.startswith("weird") else name).strip() for name in names]


def heads(page: Page, table: str = "first") -> list[str]:
    return page.locator(f"table[data-table={table}] thead th:visible").evaluate_all(
        "all => all.map(each => each.dataset.key)"
    )


def head(page: Page, key: str) -> Locator:
    return page.locator(f"table[data-table=first] th[data-key={key}]")


def tools(page: Page) -> Locator:
    return page.get_by_role("group", name="Tools for the table: Overall accuracy")


def test_numbers_sort_from_the_largest_with_ties_in_their_order_and_rows_without_a_number_last(visit, pages):
    page = visit(pages).open("index.html")
    assert methods(page) == START
    head(page, "mn10-1").get_by_role("button").click()
    assert methods(page) == [START[1], START[2], START[0], START[4], START[3], START[5]]
    expect(head(page, "mn10-1")).to_have_attribute("aria-sort", "descending")
    head(page, "mn10-1").get_by_role("button").click()
    assert methods(page) == [START[4], START[0], START[1], START[2], START[3], START[5]]
    expect(head(page, "mn10-1")).to_have_attribute("aria-sort", "ascending")
    expect(tools(page).get_by_role("status")).to_have_text("6 rows, sorted by ModelNet10 PPC 1, ascending")
    head(page, "mn10-1").get_by_role("button").click()
    assert methods(page) == START
    assert page.locator("[aria-sort]").count() == 0


def test_the_keyboard_sorts_and_the_focus_stays(visit, pages):
    page = visit(pages).open("index.html")
    head(page, "method").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert methods(page) == [START[3], START[0], START[2], START[1], START[4], START[5]]
    page.keyboard.press("Space")
    expect(head(page, "method")).to_have_attribute("aria-sort", "descending")
    expect(head(page, "method").get_by_role("button")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(head(page, "mn10-1")).to_have_attribute("aria-sort", "descending")
    assert head(page, "method").get_attribute("aria-sort") is None


def test_the_filter_keeps_the_rows_that_hold_every_word(visit, pages):
    page = visit(pages).open("index.html")
    field = tools(page).get_by_label("Filter")
    field.fill("HERD sadm")
    assert methods(page) == [START[2]]
    expect(tools(page).get_by_role("status")).to_have_text("1 of 6 rows")
    field.fill("nothing of that name")
    assert methods(page) == []
    assert methods(page, "second") == ["dm", "dc"]
    field.fill("")
    assert methods(page) == START


def test_columns_are_chosen_by_name_and_one_may_be_off_at_first(visit, pages):
    page = visit(pages).open("index.html")
    assert heads(page) == ["method", "mn10-1", "mn10-3", "gain-random", "time", "tier"]
    tools(page).get_by_text("Columns").click()
    tools(page).get_by_label("Note", exact=True).check()
    tools(page).get_by_label("ModelNet10 PPC 3").uncheck()
    assert heads(page) == ["method", "mn10-1", "gain-random", "time", "tier", "note"]
    assert page.locator("table[data-table=first] tbody tr").first.locator(":visible:is(td, th)").count() == 6


def test_a_menu_closes_on_escape_and_when_the_reader_goes_elsewhere(visit, pages):
    page = visit(pages).open("index.html")
    summary = tools(page).get_by_text("Columns")
    summary.focus()
    page.keyboard.press("Enter")
    expect(tools(page).get_by_label("Seconds")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(tools(page).get_by_label("Seconds")).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    page.get_by_role("heading", level=1).click()
    expect(tools(page).get_by_label("Seconds")).to_be_hidden()


def test_the_reader_chooses_what_is_compared_with(visit, pages):
    page = visit(pages).open("index.html")
    choice = tools(page).get_by_label("Compare with")
    assert choice.locator("option").all_inner_texts() == ["random", "the leader"]
    assert "gain-random" in heads(page)
    assert "gain-leader" not in heads(page)
    choice.select_option("the leader")
    assert "gain-leader" in heads(page)
    assert "gain-random" not in heads(page)


@pytest.mark.parametrize("over", ["file", "http"])
def test_an_address_brings_the_whole_view_back(visit, pages, over):
    seen = visit(pages, over)
    page = seen.open("index.html")
    head(page, "mn10-3").get_by_role("button").click()
    tools(page).get_by_label("Filter").fill("a")
    tools(page).get_by_label("Compare with").select_option("leader")
    tools(page).get_by_text("Columns").click()
    tools(page).get_by_label("Seconds").uncheck()
    page.wait_for_url("**first.hide=**")
    rows, columns, address = methods(page), heads(page), page.url
    again = seen.context.new_page()
    again.goto(address)
    assert (methods(again), heads(again)) == (rows, columns)
    expect(tools(again).get_by_label("Filter")).to_have_value("a")
    expect(tools(again).get_by_label("Compare with")).to_have_value("leader")
    expect(head(again, "mn10-3")).to_have_attribute("aria-sort", "descending")
    again.reload()
    assert (methods(again), heads(again)) == (rows, columns)


def test_the_address_of_an_untouched_page_stays_bare_and_places_on_the_page_stay_places(visit, pages):
    page = visit(pages).open("index.html#second")
    assert page.url.endswith("index.html#second")
    button = head(page, "time").get_by_role("button")
    button.click()
    page.wait_for_url("**#first.sort=-time")
    page.get_by_text("Skip to content").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    expect(head(page, "time")).to_have_attribute("aria-sort", "descending")
    page.go_back()
    page.wait_for_url("**#first.sort=-time")
    button.click()
    button.click()
    page.wait_for_url("**/index.html")


@pytest.mark.parametrize(
    "fragment",
    [
        "first.sort=__proto__&first.hide=constructor&anchor=toString",
        "first.sort=&first.hide=&second.sort=--&first.find=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
        "=&==&first.hide=method&anchor=%00",
        "first.find=%E0%A4%A",
    ],
)
def test_an_address_that_asks_for_what_is_not_there_breaks_nothing(visit, pages, fragment):
    page = visit(pages).open(f"index.html#{fragment}")
    assert head(page, "method").is_visible()
    assert page.locator("img").count() == 0
    tools(page).get_by_label("Filter").fill("")
    assert methods(page) == START


def download(page: Page, kind: str) -> tuple[str, str]:
    tools(page).get_by_text("Export").click()
    with page.expect_download() as waiting:
        tools(page).get_by_role("button", name=f"Download as {kind}").click()
    page.keyboard.press("Escape")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes().decode()


@pytest.mark.parametrize("over", ["file", "http"])
def test_csv_is_the_table_on_the_screen(visit, pages, over):
    page = visit(pages, over).open("index.html#first.sort=-mn10-1&first.hide=time&first.hide=tier")
    name, text = download(page, "CSV")
    assert name == "first.csv"
    assert text.endswith("\r\n")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert rows[0] == [
        "Method",
        "ModelNet10 PPC 1",
        "ModelNet10 PPC 1 std",
        "ModelNet10 PPC 3",
        "ModelNet10 PPC 3 std",
        "Against random",
        "Note",
    ]
    assert [row[0] for row in rows[1:5]] == [
        "sadm re-evaluated",
        "sadm init=herding run here",
        "random",
        r"weird\_&% $x^2$ <b>#1</b>",
    ]
    shown = page.locator("table[data-table=first] tbody tr:visible")
    for number, row in enumerate(rows[1:]):
        cells = (
            shown.nth(number)
            .locator("td:visible")
            .evaluate_all("all => all.slice(0, 3).flatMap(c => [c.dataset.value, c.dataset.std ?? ''])")
        )
        assert row[1:6] == cells[:5]
    assert {row[0]: row[6] for row in rows[1:]} == {
        "random": "'=1+1",
        "sadm re-evaluated": 'a "quoted", comma',
        "sadm init=herding run here": "'@sum",
        "dm reported": "'-",
        r"weird\_&% $x^2$ <b>#1</b>": "'+2\nlines",
        "Herding incomplete": "",
    }
    assert not any(field.startswith(tuple("=+@\t\r")) for row in rows for field in row)


def test_negative_numbers_stay_numbers_in_csv(visit, pages):
    page = visit(pages).open("index.html#anchor=leader&first.find=random")
    rows = list(csv.DictReader(io.StringIO(download(page, "CSV")[1])))
    assert [row["Against the leader"] for row in rows] == ["-9.25"]


def test_json_keeps_numbers_and_says_what_is_missing(visit, pages):
    page = visit(pages).open("index.html#first.find=herd&first.sort=mn10-1")
    name, text = download(page, "JSON")
    made = json.loads(text)
    assert name == "first.json"
    assert (made["table"], made["title"], made["anchor"]) == ("first", "Overall accuracy", "random")
    assert made["columns"][1] == {"key": "mn10-1", "label": "ModelNet10 PPC 1", "type": "number"}
    assert [row["method"] for row in made["rows"]] == ["sadm", "Herding"]
    assert made["rows"][0]["cells"][1] == {"column": "mn10-1", "value": 44.25, "std": 2.5}
    assert made["rows"][1]["cells"][2]["value"] is None


def test_latex_shows_what_the_screen_shows_and_runs_nothing_of_it(visit, pages):
    page = visit(pages).open("index.html#first.hide=time&first.hide=tier&first.hide=note&first.hide=mn10-3")
    name, text = download(page, "LaTeX")
    assert name == "first.tex"
    assert r"\begin{tabular}{lrr}" in text
    assert r"Method & ModelNet10 PPC 1 & Against random \\" in text
    assert r"random & 35.5 $\pm$ 4.6 & 0.0 \\" in text
    assert r"sadm re-evaluated & \textbf{44.3 $\pm$ 3.0} & +9.3 \\" in text
    escaped = r"weird\textbackslash{}\_\&\% \$x\textasciicircum{}2\$ "
    escaped += r"\textless{}b\textgreater{}\#1\textless{}/b\textgreater{}"
    assert escaped + r" & 9.5 & 30.0 \\" in text
    assert r"Herding incomplete & 50.0 $\pm$ 1.0 & -- \\" in text


def test_bibtex_holds_each_method_on_the_screen_once(visit, pages):
    page = visit(pages).open("index.html#first.sort=-mn10-1")
    name, text = download(page, "BibTeX")
    assert name == "first.bib"
    assert text.count("@") == 2
    assert (
        text.index("@article{sadm,") < text.index("% random: no citation") < text.index("@inproceedings{dm,")
    )
    page.goto(page.url.split("#")[0] + "#first.find=random")
    assert download(page, "BibTeX")[1] == "% random: no citation\n"


def test_an_export_can_be_copied(visit, pages):
    seen = visit(pages, permissions=["clipboard-read", "clipboard-write"])
    page = seen.open("index.html#first.find=re-evaluated")
    tools(page).get_by_text("Export").click()
    tools(page).get_by_role("button", name="Copy as LaTeX").click()
    expect(tools(page).get_by_role("status")).to_have_text("Copied as LaTeX")
    assert r"\toprule" in page.evaluate("navigator.clipboard.readText()")


def ground(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_is_the_systems_until_the_reader_chooses_and_the_choice_stays(
    visit: Callable, pages: Path, system: str
):
    page = visit(pages, color_scheme=system).open("index.html")
    grounds = {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 26)"}
    assert ground(page) == grounds[system]
    button = page.locator("#theme")
    for theme in ("light", "dark"):
        button.click()
        expect(button).to_have_text(f"Theme: {theme}")
        assert ground(page) == grounds[theme]
        page.reload()
        assert ground(page) == grounds[theme]
    button.click()
    expect(button).to_have_text("Theme: auto")
    assert ground(page) == grounds[system]


def test_without_javascript_every_row_and_column_stands_in_the_page(visit, pages):
    page = visit(pages, java_script_enabled=False).open("index.html")
    table = page.locator("table[data-table=first]")
    assert table.locator("thead th:visible").count() == 8
    assert table.locator("tbody tr:visible").count() == 6
    assert page.locator(".toolbar, table button, #theme:visible").count() == 0


def test_paper_shows_the_tables_and_none_of_the_controls(visit, pages):
    page = visit(pages, color_scheme="dark").open("index.html#first.find=sadm")
    page.locator("#theme").click(click_count=2)
    page.emulate_media(media="print")
    assert ground(page) == "rgb(255, 255, 255)"
    assert page.locator(".toolbar:visible, nav:visible, #theme:visible").count() == 0
    assert methods(page) == START[1:3]
    assert page.locator(".scroll").first.evaluate("each => getComputedStyle(each).overflowX") == "visible"


def test_keyboard_focus_is_seen(visit, pages):
    page = visit(pages).open("index.html")
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
