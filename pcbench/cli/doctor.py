"""`pcbench doctor`: what this machine offers, what is wrong with it, and the remedy of each finding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, say, show
from pcbench.records.named import RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.engine.checkup import Finding

STYLES = {"ok": "", "warning": "yellow", "problem": "red"}


def doctor(
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="The folder of records to look at.")
    ] = RESULTS,
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Look at devices, memory, threads, plugins, data, records, locks, disk, Slurm; findings have remedies.

    Nothing is changed. Exit code 1 if there is a problem that a run will fail by; warnings are none.
    """
    from dataclasses import asdict

    from pcbench.engine.checkup import checkup
    from pcbench.executors.slurm import reachable

    findings = [*checkup(lambda: opened(folders), results), *reachable()]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _print(findings)
    if any(finding.result == "problem" for finding in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", min_width=20)
    for finding in findings:
        style = STYLES[finding.result]
        table.add_row(finding.topic, Text(finding.result, style=style), Text(finding.what))
        if finding.remedy:
            table.add_row("", "", Text(f"-> {finding.remedy}", style="bold"))
    show(table)
    problems, warnings = (
        sum(each.result == result for each in findings) for result in ("problem", "warning")
    )
    say(f"Problems: {problems}, warnings: {warnings}")
