"""Pages show what the tables hold, take hostile text as text, and come out byte for byte the same."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt
from report_records import a_run
from typer.testing import CliRunner

from pcbench.cli.leaderboard import app
from pcbench.errors import DataError
from pcbench.protocol import QUICK
from pcbench.records import read_runs
from pcbench.report.render import duration, escape_markdown, letter, render
from pcbench.report.tables import board, plain

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "a | b\n| c | d |",
    "`code` *bold* _em_ ~~gone~~",
    "[text](javascript:alert(1)) ![i](http://host.example/x.png)",
    "<https://host.example> http://host.example www.host.example",
    "&lt;b&gt; &amp; &#60;",
    "{{ 7 * 7 }} {% raw %}",
    "\\| \\` back\\slash",
    "# heading",
    "- list",
    "1. list",
    "===",
    "\x1b[31m\u202e",
]


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, the text, and the text of every table cell."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


def files(folder: Path) -> dict[str, str]:
    runs, problems = read_runs(folder)
    assert not problems
    return render(board(runs))


def markdown_rows(text: str) -> list[list[str]]:
    """The cells of all tables, as a Markdown reader shows them; HTML or links in the text fail."""
    tokens = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").parse(text)
    rows: list[list[str]] = []
    inside = False
    for token in tokens:
        assert token.type != "html_block"
        if token.type == "tr_open":
            rows.append([])
        inside = inside or token.type in ("td_open", "th_open")
        if token.type == "inline":
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "text_special", "strong_open", "strong_close"}, (kinds, token.content)
            if inside:
                rows[-1].append("".join(child.content for child in token.children or []))
        inside = inside and token.type not in ("td_close", "th_close")
    return rows


@pytest.fixture
def two_by_two(tmp_path: Path) -> Path:
    for method, right in (("sadm", [(9, 12)] * 5 + [(9, 9)] * 5), ("random", [(3, 3)] * 10)):
        for ppc in (1, 3):
            a_run(tmp_path, method=method, ppc=ppc, right=right, seconds=75.0 * ppc)
    a_run(tmp_path, method="dm", ppc=3, variation={"lr": 0.1}, right=[(1, 1)] * 10)
    return tmp_path


def test_html_shows_the_cells(two_by_two: Path) -> None:
    page = Page(files(two_by_two)["index.html"])
    assert page.open == []
    cells = [" ".join(cell.split()) for cell in page.cells]
    assert cells[:4] == ["Method", "shapes10 PPC 1", "shapes10 PPC 3", "Mean"]
    score = "65.0 ± 5.3 1 × 10"
    assert cells[4:8] == ["sadm", f"{score}, 1 min 15 s", f"{score}, 3 min 45 s", "65.0"]
    assert cells[8:12] == ["random", "20.0 ± 0.0 1 × 10, 1 min 15 s", "20.0 ± 0.0 1 × 10, 3 min 45 s", "20.0"]
    assert cells[12:16] == ["dm lr=0.1 incomplete", "–", "6.7 ± 0.0 1 × 10, 1.0 s", "–"]
    assert cells[16:21] == ["Method", "shapes10 PPC 1", "shapes10 PPC 3", "sadm", "71.2 ± 4.0 1 × 10"]
    assert sum(tag == "strong" for tag, _ in page.tags) == 4
    assert "Times on A CPU, 2 threads" in files(two_by_two)["index.html"]


def test_html_is_semantic_and_asks_no_other_host(two_by_two: Path) -> None:
    text = files(two_by_two)["index.html"]
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert {"main", "table", "caption", "thead", "tbody", "section"} <= names
    assert not names & {"script", "style", "img", "iframe"}
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")
    assert not any("style" in attributes for _, attributes in page.tags)
    links = [v for _, attributes in page.tags for k, v in attributes.items() if k in ("href", "src")]
    assert links == ["data:,", "style.css"]
    assert "http" not in text + files(two_by_two)["style.css"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {
        attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes
    }
    assert labelled <= set(ids)


def test_markdown_shows_the_cells(two_by_two: Path) -> None:
    text = files(two_by_two)["leaderboard.md"]
    rows = markdown_rows(text)
    assert rows[:4] == [
        ["Method", "shapes10, PPC 1", "shapes10, PPC 3", "Mean"],
        ["sadm", "65.0 ± 5.3 (1 × 10)", "65.0 ± 5.3 (1 × 10)", "65.0"],
        ["random", "20.0 ± 0.0 (1 × 10)", "20.0 ± 0.0 (1 × 10)", "20.0"],
        ["dm (lr=0.1) (incomplete)", "–", "6.7 ± 0.0 (1 × 10)", "–"],
    ]
    assert rows[4:6] == [["Method", *rows[0][1:3]], ["sadm", *["71.2 ± 4.0 (1 × 10)"] * 2]]
    assert rows[8:10] == [["Method", *rows[0][1:3]], ["sadm", "1 min 15 s", "3 min 45 s"]]
    assert text.count("**65.0 ± 5.3**") == 2
    assert "on A CPU, 2 threads." in text
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(tmp_path: Path, text: str) -> None:
    a_run(
        tmp_path / "x", method=text, variation={text: text}, network=text, data={"name": text}, hardware=text
    )
    a_run(tmp_path / "x", method="failed", status="failed", reason=text, hardware=text)
    benign = "benign"
    a_run(tmp_path / "y", method=benign, variation={benign: benign}, network=benign, data={"name": benign})
    a_run(tmp_path / "y", method="failed", status="failed", reason=benign)
    shown, expected = files(tmp_path / "x"), files(tmp_path / "y")
    page, like = Page(shown["index.html"]), Page(expected["index.html"])
    assert page.tags == like.tags
    assert page.cells == [cell.replace(benign, plain(text)) for cell in like.cells]
    rows = [[re.sub(r"\s+", " ", cell) for cell in row] for row in markdown_rows(shown["leaderboard.md"])]
    assert rows == [
        [c.replace(benign, plain(text)) for c in row] for row in markdown_rows(expected["leaderboard.md"])
    ]
    assert "http://" not in shown["leaderboard.md"]
    assert "www." not in shown["leaderboard.md"]


@pytest.mark.parametrize("text", [*HOSTILE, "12) x", "plain-name_1.5", "+", "a:b"])
def test_escaped_markdown_reads_as_the_text(text: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(escape_markdown(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == " ".join(text.split())


def test_the_same_records_give_the_same_bytes(
    two_by_two: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for number, folder in enumerate(sorted(two_by_two.iterdir(), reverse=True)):
        folder.rename(other / f"{number}")
    first = files(other)
    for folder in list(other.iterdir()):
        folder.rename(two_by_two / f"renamed-{folder.name}")
    assert files(two_by_two) == first


def test_hardware_is_named_where_times_differ_in_it(tmp_path: Path) -> None:
    a_run(tmp_path, hardware="Slow", seconds=61)
    a_run(tmp_path, method="dm", hardware="Fast", seconds=0.25)
    made = files(tmp_path)
    assert "1 min 01 s (B)" in made["index.html"]
    assert "0.2 s (A)" in made["index.html"]
    for name in ("index.html", "leaderboard.md"):
        assert re.search(r"A = Fast, 2 threads;\s+B = Slow, 2 threads\.", made[name])


def test_data_that_is_not_standard_is_marked(tmp_path: Path) -> None:
    a_run(tmp_path, data={"standard": False})
    made = files(tmp_path)
    assert "shapes10 †, PPC 1" in made["leaderboard.md"]
    assert "† Not the data set of its card" in made["leaderboard.md"]
    assert "† Not the data set of its card" in made["index.html"]


def test_durations_and_letters() -> None:
    shown = [duration(s) for s in (0, 0.04, 9.94, 9.96, 59.4, 59.6, 3599.4, 3599.6, 7620)]
    assert shown == [
        "0.0 s",
        "0.0 s",
        "9.9 s",
        "10 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "1 h 00 min",
        "2 h 07 min",
    ]
    assert [letter(place) for place in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def invoke(*arguments: str) -> tuple[int, str, str, BaseException | None]:
    root = typer.Typer()
    root.add_typer(app, name="leaderboard")
    result = CliRunner().invoke(root, ["leaderboard", *arguments])
    return result.exit_code, result.stdout, result.stderr, result.exception


def test_build_writes_three_files_and_names_them(two_by_two: Path, tmp_path: Path) -> None:
    site = tmp_path / "deep" / "site"
    code, out, err, _ = invoke("build", "--results", str(two_by_two), "--out", str(site))
    assert (code, err) == (0, "")
    names = ["leaderboard.md", "index.html", "style.css"]
    assert out.splitlines() == [str(site / name) for name in names]
    assert {path.name for path in site.iterdir()} == set(names)
    assert {path.name: path.read_text(encoding="utf-8") for path in site.iterdir()} == files(two_by_two)


def test_build_without_records_says_what_to_do(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        _, _, _, error = invoke("build", "--results", str(folder), "--out", str(tmp_path / "site"))
        assert isinstance(error, DataError)
        assert str(folder) in str(error)
        assert "pcbench run" in str(error)
    assert not (tmp_path / "site").exists()


def test_build_warns_of_every_file_that_it_leaves_out(tmp_path: Path) -> None:
    good = a_run(tmp_path)
    corrupt = a_run(tmp_path, method="corrupt") / "distillation.json"
    corrupt.write_bytes(b"\xff{")
    changed = a_run(tmp_path, method="changed")
    evaluation = next(changed.glob("evaluation-*.json"))
    data = json.loads(evaluation.read_text())
    data["snapshots"][-1]["oa"][0] = 1.0
    evaluation.write_text(json.dumps(data))
    code, _, err, _ = invoke("build", "--results", str(tmp_path), "--out", str(tmp_path / "site"))
    assert code == 0
    warnings = err.splitlines()
    assert all(line.startswith("warning: left out ") for line in warnings)
    assert any(str(corrupt) in line for line in warnings)
    assert any(str(evaluation) in line and "does not follow" in line for line in warnings)
    assert not any(str(good) in line for line in warnings)
    page = (tmp_path / "site" / "index.html").read_text()
    assert "sadm" in page
    assert "changed" in page
    assert QUICK.summary.split(":")[0] in page
