"""Pages show what the tables hold, take hostile text as text, and come out byte for byte the same."""

from __future__ import annotations

import json
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from built_in import CATALOGUE
from markdown_it import MarkdownIt
from report_records import a_run
from typer.testing import CliRunner

from pcbench.cli.leaderboard import app
from pcbench.common.text import one_line
from pcbench.errors import DataError, UsageError
from pcbench.protocols.protocol import QUICK
from pcbench.report import gather, site
from pcbench.report.answers import Answers
from pcbench.report.output import MANIFEST
from pcbench.report.results import MeasuredRun
from pcbench.report.runs import RunPage
from pcbench.report.text import duration, escape_markdown, plain
from pcbench.report.viewer import Clouds

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
        self.title = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "path", "circle", "line", "rect", "image"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle", "line", "rect", "image"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data
        if "h1" in self.open:
            self.title += data


def built(folder: Path, out: Path) -> site.Built:
    return site.build(folder, out, CATALOGUE, Clouds(CATALOGUE.datasets, False))


def files(folder: Path) -> dict[str, str]:
    """Every file of the site by its path."""
    with tempfile.TemporaryDirectory() as root:
        out = Path(root) / "site"
        assert not built(folder, out).problems
        return {
            str(path.relative_to(out)): path.read_text(encoding="utf-8")
            for path in sorted(out.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }


def rows(page: str, table: str) -> list[list[str]]:
    """The cells of a table as they are read, its head first."""
    found = re.search(rf'data-table="{table}">(.*?)</table>', page, re.DOTALL)
    assert found, table
    lines = found[1].split("<tr")[1:]
    return [
        [" ".join(cell.split()) for cell in Page("<tr" + line.split("</tr>")[0] + "</tr>").cells]
        for line in lines
    ]


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
    text = files(two_by_two)["tables.html"]
    assert Page(text).open == []
    head, sadm, random, dm = rows(text, "s1-d1-oa")
    assert head[0] == "Method"
    assert head[1:6] == [
        "PPC 1",
        "Tier, PPC 1 of this cell",
        "PPC 1 against random",
        "PPC 1 against sadm (the leader)",
        "PPC 3",
    ]
    assert sadm[0] == "sadm"
    assert sadm[1] == "65.0 ± 5.3 61.2 to 68.8, 1 × 10"
    assert sadm[-4:] == ["65.0", "1", "1", "run here"]
    assert random[1] == "20.0 ± 0.0 20.0 to 20.0, 1 × 10"
    assert random[3] == "anchor"
    assert dm[0] == "dm lr=0.1 incomplete parameters chosen by hand not ranked"
    assert (dm[1], *dm[-4:-1]) == ("–", "–", "–", "–")
    assert dm[5] == "6.7 ± 0.0 6.7 to 6.7, 1 × 10"
    assert rows(text, "s1-d1-macc")[1][1] == "71.2 ± 4.0 68.4 to 74.1, 1 × 10"
    assert text.count("<strong>") == 4


def test_the_list_of_runs_begins_with_their_accuracies(two_by_two: Path) -> None:
    a_run(two_by_two, method="m3d", status="failed", reason="out of memory")
    head, *lines = rows(files(two_by_two)["runs/index.html"], "runs")
    assert head[:4] == ["Method", "Accuracy %, mean ± std", "Data set", "PPC"]
    assert [(line[0].split(" run ")[0], line[1].split(" ")[0], line[3]) for line in lines] == [
        ("sadm", "65.0", "PPC 1"),
        ("random", "20.0", "PPC 1"),
        ("m3d", "–", "PPC 1"),
        ("sadm", "65.0", "PPC 3"),
        ("random", "20.0", "PPC 3"),
        ("dm lr=0.1", "6.7", "PPC 3"),
    ]


def test_the_page_of_a_run_opens_with_the_plain_test_and_folds_the_others(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(2, 2)] * 10, test="so3")
    folder = a_run(tmp_path, right=[(5, 10)] * 10)
    made = files(tmp_path)
    text = made[page_of(made, "runs", "sadm")]
    opening, folded = text.split('<div class="screen">')[0], re.findall(r"<summary>(.*?)</summary>", text)
    assert re.search(r"<strong>50\.0 ± 0\.0", opening)
    assert any(re.match(r"13\.3 ± 0\.0.*test so3", " ".join(words.split())) for words in folded)
    assert str(folder) not in text


def test_every_page_is_semantic_and_asks_no_other_host(two_by_two: Path) -> None:
    made = files(two_by_two)
    for path, text in made.items():
        if not path.endswith(".html"):
            continue
        page = Page(text)
        assert page.open == [], path
        assert {tag for tag, _ in page.tags} >= {"main", "nav", "h1"}
        assert not {tag for tag, _ in page.tags} & {"style", "iframe", "form", "object", "base"}
        assert all(a.get("scope") in ("row", "col") for tag, a in page.tags if tag == "th")
        for tag, attributes in page.tags:
            assert "style" not in attributes
            assert not any(name.startswith("on") for name in attributes)
            assert tag != "script" or attributes["src"].startswith(("static/", "../static/"))
        addresses = [v or "" for _, a in page.tags for k, v in a.items() if k in ("href", "src")]
        assert not any(":" in each for each in addresses if each != "data:,")
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        assert not any("=" in (each or "") for each in ids)
        named = [a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a]
        assert {word for each in named for word in (each or "").split()} <= set(ids), path
        tables = [a["data-table"] for _, a in page.tags if "data-table" in a]
        assert len(tables) == len(set(tables))


def test_markdown_shows_the_cells(two_by_two: Path) -> None:
    text = files(two_by_two)["leaderboard.md"]
    found = markdown_rows(text)
    assert found[:4] == [
        ["Method", "PPC 1", "PPC 3", "Mean", "Rank"],
        ["sadm", *["65.0 ± 5.3 (61.2 to 68.8, 1 × 10)"] * 2, "65.0", "1"],
        ["random", *["20.0 ± 0.0 (20.0 to 20.0, 1 × 10)"] * 2, "20.0", "2"],
        [
            "dm (lr=0.1), incomplete, parameters chosen by hand, not ranked",
            "–",
            "6.7 ± 0.0 (6.7 to 6.7, 1 × 10)",
            "–",
            "–",
        ],
    ]
    assert text.count("**65.0 ± 5.3**") == 2
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(tmp_path: Path, text: str) -> None:
    """Whatever a record says, every page has the tags and attributes that it has for harmless words."""
    benign = "benign"
    for folder, word in (("x", text), ("y", benign)):
        words = {
            "variation": {word: word},
            "network": word,
            "data": {"name": word, "variant": word},
            "hardware": word,
        }
        a_run(tmp_path / folder, method=word, **words)
        a_run(tmp_path / folder, method="failed", status="failed", reason=one_line(word), hardware=word)
    shown, expected = files(tmp_path / "x"), files(tmp_path / "y")
    assert len(shown) == len(expected)
    assert all(re.fullmatch(r"[a-z0-9_/.-]+", path) for path in shown)
    pairs = [
        (f"{page}.html", f"{page}.html")
        for page in ("index", "tables", "timing", "ablations", "methods/index")
    ]
    pairs += [(page_of(shown, "methods", text), page_of(expected, "methods", benign))]
    pairs += [(page_of(shown, "runs", text), page_of(expected, "runs", benign))]
    for hostile, harmless in pairs:
        page, like = Page(shown[hostile]), Page(expected[harmless])
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in like.tags]
        assert [sorted(a) for _, a in page.tags] == [sorted(a) for _, a in like.tags]
        assert page.open == []
    cells = [" ".join(cell.split()) for cell in Page(shown["tables.html"]).cells]
    like_cells = [" ".join(cell.split()) for cell in Page(expected["tables.html"]).cells]
    assert cells == [cell.replace(benign, plain(text)) for cell in like_cells]
    found = [[re.sub(r"\s+", " ", cell) for cell in row] for row in markdown_rows(shown["leaderboard.md"])]
    assert found == [
        [c.replace(benign, plain(text)) for c in row] for row in markdown_rows(expected["leaderboard.md"])
    ]
    assert "http://" not in shown["leaderboard.md"]
    assert "www." not in shown["leaderboard.md"]


def page_of(made: dict[str, str], folder: str, method: str) -> str:
    """The page of a method, or of its run, by its heading."""
    titles = {
        path: Page(text).title
        for path, text in made.items()
        if path.startswith(f"{folder}/") and "index" not in path
    }
    (path,) = [
        path for path, title in titles.items() if title.startswith(plain(method)) and "failed" not in title
    ]
    return path


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


def test_times_of_different_hardware_stand_apart(tmp_path: Path) -> None:
    a_run(tmp_path, hardware="Slow", seconds=61)
    a_run(tmp_path, method="dm", hardware="Fast", seconds=0.25)
    text = files(tmp_path)["timing.html"]
    fast, slow = rows(text, "t1-1-1"), rows(text, "t1-1-2")
    assert [row[2] for row in fast] == ["Time, PPC 1 seconds in exports", "0.2 s"]
    assert [row[2] for row in slow][1:] == ["1 min 01 s training of its network: all"]
    assert "Fast, 2 threads" in text
    assert "Slow, 2 threads" in text


def test_data_that_is_not_standard_is_marked(tmp_path: Path) -> None:
    a_run(tmp_path, data={"standard": False})
    made = files(tmp_path)
    assert "shapes10 †" in made["leaderboard.md"]
    assert "open division" in made["leaderboard.md"]
    assert "† Not the data set of its card" in made["leaderboard.md"]
    assert "† Not the data set of its card" in made["tables.html"]


def test_durations() -> None:
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


def invoke(*arguments: str) -> tuple[int, str, str, BaseException | None]:
    root = typer.Typer()
    root.add_typer(app, name="leaderboard")
    result = CliRunner().invoke(root, ["leaderboard", *arguments])
    return result.exit_code, result.stdout, result.stderr, result.exception


def test_build_writes_the_site(two_by_two: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "site"
    code, printed, _, _ = invoke("build", "--results", str(two_by_two), "--out", str(out))
    assert code == 0
    expected = files(two_by_two)
    assert printed == f"wrote {len(expected)} files: open {out / 'index.html'}\n"
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert there == {*expected, MANIFEST}
    assert all((out / path).read_text(encoding="utf-8") == text for path, text in expected.items())


def test_a_build_removes_what_an_older_one_wrote_and_nothing_else(two_by_two: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    a_run(two_by_two, method="gone")
    built(two_by_two, out)
    (old,) = [
        path for path in (out / "runs").glob("*.html") if Page(path.read_text()).title.startswith("gone")
    ]
    changed = out / "methods" / "gone.html"
    changed.write_text("mine")
    (out / "CNAME").write_text("host.example")
    for folder in two_by_two.glob("gone-*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    before = (out / "static" / "site.js").stat().st_mtime_ns
    made = built(two_by_two, out)
    assert not old.exists()
    assert f"runs/{old.name}" in made.removed
    assert not (out / "data" / old.stem).exists()
    assert changed.read_text() == "mine"
    assert (out / "CNAME").exists()
    assert (out / "static" / "site.js").stat().st_mtime_ns == before


def test_a_build_makes_only_the_pages_of_runs_that_changed(
    two_by_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    page = gather.runs.page

    def noted(measured: MeasuredRun, answers: Answers) -> RunPage:
        made.append(measured.run.distillation.inputs.method)
        return page(measured, answers)

    monkeypatch.setattr(gather.runs, "page", noted)
    out = tmp_path / "site"
    built(two_by_two, out)
    assert len(made) == 5
    made.clear()
    assert not built(two_by_two, out).removed
    assert made == []
    (dm,) = [path for path in (out / "runs").glob("*.html") if Page(path.read_text()).title.startswith("dm")]
    dm.write_text("altered by hand")
    built(two_by_two, out)
    assert made == ["dm"]
    a_run(two_by_two, method="random", right=[(4, 4)] * 10)
    copy = two_by_two / "a-copy"
    copy.mkdir()
    for file in next(two_by_two.glob("dm-*")).glob("distillation.json"):
        (copy / file.name).write_bytes(file.read_bytes())
    for _ in range(2):
        built(two_by_two, out)
        assert "altered" not in dm.read_text()
        built(two_by_two, tmp_path / "other")
        for path in (tmp_path / "other").rglob("*"):
            if path.is_file():
                assert (out / path.relative_to(tmp_path / "other")).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_several_processes_make_the_same_bytes(
    two_by_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = a_run(two_by_two, method="broken") / "distillation.json"
    broken.write_text("{")
    serial = built(two_by_two, tmp_path / "serial")
    monkeypatch.setattr(gather, "SEVERAL", 1)
    shared = built(two_by_two, tmp_path / "shared")
    assert shared == serial
    assert len([line for line in serial.problems if str(broken) in line]) == 1
    for file in (path for path in (tmp_path / "serial").rglob("*") if path.is_file()):
        assert (tmp_path / "shared" / file.relative_to(tmp_path / "serial")).read_bytes() == file.read_bytes()


def test_a_build_that_is_stopped_is_finished_by_the_next_one(
    two_by_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "site"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    a_run(two_by_two, method="gone")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(site.timing, "blocks", stop)
        built(two_by_two, out)
    for folder in two_by_two.glob("gone-*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    built(two_by_two, out)
    built(two_by_two, tmp_path / "other")
    names = [sorted(str(p.relative_to(root)) for p in root.rglob("*")) for root in (out, tmp_path / "other")]
    assert names[0] == names[1]


def test_the_better_of_two_records_of_one_run_is_shown(two_by_two: Path, tmp_path: Path) -> None:
    folder = a_run(tmp_path / "more", method="sadm", ppc=10, right=[(7, 7)] * 10)
    for name, files_of in (("a-first", ["distillation.json"]), ("b-second", None)):
        copy = two_by_two / name
        copy.mkdir()
        for file in folder.iterdir():
            if files_of is None or file.name in files_of:
                (copy / file.name).write_bytes(file.read_bytes())
    made = built(two_by_two, tmp_path / "site")
    assert [line.partition(":")[0] for line in made.problems] == [str(two_by_two / "a-first")]
    text = (tmp_path / "site" / "tables.html").read_text()
    assert "46.7 ± 0.0" in text
    assert "Runs without a score" not in text


def test_a_folder_of_something_else_is_left_alone(two_by_two: Path, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds files and no site"):
        built(two_by_two, out)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["../thesis.tex", "/etc/hostname", "a/../../b", "a\\..\\b"])
def test_a_manifest_cannot_name_files_outside(two_by_two: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "site"
    out.mkdir()
    (tmp_path / "thesis.tex").write_text("")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (out / MANIFEST).write_text(json.dumps({"files": {name: digest}}))
    with pytest.raises(DataError, match="is damaged"):
        built(two_by_two, out)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("address", ["javascript:alert(1)", "ftp://host.example", "https://a b", "x"])
def test_only_an_address_of_the_web_is_a_base(two_by_two: Path, tmp_path: Path, address: str) -> None:
    _, _, _, error = invoke(
        "build", "--results", str(two_by_two), "--out", str(tmp_path / "o"), "--base-url", address
    )
    assert isinstance(error, UsageError)


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
    warnings = [line for line in err.splitlines() if line.startswith("warning: left out ")]
    assert any(str(corrupt) in line for line in warnings)
    assert any(str(evaluation) in line and "does not follow" in line for line in warnings)
    assert not any(str(good) in line for line in warnings)
    page = (tmp_path / "site" / "tables.html").read_text()
    assert "sadm" in page
    assert "changed" in page
    assert QUICK.summary.split(":")[0] in page
