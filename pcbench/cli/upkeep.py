"""`pcbench results merge` and `gc`: folders of runs put together, and freed of what nobody needs any more."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from pcbench.cli.output import AsJson, say
from pcbench.common.text import counted
from pcbench.records.named import RESULTS


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders of runs.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where all of them are to stand.")
    ] = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Copy the finished runs of several folders into one, as of machines that share no disk.

    Nothing is overwritten: where other clouds or other scores stand in the place of a run, the conflict is
    named, what is there stays, and the exit code is 1.
    """
    from pcbench.records import upkeep

    merged = list(upkeep.merge(sources, out))
    if as_json:
        values = [{"source": str(each.source), "done": each.word, "why": each.why} for each in merged]
        typer.echo(json.dumps(values, indent=1))
    else:
        for each in merged:
            if each.why:
                say(f"{each.word}: {each.source}: {each.why}")
        counts = Counter(each.word for each in merged)
        say(f"{out}: {', '.join(f'{count} {word}' for word, count in counts.items()) or 'nothing to merge'}")
    if any(each.word == "conflict" for each in merged):
        raise typer.Exit(1)


def gc(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the records are.")] = RESULTS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what nobody needs any more: plans that are done, checkpoints of finished runs, dead claims.

    Records, clouds and logs stay, also those of runs that have failed.
    """
    from pcbench.records import upkeep

    waste = upkeep.not_needed(folder)
    for each in waste:
        if not dry_run:
            each.path.unlink(missing_ok=True)
        if not as_json:
            say(f"{each.path}: {each.why}")
    if as_json:
        typer.echo(json.dumps([{"file": str(each.path), "why": each.why} for each in waste], indent=1))
    else:
        say(f"{counted(len(waste), 'file')} {'to remove' if dry_run else 'removed'}")
