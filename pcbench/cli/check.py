"""`pcbench check`: whether a plugin keeps its contract, clause by clause."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, console, opened, show

if TYPE_CHECKING:
    from pcbench.conformance import Report

STYLES = {"failed": "red", "warning": "yellow", "not applicable": "dim"}


def check(
    target: Annotated[
        str,
        typer.Argument(metavar="NAME|FILE.py", help="A name that 'pcbench list' shows, or a plugin file."),
    ],
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Try a method, backbone or data set against its contract, on small clouds and the CPU.

    Exit code 1 if a clause failed.
    """
    from dataclasses import asdict

    from pcbench import conformance

    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the report
        reports = conformance.check(target, opened(folders))
    if as_json:
        typer.echo(json.dumps([asdict(report) | {"passed": report.passed} for report in reports], indent=1))
    else:
        for report in reports:
            _print_report(report)
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.catalogue.kinds import LABELS

    verdict = "keeps its contract" if report.passed else "breaks its contract"
    console().print(f"{LABELS[report.kind]} {report.name} {verdict} ({report.origin})", soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", min_width=20)
    for item in report.items:
        table.add_row(item.clause, Text(item.result, style=STYLES.get(item.result, "")), Text(item.detail))
    show(table)
