"""Texts that a hostile submitter would send, runs full of them, and a page reader that finds them inert."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

from submissions import Run, a_run

MARK = "zqx"
"""Stands in every hostile text, so that a test finds where they went."""

MARKUP = (
    f"<script>{MARK}()</script>",
    f"</script><script src=//{MARK}.example></script>",
    f'"><img src=x onerror={MARK}()>',
    f"' onmouseover='{MARK}()' x='",
    f"<svg/onload={MARK}()>",
    f"<svg><a xlink:href='javascript:{MARK}()'><text>x</text></a></svg>",
    f"</title></table></main><h1>{MARK}</h1>",
    f"</template></pre><style>*{{background:url(//{MARK}.example)}}</style>",
    f"<!--{MARK}",
    f"]]><![CDATA[{MARK}",
    f"&lt;b&gt;{MARK}&#60;/b&#62;",
    f"{{{{ {MARK} }}}} {{% raw %}}",
)
LINKS = (
    f"javascript:{MARK}()",
    f"data:text/html,<script>{MARK}()</script>",
    f"vbscript:{MARK}",
    f"//{MARK}.example/x",
    f"https://{MARK}.example/\"onclick='x'",
    f"../../../{MARK}",
    f"[{MARK}](javascript:{MARK}()) ![i](https://{MARK}.example/x.png) <https://{MARK}.example>",
)
FORMULAS = (
    *(
        f'{sign}HYPERLINK("https://{MARK}.example";{MARK})'
        for sign in ("=", "+", "-", "@", " =", "\t=", "\r=")
    ),
    f"=cmd|'/c {MARK}'!A1",
)
TYPESETTING = (
    f"\\input{{/etc/passwd}} \\write18{{{MARK}}} $x$ & # _ ^ ~ % }} {{",
    f"}}, url = {{{MARK}}} }} @article{{x,",
    f"| {MARK} | `x` **b** | # h\n| --- |",
    f"<details><summary>{MARK}</summary></details>",
)
HIDDEN = (
    f"\x1b[31m{MARK}\x1b]8;;https://{MARK}.example\x07link\x1b]8;;\x07",
    f"\x9b2J{MARK}",
    f"{MARK}\u202egpj.exe\u202c",
    f"\u2066{MARK}\u2069\u200f\u061c",
    f"{MARK}\x00\x08\x7f",
    f"{MARK}\r\nSet-Cookie: x\n\n# heading",
    f"{MARK}\u2028\u2029\x85line",
    f"\ufeff{MARK}\u200b\u00ad\U000e0041",
    f"{MARK}\ud800",
)
LONG = (f"{MARK}" * 5000, f"{MARK} " + "a\u0301\u0302\u0303" * 300, f"{MARK} " + "W" * 900)

TEXTS = (*MARKUP, *LINKS, *FORMULAS, *TYPESETTING, *HIDDEN, *LONG)
"""All of them."""

CITATION = (
    f"@article{{{MARK}, title = {{</pre></template><script>{MARK}()</script>}}, "
    f"url = {{javascript:{MARK}()}} }}"
)


def hostile_runs(out: Path) -> list[Run]:
    """Runs below `out` whose names, parameters, classes, commands, machines and logs are hostile texts.

    Some are finished and some failed; the failed ones have a hostile reason and log. Records make the texts
    safe as far as records can: what is left of them is for the pages to keep inert.
    """
    runs = []
    for number, text in enumerate(TEXTS):
        other = TEXTS[(number + 7) % len(TEXTS)]
        run = a_run(
            out,
            method=text if number % 3 else "random",
            dataset=text if number % 3 == 1 else "shapes10",
            network=text if number % 5 == 2 else "pointnet",
            variation={text: other, "list": [other, {text: 1}]},
            classes=(text, other),
            command=text,
            hardware=other,
            repetition=number,
        )
        (run.folder / "traceback.txt").write_text(f"{text}\n{other}\n", encoding="utf-8", errors="replace")
        if number % 6 == 4:
            fail(run, text)
        runs.append(run)
    return runs


def hostile_plugin(folder: Path) -> Path:
    """A folder with the method `hostile`, whose docstring, parameter and citation are hostile texts."""
    folder.mkdir(parents=True)
    lines = "\n\n".join(text for text in (*MARKUP, *LINKS, *FORMULAS, *TYPESETTING) if text.isprintable())
    (folder / "hostile.py").write_text(
        "from pcbench.api import Method, MethodParams, param\n\n\n"
        "class Hostile(Method):\n"
        f"    {lines!r}\n\n"
        "    name = 'hostile'\n\n"
        "    class Params(MethodParams):\n"
        f"        level: str = param({MARKUP[0]!r}, {MARKUP[2]!r}, source={LINKS[0]!r})\n\n"
        "    def distill(self, task):\n"
        "        raise NotImplementedError\n",
        encoding="utf-8",
    )
    (folder / "hostile.bib").write_text(CITATION, encoding="utf-8")
    return folder


def fail(run: Run, reason: str) -> None:
    """Turn a finished run into a failed one."""
    from pcbench.records.store import write_record

    made = run.distillation.model_copy(update={"status": "failed"})
    values = made.model_dump() | {"reason": reason, "snapshots": []}
    write_record(run.folder / "distillation.json", type(made).model_validate(values))
    for path in run.folder.glob("evaluation-*.json"):
        path.unlink()


ALLOWED = {
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "nav", "ul", "ol", "li",
    "main", "h1", "h2", "h3", "h4", "p", "b", "i", "em", "strong", "code", "pre", "dl", "dt", "dd",
    "div", "span", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "button", "label",
    "input", "select", "option", "details", "summary", "template", "figure", "figcaption", "img", "br",
    "hr", "footer", "section", "svg", "g", "path", "circle", "line", "rect", "text", "meter", "desc",
    "aside", "image",
}  # fmt: skip
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "circle", "line", "rect", "image"}
ADDRESSES = (
    "href",
    "src",
    "action",
    "formaction",
    "data",
    "xlink:href",
    "poster",
    "srcset",
    "ping",
    "background",
)


class Reader(HTMLParser):
    """A page as a browser takes it, with what should not be in it.

    problems: elements that a template never writes, handlers, inline scripts and styles, addresses that leave
    the site other than to https, unbalanced tags, hidden characters. links: all addresses.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self.open]
        hidden = {
            c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t\u200c\u200d"
        }
        self.problems += [f"hidden character {ord(c):#x}" for c in sorted(hidden)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ALLOWED:
            self.problems.append(f"element <{tag}>")
        if tag not in VOID:
            self.open.append(tag)
        names = [name for name, _ in attrs]
        if tag == "script" and "src" not in names:
            self.problems.append("a script in the page")
        if len(set(names)) != len(names):
            self.problems.append(f"<{tag}> has an attribute twice")
        for name, value in attrs:
            if name.startswith("on") or name in ("style", "srcdoc", "nonce") or MARK in name:
                self.problems.append(f"attribute {name} of <{tag}>")
            if name in ADDRESSES:
                self.links.append(value or "")
                own = re.fullmatch(
                    r"(\.\./)*([A-Za-z0-9_-][A-Za-z0-9_.-]*/?)*(#[A-Za-z0-9_.-]*)?", value or ""
                )
                away = re.match(r"https://[a-z]", value or "") and MARK not in (value or "")
                if not (own or away or value == "data:,"):
                    self.problems.append(f"address {value!r}")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open and self.open[-1] in ("script", "style"):
            self.problems.append("a script or style in the page")
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.problems.append(f"comment {data[:40]!r}")

    def unknown_decl(self, data: str) -> None:
        self.problems.append(f"declaration {data[:40]!r}")

    def handle_pi(self, data: str) -> None:
        self.problems.append(f"instruction {data[:40]!r}")


def check_site(folder: Path) -> dict[str, list[str]]:
    """What is wrong with the files of a built site, by path; nothing where all hostile texts are inert."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        problems = [] if re.fullmatch(r"[\x21-\x7e]+", name) else ["the path itself"]
        if path.suffix in (".html", ".svg"):
            problems += Reader(path.read_text(encoding="utf-8")).problems
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.parent.name == "clouds":
            key, _, values = path.read_text(encoding="utf-8").partition(", ")
            problems += [] if re.fullmatch(r'pcbenchClouds\("[0-9a-f]{10}"', key) else ["not one call"]
            json.loads(values.strip().removesuffix(";").removesuffix(")"))
        if problems:
            found[name] = problems
    return found
