"""What students answered cloud by cloud, as tables: votes, hard test clouds, McNemar's test of two methods.

Numbers alone, and nothing of a run that has not kept its students' answers.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pcbench.report.answers import TOLD, Answered, Answers, OnSameClouds, hard_clouds, on_same_clouds
from pcbench.report.cells import BoardRow
from pcbench.report.charts import Shown
from pcbench.report.tables import MISSING, Block, Head, Heading, Line, Table, Value
from pcbench.report.text import number, signed

MOST = 10
"""So many hard test clouds are listed."""
HARDEST = "Test clouds that most students miss"
"""The caption of their table."""

VOTES = (
    "Together: what most students of a distillation say, ties broken by lot; it is no score of a method. "
    "Missed by all: test clouds that no student has right."
)
HARD = "A test cloud is named by its place in the test split, from 0; every student counts alike."
MCNEMAR = (
    "Of a pair of students of one seed, the test clouds that row alone has right : those that column alone "
    "has. p is of all pairs, exact, the test cloud being the unit (McNemar), not adjusted. Colour: to 0.05. "
    "It is about other test clouds for the students that were trained, not about other students."
)
"""What stands below the tables."""


def of_run(name: str, title: str, answered: Sequence[Answered]) -> Block | None:
    """What the students of one evaluation answered; None where it was not kept."""
    if not answered:
        return None
    (votes,) = answered
    clouds = len(votes.predictions.labels)
    text = (
        f"By majority vote the students have {number(votes.ensemble)} % right together, "
        f"{number(votes.mean)} % one by one. Of {clouds} test clouds {votes.missed_by_all} are missed by all."
    )
    tables = tuple(_hard(f"{name}-hard", title, answered))
    notes = (HARD,) if tables else ()
    return Block(name, "Cloud by cloud", text=text, folded=tables, folded_as=HARDEST, notes=notes)


def of_board(shown: Shown, answers: Answers) -> Iterator[Block]:
    """What the students of a page of the board answered; nothing where none of it was kept."""
    kept = [(about, answers.among(row.cells[shown.place].results)) for row, about in shown.lines]
    kept = [(about, answered) for about, answered in kept if answered]
    if not kept:
        return
    tables = [
        _together(shown.title, kept),
        *_hard("hard-clouds", shown.title, [each for _, answered in kept for each in answered]),
    ]
    missing = len(shown.lines) - len(kept)
    notes = [VOTES, *([HARD] if len(tables) > 1 else [])]
    notes += [f"{missing} of {len(shown.lines)} rows have not kept the answers."] if missing else []
    yield Block("by-cloud", "Cloud by cloud", tables=tuple(tables), notes=tuple(notes))


def _together(title: str, kept: Sequence[tuple[Head, Sequence[Answered]]]) -> Table:
    """A line a method: its students one by one, and by majority vote, as means over its distillations."""
    headings = (
        Heading("alone", "One by one", note="%"),
        Heading("together", "Together", note="%"),
        Heading("more", "More", note="points"),
        Heading("missed", "Missed by all", note="test clouds"),
    )
    lines = []
    for about, answered in kept:
        alone = statistics.fmean(each.mean for each in answered)
        together = statistics.fmean(each.ensemble for each in answered)
        missed = statistics.fmean(each.missed_by_all for each in answered)
        several = f"of {len(answered)} distillations" if len(answered) > 1 else ""
        clouds = len(answered[0].predictions.labels)
        values = (
            Value(number(alone), alone),
            Value(number(together), together, note=several),
            Value(signed(together - alone), together - alone),
            Value(number(missed, 0 if missed.is_integer() else 1), missed, note=f"of {clouds}"),
        )
        lines.append(Line(about, values))
    return Table("together", f"Students by majority vote on {title}", headings, tuple(lines))


def _hard(name: str, title: str, answered: Sequence[Answered]) -> Iterator[Table]:
    """The test clouds that most students miss, where there are some."""
    headings = (
        Heading("class", "Class", "text"),
        Heading("missed", "Missed by", note="% of students"),
        Heading("taken", "Mostly taken for", "text"),
    )
    lines = []
    for cloud in hard_clouds(answered, MOST):
        share, (wrong, votes) = 100 * cloud.missed / cloud.students, cloud.taken_for[0]
        values = (
            Value(cloud.true, cloud.true),
            Value(number(share, 0), share, note=f"{cloud.missed} of {cloud.students}"),
            Value(wrong, wrong, note=f"{votes} of {cloud.missed}"),
        )
        lines.append(Line(Head(str(cloud.cloud), ""), values))
    if lines:
        caption = f"{HARDEST}: {title}"
        yield Table(name, caption, headings, tuple(lines), first="Test cloud")


def pairs(shown: Shown, lines: Sequence[tuple[BoardRow, Head]], answers: Answers) -> Block | None:
    """Methods against one another on the same test clouds; None where no two of them can be compared."""
    cells = [(about, row.cells[shown.place]) for row, about in lines]
    seeds = {about.text: answers.by_seed(cell) for about, cell in cells}
    kept = [(about, cell) for about, cell in cells if seeds[about.text]]
    found: dict[tuple[str, str], OnSameClouds | None] = {}
    for (first, cell), (other, against) in itertools.combinations(kept, 2):
        repetitions = min(shown.cut.asked.repetitions(shown.place.ppc), cell.repetitions, against.repetitions)
        both = seeds[first.text], seeds[other.text]
        found[first.text, other.text] = on_same_clouds(
            *both, repetitions, min(cell.students, against.students)
        )
    if not any(found.values()):
        return None
    headings = tuple(Heading(f"m{place}", about.text) for place, (about, _) in enumerate(kept, 1))
    caption = f"Right on the same test clouds, {shown.title}: row alone, column alone"
    values = [tuple(_alone(found, about.text, other.text) for other, _ in kept) for about, _ in kept]
    rows = tuple(Line(about, row) for (about, _), row in zip(kept, values, strict=True))
    table = Table("mcnemar", caption, headings, rows)
    return Block("by-cloud", "On the same test clouds", tables=(table,), notes=(MCNEMAR,))


def _alone(found: Mapping[tuple[str, str], OnSameClouds | None], row: str, column: str) -> Value:
    """How many clouds either of two methods alone has right, with p."""
    turned = (column, row) in found
    each = found.get((column, row) if turned else (row, column))
    if each is None:
        return MISSING
    test, count = each.together, len(each.pairs)
    ours, theirs = (test.only_other, test.only_first) if turned else (test.only_first, test.only_other)
    told = test.p <= TOLD and ours != theirs
    look: Literal["", "up", "down"] = ("up" if ours > theirs else "down") if told else ""
    p = "p < 0.001" if test.p < 0.001 else f"p {test.p:.3f}"
    text = f"{number(ours / count)} : {number(theirs / count)}"
    return Value(text, (ours - theirs) / count, note=p, look=look)
