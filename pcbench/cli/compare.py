"""`pcbench compare`: methods or runs against the first one, paired by seed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.complete import METHODS, RUNS
from pcbench.cli.output import AsJson, PluginFolders, say, show
from pcbench.errors import UsageError
from pcbench.records.named import named as run_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.report.answers import OnSameClouds
    from pcbench.report.paired import Pair


def _names(incomplete: str) -> list[str]:
    """Methods and runs that a word may become."""
    return [*METHODS(incomplete), *RUNS(incomplete)]


def compare(
    named: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            autocompletion=_names,
            help="Methods, as random or 'sadm lr=5'; or runs, as 'pcbench results list' names them.",
        ),
    ],
    results: Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the records are.")] = Path(
        "results"
    ),
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Compare B and all others with A: the paired difference in accuracy and its 95 % interval.

    In every cell that both have (data set, PPC, protocol, student, test, draw), on the repetitions and
    students that both have, as the leaderboard does. A run stands for its row, with all its repetitions.
    Where the students' answers were kept, McNemar's test says beside it on how many test clouds one of the
    two alone is right. 'pcbench docs statistics' says what an interval covers, and what the p are.
    """
    from pcbench.cli.listed import read
    from pcbench.report.answers import Answers, on_same_clouds
    from pcbench.report.paired import pairs, side

    if len(set(named)) < 2:
        raise UsageError("two methods or runs are needed, as in: pcbench compare random sadm")
    gathered, board = read(results, plugins)
    pages = {slim.folder.name: page for page, slim in gathered.kept.items()}
    methods = {row.entry.method for section in (*board.sections, *board.stale) for row in section.rows}
    texts = [text if text.split(" ")[0] in methods else _run(text, results) for text in named]
    found = pairs(board, [side(board, text, pages) for text in texts])
    for text in texts[1:]:
        if text not in {pair.name for pair in found}:
            say(f"warning: {text} has no cell in common with {texts[0]}", err=True)
    answers = Answers(gathered.folders)
    answered = [
        on_same_clouds(answers.by_seed(first), answers.by_seed(other), pair.repetitions, first.students)
        for pair in found
        for first, other in [pair.cells]
    ]
    for problem in answers.problems:
        say(f"warning: left out {problem}", err=True)
    if as_json:
        comparisons = list(map(_values, found, answered))
        typer.echo(json.dumps({"anchor": texts[0], "comparisons": comparisons}, indent=1))
    else:
        _print(found, answered, texts[0])


def _run(text: str, results: Path) -> str:
    """The name of the run that is meant, or the text where none is."""
    folder = run_named(Path(text), results)
    return folder.resolve().name if folder.exists() else text


def _values(pair: Pair, answered: OnSameClouds | None) -> dict[str, Any]:
    """A comparison for programs, in points of accuracy."""
    anchor, cell = pair.cells
    setting, repetitions = pair.section.setting, pair.repetitions
    return {
        "data": pair.place.name,
        "ppc": pair.place.ppc,
        "protocol": setting.protocol,
        "division": setting.division,
        "student": setting.student,
        "test": setting.test or "plain",
        "draw": pair.draw,
        "name": pair.name,
        "repetitions": repetitions,
        "students": anchor.students,
        "anchor_scores": anchor.oa.first(repetitions, anchor.students),
        "scores": cell.oa.first(repetitions, anchor.students),
        "difference": asdict(pair.comparison.difference),
        "p": pair.comparison.p,
        "p_holm": pair.comparison.p_holm,
        "p_exact": pair.comparison.p_exact,
        "mcnemar": None if answered is None else asdict(answered),
    }


def _print(found: Sequence[Pair], answered: Sequence[OnSameClouds | None], anchor: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.records.labels import bare_amount
    from pcbench.report.text import number, signed
    from pcbench.report.values import USUAL_DRAW, signed_bounds

    settings = dict.fromkeys((pair.section.setting, pair.draw) for pair in found)
    for setting, draw in settings:
        words = [f"protocol {setting.protocol}", f"student {setting.student}"]
        words += [f"test {setting.test}"] if setting.test else []
        words += [f"draw {draw}"] if draw != USUAL_DRAW else []
        words += ["open division"] if setting.division == "open" else []
        say(f"Against {anchor}, {', '.join(words)}: overall accuracy in points")
        table = Table(box=None, pad_edge=False)
        for name in ("", "data set"):
            table.add_column(name, no_wrap=True)
        for name in ("PPC", "difference", "95 % interval", "p", "exact p", "mean", "compared"):
            table.add_column(name, justify="right", no_wrap=True)
        for pair in found:
            if (pair.section.setting, pair.draw) != (setting, draw):
                continue
            comparison, (first, cell) = pair.comparison, pair.cells
            scores = cell.oa.first(pair.repetitions, first.students)
            mean = sum(map(sum, scores)) / (pair.repetitions * first.students)
            table.add_row(
                Text(pair.name),
                Text(pair.place.name),
                bare_amount(pair.place.ppc),
                signed(comparison.difference.mean),
                *(signed_bounds(comparison.difference) or [""]),
                _share(comparison.p_holm),
                _share(comparison.p_exact),
                number(mean),
                f"{pair.repetitions} × {first.students}",
            )
        show(table, spare=("exact p", "mean", "compared", "data set"))
        kept = [
            (pair, each)
            for pair, each in zip(found, answered, strict=True)
            if each is not None and (pair.section.setting, pair.draw) == (setting, draw)
        ]
        if kept:
            _print_answers(kept, anchor)
    if any(pair.comparison.difference.covers == "evaluation" for pair in found):
        say("1 × students: the interval is for these clouds alone, not for another distillation.")
    if len({pair.name for pair in found}) > 1:
        say("p is Holm's, adjusted for all that are compared in a cell; the exact p is not adjusted.")


def _print_answers(kept: Sequence[tuple[Pair, OnSameClouds]], anchor: str) -> None:
    """McNemar's test of every pair whose students' answers were kept."""
    from rich.table import Table
    from rich.text import Text

    from pcbench.records.labels import bare_amount
    from pcbench.report.text import number

    say("On the same test clouds (McNemar), a pair of students: clouds that one of the two alone has right")
    table = Table(box=None, pad_edge=False)
    for name in ("", "data set"):
        table.add_column(name, no_wrap=True)
    for name in ("PPC", "it alone", f"{anchor} alone", "clouds", "pairs told apart", "p of all pairs"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for pair, each in kept:
        count, together = len(each.pairs), each.together
        table.add_row(
            Text(pair.name),
            Text(pair.place.name),
            bare_amount(pair.place.ppc),
            number(together.only_other / count),
            number(together.only_first / count),
            str(each.clouds),
            f"{each.told} of {count}",
            _share(together.p),
        )
    show(table, spare=("clouds", "data set"))
    say("These p are about other test clouds for the students that were trained, not about other students.")


def _share(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
