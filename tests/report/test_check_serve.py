"""`check` names what is wrong with records, table and pages; `serve` answers this machine alone."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from built_in import CATALOGUE
from report_records import a_run
from typer.testing import CliRunner
from well_formed import Page

from pcbench.cli.leaderboard import app
from pcbench.errors import UsageError
from pcbench.report import check
from pcbench.report.serve import Server
from pcbench.report.site import build
from pcbench.report.viewer import Clouds

HEAD = '<!doctype html>\n<html lang="en"><head><title>t</title></head><body><main><h1>h</h1>'
TAIL = "</main></body></html>"


def built(records: Path, out: Path) -> Path:
    build(records, out, CATALOGUE, Clouds(CATALOGUE.datasets, False))
    return out


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Records and the site that was made of them."""
    folder = tmp_path_factory.mktemp("published")
    for method in ("random", "sadm"):
        a_run(folder / "results", method=method)
    a_run(folder / "results", method="sadm", student="canonical")
    a_run(folder / "results", method="sadm", variation={"init": "herding"})
    a_run(folder / "results", method="sadm", test="so3")
    a_run(folder / "results", method="dm", status="oom", reason="out of memory")
    return folder / "results", built(folder / "results", folder / "site")


def invoke(*arguments: object) -> tuple[int, list[str]]:
    root = typer.Typer()
    root.add_typer(app, name="leaderboard")
    result = CliRunner().invoke(root, ["leaderboard", *map(str, arguments)])
    return result.exit_code, result.stdout.splitlines()


def test_a_site_as_it_was_built_has_nothing_wrong(published: tuple[Path, Path]) -> None:
    records, site = published
    options = ("--results", records, "--table", site / "leaderboard.md", "--site", site)
    assert invoke("check", *options) == (0, [f"{records}: nothing wrong"])


def test_a_changed_record_without_a_rebuilt_table_is_found(
    published: tuple[Path, Path], tmp_path: Path
) -> None:
    records, _ = published
    table = tmp_path / "leaderboard.md"
    code, (line,) = invoke("check", "--results", records, "--table", table)
    assert code == 3
    assert line.startswith(f"{table}: is missing")
    table.write_bytes((built(records, tmp_path / "site") / "leaderboard.md").read_bytes())
    assert invoke("check", "--results", records, "--table", table)[0] == 0
    more = tmp_path / "records"
    for folder in records.iterdir():
        (more / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (more / folder.name / file.name).write_bytes(file.read_bytes())
    a_run(more, method="herding")
    code, (line,) = invoke("check", "--results", more, "--table", table)
    assert code == 3
    assert line.startswith(f"{table}: is not the table of the records")


def test_an_altered_score_is_found(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "results")
    a_run(tmp_path / "results", method="random")
    (file,) = folder.glob("evaluation-*.json")
    data = json.loads(file.read_text())
    data["snapshots"][-1]["oa"][0] += 0.05
    file.write_text(json.dumps(data))
    code, lines = invoke("check", "--results", tmp_path / "results", "--table", tmp_path / "none.md")
    assert code == 3
    assert any(str(file) in line and "does not follow" in line for line in lines)


def test_nothing_published_is_nothing_wrong(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert invoke("check", "--results", tmp_path / "results", "--table", tmp_path / "none.md")[0] == 0


def test_every_page_of_a_site_is_well_formed(published: tuple[Path, Path]) -> None:
    pages = sorted(published[1].rglob("*.html"))
    assert len(pages) > 10
    assert {
        str(path): Page(path.read_text()).problems for path in pages if Page(path.read_text()).problems
    } == {}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<p><b>x</p></b>", "</p> closes <b>"),
        ("<div>", "</main> closes <div>"),
        ('<p id="a"></p><p id="a"></p>', "the id 'a' is there twice"),
        ('<p class="a" class="b"></p>', "an attribute twice"),
        ('<p style="color: red"></p>', "has the attribute style"),
        ('<p onclick="x()"></p>', "has the attribute onclick"),
        ("<script>x()</script>", "<script> stands in the page"),
        ('<img src="../out.png">', "<img> has no alt"),
        ('<p aria-labelledby="nobody"></p>', "names the id 'nobody'"),
    ],
)
def test_the_tests_see_what_is_not_well_formed(body: str, problem: str) -> None:
    problems = Page(HEAD + body + TAIL).problems
    assert any(problem in line for line in problems), problems
    assert Page(f"{HEAD}<p id='a'>x</p><br>{TAIL}").problems == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<img src="gone.png" alt="">', "leads nowhere"),
        ('<a href="other.html#gone">x</a>', "names a place that the page does not have"),
        ('<a href="#gone">x</a>', "names a place that the page does not have"),
        ('<a href="javascript:alert(1)">x</a>', "is no relative link"),
        ('<a href="//host.example/x">x</a>', "is no relative link"),
        ('<a href="/etc/passwd">x</a>', "is no relative link"),
        ('<a href="../secret.html">x</a>', "leads out of the site"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, body: str, problem: str) -> None:
    root = tmp_path / "site"
    root.mkdir()
    (tmp_path / "secret.html").write_text("")
    (root / "other.html").write_text(f'{HEAD}<p id="there"></p>{TAIL}')
    page = root / "page.html"
    page.write_text(HEAD + body + TAIL)
    found = list(check.site(root))
    assert any(line.startswith(f"{page}: ") and problem in line for line in found), found
    page.write_text(f'{HEAD}<a href="other.html#there">x</a><a href="https://host.example/">y</a><br>{TAIL}')
    assert list(check.site(root)) == []


@pytest.fixture
def server(published: tuple[Path, Path]) -> Iterator[Server]:
    with Server(published[1], 0) as served:
        threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True).start()
        yield served
        served.shutdown()


def get(server: Server, path: str, host: str = "localhost") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request("GET", path, headers={"Host": f"{host}:{server.server_address[1]}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_pages_are_served_with_their_reload_and_files_as_they_are(
    server: Server, published: tuple[Path, Path]
) -> None:
    for path in ("/", "/index.html", "/methods/sadm.html"):
        status, text = get(server, path)
        assert status == 200
        assert text.count("_live/live.js") == 1
    assert get(server, "/static/style.css")[1] == (published[1] / "static" / "style.css").read_text()
    assert "location.reload" in get(server, "/_live/live.js")[1]
    assert get(server, "/_live/version.js?1")[1] == "pcbenchLive(1);\n"
    assert server.server_address[0] == "127.0.0.1"


def test_other_hosts_names_listings_and_paths_outside_are_refused(server: Server) -> None:
    assert get(server, "/", host="evil.example")[0] == 421
    assert get(server, "/data/")[0] == 404
    assert get(server, "/../results/")[0] == 404
    assert get(server, "/%2e%2e/%2e%2e/etc/passwd")[0] == 404


def test_a_port_in_use_says_so(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"choose another$"):
        Server(tmp_path, server.server_address[1])


def test_a_change_builds_again_and_an_error_is_told(server: Server, tmp_path: Path) -> None:
    calls: list[int] = []
    told: list[str] = []

    def rebuild() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise UsageError("half written")

    server.watch([tmp_path], rebuild, told.append)
    for number in (1, 2):
        (tmp_path / f"record{number}").write_text("x")
        deadline = time.monotonic() + 20
        while len(told) < number and time.monotonic() < deadline:
            time.sleep(0.05)
    assert told == ["error: half written", "built again"]
    assert get(server, "/_live/version.js")[1] == "pcbenchLive(2);\n"
