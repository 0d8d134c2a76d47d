"""`pcbench run`: distil, train students, write records, print the accuracies."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.complete import BACKBONES, DATASETS, METHODS, PROTOCOLS, SUITES
from pcbench.cli.outcomes import announce, finish, print_plan
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
from pcbench.cli.spans import combinations, duration, numbers, repetitions
from pcbench.cli.work import work_through

if TYPE_CHECKING:
    import torch

    from pcbench.engine.evaluate import Outcome
    from pcbench.engine.plan import Cell
    from pcbench.records.state import Snapshots


Jobs = Annotated[
    str | None,
    typer.Option(
        "--jobs",
        metavar="N|auto",
        help="So many cells at once, each in a process of its own; auto: one a GPU or, without, one a core. "
        "Default: one after another in this process.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="TIME",
        help="End a cell that takes longer: seconds, or as 30m, 2h. Implies a process a cell.",
    ),
]


class Split(enum.StrEnum):
    """What students are tested on."""

    test = "test"
    validation = "validation"


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
            "--set",
            metavar="KEY=VALUE",
            help="Repeatable: a parameter of the method or the protocol; KEY=A,B: one cell each.",
        ),
    ] = None,
    repetition: Annotated[
        list[str] | None,
        typer.Option("--repetition", metavar="0,2|0-4", help="Which repeated distillations. Default: 0."),
    ] = None,
    split: Annotated[
        Split,
        typer.Option(
            "--split",
            help="validation: test on a fifth of the training clouds, to choose parameters; open division.",
        ),
    ] = Split.test,
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
    jobs: Jobs = None,
    timeout: Timeout = None,
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
    from pcbench.engine import machine, plan, requests
    from pcbench.records.store import read_runs

    asked = requests.Asked(
        common=plan.Request(
            methods=tuple(words(method)),
            datasets=tuple(words(dataset)),
            ppcs=tuple(numbers(words(ppc))),
            backbone=backbone or "",
            protocol=protocol or "",
            students=seeds,
            draw=draw.choice if draw else "nested",
        ),
        spans=combinations(pairs(set_ or ())),
        repetitions=repetitions(words(repetition) or ["0"]),
        suite=suite,
        own_draw=draw is not None,
        validation=split is Split.validation,
        snapshots=snapshots.choice if snapshots else None,
    )
    catalogue = opened(plugins)
    chosen_device = machine.choose_device(device)
    planned = requests.planned(catalogue, asked, chosen_device.type == "cuda", in_process)
    if dry_run:
        runs, _ = read_runs(out)
        print_plan(
            planned.cells, planned.absent, chosen_device, runs, as_json, planned.snapshots, again is not None
        )
        return
    outcomes = execute(
        planned.cells,
        chosen_device,
        out,
        planned.snapshots,
        again=again is not None,
        in_process=in_process,
        default=suite is None and dataset is not None and not protocol,
        pdb=pdb,
        jobs=jobs,
        timeout=timeout,
    )
    finish(outcomes, planned.absent, out, as_json, plugins or ())


def execute(
    cells: Sequence[Cell],
    device: torch.device,
    out: Path,
    snapshots: Snapshots,
    *,
    again: bool = False,
    in_process: bool = False,
    default: bool = False,
    pdb: bool = False,
    jobs: str | None = None,
    timeout: str | None = None,
) -> list[Outcome]:
    """Announce the cells and work through them. default: nobody has named the protocol.

    jobs, timeout: as the options of these names say.
    """
    from pcbench.engine.working import of_cells
    from pcbench.records.store import read_runs

    runs, _ = read_runs(out)
    executor = None
    if (jobs or timeout) and not in_process:
        from pcbench.executors import local

        seconds = duration(timeout) if timeout else None
        places = local.places(jobs or "1", device, len(cells))
        executor = local.Processes(places, snapshots, again, seconds)
    announce(cells, device, runs, snapshots, again, default)
    return work_through(of_cells(cells, out, device, runs, snapshots, again, in_process), pdb, executor)
