"""What is wrong with records, with the table published of them, or with a built site: a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pcbench.errors import DataError
from pcbench.report.gather import gather
from pcbench.report.site import markdown_of

VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
SVG_LEAVES = frozenset({"circle", "line", "path", "rect"})
ADDRESSES = frozenset({"href", "src", "data-src"})
IDS = frozenset({"aria-labelledby", "aria-describedby", "for"})
MOST_PROBLEMS_A_PAGE = 10


@dataclass
class Page(HTMLParser):
    """A page as far as it is checked: its ids, where it leads, and what is not well formed."""

    text: str
    ids: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: set[str] = set()
        if not self.text.startswith("<!doctype html>\n<html lang="):
            self.problems.append("does not begin with a doctype and a language")
        self.feed(self.text)
        self.close()
        if self.open:
            self.problems.append(f"<{self.open[-1]}> is not closed")
        for tag in ("title", "main", "h1"):
            if tag not in self.seen:
                self.problems.append(f"has no <{tag}>")
        for name in sorted(self.named - self.ids):
            self.problems.append(f"names the id {name!r}, which it does not have")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)
        if tag not in VOID | SVG_LEAVES:
            self._wrong(f"<{tag}/> cannot close itself")

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self._wrong(f"</{tag}> closes <{self.open[-1] if self.open else 'nothing'}>")
            if tag in self.open:
                del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def _start(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self._wrong(f"<{tag}> has an attribute twice")
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self._wrong(f"<{tag}> has the attribute {name}, which the page's own policy forbids")
            elif name == "id":
                if value in self.ids or not value:
                    self._wrong(f"the id {value!r} is there twice, or empty")
                self.ids.add(value or "")
            elif name in IDS:
                self.named |= set((value or "").split())
            elif name in ADDRESSES:
                self.links.append(value or "")
        if tag == "img" and "alt" not in names:
            self._wrong("<img> has no alt")
        if tag == "script" and "src" not in names:
            self._wrong("<script> stands in the page, which its own policy forbids")

    def _wrong(self, words: str) -> None:
        if len(self.problems) < MOST_PROBLEMS_A_PAGE:
            line, column = self.getpos()
            self.problems.append(f"line {line}, column {column + 1}: {words}")


def records(source: Path, table: Path, base_url: str = "") -> Iterator[str]:
    """Of the records below `source`, and of the Markdown table that was made of them, what is wrong."""
    gathered = gather(source)
    yield from gathered.told()
    if not gathered.runs and not table.exists():
        return
    remedy = REMEDY.format(source=source, table=table)
    if not table.is_file():
        yield f"{table}: is missing, but {source} holds records: {remedy}"
    elif table.read_text(encoding="utf-8", errors="replace") != markdown_of(gathered, base_url):
        yield f"{table}: is not the table of the records in {source}: {remedy}"


REMEDY = "pcbench leaderboard build --results {source} --out SITE, and copy SITE/leaderboard.md to {table}"


def site(root: Path, report: Callable[[int, int], None] = lambda *_: None) -> Iterator[str]:
    """Of the pages below `root`, what is not well formed and which links and fragments lead nowhere."""
    files = sorted(path for path in root.rglob("*.html") if path.is_file())
    if not files:
        raise DataError(f"{root} holds no page: build it by 'pcbench leaderboard build --out {root}'")
    ids: dict[Path, set[str]] = {}
    links: dict[Path, list[str]] = {}
    for number, path in enumerate(files, 1):
        page = Page(path.read_text(encoding="utf-8", errors="replace"))
        ids[path], links[path] = page.ids, list(dict.fromkeys(page.links))
        yield from (f"{path}: {problem}" for problem in page.problems)
        report(number, len(files))
    for path, leading in links.items():
        for link in leading:
            problem = _dead(link, path, root, ids)
            if problem:
                yield f"{path}: {link!r} {problem}"


def _dead(link: str, page: Path, root: Path, ids: Mapping[Path, set[str]]) -> str:
    """Why a link leads nowhere, or nothing; where it leads outside is not looked at."""
    parts = urlsplit(link)
    if parts.scheme == "data" or (parts.scheme in ("http", "https") and parts.netloc):
        return ""
    if parts.scheme or parts.netloc or parts.path.startswith("/"):
        return "is no relative link"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(root.resolve()) and parts.path:
        return "leads out of the site"
    if not target.is_file():
        return "leads nowhere"
    known = ids.get(root / target.relative_to(root.resolve())) if parts.path else ids[page]
    if parts.fragment and known is not None and unquote(parts.fragment) not in known:
        return "names a place that the page does not have"
    return ""
