"""Whether a page is well formed: what a browser mends silently, and what the page's own policy forbids."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
SVG_LEAVES = frozenset({"circle", "image", "line", "path", "rect"})
IDS = frozenset({"aria-labelledby", "aria-describedby", "for"})


@dataclass
class Page(HTMLParser):
    """A page as far as it is checked."""

    text: str
    ids: set[str] = field(default_factory=set)
    """The ids that it has."""
    named: set[str] = field(default_factory=set)
    """The ids that its attributes name."""
    problems: list[str] = field(default_factory=list)
    """What is not well formed."""

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
        if tag == "img" and "alt" not in names:
            self._wrong("<img> has no alt")
        if tag == "script" and "src" not in names:
            self._wrong("<script> stands in the page, which its own policy forbids")

    def _wrong(self, words: str) -> None:
        line, column = self.getpos()
        self.problems.append(f"line {line}, column {column + 1}: {words}")
