"""`pcbench evaluate`: students of other networks on clouds that were distilled before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.complete import BACKBONES, PROTOCOLS, RUNS, SNAPSHOTS
from pcbench.cli.outcomes import finish
from pcbench.cli.output import Again, AsJson, Device, PluginFolders, opened, pairs, say, snapshots_of, words
from pcbench.cli.work import work_through

if TYPE_CHECKING:
    from pcbench.records.models import Run


def evaluate(
    run: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            autocompletion=RUNS,
            help="A run's folder, the beginning of its name, 'latest', or a folder of runs: all of them.",
        ),
    ],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME[:PRESET]",
            autocompletion=BACKBONES,
            help="Students, repeatable or with commas. Default: as distilled with.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "-p",
            metavar="PROTOCOL",
            autocompletion=PROTOCOLS,
            help="Default: the one that the run was made by.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Students per snapshot, instead of the protocol's.")
    ] = None,
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Repeatable: a setting of the protocol, as recipe.epochs=100."
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            metavar="TEST",
            help="plain (the default), up or so3 (rotated), points=N, or jitter, dropout, occlusion, scale, "
            "outliers with a severity, as jitter:3; on=DATASET tests on the classes that another data set "
            "shares, also on=DATASET+so3; repeatable.",
        ),
    ] = None,
    snapshots: Annotated[
        str,
        typer.Option(
            "--snapshots",
            metavar="last|all|0,20,40",
            autocompletion=SNAPSHOTS,
            help="Train students on the last snapshot, which is reported, on all, or on those of these "
            "iterations and the last.",
        ),
    ] = "all",
    again: Annotated[
        Again | None, typer.Option("--again", help="Compute scores anew that are stale; what is there stays.")
    ] = None,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Train and test students on distilled clouds, distilling nothing.

    The students of a network are trained once and take every test that is asked for. The scores stand in the
    run's folder, beside the others. Neither the method nor its plugin is needed: a
    folder that someone else distilled will do.
    """
    from pcbench.engine import machine, requests
    from pcbench.engine.working import of_evaluations

    settings, asked_for = pairs(set_ or ()), snapshots_of(snapshots) or "all"
    catalogue = opened(plugins)
    runs = [each for folder in run for each in found_runs(folder)]
    planned, absent = requests.evaluations(
        catalogue, runs, words(backbone), protocol, seeds, settings, words(test)
    )
    chosen = machine.choose_device(device)
    outcomes = work_through(of_evaluations(planned, chosen, asked_for, again is not None))
    folders = {outcome.run.folder.parent for outcome in outcomes}
    finish(outcomes, absent, min(folders, key=str), as_json, plugins or ())


def found_runs(folder: Path) -> Sequence[Run]:
    """The run in a folder, or the finished runs below it; what cannot be used is told."""
    from pcbench.records.named import finished

    runs, problems = finished(folder)
    for problem in problems:
        say(f"warning: left out {problem}", err=True)
    return runs
