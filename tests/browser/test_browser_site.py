"""The built site in the browser: every kind of page for everybody, and hostile records inert."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from built_in import CATALOGUE
from PIL import Image
from playwright.sync_api import Page, expect
from report_records import a_run
from toy_clouds import NAMES, Free, Registry, some

from pcbench.api import Snapshot
from pcbench.common.text import one_line
from pcbench.engine.artifacts import save_snapshots
from pcbench.protocols.protocol import QUICK
from pcbench.records import layout
from pcbench.report import site
from pcbench.report.viewer import Clouds

pytestmark = pytest.mark.browser

KINDS = [
    "index",
    "tables",
    "reading",
    "board/shapes10-1-pointnet-paper-quick",
    "compare/shapes10-3-pointnet-paper-quick",
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


@pytest.fixture(scope="session")
def side_by_side(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two methods on a data set whose clouds may be shown, without having trained anything."""
    records = tmp_path_factory.mktemp("clouds")
    for seed, (method, right) in enumerate((("dm", 7), ("random", 5))):
        clouds = some(seed, 1)
        folder = a_run(
            records, method=method, right=[(right, 2 * right)] * 10, clouds=[clouds.content_hash()] * 2,
            data={"name": "toy", "class_names": list(NAMES)},
        )  # fmt: skip
        save_snapshots(layout.clouds(folder), [Snapshot(at, clouds) for at in QUICK.snapshots])
    folder = tmp_path_factory.mktemp("beside")
    registry: Any = Registry(Free)
    site.build(records, folder, CATALOGUE, Clouds(registry, False))
    return folder


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
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
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
    page = visit(built, java_script_enabled=False).open("tables.html")
    for folded in page.locator("details.numbers > summary").all():
        folded.click()
    shown = page.locator("table.board :is(td, th):visible").count()
    assert shown == page.locator("table.board :is(td, th)").count() > 50


def test_without_javascript_the_first_view_stands_there_and_leads_to_the_others(visit: Callable, built: Path):
    page = visit(built, java_script_enabled=False).open("index.html")
    expect(page.locator(".best")).to_contain_text("%")
    expect(page.locator("figure[data-chart=chart] svg.wide")).to_be_visible()
    expect(page.locator("table[data-table=board]")).to_be_visible()
    controls = page.get_by_role("navigation", name="What is shown")
    before = page.locator("table[data-table=board] tbody th").all_inner_texts()
    controls.get_by_role("link", name="1", exact=True).click()
    assert "/board/" in page.url
    expect(page.locator("h1")).to_be_visible()
    assert page.get_by_role("link", name="1", exact=True).get_attribute("aria-current") == "true"
    assert sorted(page.locator("table[data-table=board] tbody th").all_inner_texts()) == sorted(before)


def test_a_choice_changes_the_address_and_keeps_the_state_of_the_table(visit: Callable, built: Path):
    page = visit(built).open("index.html#board.find=random")
    controls = page.get_by_role("navigation", name="What is shown")
    controls.get_by_role("link", name="1", exact=True).press("Enter")
    page.wait_for_url("**/board/*#board.find=random")
    shown = page.locator("table[data-table=board] tbody tr:visible")
    assert {row.get_attribute("data-method") for row in shown.all()} == {"random"}
    assert "PPC 1" in page.locator(".best").inner_text()
    assert "PPC 1" in page.locator("figure[data-chart=chart] title").first.text_content()


def test_a_telephone_shows_methods_and_accuracies(visit: Callable, built: Path):
    page = visit(built, viewport={"width": 390, "height": 844}).open("index.html")
    names = page.locator("figure[data-chart=chart] svg.narrow .name")
    assert names.count() > 3
    first = names.first.bounding_box()
    assert first["y"] + first["height"] < 844
    size = page.locator("figure[data-chart=chart] svg.narrow").evaluate(
        "e => e.getBoundingClientRect().width / e.viewBox.baseVal.width"
    )
    assert 0.9 < size < 1.3
    table = page.locator("table[data-table=board]")
    table.scroll_into_view_if_needed()
    cells = table.locator("tbody tr").first.locator("th, td")
    assert all(cells.nth(n).bounding_box()["x"] + cells.nth(n).bounding_box()["width"] <= 390 for n in (0, 1))
    assert "±" in cells.nth(1).inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_chart_is_written_as_svg_and_as_png_with_the_colours_of_the_theme(
    visit: Callable, built: Path, theme: str
):
    page = visit(built, color_scheme=theme).open("index.html")
    figure = page.locator("figure[data-chart=chart]")
    files = {}
    for name in ("SVG", "PNG"):
        with page.expect_download() as waiting:
            figure.get_by_role("button", name=f"Download as {name}").click()
        files[name] = Path(waiting.value.path()).read_bytes()
        assert waiting.value.suggested_filename == f"chart.{name.lower()}"
    drawing = ElementTree.fromstring(files["SVG"])
    tags = {element.tag.rpartition("}")[2] for element in drawing.iter()}
    assert {"text", "circle", "path", "title"} <= tags
    assert not tags & {"a", "script", "style"}
    assert not any("class" in element.attrib or "style" in element.attrib for element in drawing.iter())
    image = Image.open(io.BytesIO(files["PNG"])).convert("RGB")
    assert image.width == 2 * float(drawing.attrib["width"])
    corner = sum(image.getpixel((2, 2)))
    assert corner > 700 if theme == "light" else corner < 100
    colours = image.getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 20


def test_methods_are_chosen_to_be_compared_and_the_address_brings_them_back(visit: Callable, built: Path):
    seen = visit(built)
    page = seen.open("compare/shapes10-3-pointnet-paper-quick.html")
    rows = page.locator("table[data-table=pairs-table] tbody tr:visible")
    everything = rows.count()
    assert everything > 3
    box = page.get_by_role("group", name="Methods that are compared")
    for words in ("herding", "random"):
        box.get_by_label(words, exact=True).press("Space")
    assert rows.count() == everything - 2
    heads = page.locator("table[data-table=pairs-table] thead th:visible").all_inner_texts()
    assert not {"− herding", "− random"} & {head.strip() for head in heads}
    assert page.locator("figure [data-series=herding]:visible").count() == 0
    assert page.locator("figure [data-series=dm]:visible").count() > 0
    again = seen.context.new_page()
    again.goto(page.url)
    assert again.locator("table[data-table=pairs-table] tbody tr:visible").count() == everything - 2
    difference = page.locator("table[data-table=pairs-table] tbody tr").first.locator("td").nth(2)
    assert difference.get_attribute("data-value") is not None


def test_the_strip_is_turned_when_it_is_asked_for(visit: Callable, side_by_side: Path):
    seen = visit(side_by_side)
    page = seen.open("index.html")
    tiles = page.locator(".strip .tile")
    assert tiles.count() == 2
    shot = Image.open(io.BytesIO(tiles.first.screenshot())).convert("L")
    assert np.asarray(shot).min() < 140
    assert page.locator("canvas").count() == 0
    page.get_by_role("button", name="Turn the clouds, choose other classes").press("Enter")
    expect(page.locator("canvas")).to_be_visible()
    assert page.locator(".names li").all_inner_texts() == ["dm", "random"]
    assert page.get_by_role("combobox", name="Class").input_value() != ""
    page.get_by_role("combobox", name="Class").select_option("</script>")
    expect(page.locator(".viewer [role=status]")).to_contain_text("</script>: dm, random")
    assert violations(page) == []


CELLS = """table => [...table.tBodies[0].rows].map(row => [...row.cells]
    .filter(cell => !cell.hidden)
    .flatMap(cell => [
        cell.dataset.value ?? cell.textContent.replace(/\\s+/g, " ").trim(),
        cell.dataset.std ?? "",
    ]))"""


def test_the_csv_of_every_table_of_the_overview_is_the_table(visit: Callable, built: Path):
    page = visit(built).open("tables.html")
    tables = page.locator("table.board")
    assert tables.count() > 2
    for folded in page.locator("details.numbers > summary").all():
        folded.click()
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
    page = seen.open("tables.html")
    table = page.locator("table.board:visible").nth(1)
    methods = table.locator("tbody th")
    before = methods.all_inner_texts()
    head = table.locator("thead th[data-type=number]").first
    head.get_by_role("button").press("Enter")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    after = methods.all_inner_texts()
    assert after != before
    page.wait_for_url(re.compile(r"\.sort=[^-]"))
    again = seen.context.new_page()
    again.goto(page.url)
    assert again.locator("table.board:visible").nth(1).locator("tbody th").all_inner_texts() == after


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
    page.goto((folder / "tables.html").as_uri())
    text = page.locator("main").inner_text()
    assert all(" ".join(each.split()) in " ".join(text.split()) for each in HOSTILE)
