"""The built site in the browser: every kind of page for everybody, and hostile records inert."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from built_in import CATALOGUE
from playwright.sync_api import Page, expect
from report_records import a_run

from pcbench.common.text import one_line
from pcbench.report import site
from pcbench.report.viewer import Clouds

pytestmark = pytest.mark.browser

KINDS = [
    "index",
    "cross-architecture",
    "initialisation",
    "ablations",
    "timing",
    "robustness",
    "paper",
    "methods/index",
    "methods/sadm",
    "runs/index",
    "a run",
]
# axe would read the style sheets by XMLHttpRequest, which the pages forbid.
WITHOUT_PRELOAD = {"preload": False}


CALL = "from pcbench.cli.main import main; main()"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of a few methods on two data sets, one of which failed, turned test clouds, a second student."""
    records = tmp_path_factory.mktemp("records")
    rows = [("random", {}), ("herding", {}), ("dm", {}), ("dm", {"init": "herding"}), ("sadm", {"lr": 5.0})]
    for data in ({}, {"name": "modelnet10", "variant": "hdf5", "hash": "6" * 64}):
        for ppc in (1, 3):
            for place, (method, variation) in enumerate(rows):
                right = [(3 + place + seed % 3, 7 + place + (seed * ppc) % 4) for seed in range(10)]
                a_run(records, method=method, variation=variation, data=data, ppc=ppc, right=right,
                      seconds=0.5 + 9.0 * place * ppc)  # fmt: skip
    for method in ("random", "sadm"):
        a_run(records, method=method, ppc=3, test="so3", right=[(4, 9)] * 10)
        a_run(records, method=method, ppc=3, student="canonical", right=[(5, 9)] * 10)
    a_run(records, method="dc", status="failed", reason="out of memory")
    folder = tmp_path_factory.mktemp("built")
    site.build(records, folder, CATALOGUE, Clouds(CATALOGUE.datasets, False), "https://host.example/board")
    return folder


@pytest.fixture(scope="session")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of one real run, with its clouds: `pcbench run`, then `pcbench leaderboard build`."""
    folder = tmp_path_factory.mktemp("distilled")
    run = "run --method dm --dataset shapes10 --ppc 1 --protocol quick --seeds 1"
    for words in (
        [*run.split(), "--set", "iterations=1", "--set", "recipe.epochs=1", "--out", str(folder / "results")],
        ["leaderboard", "build", "--results", str(folder / "results"), "--out", str(folder / "site")],
    ):
        done = subprocess.run([sys.executable, "-c", CALL, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def page_of(folder: Path, kind: str) -> str:
    """The page of a kind, relative to the site; of runs the first that is finished."""
    if kind != "a run":
        return f"{kind}.html"
    runs = (path for path in sorted((folder / "runs").iterdir()) if path.stem != "index")
    finished = next(path for path in runs if "<svg" in path.read_text(encoding="utf-8"))
    return f"runs/{finished.name}"


def violations(page: Page) -> list[str]:
    found = Axe().run(page, options=WITHOUT_PRELOAD).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_for_everybody(visit: Callable, built: Path, kind: str):
    page = visit(built).open(page_of(built, kind))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert violations(page) == []
    page.set_viewport_size({"width": 360, "height": 740})
    width = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    assert page.evaluate(width) == 360
    for menu in page.locator("main .toolbar").first.locator("summary").all():
        menu.click()
        assert page.evaluate(width) == 360
    page.emulate_media(media="print")
    tables = page.locator("table:visible").count()
    assert tables == page.locator("table").count()
    assert page.locator(".toolbar:visible").count() == 0


def test_every_page_opens_over_http_and_finds_all_its_files(visit: Callable, built: Path):
    seen = visit(built, "http")
    page = seen.open("index.html")
    for kind in KINDS:
        answer = page.goto(seen.address + page_of(built, kind))
        assert answer.ok
        assert page.evaluate("document.styleSheets.length") == 1
        expect(page.locator("#theme")).to_be_visible()


def test_without_javascript_every_table_is_there(visit: Callable, built: Path):
    page = visit(built, java_script_enabled=False).open("index.html")
    shown = page.locator("table.board :is(td, th):visible").count()
    assert shown == page.locator("table.board :is(td, th)").count() > 50


CELLS = """table => [...table.tBodies[0].rows].map(row => [...row.cells]
    .filter(cell => !cell.hidden)
    .flatMap(cell => [
        cell.dataset.value ?? cell.textContent.replace(/\\s+/g, " ").trim(),
        cell.dataset.std ?? "",
    ]))"""


def test_the_csv_of_every_table_of_the_overview_is_the_table(visit: Callable, built: Path):
    page = visit(built).open("index.html")
    tables = page.locator("table.board")
    assert tables.count() > 2
    for table in tables.all():
        bar = table.locator("xpath=ancestor::div[contains(@class,'scroll')]/preceding-sibling::div[1]")
        bar.get_by_text("Export").click()
        with page.expect_download() as waiting:
            bar.get_by_role("button", name="Download as CSV").click()
        page.keyboard.press("Escape")
        text = Path(waiting.value.path()).read_bytes().decode()
        made = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        expected = table.evaluate(CELLS)
        blank = ("", "–")
        kept = [[field for field in row if field not in blank] for row in made[1:]]
        assert kept == [[field for field in row if field not in blank] for row in expected]


def test_a_table_of_the_overview_sorts_and_its_address_brings_the_order_back(visit: Callable, built: Path):
    seen = visit(built)
    page = seen.open("index.html")
    table = page.locator("table.board").nth(1)
    methods = table.locator("tbody th")
    before = methods.all_inner_texts()
    head = table.locator("thead th[data-type=number]").last
    head.get_by_role("button").press("Enter")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    after = methods.all_inner_texts()
    assert after != before
    page.wait_for_url("**.sort=**")
    again = seen.context.new_page()
    again.goto(page.url)
    assert again.locator("table.board").nth(1).locator("tbody th").all_inner_texts() == after


def test_the_clouds_of_a_run_are_drawn(visit: Callable, distilled: Path):
    (script,) = (distilled / "clouds").glob("*.js")
    page = visit(distilled).open(f"runs/{script.stem}.html")
    expect(page.locator("canvas")).to_be_visible()
    names = ["initial", "distilled", "nearest real cloud"]
    assert page.locator(".names li").all_inner_texts() == names
    page.get_by_role("combobox", name="Class").select_option(index=9)
    expect(page.locator(".viewer [role=status]")).to_contain_text("64 points each")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert violations(page) == []


HOSTILE = [
    "<script>document.title='ran'</script>",
    "<img src=http://host.example/x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onfocus='alert(1)' autofocus='",
    "javascript:alert(1)",
    "</template></table><iframe src=javascript:alert(1)>",
    "=HYPERLINK(\"http://host.example\")",
    "{{ 7 * 7 }}",
]  # fmt: skip


def test_hostile_records_stay_text(visit: Callable, tmp_path: Path):
    """No dialog, no script, no request off the site, on any page; words show as they are."""
    records = tmp_path / "records"
    for text in HOSTILE:
        a_run(
            records,
            method=text,
            variation={text: text},
            network=text,
            data={"name": text, "variant": text, "class_names": [text, "table"]},
            hardware=text,
        )
        a_run(records, method="failed", variation={"a": text}, status="failed", reason=one_line(text))
    folder = tmp_path / "built"
    site.build(records, folder, CATALOGUE, Clouds(CATALOGUE.datasets, False))
    seen = visit(folder)
    page = seen.open("index.html")
    for path in sorted(folder.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.title() != "ran"
        assert page.locator("iframe, [onload], [onerror], [onfocus], script:not([src])").count() == 0
        for menu in page.locator("summary").all()[:3]:
            menu.click()
    page.goto((folder / "index.html").as_uri())
    text = page.locator("main").inner_text()
    assert all(" ".join(each.split()) in " ".join(text.split()) for each in HOSTILE)
