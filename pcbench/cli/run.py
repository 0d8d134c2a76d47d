"""`pcbench run`: distil, train students, write records, print the accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.asking import Asking, with_asking
from pcbench.cli.estimating import estimated
from pcbench.cli.outcomes import announce, finish, print_plan
from pcbench.cli.output import Again, AsJson, Device, PluginFolders, opened
from pcbench.cli.spans import duration
from pcbench.cli.work import work_through
from pcbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from pcbench.engine.evaluate import Outcome
    from pcbench.engine.plan import Absent, Cell
    from pcbench.records.plans import Plan
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


@with_asking
def run(
    asking: Asking,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="A plan that 'pcbench plan' made, instead of the above."),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option("--share", metavar="K/N", help="The K-th of N parts, for N jobs of any scheduler."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the cells, their states, and the time, memory and disk that they may need; make no "
            "record. First steps are timed where no run tells, for about 10 s at most.",
        ),
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="With --dry-run: time the first steps of all such cells.")
    ] = False,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the records go.")] = Path(
        "results"
    ),
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
    from pcbench.engine import frozen, machine, requests
    from pcbench.records import plans
    from pcbench.records.store import read_runs

    if calibrate and not dry_run:
        raise UsageError("--calibrate is of a dry run: add --dry-run")
    if plan and asking.given:
        raise UsageError(f"a plan says what there is to do: leave --{asking.given[0]} out", "plan")
    catalogue, chosen_device = opened(plugins), machine.choose_device(device)
    absent: list[Absent] = []
    if plan:
        whole = plans.read(plan)
        cells = frozen.thaw(catalogue, part(whole, share))
    else:
        planned = requests.planned(catalogue, asking.asked(), chosen_device.type == "cuda", in_process)
        whole, absent = frozen.freeze(planned.cells, planned.snapshots), planned.absent
        mine = {cell.key for cell in part(whole, share).cells}
        cells = [cell for cell in planned.cells if cell.inputs.key in mine] if share else planned.cells
    if dry_run:
        runs, _ = read_runs(out)
        costs = estimated(cells, chosen_device, runs, whole.snapshots, again is not None, calibrate)
        print_plan(cells, costs, absent, as_json)
        return
    outcomes = execute(
        cells,
        chosen_device,
        out,
        whole.snapshots,
        whole=whole,
        again=again is not None,
        in_process=in_process,
        default=not plan and asking.names_no_protocol,
        pdb=pdb,
        jobs=jobs,
        timeout=timeout,
    )
    finish(outcomes, absent, out, as_json, plugins or ())


def part(whole: Plan, share: str | None) -> Plan:
    """The part of a plan that `3/8` means; UsageError for what is no share."""
    if share is None:
        return whole
    number, slash, count = share.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise UsageError(f"{share!r} is no share: the third of eight is 3/8", "share")
    return whole.share(int(number), int(count))


def execute(
    cells: Sequence[Cell],
    device: torch.device,
    out: Path,
    snapshots: Snapshots,
    *,
    whole: Plan | None = None,
    again: bool = False,
    in_process: bool = False,
    default: bool = False,
    pdb: bool = False,
    jobs: str | None = None,
    timeout: str | None = None,
) -> list[Outcome]:
    """Announce the cells and work through them. default: nobody has named the protocol.

    whole: the plan that the cells are of, where they are not all of it; it is kept beside the runs. jobs,
    timeout: as the options of these names say.
    """
    from pcbench.engine import frozen
    from pcbench.engine.working import of_cells
    from pcbench.records import plans
    from pcbench.records.store import read_runs

    runs, _ = read_runs(out)
    executor = None
    if (jobs or timeout) and not in_process:
        from pcbench.executors import local

        seconds = duration(timeout) if timeout else None
        places = local.places(jobs or "1", device, len(cells))
        executor = local.Processes(places, snapshots, again, seconds)
    if announce(cells, device, runs, snapshots, again, default):
        plans.keep(out, whole or frozen.freeze(cells, snapshots))
    return work_through(of_cells(cells, out, device, runs, snapshots, again, in_process), pdb, executor)
