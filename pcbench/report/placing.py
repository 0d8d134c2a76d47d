"""Words beside points so that none covers another, a point, or the edge: the nearest free place of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

LETTER = 7.2
"""Pixels that a letter of a chart takes at most on average, at a size of 12 pixels."""
LINE = 14.0
"""Pixels from one line of words to the next."""
GAP = 7.0
"""Pixels between a point and its words."""
LEADER = 14.0
"""Words farther from their point than this get a thin line to it."""
RINGS = 24
"""How far words may go from their point, in steps of half a line."""
AT_ONCE = 32
"""So many rooms beside a point are tried at once, the nearest first."""


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, in pixels."""

    left: float
    """Its left edge."""
    top: float
    """Its upper edge."""
    right: float
    """Its right edge."""
    bottom: float
    """Its lower edge."""

    def meets(self, other: Box) -> bool:
        """Whether the two have more than an edge in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        """Whether it lies inside another."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Placed:
    """Where the words of a point stand."""

    box: Box
    """The room that they take."""
    leader: str
    """A line from the point to them where they stand far off, as an SVG path; else empty."""


def width_of(words: str) -> float:
    """The room that words take on one line, in pixels."""
    return LETTER * len(words)


def places(points: Sequence[tuple[float, float]], words: Sequence[str], field: Box) -> list[Placed | None]:
    """A place for the words of every point, None where there are no words or no room.

    One after the other, those with the fewest neighbours last, takes the nearest room that is free: right of
    its point, left, above, below, and then in wider and wider rings. So no two meet, and none covers a point.
    """
    count = len(points)
    taken = np.empty((4, 2 * count))  # left, top, right and bottom edges of the points, then of words
    taken[:, :count] = np.array([(x - 5, y - 5, x + 5, y + 5) for x, y in points]).reshape(-1, 4).T
    found: list[Placed | None] = [None] * len(points)
    for place in sorted(range(len(points)), key=lambda each: (-_crowd(points, each), points[each], each)):
        if not words[place]:
            continue
        box = _free(points[place], width_of(words[place]), taken[:, :count], field)
        if box is not None:
            taken[:, count] = box.left, box.top, box.right, box.bottom
            count += 1
            found[place] = Placed(box, _leader(points[place], box))
    return found


def _crowd(points: Sequence[tuple[float, float]], place: int) -> int:
    x, y = points[place]
    return sum(abs(a - x) < 60 and abs(b - y) < 2 * LINE for a, b in points)


def _free(point: tuple[float, float], width: float, taken: NDArray[np.float64], field: Box) -> Box | None:
    """The nearest free room beside a point, some being tried at once, for a chart has hundreds of points.

    taken: what stands already, left, top, right and bottom edges, (4, n).
    """
    aside, share, lift = _around()
    left, top = point[0] + aside - share * width, point[1] + lift
    right, bottom = left + width, top + LINE
    inside = (field.left <= left) & (right <= field.right) & (field.top <= top) & (bottom <= field.bottom)
    rooms, others = np.array((left, top, right, bottom))[:, inside], taken[:, :, None]
    for first in range(0, rooms.shape[1], AT_ONCE):
        left, top, right, bottom = rooms[:, first : first + AT_ONCE]
        across, along = (others[0] < right) & (left < others[2]), (others[1] < bottom) & (top < others[3])
        free = ~(across & along).any(0)
        if free.any():
            return Box(*rooms[:, first + int(free.argmax())].tolist())
    return None


@cache
def _around() -> NDArray[np.float64]:
    """Rooms beside a point, the nearest first, (3, R): how far right of it a room begins, less which share of
    its width, and how far below the point."""
    half = LINE / 2
    rooms: list[tuple[float, float, float]] = []
    for ring in range(RINGS):
        away = GAP + ring * half
        for lift in sorted({0.0, half, -half, away, -away}, key=lambda each: (abs(each), each)):
            rooms += [(away, 0.0, lift - half), (-away, 1.0, lift - half)]
        for top in (-away - LINE, away):
            rooms += [(0.0, 0.5, top), (4.0, 1.0, top), (-4.0, 0.0, top)]
    return np.array(rooms).T


def _leader(point: tuple[float, float], box: Box) -> str:
    x, y = point
    near = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    if math.dist(point, near) <= LEADER:
        return ""
    return f"M{x:g} {y:g} L{round(near[0], 1):g} {round(near[1], 1):g}"
