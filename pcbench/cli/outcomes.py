"""What verbs that run cells print: plan, accuracies, what is absent; as tables or one JSON document."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pcbench.cli.output import say, show
from pcbench.common.text import counted

if TYPE_CHECKING:
    from pcbench.engine.cell import Absent, Cell
    from pcbench.engine.estimates.estimate import Estimate
    from pcbench.engine.evaluate import Outcome


ANEW = "'--again stale' computes anew, what is there stays"


def print_json(outcomes: Sequence[Outcome], absent: Sequence[Absent]) -> None:
    runs = [
        {
            "folder": str(outcome.run.folder),
            "reused": outcome.reused,
            "problem": outcome.problem,
            "student": outcome.network,
            "distillation": outcome.run.distillation.model_dump(mode="json"),
            "evaluations": [record.model_dump(mode="json") for record in outcome.run.evaluations],
        }
        for outcome in outcomes
    ]
    typer.echo(json.dumps({"runs": runs, "absent": [asdict(each) for each in absent]}, indent=1))


def print_absent(absent: Sequence[Absent]) -> None:
    """Each reason once, with the number of cells."""
    for reason, count in Counter(each.reason for each in absent).items():
        say(f"Absent, {counted(count, 'cell')}: {reason}")


def print_plan(
    cells: Sequence[Cell], costs: Sequence[Estimate], absent: Sequence[Absent], as_json: bool
) -> None:
    """The cells with their states and what they need, those that cannot be run here with the reasons.

    Cells that read the same, as repetitions do, stand in one line of the table.
    """
    rows = [*map(_planned, cells, costs), *map(_not_planned, absent)]
    known = sum(row["seconds"] or 0.0 for row in rows)
    unknown = sum(row["state"] != "absent" and row["seconds"] is None for row in rows)
    if as_json:
        typer.echo(json.dumps({"cells": rows, "seconds": known, "unknown": unknown}, indent=1))
        return
    from pcbench.report.text import size

    _show_plan(rows)
    print_absent(absent)
    states = Counter(row["state"] for row in rows)
    for reason, count in Counter(row["reason"] for row in rows if row["state"] == "stale").items():
        say(f"Stale, {counted(count, 'cell')}: {reason}. {ANEW}.")
    once_more = (row["reason"] for row in rows if row["state"] == "to do" and row["reason"])
    for reason, count in Counter(once_more).items():
        say(f"Once more, {counted(count, 'cell')}: {reason}.")
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    still = _times(known, unknown) or "nothing to do"
    disk = sum(row["disk_bytes"] or 0 for row in rows)
    room = f"; disk: {size(disk)}" if disk else ""
    unknowns = (row["why_unknown"] for row in rows if row["why_unknown"])
    for reason, count in Counter(unknowns).items():
        say(f"Unknown, {counted(count, 'cell')}: {reason}.")
    say(f"{counted(len(rows), 'cell')}: {counts}. Estimated time: {still}{room}.")


def _show_plan(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.records.labels import bare_amount, method_title
    from pcbench.report.text import size

    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        method = method_title(row["method"], row["variation"], row["setting"])
        words = row["dataset"], bare_amount(row["ppc"]), row["protocol"], row["network"], row["state"]
        alike.setdefault((method, *words, ", ".join(row["based_on"])), []).append(row)
    counted = ["cells"] if len(alike) < len(rows) else []
    table = Table(box=None, pad_edge=False)
    for name in ("method", "data set", "PPC", "protocol", "network", "state", *counted, "estimate", "memory"):
        right = name in ("PPC", "cells", "estimate", "memory")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_column("estimated from", overflow="fold", min_width=20, style="dim")
    for texts, group in alike.items():
        count = [str(len(group))] if counted else []
        memory = max(row["memory_bytes"] or 0 for row in group)
        needs = _cost(group), size(memory) if memory else ""
        table.add_row(*map(Text, texts[:-1]), *count, *needs, Text(texts[-1]))
    show(table, spare=("memory",))


def _cost(rows: Sequence[Mapping[str, Any]]) -> str:
    """What cells that read the same take together, in words; empty where there is nothing to do."""
    from pcbench.report.text import duration

    seconds = [row["seconds"] for row in rows]
    if rows[0]["state"] == "absent" or all(each == 0 for each in seconds):
        return ""
    return "unknown" if None in seconds else duration(sum(seconds))


def announce(
    cells: Sequence[Cell],
    costs: Sequence[Estimate],
    default: bool,
    gpu: bool,
) -> None:
    """Say on standard error what is about to be done, by which protocol, and how long it may take.

    Nothing where nothing is to be done. default: nobody has named the protocol. gpu: whether there is one
    where they are computed.
    """
    open_cells = [
        (cell, cost.seconds)
        for cell, cost in zip(cells, costs, strict=True)
        if cost.state.word not in ("done", "stale")
    ]
    if not open_cells:
        return
    rules = {cell.evaluation.protocol.label: cell.evaluation.protocol for cell, _ in open_cells}
    for label, each in rules.items():
        say(
            f"Protocol {label}: {each.points} points, {each.iterations} iterations, {each.students} students "
            f"of {each.recipe.epochs} epochs.",
            err=True,
        )
    if default and not gpu:
        say("There is no GPU, so it is not the paper's evaluation: that is --protocol paper.", err=True)
    elif default:
        say("It is the paper's evaluation; a cheaper one is --protocol lite.", err=True)
    known = sum(seconds for _, seconds in open_cells if seconds is not None)
    unknown = sum(seconds is None for _, seconds in open_cells)
    times = _times(known, unknown, "about ") or "none"
    say(f"{counted(len(open_cells), 'cell')} to do; time: {times}.", err=True)


def _times(known: float, unknown: int, about: str = "") -> str:
    """Seconds that cells take, and of how many nobody knows, in words; empty where there is nothing to do."""
    from pcbench.report.text import duration

    times = [f"{about}{duration(known)}"] if known else []
    times += [f"unknown for {counted(unknown, 'cell')}"] if unknown else []
    return " and ".join(times)


def _planned(cell: Cell, cost: Estimate) -> dict[str, Any]:
    return {
        "method": cell.inputs.method,
        "variation": cell.inputs.variation,
        "setting": cell.inputs.setting,
        "dataset": cell.inputs.data.name,
        "ppc": cell.inputs.ppc,
        "protocol": cell.evaluation.protocol.label,
        "network": cell.label,
        "state": cost.state.word,
        "reason": "; ".join(cost.state.reasons),
        "seconds": cost.seconds,
        "memory_bytes": cost.memory,
        "disk_bytes": cost.disk,
        "based_on": list(cost.based_on),
        "why_unknown": cost.unknown,
    }


def _not_planned(absent: Absent) -> dict[str, Any]:
    return {
        "method": absent.method,
        "variation": dict(absent.settings),
        "setting": "",
        "dataset": absent.dataset,
        "ppc": absent.ppc,
        "protocol": absent.protocol,
        "network": absent.network,
        "state": "absent",
        "reason": absent.reason,
        "seconds": None,
        "memory_bytes": None,
        "disk_bytes": None,
        "based_on": [],
        "why_unknown": "",
    }


def finish(
    outcomes: Sequence[Outcome],
    absent: Sequence[Absent],
    out: Path,
    as_json: bool,
    plugins: Sequence[Path] = (),
) -> None:
    """Print what became of the cells; exit code 1 where one has no scores.

    plugins: the folders that were named, which the next command needs too.
    """
    if as_json:
        print_json(outcomes, absent)
    else:
        if outcomes:
            print_accuracies(outcomes, out, plugins)
        print_absent(absent)
        stale = sum(outcome.problem.startswith("stale") for outcome in outcomes)
        if stale:
            say(f"Stale, {counted(stale, 'cell')}: {ANEW}.")
    if any(outcome.problem for outcome in outcomes):
        raise typer.Exit(1)


def print_accuracies(outcomes: Sequence[Outcome], out: Path, plugins: Sequence[Path] = ()) -> None:
    """One line a snapshot; network and test have a column where they are not as distilled, or not plain."""
    from rich.table import Table
    from rich.text import Text

    from pcbench.protocols.variants import PLAIN
    from pcbench.records.labels import bare_amount, method_title
    from pcbench.report.text import duration

    table = Table(
        title="Test accuracy in percent, mean ± standard deviation over the students",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    crossed = any(outcome.network != outcome.run.distillation.inputs.network.label for outcome in outcomes)
    changed = any(e.inputs.variant != PLAIN for outcome in outcomes for e in outcome.run.evaluations)
    for name in (
        "method", "data set", "protocol", *(["student"] if crossed else []), *(["test"] if changed else [])
    ):  # fmt: skip
        table.add_column(name, no_wrap=True)
    for name in ("PPC", "iteration", "OA", "mAcc", "students", "distilled in"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        inputs = outcome.run.distillation.inputs
        elsewhere = outcome.run.distillation.isolation == "external"
        for record in outcome.run.evaluations:
            clock = {entry.iteration: entry.seconds for entry in outcome.run.distillation.snapshots}
            for scores in record.snapshots:
                row = (
                    method_title(inputs.method, inputs.variation, inputs.setting),
                    inputs.data.name,
                    record.inputs.protocol.name,
                    *([record.inputs.network.label] if crossed else []),
                    *([record.inputs.variant.label] if changed else []),
                    bare_amount(inputs.ppc),
                    scores.iteration,
                    _accuracy(scores.oa),
                    _accuracy(scores.macc),
                    len(scores.oa),
                    "elsewhere" if elsewhere else duration(clock[scores.iteration]),
                )
                table.add_row(*(Text(str(value)) for value in row))
    if table.row_count:
        show(table, spare=("mAcc", "students", "distilled in", "protocol", "iteration", "data set"))
        folders = "".join(f" --plugins {shlex.quote(str(folder))}" for folder in plugins)
        say(f"Records: {out}. Next: pcbench leaderboard build --results {out}{folders}")


def _accuracy(shares: Sequence[float]) -> str:
    """`54.3 ± 1.2` percent."""
    from pcbench.report.text import spread
    from pcbench.stats import t_interval

    interval = t_interval([100 * share for share in shares])
    return spread(interval.mean, interval.std)
