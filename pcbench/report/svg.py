"""Plots as places on a page: axes, ticks, points, lines and words in pixels; a template draws them.

Every plot is laid out twice, for a wide screen and for a narrow one: words have one size, whatever the width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pcbench.common.text import one_line
from pcbench.report.placing import Box, Placed, places

ZEROS = 72
"""Pixels left of a logarithmic axis for what is 0."""
COLOURS = 8
"""So many colours tell series apart, by the classes series-1 to series-8; a ninth begins again."""
SHAPES = (
    "M-4.5 0A4.5 4.5 0 1 1 4.5 0A4.5 4.5 0 1 1 -4.5 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5.2L5 3.8H-5Z",
    "M0 -5.6L5 0L0 5.6L-5 0Z",
    "M0 5.2L5 -3.8H-5Z",
    "M-1.7 -5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
    "M0 -5L4.8 -1.5L2.9 4.1H-2.9L-4.8 -1.5Z",
)
"""Outlines of marks around 0: with the colour they tell series apart, also where colours look alike."""


LETTERS = 16
"""Words beside a mark have so many letters at most; all of them stand in its title."""


@dataclass(frozen=True)
class Frame:
    """The size of a picture and of the field in it, in pixels."""

    width: int
    """Width of the picture."""
    height: int
    """Height of the picture."""
    left: int = 52
    """Room left of the field."""
    above: int = 14
    """Room above the field."""
    beside: int = 16
    """Room right of the field."""
    below: int = 46
    """Room below the field."""

    @property
    def right(self) -> int:
        """The right edge of the field."""
        return self.width - self.beside

    @property
    def bottom(self) -> int:
        """The lower edge of the field."""
        return self.height - self.below


WIDE, NARROW = Frame(640, 360), Frame(340, 300, left=44)


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """Where, in pixels."""
    label: str
    """Its words."""


@dataclass(frozen=True, slots=True)
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
    page: str = ""
    """The page within the site that it leads to; empty for none."""
    words: Placed | None = None
    """Where its words stand; None where it has none."""


@dataclass(frozen=True)
class Series:
    """Marks of one colour and shape."""

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

    @property
    def round(self) -> bool:
        """Whether its marks are circles, which take few words."""
        return self.shape == SHAPES[0]

    @property
    def shape(self) -> str:
        """The outline of its marks, as an SVG path around 0."""
        return SHAPES[self.style % len(SHAPES)]

    @property
    def colour(self) -> int:
        """The number of its colour, from 1."""
        return self.style % COLOURS + 1


@dataclass(frozen=True)
class Layout:
    """A plot at one size."""

    frame: Frame
    """Its size."""
    x_ticks: tuple[Tick, ...] = ()
    """The marks of the horizontal axis."""
    y_ticks: tuple[Tick, ...] = ()
    """The marks of the vertical axis."""
    series: tuple[Series, ...] = ()
    """What is plotted."""
    front: str = ""
    """A line through the points that no other one beats, as an SVG path; empty where there is none."""


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
    wide: Layout
    """The plot for wide screens."""
    narrow: Layout
    """The plot for telephones."""
    kind: Literal["plot"] = "plot"
    """Which template draws it."""

    @property
    def marks(self) -> int:
        """The number of marks."""
        return sum(len(each.marks) for each in self.wide.series)

    @property
    def series(self) -> tuple[Series, ...]:
        """What is plotted, for the legend."""
        return self.wide.series


@dataclass(frozen=True, slots=True)
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
    page: str = ""
    """The page within the site that it leads to; empty for none."""


@dataclass(frozen=True)
class PlotData:
    """One series to be drawn."""

    label: str
    """What it is of, for the legend."""
    points: tuple[PlotPoint, ...]
    """Its points, in any order."""
    style: int = 0
    """Its colour and shape; equal ones belong together on all plots of a page."""


@dataclass(frozen=True)
class _Kind:
    """What tells one kind of plot from another."""

    log: bool
    """Whether the horizontal axis is logarithmic."""
    lines: bool
    """Whether the points of a series are joined."""
    shares: bool = True
    """Whether values are at least 0."""
    at: tuple[float, ...] = ()
    """The ticks of the horizontal axis; none where they are to be found."""
    front: bool = False
    """Whether, of a single series, those points are joined that no other beats: more accurate, no slower."""


def pareto(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData]
) -> Plot:
    """Points with their intervals over a logarithmic x, and the front of those that none beats.

    What is 0 stands left of the axis, by itself.
    """
    return _plot(name, title, description, x_label, y_label, data, _Kind(log=True, lines=False, front=True))


def curves(
    name: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    data: Sequence[PlotData],
    log: bool = False,
    at: Sequence[float] = (),
) -> Plot:
    """Lines with their intervals over x.

    log: whether x is logarithmic. at: the ticks of a logarithmic x that has few values.
    """
    kind = _Kind(log=log or bool(at), lines=True, at=tuple(at))
    return _plot(name, title, description, x_label, y_label, data, kind)


def scatter(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData]
) -> Plot:
    """Points over a linear x."""
    return _plot(name, title, description, x_label, y_label, data, _Kind(log=False, lines=False))


def traces(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData]
) -> Plot:
    """Lines over a linear x of values that are no shares: an axis from the least to the largest."""
    return _plot(name, title, description, x_label, y_label, data, _Kind(False, lines=True, shares=False))


def _plot(
    name: str, title: str, description: str, x_label: str, y_label: str, data: Sequence[PlotData], kind: _Kind
) -> Plot:
    wide, narrow = (_layout(frame, data, kind) for frame in (WIDE, NARROW))
    return Plot(name, title, description, x_label, y_label, wide, narrow)


def _layout(frame: Frame, data: Sequence[PlotData], kind: _Kind) -> Layout:
    points = [point for each in data for point in each.points]
    ys = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    xs = [p.x for p in points if p.x > 0 or not kind.log] or [1.0]
    zeros = ZEROS if kind.log and any(p.x == 0 for p in points) else 0
    few = 4 if frame.width < WIDE.width else 6
    found = log_ticks(min(xs), max(xs)) if kind.log else linear_ticks(min(xs), max(xs), few)
    x_places = list(kind.at) or found
    y_places = linear_ticks(max(0.0, min(ys)) if kind.shares else min(ys), max(ys))
    from_place = _scale(x_places[0], x_places[-1], frame.left + zeros, frame.right, kind.log)

    def along(x: float) -> float:
        return frame.left + ZEROS / 2 if kind.log and x == 0 else from_place(x)

    up = _scale(y_places[0], y_places[-1], frame.bottom, frame.above, False)
    series = []
    for each in data:
        marks = []
        for p in sorted(each.points, key=lambda p: (p.x, p.y, p.label)):
            low, high = (p.y if end is None else end for end in (p.low, p.high))
            top, bottom = y_places[-1], y_places[0]
            clipped = max(min(low, top), bottom), max(min(high, top), bottom)
            at = along(p.x), up(p.y), up(clipped[0]), up(clipped[1])
            marks.append(Mark(*at, one_line(p.label, LETTERS), p.title, p.page))
        paths = _paths(marks) if kind.lines else ("", "")
        series.append(Series(each.style, each.label, tuple(marks), *paths))
    ticks = [Tick(along(at), short_number(at)) for at in x_places]
    return Layout(
        frame=frame,
        x_ticks=(*([Tick(along(0.0), "0.0")] if zeros else []), *_apart(ticks)),
        y_ticks=tuple(Tick(up(at), short_number(at)) for at in y_places),
        series=_worded(series, frame),
        front=_front(points, along, up) if kind.front and len(data) == 1 else "",
    )


def _apart(ticks: Sequence[Tick]) -> list[Tick]:
    """Ticks whose words would meet lose them."""
    kept, end = [], -math.inf
    for tick in ticks:
        half = 3.6 * len(tick.label)
        free = tick.at - half > end + 4
        kept.append(tick if free else replace(tick, label=""))
        end = tick.at + half if free else end
    return kept


def _worded(series: Sequence[Series], frame: Frame) -> tuple[Series, ...]:
    """The series with a place for the words of every mark that has some."""
    marks = [mark for each in series for mark in each.marks]
    if not any(mark.label for mark in marks):
        return tuple(series)
    field = Box(frame.left + 2, frame.above - 8, frame.width, frame.bottom)
    stand = iter(places([(mark.x, mark.y) for mark in marks], [mark.label for mark in marks], field))
    return tuple(
        replace(each, marks=tuple(replace(mark, words=next(stand)) for mark in each.marks)) for each in series
    )


def _front(points: Sequence[PlotPoint], along: Callable[[float], float], up: Callable[[float], float]) -> str:
    """Steps through the points that no other one beats: none has as small an x with a larger y."""
    best, path = -math.inf, ""
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if point.y > best:
            x, y = along(point.x), up(point.y)
            path += f"H{x:g} V{y:g} " if path else f"M{x:g} {y:g} "
            best = point.y
    return path.strip() if "V" in path else ""


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
    return lambda value: pixel(start + (transform(value) - a) / (b - a) * (end - start))


def pixel(value: float) -> float:
    """A tenth of a pixel is enough, and the same on all machines."""
    return round(value, 1)


def short_number(value: float) -> str:
    """A number on an axis."""
    return format(value, ".6g").replace("-", "−")
