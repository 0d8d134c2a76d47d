"""The badges of a built site, and what they may say."""

from __future__ import annotations

from html.parser import HTMLParser

from pcbench.records.models import Run
from pcbench.report.papers import tables
from pcbench.report.status import status_of


class Badges(HTMLParser):
    """The badges of a page: what each says, and what it says of itself."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self.about: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "span" and (given.get("class") or "").split()[:1] == ["badge"]:
            self.about = given.get("title") or ""

    def handle_data(self, data: str) -> None:
        if self.about is not None:
            self.found.append((data, self.about))
            self.about = None


def explanations(runs: list[Run]) -> set[tuple[str, str]]:
    """What badges may say, by the records."""
    statuses = [status_of(run, evaluation) for run in runs for evaluation in run.evaluations]
    return {(each.state, each.text) for each in statuses}


def unexplained(pages: dict[str, str], runs: list[Run]) -> list[tuple[str, str, str]]:
    known = explanations(runs)
    papers = tuple(f"reported by {paper.source}" for paper in tables())
    return [
        (page, words, about)
        for page, text in pages.items()
        for words, about in Badges(text).found
        if (words, about) not in known and not (words == "reported" and about.startswith(papers))
    ]
