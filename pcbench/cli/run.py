"""`pcbench run`: distil, train students, write records, print the accuracies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.asking import Asking, with_options
from pcbench.cli.estimating import estimated
from pcbench.cli.outcomes import announce, finish, print_plan
from pcbench.cli.output import Again, AsJson, Device, PluginFolders, opened, say
from pcbench.cli.spans import duration, size
from pcbench.cli.work import follow, work_through
from pcbench.common.text import counted
from pcbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from pcbench.engine.cell import Absent, Cell
    from pcbench.engine.estimates.estimate import Estimate
    from pcbench.engine.evaluate import Outcome
    from pcbench.engine.working import Executor
    from pcbench.executors.queued import Order
    from pcbench.records.plans import Plan
    from pcbench.records.state import Snapshots


@dataclass(frozen=True)
class Means:
    """The options that say how cells are worked at, one a field, as they were given."""

    device: Device = "auto"
    jobs: Annotated[
        str | None,
        typer.Option(
            "--jobs",
            metavar="N|auto",
            help="So many cells at once, each in a process of its own; auto: one a GPU or, without, one a "
            "core. Default: one after another in this process.",
        ),
    ] = None
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help="End a cell that takes longer: seconds, or as 30m, 2h. Implies a process a cell.",
        ),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="End a cell whose process, or its method's, takes more memory, as 8G; on Linux. Implies a "
            "process a cell.",
        ),
    ] = None
    slurm: Annotated[
        Path | None,
        typer.Option(
            "--slurm",
            metavar="FILE.toml",
            help="Have tasks of Slurm work through the cells; the file says partition, time, GPUs.",
        ),
    ] = None
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="With --slurm: do not wait. The same command looks after the tasks again."
        ),
    ] = False
    plugins: PluginFolders = None

    def where(self) -> torch.device:
        """The device of this machine; where others work, the CPU, which every machine has."""
        from pcbench.engine import machine

        return machine.choose_device("cpu" if self.slurm else self.device)

    def gpu(self) -> bool:
        """Whether there is a GPU where the cells are computed."""
        if self.slurm is None:
            return self.where().type == "cuda"
        from pcbench.executors.slurm import read_profile

        return read_profile(self.slurm).gpus > 0

    def executor(self, snapshots: Snapshots, again: bool, costs: Sequence[Estimate]) -> Executor | None:
        """What works at cells that need so much in processes of their own; None where this process does."""
        if not (self.jobs or self.timeout or self.memory):
            return None
        from pcbench.engine.estimates.estimate import largest
        from pcbench.executors import local

        seconds = duration(self.timeout) if self.timeout else None
        memory = size(self.memory) if self.memory else None
        places = local.places(self.jobs or "1", self.where(), len(costs), largest(costs))
        if self.jobs == "auto" and len(places) < len(local.places("auto", self.where(), len(costs))):
            say(f"{counted(len(places), 'cell')} at once: the memory has room for no more.", err=True)
        return local.Processes(places, snapshots, again, seconds, memory)

    def order(self, profile: Path, plan: Path, out: Path, again: bool) -> Order:
        """How tasks are submitted that work through the plan in a file."""
        from pcbench.executors.queued import Order
        from pcbench.executors.slurm import read_profile

        command = [sys.executable, "-m", "pcbench", "run", "--plan", str(plan.resolve())]
        command += ["--out", str(out.resolve()), "--device", self.device]
        command += [word for folder in self.plugins or () for word in ("--plugins", str(folder.resolve()))]
        command += ["--jobs", self.jobs] if self.jobs else []
        command += ["--timeout", self.timeout] if self.timeout else []
        command += ["--memory", self.memory] if self.memory else []
        command += ["--again", Again.stale.value] if again else []
        return Order(read_profile(profile), [*command, "--share"])


@with_options(Asking, Means)
def run(
    asking: Asking,
    means: Means,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan", metavar="FILE", help="A plan that 'pcbench plan' made, instead of cells by name."
        ),
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
    as_json: AsJson = False,
) -> None:
    """Distil a data set, train students, keep a record.

    Without options: the demonstration, random selection and SADM on the embedded data set, in about a minute.
    A cell that is done already is shown, not computed again. One whose records are of older code or other
    defaults is stale: its reason is shown, and `--again stale` computes it anew.
    """
    from pcbench.engine import server

    in_process = in_process or pdb
    if means.slurm and (in_process or share):
        word = "--share out: every task takes one" if share else "--in-process out: no task has a terminal"
        raise UsageError(f"beside --slurm leave {word}")
    if not in_process and not means.slurm:
        server.start()
    from pcbench.engine import frozen, requests
    from pcbench.records import plans
    from pcbench.records.store import read_runs

    if calibrate and not dry_run:
        raise UsageError("--calibrate is of a dry run: add --dry-run")
    if plan and asking.given:
        raise UsageError(f"a plan says what there is to do: leave --{asking.given[0]} out", "plan")
    catalogue, chosen_device = opened(means.plugins), means.where()
    absent: list[Absent] = []
    if plan:
        whole = plans.read(plan)
        cells = frozen.thaw(catalogue, part(whole, share))
    else:
        planned = requests.planned(catalogue, asking.asked(), means.gpu(), in_process)
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
        out,
        whole,
        means,
        again=again is not None,
        in_process=in_process,
        default=not plan and asking.names_no_protocol,
        pdb=pdb,
    )
    finish(outcomes, absent, out, as_json, means.plugins or ())


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
    out: Path,
    whole: Plan,
    means: Means,
    *,
    again: bool = False,
    in_process: bool = False,
    default: bool = False,
    pdb: bool = False,
) -> list[Outcome]:
    """Announce the cells and work through them. default: nobody has named the protocol.

    whole: the plan that they are of, all or some of its cells.
    """
    from pcbench.engine.estimates.estimate import expected
    from pcbench.engine.working import of_cells
    from pcbench.records import layout
    from pcbench.records.store import read_runs

    device, snapshots = means.where(), whole.snapshots
    order = means.order(means.slurm, layout.plan(out, whole.hash), out, again) if means.slurm else None
    runs, _ = read_runs(out)
    costs = expected(cells, device, runs, snapshots, again)
    executor = None if in_process or order else means.executor(snapshots, again, costs)
    announce(cells, costs, default, means.gpu())
    pieces = of_cells(cells, out, device, runs, snapshots, again, in_process)
    seconds = [cost.seconds for cost in costs]
    if order:
        return follow(pieces, whole, order, means.detach, seconds)
    return work_through(pieces, pdb, executor, whole, seconds)
