"""What a dry run knows of times, memory and disk: by records or, where these tell nothing, by first steps."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pcbench.cli.output import progress_bars, say
from pcbench.common.text import counted, one_line
from pcbench.errors import PcbenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import torch

    from pcbench.engine.cell import Cell
    from pcbench.engine.estimates.estimate import Estimate
    from pcbench.engine.estimates.trials import Trials
    from pcbench.records.models import Run
    from pcbench.records.state import Snapshots

UNASKED = 10.0
"""Seconds for which first steps are timed without `--calibrate`."""
LONGEST_UNASKED = 4.0
"""Seconds after which one of them is given up then, so that others have their turn."""
SHORTEST = 2.0
"""Seconds that are left to one, however little of all is left."""
ASKED = "; --calibrate takes the time that it needs"
"""What can be done about a cell that was not timed unasked."""
MANY = 1000
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
    from pcbench.engine.estimates import order, trials
    from pcbench.engine.estimates.estimate import expected

    on_device = trials.on(device)
    now = partial(expected, cells, device, runs, snapshots, again)
    costs = now()
    lacking = [cell for cell, cost in zip(cells, costs, strict=True) if not cost.own]
    if not lacking:
        return costs
    if not calibrate and len(cells) >= MANY:
        return _explained(cells, costs, {}, f"from {MANY} cells on none is timed unasked{ASKED}")
    ordered = order.by_use(lacking if calibrate else [cell for cell in lacking if on_device.lacks(cell)])
    if not ordered or not (calibrate or UNASKED):
        return _explained(cells, costs, {}, f"not timed{ASKED}")
    failures = _measure(ordered, on_device, calibrate)
    return _explained(cells, now(), failures, f"time was up{ASKED}")


def _measure(cells: Sequence[Cell], trials: Trials, calibrate: bool) -> dict[Hashable, str]:
    """Time the first steps of some cells, in their order, until time is up; of which that failed, and why.

    calibrate: of the cells themselves, however long that takes; else of what stands for them.
    """
    from pcbench.engine.estimates.first_steps import LONGEST

    limit = float("inf") if calibrate else UNASKED
    most = "" if calibrate else f", for about {limit:.0f} s at most"
    say(
        f"Timing first steps where no run tells, {counted(len(cells), 'cell')}{most}; they are kept.",
        err=True,
    )
    due = time.monotonic() + limit
    # Stand-ins first; then those cells themselves whose first steps are quick.
    ordered = [*cells] if calibrate else [*cells, *cells]
    failures: dict[Hashable, str] = {}
    try:
        with _bar(len(ordered)) as advance:
            for cell in ordered:
                left = due - time.monotonic()
                if left <= 0:
                    break
                if _family(cell) not in failures and (calibrate or trials.lacks(cell)):
                    try:
                        if calibrate:
                            trials.measure(cell, LONGEST)
                        else:
                            trials.measure_soon(cell, min(LONGEST_UNASKED, max(left, SHORTEST)))
                    except PcbenchError as error:
                        failures[_family(cell)] = one_line(str(error)) + ("" if calibrate else ASKED)
                advance()
    except KeyboardInterrupt:
        say("Stopped: what was timed is kept.", err=True)
    return failures


def _family(cell: Cell) -> Hashable:
    """What cells have in common of which one that fails tells of all."""
    from pcbench.engine.estimates import stand_ins

    return stand_ins.family(cell.inputs), cell.inputs.ppc, cell.label


def _explained(
    cells: Sequence[Cell], costs: Sequence[Estimate], failures: dict[Hashable, str], otherwise: str
) -> list[Estimate]:
    """The estimates, those that are unknown with the reason."""
    return [
        replace(cost, unknown=failures.get(_family(cell), otherwise)) if cost.seconds is None else cost
        for cell, cost in zip(cells, costs, strict=True)
    ]


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar with the remaining time in a terminal; what is given is called after every cell."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with progress_bars() as bars:
        task = bars.add_task("first steps", total=total)
        yield lambda: bars.advance(task)
