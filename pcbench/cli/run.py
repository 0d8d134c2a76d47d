"""`pcbench run`: distil, train students, write records, print the accuracies."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, progress_bars
from pcbench.cli.results import method_label, print_absent, print_accuracies, print_json, print_plan
from pcbench.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pcbench.plan import Absent, Request
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
        str | None,
        typer.Option("--backbone", "-b", help="Network: NAME[:PRESET]. Default: pointnet, its first preset."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", "-p", help="Default: the suite's; else paper, or quick where no data set is named."
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
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
    from pcbench import plan

    common = plan.Request(
        methods=tuple(_words(method)),
        datasets=tuple(_words(dataset)),
        ppcs=tuple(_numbers(_words(ppc))),
        backbone=backbone or "",
        protocol=protocol or "",
        students=seeds,
        repetition=repetition,
        settings=_pairs(set_ or ()),
        plugin_folders=tuple(plugins or ()),
    )
    absent: list[Absent] = []
    if suite is None:
        requests = [_with_defaults(common)]
    else:
        requests, absent = plan.available(*_of_suite(suite, common))
    if dry_run:
        print_plan(plan.cells(*requests), absent, device, out, as_json)
        return
    try:
        outcomes = _execute(requests, device, out)
    except KeyboardInterrupt as stop:
        raise Interrupted("interrupted; what is finished is kept, run the same command to go on") from stop
    if as_json:
        print_json(outcomes, absent)
    else:
        if outcomes:
            print_accuracies(outcomes, out)
        print_absent(absent)
    if any(outcome.problem for outcome in outcomes):
        raise typer.Exit(1)


def _with_defaults(asked: Request) -> Request:
    return replace(
        asked,
        methods=asked.methods or DEMONSTRATION,
        datasets=asked.datasets or ("shapes10",),
        ppcs=asked.ppcs or (3,),
        backbone=asked.backbone or "pointnet",
        protocol=asked.protocol or ("paper" if asked.datasets else "quick"),
    )


def _of_suite(name: str, asked: Request) -> list[Request]:
    """The requests of a suite, or of the part of it that the options choose."""
    from pcbench import plan, suites

    if asked.settings:
        key = next(iter(asked.settings))
        raise UsageError(f"--set {key}: a suite fixes its parameters; copy its file and give it to --suite")
    if asked.backbone:
        raise UsageError(
            f"--backbone {asked.backbone}: a suite fixes its networks; copy its file to change them"
        )
    path = suites.find(name)
    whole = suites.read(path)
    part = whole.narrowed(asked.methods, asked.datasets, asked.ppcs)
    return plan.of_suite(part, path, replace(asked, protocol=asked.protocol or whole.protocol))


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


def _execute(requests: Sequence[Request], device: str, out: Path) -> list[Outcome]:
    import signal

    from rich.text import Text

    from pcbench import machine
    from pcbench.plan import cells
    from pcbench.records import ppc_label
    from pcbench.run import execute

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = machine.choose_device(device)
    machine.keep_pages()
    planned = cells(*requests)
    outcomes = []
    with progress_bars() as progress:
        for number, cell in enumerate(planned, 1):
            inputs = cell.inputs
            method = method_label(inputs.method, inputs.variation)
            title = f"[{number}/{len(planned)}] {method} {inputs.data.name} {ppc_label(inputs.ppc)}"
            bars = _Bars(progress, title)
            with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the result
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
