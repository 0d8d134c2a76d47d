"""`pcbench run`: distil, train students, write records, print the accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, progress_bars, show
from pcbench.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pcbench.plan import Request
    from pcbench.run import Outcome

DEMONSTRATION = ("random", "sadm")


def run(
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="Method, repeatable. Default: random and sadm."),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Data set, repeatable. Default: shapes10.")
    ] = None,
    ppc: Annotated[
        list[str] | None, typer.Option("--ppc", help="Clouds per class, repeatable or 1,3,10. Default: 3.")
    ] = None,
    backbone: Annotated[
        str,
        typer.Option("--backbone", "-b", help="Network, with its preset if not the first: NAME[:PRESET]."),
    ] = "pointnet",
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", "-p", help="Default: paper; quick where no data set is named."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Students per snapshot, instead of the protocol's.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, repeatable: a parameter of the method or the protocol."),
    ] = None,
    repetition: Annotated[int, typer.Option("--repetition", min=0, help="Which repeated distillation.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the records.")] = Path("results"),
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Distil a data set, train students, keep a record.

    Without options: the demonstration, random selection and SADM on the embedded data set, in about a minute.
    A cell that is finished already is shown, not computed again.
    """
    from pcbench.plan import Request

    request = Request(
        methods=tuple(_words(method) or DEMONSTRATION),
        datasets=tuple(_words(dataset) or ["shapes10"]),
        ppcs=tuple(_numbers(_words(ppc) or ["3"])),
        backbone=backbone,
        protocol=protocol or ("paper" if dataset else "quick"),
        students=seeds,
        repetition=repetition,
        settings=_pairs(set_ or ()),
        plugin_folders=tuple(plugins or ()),
    )
    try:
        outcomes = _execute(request, device, out)
    except KeyboardInterrupt as stop:
        raise Interrupted("interrupted; what is finished is kept, run the same command to go on") from stop
    if as_json:
        _print_json(outcomes)
    else:
        _print_table(outcomes, out)
    if any(outcome.problem for outcome in outcomes):
        raise typer.Exit(1)


def _words(values: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys(word for value in values or () for word in value.split(",") if word))


def _numbers(words: Sequence[str]) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise UsageError(f"--ppc {','.join(words)}: whole numbers are needed, as in --ppc 1,3,10") from error


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {setting}: KEY=VALUE is needed, as in --set iterations=20")
        pairs[key] = value
    return pairs


def _execute(request: Request, device: str, out: Path) -> list[Outcome]:
    import signal

    from rich.text import Text

    from pcbench import machine
    from pcbench.plan import cells
    from pcbench.run import execute

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = machine.choose_device(device)
    machine.keep_pages()
    planned = cells(request)
    outcomes = []
    with progress_bars() as progress:
        for number, cell in enumerate(planned, 1):
            inputs = cell.inputs
            title = f"[{number}/{len(planned)}] {inputs.method} {inputs.data.name} PPC {inputs.ppc}"
            bars = _Bars(progress, title)
            outcome = execute(cell, out, chosen, bars)
            bars.remove()
            outcomes.append(outcome)
            line = Text(f"{title}: {_summary(outcome)}")
            progress.console.print(line, soft_wrap=True)
    return outcomes


class _Bars:
    """The progress bars of one cell, one a phase."""

    def __init__(self, progress: Progress, title: str) -> None:
        self.progress, self.title = progress, title
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self.tasks:
            self.tasks[phase] = self.progress.add_task(f"{self.title}: {phase}", total=total)
        self.progress.update(self.tasks[phase], completed=done, total=total)

    def remove(self) -> None:
        for task in self.tasks.values():
            self.progress.remove_task(task)


def _summary(outcome: Outcome) -> str:
    if outcome.problem:
        return f"{outcome.problem} (see {outcome.run.folder})"
    return f"{'finished already' if outcome.reused else 'done'}, in {outcome.run.folder}"


def _print_json(outcomes: Sequence[Outcome]) -> None:
    import json

    records = [
        {
            "folder": str(outcome.run.folder),
            "reused": outcome.reused,
            "problem": outcome.problem,
            "distillation": outcome.run.distillation.model_dump(mode="json"),
            "evaluations": [record.model_dump(mode="json") for record in outcome.run.evaluations],
        }
        for outcome in outcomes
    ]
    typer.echo(json.dumps(records, indent=1))


def _print_table(outcomes: Sequence[Outcome], out: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.report.render import duration, score
    from pcbench.report.tables import Score

    table = Table(
        title="Test accuracy in percent, mean ± standard deviation over the students",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("method", "data set", "protocol"):
        table.add_column(name, no_wrap=True)
    for name in ("PPC", "iteration", "OA", "mAcc", "students", "distilled in"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        inputs = outcome.run.distillation.inputs
        for record in outcome.run.evaluations:
            for entry, scores in zip(outcome.run.distillation.snapshots, record.snapshots, strict=True):
                row = (
                    inputs.method,
                    inputs.data.name,
                    record.inputs.protocol.name,
                    inputs.ppc,
                    scores.iteration,
                    score(Score.of(scores.oa)),
                    score(Score.of(scores.macc)),
                    len(scores.oa),
                    duration(entry.seconds),
                )
                table.add_row(*(Text(str(value)) for value in row))
    if table.row_count:
        show(table)
    typer.echo(f"Records: {out}. Next: pcbench leaderboard build --results {out}")
