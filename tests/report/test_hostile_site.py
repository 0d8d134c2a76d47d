"""A site of a submission full of hostile strings holds them as text alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from built_in import CATALOGUE
from hostile import CITATION, HIDDEN, MARK, MARKUP, TEXTS, Reader, check_site, hostile_plugin, hostile_runs
from markdown_it import MarkdownIt
from submissions import a_run

from pcbench.catalogue import open_catalogue
from pcbench.records.store import read_runs
from pcbench.report.site import build
from pcbench.report.viewer import Clouds
from pcbench.submission.validate import validate


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    hostile_runs(folder / "results")
    plugin = open_catalogue([hostile_plugin(folder / "methods")]).methods.get("hostile")
    a_run(folder / "results", method="hostile", origin=plugin.source_hash())
    return folder / "results"


@pytest.fixture(scope="module")
def site(results: Path) -> Path:
    catalogue = open_catalogue([results.parent / "methods"])
    build(results, results.parent / "site", catalogue, Clouds(catalogue.datasets, False))
    return results.parent / "site"


def test_the_runs_are_all_read(results):
    runs, problems = read_runs(results)
    assert problems == []
    assert len(runs) == len(TEXTS) + 1
    assert {run.distillation.status for run in runs} == {"ok", "failed"}


def test_every_page_holds_hostile_text_as_text(site):
    assert check_site(site) == {}
    shown = "".join("".join(Reader(path.read_text()).text) for path in sorted(site.rglob("*.html")))
    assert shown.count(MARK) > 100
    for text in MARKUP:
        assert " ".join(text.split()) in " ".join(shown.split()), text


def test_docstrings_parameters_and_citations_are_text(site):
    page = Reader((site / "methods" / "hostile.html").read_text())
    shown = "".join(page.text)
    assert CITATION in shown
    for text in MARKUP:
        assert " ".join(text.split()) in " ".join(shown.split())
    assert page.problems == []


def test_markdown_holds_it_as_text(site):
    text = (site / "leaderboard.md").read_text()
    assert not [c for c in text if c in "".join(HIDDEN) and not c.isprintable() and c != "\n"]
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    for token in [*tokens, *(child for each in tokens for child in each.children or ())]:
        assert token.type not in ("html_block", "html_inline", "image", "fence", "code_block")
        assert MARK not in str(token.attrs.get("href", ""))


def test_hostile_names_are_refused_in_a_submission(results):
    assert {each.code for each in validate(CATALOGUE, results)} >= {
        "odd-name",
        "failed-run",
        "missing-repetition",
    }
    for each in validate(CATALOGUE, results):
        assert str(each).isprintable()


def test_the_reader_finds_what_is_not_inert() -> None:
    """Every kind of markup, put into a page as it is, is a problem."""
    page: Callable[[str], str] = "<html><body><p>{}</p><a title='{}'>x</a></body></html>".format
    assert Reader(page("text", "text")).problems == []
    for text in (*MARKUP[:10], HIDDEN[0], HIDDEN[2]):
        assert Reader(page(text, text)).problems, text
    for address in ("javascript:x", " data:text/html,x", "//a.example", "http://a.example"):
        assert Reader(f"<html><body><a href='{address}'>x</a></body></html>").problems, address
    for address in ("https://a.example", "../x.html", "#x", "x.html#a-b", "data:,"):
        assert Reader(f"<html><body><a href='{address}'>x</a></body></html>").problems == [], address
