"""Plots as places on a page: axes, ticks, points and lines in pixels; a template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 46
ZEROS = 72
"""Pixels left of a logarithmic axis for what is 0."""
COLOURS = 8
"""So many colours tell series apart, by the classes series-1 to series-8; a ninth begins again."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """Where, in pixels."""
    label: str
    """Its words."""


@dataclass(frozen=True)
class Mark:
    """A point on the page."""

    x: float
    """Its centre, in pixels from the left."""
    y: float
    """Its centre, in pixels from the top."""
    low: float
    """The lower end of its interval, in pixels from the top; its centre where it has none."""
    high: float
    """The upper end of its interval, in pixels from the top; its centre where it has none."""
    label: str
    """Words beside it."""
    title: str
    """Words that a pointer over it shows."""


@dataclass(frozen=True)
class Series:
    """Marks of one colour."""

    style: int
    """Which colour, from 0."""
    label: str
    """What they are of, for the legend."""
    marks: tuple[Mark, ...]
    """The marks, from left to right."""
    path: str = ""
    """A line through them, as an SVG path; empty where there is none."""
    band: str = ""
    """Their intervals as one area, as an SVG path; empty where there is none."""


@dataclass(frozen=True)
class Plot:
    """A finished plot."""

    name: str
    """Its id, its own on a page."""
    title: str
    """What it shows."""
    description: str
    """How to read it."""
    x_label: str
    """What the horizontal axis measures."""
    y_label: str
    """What the vertical axis measures."""
    x_ticks: tuple[Tick, ...] = ()
    """The marks of the horizontal axis."""
    y_ticks: tuple[Tick, ...] = ()
    """The marks of the vertical axis."""
    series: tuple[Series, ...] = ()
    """What is plotted."""

    @property
    def marks(self) -> int:
        """The number of marks."""
        return sum(len(each.marks) for each in self.series)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return WIDTH, HEIGHT

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the field."""
        return LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM


@dataclass(frozen=True)
class PlotPoint:
    """A point in the units of the data."""

    x: float
    """Along the horizontal axis."""
    y: float
    """Along the vertical axis."""
    low: float | None = None
    """The lower end of its interval, None where it has none."""
    high: float | None = None
    """The upper end of its interval, None where it has none."""
    label: str = ""
    """Words beside it."""
    title: str = ""
    """Words that a pointer over it shows."""


@dataclass(frozen=True)
class PlotData:
    """One series to be drawn."""

    label: str
    """What it is of, for the legend."""
    points: tuple[PlotPoint, ...]
    """Its points, in any order."""
    style: int = 0
    """Its colour; equal ones belong together on all plots of a page."""


def scatter(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData]
) -> Plot:
    """Points with their intervals over a logarithmic x; what is 0 stands left of it, by itself."""
    return _plot(name, title, description, x_label, y_label, data, log=True, lines=False)


def curves(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData]
) -> Plot:
    """Lines with their intervals over a linear x."""
    return _plot(name, title, description, x_label, y_label, data, log=False, lines=True)


def traces(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData]
) -> Plot:
    """Lines over a linear x of values that are no shares: an axis from the least to the largest."""
    return _plot(name, title, description, x_label, y_label, data, log=False, lines=True, shares=False)


def _plot(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData], log: bool,
    lines: bool, shares: bool = True,
) -> Plot:  # fmt: skip
    points = [point for each in data for point in each.points]
    ys = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    xs = [p.x for p in points if p.x > 0 or not log] or [1.0]
    zeros = log and any(p.x == 0 for p in points)
    x_places = log_ticks(min(xs), max(xs)) if log else linear_ticks(min(xs), max(xs))
    y_places = linear_ticks(max(0.0, min(ys)) if shares else min(ys), max(ys))
    from_place = _scale(x_places[0], x_places[-1], LEFT + (ZEROS if zeros else 0), WIDTH - RIGHT, log)

    def along(x: float) -> float:
        return LEFT + ZEROS / 2 if log and x == 0 else from_place(x)

    up = _scale(y_places[0], y_places[-1], HEIGHT - BOTTOM, TOP, False)
    series = []
    for each in data:
        marks = []
        for p in sorted(each.points, key=lambda p: (p.x, p.y, p.label)):
            low, high = (p.y if end is None else end for end in (p.low, p.high))
            top, bottom = y_places[-1], y_places[0]
            clipped = max(min(low, top), bottom), max(min(high, top), bottom)
            marks.append(Mark(along(p.x), up(p.y), up(clipped[0]), up(clipped[1]), p.label, p.title))
        series.append(Series(each.style, each.label, tuple(marks), *(_paths(marks) if lines else ("", ""))))
    return Plot(
        name=name,
        title=title,
        description=description,
        x_label=x_label,
        y_label=y_label,
        x_ticks=(
            *((Tick(along(0.0), "0.0"),) if zeros else ()),
            *(Tick(along(at), _short(at)) for at in x_places),
        ),
        y_ticks=tuple(Tick(up(at), _short(at)) for at in y_places),
        series=tuple(series),
    )


def _paths(marks: Sequence[Mark]) -> tuple[str, str]:
    """A line through the marks, and the area between the ends of their intervals."""
    line = "M" + " L".join(f"{m.x:g} {m.y:g}" for m in marks)
    if len(marks) < 2 or all(m.low == m.high for m in marks):
        return line, ""
    there = [f"{m.x:g} {m.high:g}" for m in marks]
    back = [f"{m.x:g} {m.low:g}" for m in reversed(marks)]
    return line, "M" + " L".join(there + back) + " Z"


def linear_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round places from at or below `low` to at or above `high`, about `count` of them, evenly spaced."""
    if not high - low > 1e-9 * max(1.0, abs(high)):
        low, high = low - max(1.0, abs(low) / 10), high + max(1.0, abs(high) / 10)
    rough = (high - low) / (count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten around positive numbers, with 2 and 5 between them where there are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    places = [f * 10.0**power for power in range(first, last) for f in factors]
    return [*places, 10.0**last]


def _scale(low: float, high: float, start: int, end: int, log: bool) -> Callable[[float], float]:
    transform: Callable[[float], float] = math.log10 if log else float
    a, b = transform(low), transform(high)
    return lambda value: _px(start + (transform(value) - a) / (b - a) * (end - start))


def _px(value: float) -> float:
    """A tenth of a pixel is enough, and the same on all machines."""
    return round(value, 1)


def _short(value: float) -> str:
    return format(value, ".6g").replace("-", "−")
