"""`pcbench verify`: trains the students of published evaluations again and compares."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, show
from pcbench.cli.progress import progress
from pcbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.records.models import VerificationRecord
    from pcbench.submission.verify import Claim


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|DIR", help="A run's folder, a folder of runs, or a submission.")
    ],
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", help="Evaluations, drawn at random. Default: all.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Of the drawing, to repeat one. Default: one that nobody can foresee."),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", metavar="POINTS", help="Scores this near count as equal.")
    ] = 3.0,
    redistill: Annotated[
        bool,
        typer.Option("--redistill", help="Distil anew too. Runs the submitted plugin: read it first."),
    ] = False,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            "--artifacts", metavar="DIR", help="Where clouds are that were fetched: DIR/RUN/clouds.h5."
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Train the students of evaluations again, with their seeds, and test whether the scores are equal.

    Equal: the 90 % interval of the mean difference of students with the same seed lies inside ± margin. A
    verification record is written beside each evaluation; the leaderboard shows it as a badge. Exit code 1
    where a score is refuted, or the students are too few to tell.
    """
    from functools import partial

    from pcbench.engine import machine
    from pcbench.submission import verify as work

    work.check_margin(margin)
    if sample is not None and sample < 1:
        raise UsageError(f"--sample {sample}: at least one evaluation is needed")
    submitted = work.submitted_methods(folder) if redistill else ()
    catalogue = opened([*(plugins or ()), *submitted])
    found = work.claims(catalogue, folder, artifacts)
    drawn = seed if seed is not None else secrets.randbelow(1 << 32)
    chosen = found if sample is None else work.sample(found, sample, drawn)
    target = machine.choose_device(device)
    machine.warm_up(target)
    records = []
    with progress() as screen:
        for number, claim in enumerate(chosen, 1):
            cell = screen.cell(f"[{number}/{len(chosen)}] {claim.title}")
            records.append(work.verify(catalogue, claim, margin, redistill, target, partial(cell)))
            cell.end()
    _print(chosen, records, drawn if sample is not None else None, len(found), as_json)
    if any(record.verdict != "verified" for record in records):
        raise typer.Exit(1)


def _print(
    chosen: Sequence[Claim],
    records: Sequence[VerificationRecord],
    seed: int | None,
    total: int,
    as_json: bool,
) -> None:
    if as_json:
        rows = [
            {
                "folder": str(claim.run.folder),
                "difference": record.difference,
                "verification": record.model_dump(mode="json"),
            }
            for claim, record in zip(chosen, records, strict=True)
        ]
        typer.echo(json.dumps({"evaluations": total, "seed": seed, "verified": rows}, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title="Overall accuracy in points; the interval is the 90 % one of now less published",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("evaluation", overflow="fold")
    for name in ("published", "now", "interval", "margin"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for claim, record in zip(chosen, records, strict=True):
        students = len(record.published)
        table.add_row(
            Text(claim.title),
            f"{100 * sum(record.published) / students:.1f}",
            f"{100 * sum(record.oa) / students:.1f}",
            f"{record.low:+.1f} to {record.high:+.1f}",
            f"{record.margin:g}",
            record.verdict,
        )
    show(table)
    drawn = "" if seed is None else f", drawn with --seed {seed}"
    typer.echo(f"{len(records)} of {total} evaluations{drawn}. The records stand beside them.")
