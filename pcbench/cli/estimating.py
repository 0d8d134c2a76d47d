"""What a dry run knows of times, memory and disk: by records or, where these tell nothing, by first steps."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pcbench.cli.output import progress_bars, say
from pcbench.common.text import one_line
from pcbench.errors import PcbenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from pcbench.engine.estimate import Estimate
    from pcbench.engine.plan import Cell
    from pcbench.engine.trials import Trials
    from pcbench.records.models import Run
    from pcbench.records.state import Snapshots

UNASKED = 10.0
"""Seconds for which first steps are timed without `--calibrate`."""
SHORTEST = 2.0
"""Seconds that are left to a cell, however little of these is left."""
MANY = 200
"""From so many cells on nothing is timed unasked: a dry run of ten thousand takes a second."""


def estimated(
    cells: Sequence[Cell],
    device: torch.device,
    runs: Sequence[Run],
    snapshots: Snapshots,
    again: bool,
    calibrate: bool,
) -> list[Estimate]:
    """What every cell needs; first steps are timed of those of which nothing is known.

    calibrate: of all of them, however long that takes.
    """
    from pcbench.engine import machine, trials
    from pcbench.engine.estimate import estimates

    on_device = trials.on(device)
    now = partial(estimates, cells, runs, machine.hardware(device), snapshots, again, on_device)
    costs = now()
    lacking = [cell for cell, cost in zip(cells, costs, strict=True) if not cost.own]
    unasked = UNASKED if len(cells) < MANY else 0.0
    if not lacking or not (calibrate or unasked):
        return costs
    _measure(lacking, on_device, float("inf") if calibrate else unasked)
    return now()


def _measure(cells: Sequence[Cell], trials: Trials, limit: float) -> None:
    """Time the first steps of some cells, a cell of every method first, until time is up."""
    from pcbench.engine.trials import LONGEST
    from pcbench.records.labels import title

    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.inputs.method, cell.label), cell)
    ordered = [*first.values(), *(cell for cell in cells if cell not in first.values())]
    most = "" if limit == float("inf") else f", for about {limit:.0f} s at most"
    say(f"Timing first steps where no run tells, {_cells(cells)}{most}; they are kept.", err=True)
    due, done = time.monotonic() + limit, 0
    try:
        with _bar(len(ordered)) as advance:
            for cell in ordered:
                left = due - time.monotonic()
                if left <= 0:
                    break
                try:
                    trials.measure(cell, min(LONGEST, max(left, SHORTEST)))
                except PcbenchError as error:
                    name = title(cell.inputs, cell.evaluation.network.label)
                    say(f"{name}: not timed: {one_line(str(error))}", err=True)
                done += 1
                advance()
    except KeyboardInterrupt:
        say("Stopped: what was timed is kept.", err=True)
    if done < len(ordered):
        say(f"Not timed yet: {_cells(ordered[done:])}; --calibrate times all.", err=True)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar with the remaining time in a terminal; what is given is called after every cell."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with progress_bars() as bars:
        task = bars.add_task("first steps", total=total)
        yield lambda: bars.advance(task)


def _cells(cells: Sequence[Cell]) -> str:
    return f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
