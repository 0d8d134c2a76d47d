"""What a method logged while it worked, as plots: one a name, for their scales differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pcbench.common.grouping import grouped
from pcbench.records import layout
from pcbench.records.log import Entry, read
from pcbench.records.models import Run
from pcbench.report.svg import Plot, PlotData, PlotPoint, traces
from pcbench.report.tables import Block

POINTS = 200
"""A plot has about so many points: each is the mean of a stretch of iterations."""
MOST_PLOTS = 12
FARTHEST = 1e30
"""Larger values, infinities and what is no number are left out of plots."""


def block(run: Run) -> Block | None:
    """The block of a run's page; None where the method logged nothing that can be drawn."""
    by_name = grouped(read(layout.log(run.folder)), lambda entry: entry.name)
    drawn = {name: kept for name, entries in by_name.items() if len(kept := _kept(entries)) > 1}
    if not drawn:
        return None
    plots = [
        _plot(f"log-{number}", name, drawn[name]) for number, name in enumerate(sorted(drawn)[:MOST_PLOTS], 1)
    ]
    notes = []
    if len(drawn) > MOST_PLOTS:
        notes.append(f"Not drawn: {', '.join(sorted(drawn)[MOST_PLOTS:])}.")
    lost = sum(map(len, by_name.values())) - sum(map(len, drawn.values()))
    if lost:
        notes.append(f"{lost} values are not drawn: infinite, no numbers, or alone.")
    text = "What the method said of itself while it worked. Nothing else depends on it."
    return Block("log", "Log of the method", text=text, plots=tuple(plots), notes=tuple(notes))


def _kept(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if math.isfinite(entry.value) and abs(entry.value) < FARTHEST]


def _plot(name: str, label: str, entries: Sequence[Entry]) -> Plot:
    step = max(1, math.ceil(len(entries) / POINTS))
    stretches = [entries[first : first + step] for first in range(0, len(entries), step)]
    points = []
    for stretch in stretches:
        iteration = round(statistics.fmean(entry.iteration for entry in stretch))
        mean = statistics.fmean(entry.value for entry in stretch)
        points.append(PlotPoint(iteration, mean, title=f"iteration {iteration}: {mean:.6g}"))
    description = "Every value." if step == 1 else f"Means of {step} values each."
    return traces(name, label, description, "iteration", label, [PlotData(label, tuple(points))])
