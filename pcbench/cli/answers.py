"""`pcbench results hard` and `ensembles`: what kept predictions say of test clouds, and of votes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.listed import Folder, read
from pcbench.cli.output import AsJson, PluginFolders, say, show
from pcbench.errors import DataError
from pcbench.records.named import RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.report.answers import Answered, HardCloud


def hard(
    folder: Folder = RESULTS,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, help="So many of each data set and test.")
    ] = 10,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """List the test clouds that most students miss, the hardest first, and what they are taken for.

    Of all students in the folder whose answers were kept; those of stale results are left out. A cloud is
    named by its place in the test split, from 0.
    """
    from pcbench.report.answers import hard_clouds

    clouds = hard_clouds(_answered(folder, plugins), count)
    if as_json:
        typer.echo(json.dumps([asdict(cloud) for cloud in clouds], indent=1))
    elif not clouds:
        say("No test cloud is missed by more than half of the students.")
    else:
        _print_hard(clouds)


def ensembles(folder: Folder = RESULTS, plugins: PluginFolders = None, as_json: AsJson = False) -> None:
    """Say what the students of every run have right together, by majority vote, beside their mean accuracy.

    Where several classes have as many votes, the tie counts as broken by lot.
    """
    values = [_ensemble(each) for each in _answered(folder, plugins)]
    if as_json:
        typer.echo(json.dumps(values, indent=1))
    else:
        _print_ensembles(values)


def _answered(folder: Path, plugins: Sequence[Path] | None) -> list[Answered]:
    """Every evaluation of a folder with its answers; DataError where none has some."""
    from pcbench.report.answers import Answers

    gathered, _ = read(folder, plugins)
    answers = Answers(gathered.folders)
    answered = answers.among(result for result in gathered.results if not result.stale)
    for problem in answers.problems:
        say(f"warning: left out {problem}", err=True)
    if not answered:
        raise DataError(
            f"{folder}: no result that counts has kept its students' answers, as older versions did not"
        )
    return answered


def _print_hard(clouds: Sequence[HardCloud]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("data set", "test", "cloud", "class", "missed by", "taken for"):
        table.add_column(name, justify="right" if name in ("cloud", "missed by") else "left", no_wrap=True)
    for each in clouds:
        named = ", ".join(f"{name} ({votes})" for name, votes in each.taken_for[:3])
        missed = f"{each.missed} of {each.students}"
        words = each.dataset, each.test or "plain", str(each.cloud), each.true, missed, named
        table.add_row(*map(Text, words))
    show(table, spare=("test", "data set"))


def _ensemble(each: Answered) -> dict[str, Any]:
    """An ensemble for programs, accuracies in percent."""
    result = each.result
    return {
        "run": each.folder.name,
        "method": result.entry.title,
        "dataset": result.place.name,
        "ppc": result.place.ppc,
        "draw": result.entry.draw,
        "repetition": result.repetition,
        "protocol": result.setting.protocol,
        "student": result.setting.student,
        "test": result.setting.test or "plain",
        "students": len(each.predictions),
        "mean_oa": each.mean,
        "ensemble_oa": each.ensemble,
        "clouds": len(each.predictions.labels),
        "missed_by_all": each.missed_by_all,
    }


def _print_ensembles(values: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.records.labels import bare_amount
    from pcbench.report.text import number, signed

    table = Table(box=None, pad_edge=False)
    for name in ("method", "data set", "protocol", "student", "test"):
        table.add_column(name, no_wrap=True)
    for name in ("PPC", "students", "mean OA", "together", "more", "missed by all"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run", overflow="fold", min_width=20, style="dim")
    for each in values:
        table.add_row(
            *(Text(each[name]) for name in ("method", "dataset", "protocol", "student", "test")),
            bare_amount(each["ppc"]),
            str(each["students"]),
            number(each["mean_oa"]),
            number(each["ensemble_oa"]),
            signed(each["ensemble_oa"] - each["mean_oa"]),
            f"{each['missed_by_all']} of {each['clouds']}",
            Text(each["run"]),
        )
    show(table, spare=("test", "student", "protocol", "missed by all", "students", "data set"))
