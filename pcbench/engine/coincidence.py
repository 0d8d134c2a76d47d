"""Finds the points of synthetic clouds that stand exactly in other clouds, also after a turn or a reflection.

A turn about the up axis leaves the distance from the axis and the height of a point alone. Two points that
agree in both within TOLERANCE are a *match*. Points of one cloud have next to no chance match among a
million others (2e-5 per cloud of a thousand), so matches are few, and a join over a grid of these two numbers
finds them all. Where many belong together, two of them give the turn that lays all of them on one another.
Where there is no up axis, only the distance from the origin is left, and two matches are needed for a turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]
UpAxis: TypeAlias = Literal["x", "y", "z", "none"]

TOLERANCE = 1e-5
"""Points this near are the same: clouds have radius 1, single precision moves a turned point by 1e-7."""
CELL = 1e-4
"""Width of a cell of the grid that points are looked up in."""
MOST_IN_CELL = 4096
"""Points of a cell that are looked at: hostile clouds may put all of theirs into one."""
FEWEST = 8
"""Fewer points of one cloud than these are a coincidence."""
HYPOTHESES = 48
"""Turns that are tried for clouds with matches."""
AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Standing:
    """The points of one synthetic cloud that stand in other clouds, all laid there by one turn."""

    points: NDArray[np.bool_]
    """Which of its N points do, (N,)."""
    other: int
    """The other cloud in which most of them stand, by index."""
    in_other: int
    """How many stand in that one."""
    degrees: float
    """How far the synthetic cloud is turned for that; 0 for not at all."""
    mirrored: bool
    """Whether it is reflected before."""


class Coincidences:
    """Synthetic clouds, indexed, to be compared with many others.

    clouds: (S, N, 3) in about the unit sphere. Other clouds are given to `add`, a part of them at a time.
    """

    def __init__(self, clouds: Floats, up_axis: UpAxis) -> None:
        self.clouds, self.axis = clouds, AXES.get(up_axis)
        self.size = clouds.shape[1]
        self._flat = clouds.reshape(-1, 3)
        cells = np.floor(self._unchanged(self._flat) / CELL).astype(np.int64)
        keys = _keys(cells)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._matches: list[tuple[Places, Floats, Places]] = []

    def add(self, others: Floats, first: int) -> None:
        """Match the points of other clouds, (B, M, 3), of which the first has the index `first`."""
        flat = others.reshape(-1, 3)
        values = self._unchanged(flat)
        for places, theirs in self._lookups(values):
            near = np.abs(self._unchanged(self._flat[places]) - values[theirs]).max(1) <= TOLERANCE
            places, theirs = places[near], theirs[near]
            self._matches.append((places, flat[theirs], first + theirs // others.shape[1]))

    def _unchanged(self, points: Floats) -> Floats:
        """What a turn leaves alone of points (P, 3): distance from the axis and height, (P, 2); or (P, 1)."""
        if self.axis is None:
            distances: Floats = np.linalg.norm(points, axis=1, keepdims=True)
            return distances
        across = np.delete(points, self.axis, axis=1)
        return np.stack([np.linalg.norm(across, axis=1), points[:, self.axis]], 1)

    def _lookups(self, values: Floats) -> Iterator[tuple[Places, Places]]:
        """Indices of our points and of theirs in one cell, those beyond a near border included."""
        low, high = (np.floor((values + shift) / CELL).astype(np.int64) for shift in (-TOLERANCE, TOLERANCE))
        for corner in itertools.product((False, True), repeat=values.shape[1]):
            upper = np.array(corner)
            theirs = np.flatnonzero((low != high)[:, upper].all(1))
            keys = _keys(np.where(upper, high[theirs], low[theirs]))
            start, end = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
            counts = np.minimum(end - start, MOST_IN_CELL)
            run = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            yield self._order[np.repeat(start, counts) + run], np.repeat(theirs, counts)

    def standing(self) -> dict[int, list[Standing]]:
        """By index of a synthetic cloud: how its points stand in the others, one entry a turn.

        The first turn is one for all the others together, so that a cloud that was put together from many is
        seen too; then one for each other cloud with enough matches.
        """
        if not self._matches:
            return {}
        places, theirs, other = (np.concatenate(parts) for parts in zip(*self._matches, strict=True))
        order = np.argsort(places, kind="stable")
        places, theirs, other = places[order], theirs[order], other[order]
        clouds, starts = np.unique(places // self.size, return_index=True)
        found: dict[int, list[Standing]] = {}
        for cloud, part in zip(clouds.tolist(), _parts(starts, len(places)), strict=True):
            entries = self._of_cloud(places[part], theirs[part], other[part])
            if entries:
                found[cloud] = entries
        return found

    def _of_cloud(self, places: Places, theirs: Floats, other: Places) -> list[Standing]:
        indices, counts = np.unique(other, return_counts=True)
        enough = FEWEST if self.axis is not None else max(FEWEST, self.size // 10)  # chance gives 2 % of 1024
        groups = [np.flatnonzero(other == index) for index in indices[counts >= enough]]
        # Without an axis, matches with all clouds together are chance, and tell no turn.
        laid = [self._laid(places, theirs, other, turned=self.axis is not None)]
        laid += [self._laid(places[group], theirs[group], other[group]) for group in groups]
        return [entry for entry in laid if entry is not None]

    def _laid(self, places: Places, theirs: Floats, other: Places, turned: bool = True) -> Standing | None:
        """The turn that lays most of the matched points on one another; None for too few of them."""
        ours = self._flat[places]
        if len(ours) < FEWEST:
            return None
        mirror = np.ones(3)
        mirror[0 if self.axis != 0 else 1] = -1
        most, best = np.zeros(0, dtype=np.int64), (np.eye(3), False)
        for mirrored in (False, True) if turned else (False,):
            from_here = ours * mirror if mirrored else ours
            turns = self._turns(from_here, theirs) if turned else iter(())
            for turn in turns if mirrored else itertools.chain([np.eye(3)], turns):
                near = np.flatnonzero(np.abs(from_here @ turn.T - theirs).max(1) <= 2 * TOLERANCE)
                if len(near) > len(most):
                    most, best = near, (turn, mirrored)
        if min(len(np.unique(places[most])), len(np.unique(theirs[most], axis=0))) < FEWEST:
            return None
        points = np.zeros(self.size, dtype=np.bool_)
        points[places[most] % self.size] = True
        by_other = np.unique(np.stack([other[most], places[most]], 1), axis=0)[:, 0]
        indices, counts = np.unique(by_other, return_counts=True)
        place = int(counts.argmax())
        return Standing(points, int(indices[place]), int(counts[place]), _degrees(best[0]), best[1])

    def _turns(self, ours: Floats, theirs: Floats) -> Iterator[Floats]:
        """Turns to try, as matrices (3, 3): those that single matches, or pairs of them, ask for."""
        far = np.argsort(-self._unchanged(ours)[:, 0], kind="stable")
        chosen = far[np.linspace(0, len(far) * 2 // 3, HYPOTHESES, dtype=np.int64, endpoint=False)]
        if self.axis is None:
            # Every second of a pair is another, so that a false match spoils few of them.
            pairs = itertools.islice(itertools.combinations(np.unique(chosen).tolist(), 2), 8 * HYPOTHESES)
            for one, two in pairs:
                frames = [_frame(points[one], points[two]) for points in (ours, theirs)]
                if frames[0] is not None and frames[1] is not None:
                    yield frames[1] @ frames[0].T
            return
        a, b = (axis for axis in range(3) if axis != self.axis)
        for place in np.unique(chosen).tolist():
            p, q = complex(ours[place, a], ours[place, b]), complex(theirs[place, a], theirs[place, b])
            if abs(p) > 100 * TOLERANCE and abs(q) > 0:
                angle = np.angle(q / p)
                turn = np.eye(3)
                turn[a, a] = turn[b, b] = np.cos(angle)
                turn[b, a], turn[a, b] = np.sin(angle), -np.sin(angle)
                yield turn


def _keys(cells: Places) -> Places:
    """One number a cell, for cells (P, d) of coordinates up to some thousands."""
    keys: Places = cells[:, 0] * (1 << 31) + (cells[:, 1] if cells.shape[1] > 1 else 0)
    return keys


def _parts(starts: Places, end: int) -> list[slice]:
    return [slice(*span) for span in itertools.pairwise([*starts.tolist(), end])]


def _frame(one: Floats, two: Floats) -> Floats | None:
    """The orthonormal frame (3, 3) that two points and the origin span; None where they lie on a line."""
    normal = np.cross(one, two)
    length, first = np.linalg.norm(normal), np.linalg.norm(one)
    if length < 1e-2 or first == 0:
        return None
    return np.stack([one / first, np.cross(normal, one) / (length * first), normal / length], 1)


def _degrees(turn: Floats) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
