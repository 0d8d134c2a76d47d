"""`pcbench results`: what a maintainer does with others' records; `listed` and `answers` show them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, say, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.submission.manifest import Problem

Corrected = Annotated[
    list[str] | None,
    typer.Option("--corrected", metavar="KEY", help="A published record that may change; repeatable."),
]
Lifted = Annotated[
    list[str] | None,
    typer.Option(
        "--lifted",
        metavar="KEY",
        help="An evaluation whose published verification, a refutation too, may change or go; repeatable.",
    ),
]
Data = Annotated[
    bool,
    typer.Option(
        "--data",
        help="Hold records against data sets imported here, and clouds against test clouds.",
    ),
]
InText = Annotated[
    Path | None,
    typer.Option(
        "--corrections",
        metavar="FILE",
        help="A text, as of a pull request, with lines 'corrected: KEY' and 'lifted: KEY'.",
    ),
]
BySubmitter = Annotated[
    bool,
    typer.Option(
        "--by-submitter",
        help="Refuse new verifications, and new runs of our own: only a maintainer adds these.",
    ),
]

app = typer.Typer(
    help="List records; check those that others made.", no_args_is_help=True, rich_markup_mode=None
)


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
    corrected: Corrected = None,
    lifted: Lifted = None,
    data: Data = False,
    by_submitter: BySubmitter = False,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Check a submission, or published records, and name every problem: a line each, exit code 3.

    Schema, hashes, sizes, seeds, protocols, scores against their counts, totals, times, names and parameters;
    with --against also that nothing that is published changed or was submitted again. Nothing of a submission
    is executed. 'pcbench results fields' says what each field of a record is held to.
    """
    from contextlib import ExitStack

    from pcbench.submission.validate import Strictness, published_at
    from pcbench.submission.validate import validate as check

    with ExitStack() as stack:
        published = stack.enter_context(published_at(against, folder)) if against is not None else None
        if published is not None and not any(published.iterdir()):
            say(f"{against} holds nothing yet: nothing is compared", err=True)
        problems = check(
            opened(plugins),
            folder,
            published,
            words(corrected),
            words(lifted),
            Strictness(data, not by_submitter),
        )
    _print(str(folder), problems, as_json)
    if problems:
        raise typer.Exit(3)


@app.command()
def collect(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC",
            help="submissions, a folder of submissions of that name; or a folder of our own runs.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="A new folder for all runs, as 'leaderboard build' takes it."
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="DIR|REF[:PATH]",
            help="What is published of each SRC, as for 'results validate'; once a SRC, in their order.",
        ),
    ] = None,
    corrected: Corrected = None,
    lifted: Lifted = None,
    corrections: InText = None,
    data: Data = False,
    by_submitter: BySubmitter = False,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Say what counts as published, check all of it as 'results validate' does, and copy it to --out.

    A source that is called submissions holds one folder a submission, each with its manifest, and nothing
    else; any other source holds folders of runs and nothing else. Exit code 3 where anything is wrong:
    nothing is copied then.
    """
    from pcbench.submission.collect import collect as gather
    from pcbench.submission.collect import publish
    from pcbench.submission.published import Corrections
    from pcbench.submission.validate import Strictness

    allowed = Corrections(words(corrected), words(lifted))
    if corrections is not None:
        allowed |= Corrections.in_text(corrections.read_text(encoding="utf-8", errors="replace"))
    collected = gather(
        opened(plugins),
        sources,
        against or (),
        allowed,
        Strictness(data, not by_submitter),
    )
    if out is not None and not collected.problems:
        publish(collected, out)
    _print(" ".join(map(str, sources)), collected.problems, as_json, f"{len(collected.runs)} runs, ")
    if collected.problems:
        raise typer.Exit(3)


@app.command()
def fields(as_json: AsJson = False) -> None:
    """What each field of a record is held to, or that it is the submitter's claim and nothing more."""
    from pcbench.submission.fields import held_to

    checks = held_to()
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in checks], indent=1))
        return
    for each in checks:
        say(f"{each.path}: {each.label}")


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
            say(f"{each.before} -> {each.after.name}")
        for path in left_alone:
            say(f"warning: {path} holds what cannot be read and was left as it is", err=True)
        say(f"{len(rewritten)} rewritten, {len(left_alone)} left as they are")
    if left_alone:
        raise typer.Exit(3)


def _print(folder: str, problems: Sequence[Problem], as_json: bool, before: str = "") -> None:
    if as_json:
        found = [asdict(each) for each in problems]
        typer.echo(json.dumps({"folder": folder, "valid": not problems, "problems": found}, indent=1))
        return
    for each in problems:
        say(str(each))
    count = "no problem" if not problems else f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    say(f"{folder}: {before}{count}")
