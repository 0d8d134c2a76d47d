"""`pcbench run`: distil, train students, write records, print the accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.complete import BACKBONES, DATASETS, METHODS, PROTOCOLS, SUITES
from pcbench.cli.outcomes import announce, cell_title, finish, print_plan
from pcbench.cli.output import (
    Again,
    AsJson,
    Device,
    PluginFolders,
    WhichDraw,
    WhichSnapshots,
    opened,
    pairs,
    words,
)
from pcbench.cli.work import work_through
from pcbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from pcbench.engine.evaluate import Outcome, Report
    from pcbench.engine.plan import Absent, Cell, Request
    from pcbench.protocols.suites import Suite
    from pcbench.records.models import Run
    from pcbench.records.state import Snapshots

DEMONSTRATION = ("random", "sadm")


def run(
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            metavar="METHOD",
            autocompletion=METHODS,
            help="Repeatable, or with commas; METHOD:SETTING has named parameters. Default: random and sadm.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            metavar="DATASET",
            autocompletion=DATASETS,
            help="Repeatable, or with commas. Default: shapes10.",
        ),
    ] = None,
    ppc: Annotated[
        list[str] | None, typer.Option("--ppc", metavar="1,3,10", help="Clouds per class. Default: 3.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME[:PRESET]",
            autocompletion=BACKBONES,
            help="Network. Default: pointnet, its first preset.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "-p",
            metavar="PROTOCOL",
            autocompletion=PROTOCOLS,
            help="Default: the suite's; quick where no data set is named; else paper, without a GPU lite.",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="SUITE|FILE.toml",
            autocompletion=SUITES,
            help="The cells of a table, 'pcbench list suites', or FILE.toml; the options "
            "above choose a part of it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells, their states and estimated times; do nothing.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Students per snapshot, instead of the protocol's.")
    ] = None,
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Repeatable: a parameter of the method or the protocol."
        ),
    ] = None,
    repetition: Annotated[int, typer.Option("--repetition", min=0, help="Which repeated distillation.")] = 0,
    draw: Annotated[
        WhichDraw | None,
        typer.Option(
            "--draw",
            help="Training clouds to start from: nested (seeded, PPC 1 within 3 within 10), authors (the one "
            "draw of SADM's code), per-ppc. Default: the suite's; else nested.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the records go.")] = Path(
        "results"
    ),
    snapshots: Annotated[
        WhichSnapshots | None,
        typer.Option(
            "--snapshots",
            help="Train students on the last snapshot, which is the one that is reported, or on all. "
            "Default: the suite's; else all.",
        ),
    ] = None,
    again: Annotated[
        Again | None, typer.Option("--again", help="Compute cells anew that are stale; what is there stays.")
    ] = None,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process",
            help="Run the method in this process, for a debugger; its records are open division.",
        ),
    ] = False,
    pdb: Annotated[
        bool,
        typer.Option("--pdb", help="Open Python's debugger where a plugin fails; implies --in-process."),
    ] = False,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Distil a data set, train students, keep a record.

    Without options: the demonstration, random selection and SADM on the embedded data set, in about a minute.
    A cell that is done already is shown, not computed again. One whose records are of older code or other
    defaults is stale: its reason is shown, and `--again stale` computes it anew.
    """
    from pcbench.engine import server

    in_process = in_process or pdb
    if not dry_run and not in_process:
        server.start()
    from pcbench.engine import machine, plan
    from pcbench.records.store import read_runs

    common = plan.Request(
        methods=tuple(words(method)),
        datasets=tuple(words(dataset)),
        ppcs=tuple(_numbers(words(ppc))),
        backbone=backbone or "",
        protocol=protocol or "",
        students=seeds,
        repetition=repetition,
        draw=draw.choice if draw else "nested",
        settings=pairs(set_ or ()),
    )
    catalogue = opened(plugins)
    absent: list[Absent] = []
    which: Snapshots = snapshots.choice if snapshots else "all"
    chosen_device = machine.choose_device(device)
    if suite is None:
        requests = [_with_defaults(common, chosen_device.type == "cuda")]
    else:
        chosen = _suite(suite, common)
        which = snapshots.choice if snapshots else chosen.snapshots
        requests, absent = plan.available(catalogue, *_of_suite(chosen, suite, common, draw is not None))
    cells = plan.cells(catalogue, *requests, in_process=in_process)
    runs, _ = read_runs(out)
    default = suite is None and dataset is not None and not protocol
    if dry_run:
        print_plan(cells, absent, chosen_device, runs, as_json, which, again is not None)
        return
    announce(cells, chosen_device, runs, which, again is not None, default)
    finish(
        _execute(cells, chosen_device, out, runs, which, again is not None, in_process, pdb),
        absent,
        out,
        as_json,
        plugins or (),
    )


def _with_defaults(asked: Request, gpu: bool) -> Request:
    """What a request means that does not say it all: the demonstration, or what this machine can do."""
    return replace(
        asked,
        methods=asked.methods or DEMONSTRATION,
        datasets=asked.datasets or ("shapes10",),
        ppcs=asked.ppcs or (3,),
        backbone=asked.backbone or "pointnet",
        protocol=asked.protocol or (("paper" if gpu else "lite") if asked.datasets else "quick"),
    )


def _suite(name: str, asked: Request) -> Suite:
    """The suite of that name or file; UsageError beside options that it fixes itself."""
    from pcbench.protocols import suites

    if asked.settings:
        key = next(iter(asked.settings))
        raise UsageError(f"--set {key}: a suite fixes its parameters; copy its file and give it to --suite")
    if asked.backbone:
        raise UsageError(
            f"--backbone {asked.backbone}: a suite fixes its networks; copy its file to change them"
        )
    return suites.read(suites.find(name))


def _of_suite(suite: Suite, name: str, asked: Request, own_draw: bool) -> list[Request]:
    """The requests of a suite, or of the part of it that the options choose.

    own_draw: the draw that is asked for takes the place of the suite's.
    """
    from pcbench.engine import plan
    from pcbench.protocols import suites

    part = suite.narrowed(asked.methods, asked.datasets, asked.ppcs)
    return plan.of_suite(part.without_draws() if own_draw else part, suites.find(name), asked)


def _numbers(texts: Sequence[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"--ppc {','.join(texts)}: whole numbers are needed, as in --ppc 1,3,10") from error


def _execute(
    cells: Sequence[Cell],
    device: torch.device,
    out: Path,
    runs: Sequence[Run],
    snapshots: Snapshots,
    again: bool,
    in_process: bool,
    pdb: bool,
) -> list[Outcome]:
    """Every cell; a distillation that fails is not tried again for its other students."""
    from pcbench.engine.distil import execute

    failed: dict[str, Outcome] = {}

    def work(cell: Cell, report: Report) -> Outcome:
        key = cell.inputs.key
        if key in failed:
            return replace(failed[key], network=cell.evaluation.network.label)
        outcome = execute(cell, out, device, report, runs, snapshots, again, in_process)
        if outcome.run.distillation.status != "ok":
            failed[key] = outcome
        return outcome

    titled = [(cell_title(cell.inputs, cell.evaluation), partial(work, cell)) for cell in cells]
    return work_through(titled, pdb)
