"""`pcbench bench`: how fast this machine is at what pcbench does, beside plain loops that do the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.output import Device, say, show, words
from pcbench.errors import UsageError

if TYPE_CHECKING:
    import torch


class Line(StrEnum):
    """What can be measured."""

    sadm = "sadm"
    dm = "dm"
    dc = "dc"
    students = "students"
    backbone = "backbone"
    neighbours = "neighbours"
    coreset = "coreset"


@dataclass(frozen=True)
class Point:
    """One setting of a line: what a process needs to build its cases."""

    line: str
    dataset: str
    classes: int | None
    ppc: int
    points: int
    backbone: str
    students: int

    def options(self) -> list[str]:
        """As words of a command."""
        options = ["--dataset", self.dataset, "--ppc", str(self.ppc), "--points", str(self.points)]
        options += ["--backbone", self.backbone, "--students", str(self.students)]
        return options if self.classes is None else [*options, "--classes", str(self.classes)]

    def label(self, classes: int) -> str:
        """What the setting is, for people."""
        parts = [self.dataset, f"{classes} classes"]
        if self.line in ("students", "backbone"):
            parts += [self.backbone, *([f"{self.students} students"] if self.line == "students" else [])]
        elif self.line != "neighbours":
            parts.append(f"PPC {self.ppc}")
        return ", ".join([*parts, f"{self.points} points"])


def bench(
    line: Annotated[list[Line], typer.Argument(help="What to measure, one or more.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option("--dataset", "-d", metavar="DATASET", help="Data set, or 'random' for drawn clouds."),
    ] = "shapes10",
    ppc: Annotated[
        list[str] | None, typer.Option("--ppc", metavar="1,3,10", help="Clouds per class. Default: 1.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--classes", metavar="10,20,40", help="The first classes only. Default: all."),
    ] = None,
    points: Annotated[int, typer.Option("--points", min=1, help="Points per cloud.")] = 1024,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone", "-b", metavar="NAME[:PRESET]", help="Of 'students' and 'backbone', repeatable."
        ),
    ] = None,
    students: Annotated[int, typer.Option("--students", min=1, help="Students trained together.")] = 10,
    device: Device = "cpu",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Of timed runs a line; two of each at least.")
    ] = 20.0,
    plain: Annotated[
        bool, typer.Option("--plain/--no-plain", help="Whether to measure the plain loop too.")
    ] = True,
    one_allocator: Annotated[
        bool,
        typer.Option("--one-allocator", help="Give the plain loop pcbench's settings of malloc as well."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    memory_of: Annotated[str, typer.Option("--memory-of", hidden=True)] = "",
) -> None:
    """Measure pcbench beside a plain loop that does the same on the same clouds and networks.

    Exit code 1 if the two disagree. Peak memory and FLOP come from one more run in a process of its own.
    """
    import torch

    from pcbench.engine import machine

    on = machine.choose_device(device)
    settings = _points(line, dataset, ppc, classes, points, backbone, students)
    if memory_of:
        typer.echo(json.dumps(_memory_here(settings[0], on, memory_of)))
        return
    machine.warm_up(on)
    results = []
    for result in _measured(settings, on, seconds, plain, one_allocator):
        results.append(result)
        if as_json:
            typer.echo(json.dumps(result))
        elif len(settings) > 1:
            say(f"{result['line']} {result['setting']}: {_time(result['pcbench']['seconds'])}", err=True)
    if not as_json:
        _print(results, torch.get_num_threads())
    if any(result["agrees"] is False for result in results):
        raise typer.Exit(1)


def _points(
    lines: Sequence[Line],
    dataset: str,
    ppc: Sequence[str] | None,
    classes: Sequence[str] | None,
    points: int,
    backbone: Sequence[str] | None,
    students: int,
) -> list[Point]:
    """Every setting that was asked for, in order."""
    by_students = ("students", "backbone")
    counts: list[int | None] = [*_numbers("--classes", classes)] or [None]
    points_asked = [
        Point(line.value, dataset, count, per_class, points, network, students)
        for line in lines
        for count in counts
        for per_class in (_numbers("--ppc", ppc) or [1])
        for network in (words(backbone) or ["pointnet"] if line in by_students else ["pointnet"])
    ]
    return list(dict.fromkeys(points_asked))


def _numbers(option: str, given: Sequence[str] | None) -> list[int]:
    numbers = []
    for word in words(given):
        if not word.isdecimal() or int(word) < 1:
            raise UsageError(f"{option} {word}: whole numbers from 1 are needed, as in {option} 1,3,10")
        numbers.append(int(word))
    return numbers


def _package() -> ModuleType:
    """The benchmarks, which stand beside the package in a checkout and inside it where it is installed."""
    import importlib.util
    import sys

    from pcbench.common.packaged import builtin

    name, folder = "_pcbench_benchmarks", builtin("benchmarks")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None or not (folder / "__init__.py").is_file():
            raise UsageError(f"{folder} is missing: install pcbench from its wheel or a whole checkout")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def _modules() -> tuple[Any, Any]:
    import importlib

    name = _package().__name__
    return importlib.import_module(f"{name}.lines"), importlib.import_module(f"{name}.measure")


def _cases(point: Point, device: torch.device) -> tuple[list[Any], int]:
    """The cases of a setting, and how many classes it has."""
    lines, _ = _modules()
    train = lines.clouds_for(point.dataset, point.classes, point.points).to(device)
    setting = lines.Setting(train, device, point.ppc, point.backbone, point.students)
    return lines.LINES[point.line](setting), train.classes


def _memory_here(point: Point, device: torch.device, which: str) -> dict[str, int]:
    _, measure = _modules()
    side, _, name = which.partition(":")
    cases, _ = _cases(point, device)
    (case,) = (case for case in cases if case.name == name)
    measure.set_allocator(side)
    figures: dict[str, int] = measure.memory_and_flop(case.sides[side], device)
    return figures


def _measured(
    settings: Sequence[Point], device: torch.device, seconds: float, plain: bool, one_allocator: bool
) -> Iterator[dict[str, Any]]:
    from dataclasses import asdict, replace

    _, measure = _modules()
    rates = measure.matrix_rate(device), measure.memory_rate(device)
    allocators = {"pcbench": "pcbench", "plain": "pcbench" if one_allocator else "plain"}
    for point in settings:
        cases, classes = _cases(point, device)
        for case in cases:
            wanted = ["plain", "pcbench"] if plain else ["pcbench"]
            of_own = ["bench", point.line, *point.options(), "--device", device.type]
            memory = {
                side: measure.in_a_process([*of_own, "--memory-of", f"{side}:{case.name}"]) for side in wanted
            }
            sides = {side: work for side, work in case.sides.items() if side in wanted}
            chosen = replace(case, sides=sides)
            times, gaps = measure.alternating(chosen, device, seconds / len(cases), allocators)
            figures = measure.report(chosen, device, times, gaps, memory, rates)
            yield {
                **figures,
                **asdict(point),
                "line": case.name,
                "classes": classes,
                "setting": point.label(classes),
            }


def _print(results: Sequence[dict[str, Any]], threads: int) -> None:
    from rich.table import Table

    from pcbench.cli.output import console

    first = results[0]
    rates = f"{first['matrix_rate'] / 1e9:.0f} GFLOP/s, {first['memory_rate'] / 1e9:.1f} GB/s"
    console().print(
        f"{first['device']}; matrix products {rates} read and written ({threads} threads)", soft_wrap=True
    )
    table = Table(box=None, pad_edge=False)
    for name in ("line", "setting", "of"):
        table.add_column(name, no_wrap=True)
    for name in (
        "plain",
        "pcbench",
        "ratio",
        "of CPU",
        "floor",
        "/ floor",
        "memory plain",
        "pcbench",
        "GFLOP",
        "agree",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for figures in results:
        ours, theirs = figures["pcbench"], figures.get("plain")
        table.add_row(
            figures["line"],
            figures["setting"],
            figures["unit"],
            _time(theirs["seconds_per_unit"]) if theirs else "",
            _time(ours["seconds_per_unit"]),
            f"{figures['ratio']:.1f}" if theirs else "",
            f"{figures['processor_ratio']:.1f}" if theirs else "",
            _time(figures["floor_seconds"] / figures["units"]),
            f"{figures['to_floor']:.1f}",
            f"{theirs['peak_bytes'] / 1e6:.0f} MB" if theirs else "",
            f"{ours['peak_bytes'] / 1e6:.0f} MB",
            f"{ours['flop'] / 1e9:.1f}",
            {None: "", True: "yes", False: "NO"}[figures["agrees"]],
        )
    show(table)
    for label, power in growth(results):
        say(f"{label}: seconds grow with the classes to the power {power:.2f}")
    for figures in results:
        if figures["agrees"] is False:
            gaps = ", ".join(
                f"{name} {gap:.1e} (at most {figures['tolerances'][name]:.0e})"
                for name, gap in figures["differences"].items()
            )
            say(f"error: {figures['line']} differs from the plain loop: {gaps}", err=True)


def growth(results: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    """The exponent of the seconds in the number of classes, by least squares, for all else that is alike."""
    import math
    import statistics

    alike: dict[str, dict[int, float]] = {}
    for figures in results:
        label = f"{figures['line']}, PPC {figures['ppc']}"
        alike.setdefault(label, {})[figures["classes"]] = figures["pcbench"]["seconds"]
    return [
        (
            label,
            statistics.linear_regression(
                [math.log(count) for count in known], [math.log(seconds) for seconds in known.values()]
            ).slope,
        )
        for label, known in alike.items()
        if len(known) > 1
    ]


def _time(seconds: float) -> str:
    """Three digits and a unit."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} µs"
