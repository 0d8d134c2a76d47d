"""`pcbench check`: whether a plugin keeps its contract, clause by clause."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.complete import PLUGINS
from pcbench.cli.output import AsJson, PluginFolders, console, opened, show

if TYPE_CHECKING:
    from pcbench.conformance import Item, Report

STYLES = {"failed": "red", "warning": "yellow", "not applicable": "dim"}


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.py",
            autocompletion=PLUGINS,
            help="A name that 'pcbench list' shows, or a plugin file.",
        ),
    ],
    iterations: Annotated[
        int,
        typer.Option(
            "--iterations",
            metavar="N",
            min=3,
            help="Updates that a method is tried for; more find later faults.",
        ),
    ] = 3,
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Try a method, backbone or data set against its contract, on small clouds and the CPU.

    Exit code 1 if a clause failed. Clauses that fail for one reason share a line.
    """
    from dataclasses import asdict

    from pcbench import conformance

    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the report
        reports = conformance.check(target, opened(folders), iterations)
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
    for item, others in _by_cause(report):
        also = f" (also: {', '.join(others)})" if others else ""
        result = Text(item.result, style=STYLES.get(item.result, ""))
        table.add_row(item.clause, result, Text(item.detail + also))
    show(table)


def _by_cause(report: Report) -> list[tuple[Item, list[str]]]:
    """The clauses; of those that did not pass for one reason the first, with the names of the others."""
    causes: dict[tuple[str, str], tuple[Item, list[str]]] = {}
    for item in report.items:
        cause = (item.result, item.clause if item.result == "ok" else item.detail)
        if cause in causes:
            causes[cause][1].append(item.clause)
        else:
            causes[cause] = (item, [])
    return list(causes.values())
