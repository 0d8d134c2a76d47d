"""Blocks to HTML and Markdown, through templates in which every value is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pcbench.common.packaged import builtin
from pcbench.report.front import Front
from pcbench.report.methods import About, MethodPage
from pcbench.report.runs import RunPage
from pcbench.report.side_by_side import ComparePage
from pcbench.report.tables import Block, Part, paginated
from pcbench.report.text import escape_markdown, web_address

TITLES: Mapping[str, str] = {
    "index": "Overview",
    "tables": "Tables",
    "cross-architecture": "Cross-architecture",
    "initialisation": "Initialisation",
    "ablations": "Ablations",
    "timing": "Timing",
    "robustness": "Robustness",
    "paper": "Paper against here",
    "methods/index": "Methods",
    "runs/index": "Runs",
}
"""The pages that every other page links to, in this order."""

LEAD = (
    "Each method condenses a training set of 3D shapes into a few synthetic point clouds per class. Here is "
    "how well networks that are trained on those few clouds alone recognise real shapes that they never saw."
)
"""What the board is, in a sentence or two."""

LEGEND: Sequence[tuple[str, str]] = (
    ("54.3 ± 1.2", "Mean and standard deviation in percent of the whole test split, over the students, or "
     "over the distillations where there are several; of the last snapshot. Bold: the best."),
    ("53.1 to 55.5, 3 × 10", "The 95 % interval of the mean; distillations × students of each."),
    ("Against", "The difference from an anchor, paired by seed; p is adjusted for all rows."),
    ("Gain", "0 is random selection, 1 the whole training split."),
    ("Rank", "The median of a bootstrap, with its 95 % interval."),
    ("Tier", "Methods of one tier cannot be told from its best one."),
    ("Status", "Claimed by a submitter, run here, re-evaluated or re-distilled by this board's maintainers, "
     "or refuted."),
)  # fmt: skip
"""What stands in the table of the first screen, beside it."""

SHARED = (
    "Accuracy in percent on the whole test split, of the last snapshot, never of the best: mean ± "
    "standard deviation (ddof 1) over the students, or over the distillations where there are "
    "several, and the 95 % interval of the mean, then distillations × students of each. Only results "
    "of one protocol, one student, one division and one draw share a table. Status: claimed by a "
    "submitter, run here, re-evaluated or re-distilled by this board's maintainers, or refuted."
)
"""What shares a table, and what its numbers are."""

RULES = (
    "Rows are ranked, sorted and compared on the cells and repetitions that they have in common, "
    "which the notes name; what few have is shown beside and counts for nobody. Rank: the median of a "
    "bootstrap with its 95 % interval; a row that lacks a cell has its rank on those that it has. "
    "Tier: cannot be told from the best of the tier, by the mean or in one cell, adjusted for all "
    "pairs of rows. A difference from an anchor is of one cell, paired by seed, and p adjusted for "
    "the rows alone: it can be told where tiers are one. Nothing is told apart below the resolution "
    "of the test split. Gain: 0 is random selection, 1 the whole training split. Bold: the best mean "
    "of its column. –: not measured, nothing is imputed. Rows whose parameters somebody chose, and "
    "refuted ones, are not ranked. The anchor random is pcbench's own, by its code."
)
"""How rows are compared and ranked."""

LEADS: Mapping[str, str] = {
    "tables": (
        "Every cell that was measured: accuracy in percent on the whole test split, a table for each "
        "protocol, student, division, draw and data set."
    ),
    "cross-architecture": (
        "Clouds distilled with one network, students of others: rows of methods, columns of students."
    ),
    "initialisation": (
        "What the synthetic clouds start from: one row a method and PPC, one column an initialisation. pcc "
        "is dc that starts from herding."
    ),
    "ablations": (
        "Every method that was run with several settings, and each setting's paired difference from the "
        "defaults."
    ),
    "timing": (
        "Accuracy against the time of one distillation, evaluation excluded. What goes by before the first "
        "clouds belongs to it: the training of the network that they are chosen by, whose share is given. "
        "Times are compared within one hardware class only. What takes less than 0.05 s is drawn at 0.0, "
        "left of the logarithmic axis."
    ),
    "robustness": (
        "The same students on changed test clouds: turned about the up axis (up) or anyhow (so3), corrupted "
        "at severities 1 to 5, or with another number of points. Training is unchanged."
    ),
    "paper": (
        "What the papers report beside what was measured here. Where ours was made as theirs was, the "
        "difference has its 95 % interval over both; inside: that interval holds zero. Elsewhere both "
        "stand side by side, with the reason why they cannot be compared. Times are of unlike hardware "
        "and not compared."
    ),
    "runs/index": ("Every record that this site was made of."),
}
"""What each page of tables is, in a sentence or two."""

EMPTY: Mapping[str, str] = {
    "cross-architecture": (
        "No distillation has students of two networks yet: pcbench evaluate RUN --backbone dgcnn"
    ),
    "initialisation": ("No method has been run from two initialisations yet: pcbench run --suite table3"),
    "ablations": ("No method has been run with two settings yet: pcbench run --suite table6"),
    "timing": ("No distillation has been timed yet: pcbench run"),
    "robustness": ("No test other than the plain one yet: pcbench evaluate RUN --test so3,jitter:3"),
    "paper": ("None of the papers' figures has a counterpart here yet: pcbench run --suite table1"),
}


@dataclass(frozen=True)
class Renderer:
    """Makes pages."""

    base_url: str = ""
    """Where the site will stand, for links from elsewhere; empty where that is not known."""
    cited: Mapping[str, str] = field(default_factory=dict)
    """The methods' BibTeX entries by name."""

    def _render(self, template: str, page: str, title: str, **values: Any) -> str:
        root = "../" * page.count("/")
        return (
            _html()
            .get_template(template)
            .render(page=page, title=title, root=root, nav=TITLES, base_url=self.base_url, **values)
        )

    def tables(self, name: str, blocks: Iterable[Block]) -> Iterator[tuple[str, str]]:
        """The pages of a kind, with their paths."""
        parts = paginated(name, blocks)
        for part in parts:
            yield (
                f"{part.page}.html",
                self._render(
                    "blocks.html.j2",
                    part.page,
                    TITLES[name],
                    introduction=LEADS[name],
                    legend=LEGEND if name == "tables" else (),
                    empty=EMPTY.get(name, ""),
                    blocks=part.blocks,
                    parts=parts,
                    contents=_contents(parts),
                    citations=self._citations(part.blocks),
                ),
            )

    def front(self, page: str, front: Front | None, apart: str) -> tuple[str, str]:
        """A page of the board. apart: what stands in none of its tables, in a sentence."""
        blocks = (front.block,) if front else ()
        text = self._render(
            "front.html.j2",
            page,
            front.choice.title if front and page != "index" else TITLES["index"],
            front=front,
            lead=LEAD,
            legend=LEGEND,
            apart=apart,
            citations=self._citations(blocks),
        )
        return f"{page}.html", text

    def compare(self, page: ComparePage) -> tuple[str, str]:
        """A page on which methods are compared with one another."""
        title = f"Compare: {page.choice.title}"
        citations = self._citations((page.pairs,))
        text = self._render("compare.html.j2", page.page, title, compare=page, citations=citations)
        return f"{page.page}.html", text

    def reading(self) -> tuple[str, str]:
        """How all of it is to be read."""
        rules = (
            ("What shares a table", SHARED),
            ("Comparison and ranks", RULES),
        )
        text = self._render("reading.html.j2", "reading", "How to read the board", legend=LEGEND, rules=rules)
        return "reading.html", text

    def method(self, page: MethodPage) -> Iterator[tuple[str, str]]:
        """A method's page, or several where its results need them."""
        parts = paginated(page.about.page, page.blocks)
        for number, part in enumerate(parts):
            text = self._render(
                "method.html.j2",
                part.page,
                page.about.name,
                about=page.about,
                blocks=part.blocks,
                parts=parts,
                confusions=page.confusions if number == 0 else (),
                clouds=page.clouds if number == len(parts) - 1 else (),
                first=number == 0,
            )
            yield f"{part.page}.html", text

    def methods(self, known: Sequence[About]) -> tuple[str, str]:
        """The list of all methods."""
        page = "methods/index"
        return f"{page}.html", self._render("methods.html.j2", page, TITLES[page], known=known)

    def run(self, run: RunPage, viewer: bool) -> tuple[str, str]:
        """A run's page; viewer: its clouds may be shown."""
        text = self._render("run.html.j2", run.page, run.title, run=run, viewer=viewer)
        return f"{run.page}.html", text

    def markdown(self, blocks: Sequence[Block]) -> str:
        """The overview for READMEs and pull requests."""
        return (
            _markdown()
            .get_template("leaderboard.md.j2")
            .render(
                blocks=blocks,
                introduction=SHARED,
                reading=RULES,
                base_url=self.base_url,
            )
        )

    def _citations(self, blocks: Iterable[Block]) -> dict[str, str]:
        """The BibTeX entries of the methods in some blocks, by method."""
        names = sorted(
            {line.head.name for block in blocks for table in block.all_tables for line in table.lines}
        )
        return {name: self.cited[name] for name in names if self.cited.get(name)}


def _contents(parts: Sequence[Part]) -> list[tuple[str, list[tuple[str, Block]]]]:
    """The groups of blocks in their order, with the page of each block."""
    groups: dict[str, list[tuple[str, Block]]] = {}
    for part in parts:
        for block in part.blocks:
            groups.setdefault(block.group, []).append((part.page, block))
    return list(groups.items())


@cache
def _html() -> Environment:
    return _environment(autoescape=True)


@cache
def _markdown() -> Environment:
    return _environment(autoescape=False, finalize=escape_markdown)


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(builtin("leaderboard/templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters["web_address"] = web_address
    return environment
