"""What is wrong with records, with the table published of them, or with a site's links: a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pcbench.catalogue import Catalogue
from pcbench.errors import DataError
from pcbench.report.current import Current
from pcbench.report.gather import gather
from pcbench.report.site import markdown_of

ADDRESSES = frozenset({"href", "src", "data-src"})


class _Page(HTMLParser):
    """Where a page leads, and the places in it that others can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self.links += [value or "" for name, value in attrs if name in ADDRESSES]


def records(catalogue: Catalogue, source: Path, table: Path, base_url: str = "") -> Iterator[str]:
    """Of the records below `source`, and of the Markdown table that was made of them, what is wrong."""
    gathered = gather(source, Current.of(catalogue))
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
    """Of the pages below `root`, which links and fragments lead nowhere."""
    files = sorted(path for path in root.rglob("*.html") if path.is_file())
    if not files:
        raise DataError(f"{root} holds no page: build it by 'pcbench leaderboard build --out {root}'")
    ids: dict[Path, set[str]] = {}
    links: dict[Path, list[str]] = {}
    for number, path in enumerate(files, 1):
        page = _Page(path.read_text(encoding="utf-8", errors="replace"))
        ids[path], links[path] = page.ids, list(dict.fromkeys(page.links))
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
