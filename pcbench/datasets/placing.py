"""Brings clouds from float64 to float32 without loss of shape: as they stand, or centred and scaled first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Stored: TypeAlias = NDArray[np.float32]

_ROUNDING = 2.0**-23
_FARTHEST = 1000.0
_RADII = (1e-12, 1e12)
_COARSE = 1000.0


@dataclass(frozen=True)
class Placed:
    """Clouds as they are stored."""

    points: Stored
    """(c, N, 3), finite."""
    coarse: NDArray[np.bool_]
    """(c,): whether a cloud came in float32 so far from the origin that its shape had gone before."""
    collapsed: NDArray[np.bool_]
    """(c,): whether float32 cannot hold it at all: one point is so far off that all others coincide."""


def placed(clouds: NDArray[Any]) -> Placed:
    """Clouds (c, N, 3) of finite floats, none of them collapsed, in float32.

    A cloud stays as it stands where float32 holds it: no coordinate is rounded by more than 2⁻²³ of its
    radius, its mean is at most 1000 radii from the origin, and its radius can be squared. Any other has its
    mean brought to the origin and its farthest point to distance one, in float64. In both cases what a data
    set gives out, centred and scaled once more, is the same cloud.
    """
    none = np.zeros(len(clouds), bool)
    if clouds.dtype == np.float32 and _surely_stand(clouds):
        return Placed(clouds, none, none)
    wide = clouds.astype(np.float64, copy=False)
    size = np.abs(wide).max((1, 2))
    unit = wide / size[:, None, None]  # so that neither a sum nor a square overflows
    centre = unit.mean(1, keepdims=True)
    unit -= centre
    radius = np.sqrt(np.square(unit).sum(-1).max(1))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow = clouds.astype(np.float32)
        rounding = np.abs(narrow - wide).max((1, 2)) / size
        step = np.spacing(size.astype(np.float32)) / size
        moved = ~(
            (rounding <= _ROUNDING * radius)
            & (np.linalg.norm(centre[:, 0], axis=-1) <= _FARTHEST * radius)
            & (radius * size >= _RADII[0])
            & (radius * size <= _RADII[1])
        )
    narrow[moved] = unit[moved] / radius[moved, None, None]
    collapsed = none.copy()
    collapsed[moved] = _all_but_one_coincide(narrow[moved])
    return Placed(narrow, (rounding == 0) & (step * _COARSE > radius), collapsed)


def _surely_stand(clouds: Stored) -> bool:
    """Whether all clouds stay as they stand, by their boxes: the radius is half a side or more."""
    lowest, highest = clouds.min(1), clouds.max(1)
    radius = (highest.astype(np.float64) - lowest).max(1) / 2
    farthest = np.linalg.norm(np.maximum(-lowest, highest).astype(np.float64), axis=1)
    stand = (farthest <= _FARTHEST * radius) & (radius >= _RADII[0]) & (2 * farthest <= _RADII[1])
    return bool(stand.all())


def _all_but_one_coincide(points: Stored) -> NDArray[np.bool_]:
    alike = [(points == points[:, k : k + 1]).all(-1).sum(1) for k in (0, min(1, points.shape[1] - 1))]
    found: NDArray[np.bool_] = np.maximum(*alike) >= points.shape[1] - 1
    return found


def flaw(clouds: NDArray[Any]) -> tuple[int, str] | None:
    """The first of clouds (c, N, 3) that cannot be, and why."""
    flaws = {
        "has a coordinate that is not finite": ~np.isfinite(clouds).all(axis=(1, 2)),
        "is empty: all its points coincide": (clouds == clouds[:, :1]).all(axis=(1, 2)),
    }
    for words, found in flaws.items():
        if found.any():
            return int(found.argmax()), words
    return None


def collapse(ready: Placed) -> tuple[int, str] | None:
    """The first of clouds that float32 cannot hold, and why."""
    found = ready.collapsed
    return (int(found.argmax()), "has one point so far off that all others coincide") if found.any() else None
