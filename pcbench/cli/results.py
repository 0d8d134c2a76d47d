"""`pcbench results`: what a maintainer does with records that others made."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, words

if TYPE_CHECKING:
    from pcbench.submission.manifest import Problem

app = typer.Typer(help="Check records that others made.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _results() -> None:
    pass


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A submission, or a folder of runs.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="DIR|REF[:PATH]",
            help="What is published: a folder, or one at a git commit, as origin/main:submissions.",
        ),
    ] = None,
    corrected: Annotated[
        list[str] | None,
        typer.Option("--corrected", metavar="KEY", help="A published record that may change; repeatable."),
    ] = None,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Check a submission, or published records, and name every problem: a line each, exit code 3.

    Schema, hashes, sizes, seeds, protocols, scores against their counts; with --against also that no
    published number changed or was submitted again. Nothing of a submission is executed.
    """
    from contextlib import ExitStack

    from pcbench.submission.validate import published_at
    from pcbench.submission.validate import validate as check

    with ExitStack() as stack:
        published = stack.enter_context(published_at(against, folder)) if against else None
        problems = check(opened(plugins), folder, published, words(corrected))
    _print(folder, problems, as_json)
    if problems:
        raise typer.Exit(3)


@app.command()
def migrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of runs.")],
    as_json: AsJson = False,
) -> None:
    """Rewrite records of older versions in today's form and under today's names; no number changes.

    Records of older versions are read as they are: this only spares the reading of two forms.
    """
    from pcbench.records.rewrite import rewrite

    left_alone: list[Path] = []
    rewritten = rewrite(folder, left_alone.append)
    if as_json:
        moved = [{"before": str(each.before), "after": str(each.after)} for each in rewritten]
        typer.echo(json.dumps({"rewritten": moved, "left_alone": list(map(str, left_alone))}, indent=1))
    else:
        for each in rewritten:
            typer.echo(f"{each.before} -> {each.after.name}")
        for path in left_alone:
            typer.echo(f"warning: {path} holds what cannot be read and was left as it is", err=True)
        typer.echo(f"{len(rewritten)} rewritten, {len(left_alone)} left as they are")
    if left_alone:
        raise typer.Exit(3)


def _print(folder: Path, problems: list[Problem], as_json: bool) -> None:
    if as_json:
        found = [asdict(each) for each in problems]
        typer.echo(json.dumps({"folder": str(folder), "valid": not problems, "problems": found}, indent=1))
        return
    for each in problems:
        typer.echo(str(each))
    count = "no problem" if not problems else f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    typer.echo(f"{folder}: {count}")
