"""`pcbench results list`, `table` and `export`: the records of a folder, for people, papers and programs."""

from __future__ import annotations

import enum
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, say, show
from pcbench.common.text import counted
from pcbench.records.named import RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.report.cells import Board
    from pcbench.report.gather import Gathered
    from pcbench.report.listing import Listed


class Form(enum.StrEnum):
    """In which form a table is printed."""

    text = "text"
    csv = "csv"
    md = "md"
    latex = "latex"
    json = "json"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where the records are.")]
SPARE = ("distilled with", "test", "student", "protocol", "draw", "students", "repetitions")
"""Columns that a narrow terminal does without, the first one first."""
IN_NAME = ("data set", "PPC")
"""Columns that the name of a run says too."""


def list_(folder: Folder = RESULTS, plugins: PluginFolders = None, as_json: AsJson = False) -> None:
    """List the runs of a folder: what was asked for, what became of it, and its test accuracy.

    A run is finished, stale (today's code would make it otherwise), not evaluated, failed, out of memory or
    interrupted; the reasons stand below. Runs are named as 'pcbench show' and 'compare' take them.
    """
    from pcbench.report.listing import by_run

    gathered, board = read(folder, plugins)
    lines = by_run(gathered, board)
    if as_json:
        typer.echo(json.dumps([line.values for line in lines], indent=1))
    else:
        _print(lines, with_runs=True)


def table(
    folder: Folder = RESULTS,
    form: Annotated[
        Form, typer.Option("--format", "-f", help="text, for papers md or latex, for programs csv or json.")
    ] = Form.text,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """The same with a line a cell: repetitions together, mean ± standard deviation as on the site.

    csv and json have every figure, also the 95 % interval, mAcc, times, and the names of the runs.
    """
    from pcbench.report.listing import by_cell

    gathered, board = read(folder, plugins)
    lines = by_cell(gathered, board)
    if as_json or form is Form.json:
        typer.echo(json.dumps([line.values for line in lines], indent=1))
    elif form is Form.text:
        _print(lines, with_runs=False)
    else:
        say(_formatted(lines, form).rstrip("\n"))


def export(
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="Whose evaluations they are: your laboratory's name.")
    ],
    folder: Folder = RESULTS,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go, below data/pcbench.")
    ] = Path("every_eval_ever"),
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Write finished evaluations in the schema of Every Eval Ever, which gathers results of all benchmarks.

    A file an evaluation, in folders and under names as that collection has them; the same records give the
    same files. Stale results and runs without a score are left out.
    """
    from pcbench.common.files import write_json
    from pcbench.report.current import Current
    from pcbench.report.every_eval_ever import documents

    gathered, _ = read(folder, plugins)
    written = []
    for path, document in documents(gathered, Current.of(opened(plugins)), by):
        write_json(out / path, document)
        written.append(out / path)
    if as_json:
        typer.echo(json.dumps([str(path) for path in written], indent=1))
    else:
        say(f"{counted(len(written), 'evaluation')} written below {out}")


def read(folder: Path, plugins: Sequence[Path] | None) -> tuple[Gathered, Board]:
    """The records of a folder; DataError where there are none. What cannot be used is told."""
    from pcbench.errors import DataError
    from pcbench.records import layout
    from pcbench.report.current import Current
    from pcbench.report.gather import gather
    from pcbench.report.site import NOTHING, board_of

    gathered = gather(folder, Current.of(opened(plugins)))
    for problem in gathered.told():
        say(f"warning: left out {problem}", err=True)
    for begun in layout.begun_folders(folder):
        say(f"{begun} was begun and has no record yet: the same 'pcbench run' goes on", err=True)
    if not gathered.kept:
        raise DataError(NOTHING.format(source=folder), "results")
    return gathered, board_of(gathered)


def _formatted(lines: Sequence[Listed], form: Form) -> str:
    from pcbench.report.listing import columns
    from pcbench.report.table_forms import as_csv, as_latex, as_markdown

    if form is Form.csv:
        rows = [line.values for line in lines]
        return as_csv(list(rows[0]), [[_flat(value) for value in row.values()] for row in rows])
    shown = columns(lines)
    head, numbers = [each.title for each in shown], [each.number for each in shown]
    texts = [[each.text(line) for each in shown] for line in lines]
    return (as_markdown if form is Form.md else as_latex)(head, texts, numbers)


def _flat(value: object) -> object:
    """A value in one field: lists and parameters as words."""
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _print(lines: Sequence[Listed], with_runs: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.report.listing import FINISHED, columns

    table = Table(box=None, pad_edge=False)
    shown = columns(lines)
    for each in shown:
        justify: Literal["left", "right"] = "right" if each.number else "left"
        width = len(each.title) if each.long else None
        table.add_column(each.title, justify=justify, no_wrap=not each.long, min_width=width, overflow="fold")
    if with_runs:
        table.add_column("run", overflow="fold", min_width=20, style="dim")
    for line in lines:
        runs = [Text(" ".join(line.runs))] if with_runs else []
        table.add_row(*(Text(each.text(line)) for each in shown), *runs)
    show(table, spare=(*SPARE, *IN_NAME) if with_runs else SPARE)
    reasons = Counter((line.state, line.reason) for line in lines if line.state != FINISHED)
    for (state, reason), count in reasons.items():
        say(f"{state}, {count} of {len(lines)}: {reason}")
