"""Parts that pages of methods and of runs share: learning curves, accuracy by class, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pcbench.report.cells import MeasuredCell
from pcbench.report.svg import Plot, PlotData, PlotPoint, curves
from pcbench.report.tables import MISSING, Head, Heading, Line, Table, Value
from pcbench.report.text import number, spread
from pcbench.report.values import bounds
from pcbench.stats import Interval, hierarchical_interval

SHADES = 10


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix of K classes."""

    name: str
    """Its id, its own on a page."""
    caption: str
    """What it is of."""
    class_names: tuple[str, ...]
    """The classes, (K,)."""
    counts: tuple[tuple[int, ...], ...]
    """Answers by true class (rows) and predicted class, (K, K)."""

    def shade(self, row: int, column: int) -> int:
        """0 to SHADES − 1, by the share of a count in its row."""
        total = sum(self.counts[row])
        return min(SHADES - 1, SHADES * self.counts[row][column] // total) if total else 0


def curve(cell: MeasuredCell) -> list[tuple[int, Interval]]:
    """Mean OA and its interval at every snapshot, over the distillations with most snapshots scored."""
    iterations = max((result.iterations for result in cell.results), key=len)
    runs: dict[int, Sequence[Sequence[float]]] = {}
    for result in cell.results:
        if result.iterations == iterations:
            runs.setdefault(result.repetition, result.curve)
    return [
        (iteration, hierarchical_interval([scores[place] for scores in runs.values()]))
        for place, iteration in enumerate(iterations)
    ]


def learning_curves(
    name: str, title: str, cells: Mapping[str, MeasuredCell]
) -> tuple[list[Plot], list[Table]]:
    """The plot of all cells that have several snapshots, and its numbers as a table; else neither."""
    all_curves = {label: curve(cell) for label, cell in cells.items()}
    found = {label: points for label, points in all_curves.items() if len(points) > 1}
    if not found:
        return [], []
    data = [
        PlotData(
            label,
            tuple(
                PlotPoint(
                    i, v.mean, v.low, v.high, title=f"{label}, iteration {i}: {spread(v.mean, v.std)} %"
                )
                for i, v in points
            ),
            style,
        )
        for style, (label, points) in enumerate(found.items())
    ]
    plot = curves(
        f"{name}-plot", f"Accuracy over the iterations: {title}", "Areas are 95 % intervals of the mean.",
        "iteration", "overall accuracy in %", data,
    )  # fmt: skip
    iterations = sorted({i for points in found.values() for i, _ in points})
    lines = tuple(
        Line(Head(label, ""), tuple(_at(dict(points).get(i)) for i in iterations))
        for label, points in found.items()
    )
    headings = tuple(Heading(f"i{i}", str(i)) for i in iterations)
    return [plot], [Table(name, f"Overall accuracy by iteration: {title}", headings, lines, first="Series")]


def by_class(name: str, title: str, cells: Mapping[str, MeasuredCell]) -> list[Table]:
    """Accuracy of every class over all students, of the cells that have the classes of the last one."""
    if not cells:
        return []
    *_, last = cells.values()
    names, totals = last.results[0].class_names, last.results[0].totals
    alike = {
        label: class_shares(cell) for label, cell in cells.items() if cell.results[0].class_names == names
    }
    headings = [
        Heading("clouds", "Test clouds"),
        *(Heading(f"c{n}", label) for n, label in enumerate(alike, 1)),
    ]
    lines = []
    for place, class_name in enumerate(names):
        values = [Value(str(totals[place]), float(totals[place]))]
        for shares in alike.values():
            share = shares[place]
            values.append(MISSING if share is None else Value(number(share), share, look="meter"))
        lines.append(Line(Head(class_name, ""), tuple(values)))
    caption = f"Accuracy by class in percent, over all students: {title}"
    return [Table(name, caption, tuple(headings), tuple(lines), first="Class")]


def confusion(name: str, title: str, cell: MeasuredCell) -> Confusion | None:
    """The confusion counts of all students of a cell, where its records have them."""
    found = [result.confusion for result in cell.results]
    if any(each is None for each in found):
        return None
    counts = tuple(
        tuple(map(sum, zip(*rows, strict=True)))
        for rows in zip(*(each for each in found if each), strict=True)
    )
    return Confusion(
        name, f"Confusion, rows true, columns predicted: {title}", cell.results[0].class_names, counts
    )


def class_shares(cell: MeasuredCell) -> list[float | None]:
    """Of every class the percentage of right answers, over all students; None without a test cloud."""
    right = [sum(each) for each in zip(*(result.correct for result in cell.results), strict=True)]
    asked = [0] * len(right)
    for result in cell.results:
        for place, total in enumerate(result.totals):
            asked[place] += total * len(result.students)
    return [100 * r / a if a else None for r, a in zip(right, asked, strict=True)]


def _at(interval: Interval | None) -> Value:
    if interval is None:
        return MISSING
    shown = spread(interval.mean, interval.std)
    return Value(shown, interval.mean, note=", ".join(bounds(interval)), std=interval.std)
