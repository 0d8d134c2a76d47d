"""`pcbench leaderboard`: records to a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pcbench.errors import DataError

app = typer.Typer(help="Turn records into a leaderboard.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _leaderboard() -> None:
    pass


@app.command()
def build(
    results: Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the records are.")] = Path(
        "results"
    ),
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the site goes.")] = Path("site"),
) -> None:
    """Write leaderboard.md, index.html and style.css from all records of a folder."""
    from pcbench.files import write_text
    from pcbench.records import read_runs
    from pcbench.report.render import render
    from pcbench.report.tables import board, distinct, plain

    found, problems = read_runs(results)
    runs, repeated = distinct(found)
    for problem in problems + repeated:
        typer.echo(f"warning: left out {plain(problem)}", err=True)
    made = board(runs)
    if not made.tables:
        raise DataError(
            f"no finished run in {results}: do 'pcbench run' first, or name its folder with --results"
        )
    for name, text in render(made).items():
        write_text(out / name, text)
        typer.echo(out / name)
