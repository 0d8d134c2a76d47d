"""What is done to test clouds: rotations and corruptions whose numbers follow from each cloud and a seed.

Every function takes clouds (B, N, 3) float32 and their draws, and gives new clouds of the same shape. A cloud
comes out the same in whatever batch it stands, at whatever place. Clouds are not normalised anew.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pcbench.ops.rotation import rotation_matrices

Axis = Literal["x", "y", "z"]
AXES = ("x", "y", "z")
CLIP = 3.0
"""Largest jitter of a coordinate, in standard deviations."""

_STEP = 0x9E3779B97F4A7C15 - (1 << 64)
_FACTORS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))


class Draws:
    """Random numbers for clouds (B, N, 3), each cloud from a stream of its own, on the CPU.

    A stream starts from the seed and the cloud's coordinates, bit for bit, and is SplitMix64 (Steele, Lea and
    Flood 2014): a function of its start and a counter, so that all clouds are drawn for at once.
    """

    def __init__(self, xyz: Tensor, seed: int) -> None:
        bits = xyz.detach().cpu().float().contiguous().view(torch.int32).flatten(1).long()
        places = torch.arange(bits.shape[1]) * _STEP
        self._start = _mixed(_mixed(bits + places).sum(1) ^ seed)
        self._drawn = 0

    def uniform(self, *shape: int) -> Tensor:
        """The next numbers uniform in (0, 1), (B, *shape) float64."""
        count = math.prod(shape)
        counter = torch.arange(self._drawn + 1, self._drawn + count + 1)
        self._drawn += count
        bits = _shifted(_mixed(self._start.unsqueeze(1) + counter * _STEP), 12)
        return ((bits.double() + 0.5) * 2.0**-52).view(len(bits), *shape)

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal numbers, (B, *shape) float64."""
        numbers: Tensor = torch.special.ndtri(self.uniform(*shape))
        return numbers

    def directions(self, *shape: int) -> Tensor:
        """The next directions, uniform on the sphere, (B, *shape, 3) float64."""
        normal = self.normal(*shape, 3)
        length: Tensor = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
        return normal / length


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Bits moved to the right, zeros from the left; torch alone would repeat the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mixed(bits: Tensor) -> Tensor:
    for by, factor in zip((30, 27), _FACTORS, strict=True):
        bits = (bits ^ _shifted(bits, by)) * factor
    return bits ^ _shifted(bits, 31)


def turn(xyz: Tensor, axis: Axis, draws: Draws) -> Tensor:
    """Each cloud turned about a coordinate axis by an angle uniform over the circle."""
    angles = torch.zeros(len(xyz), 3, dtype=torch.float64)
    angles[:, AXES.index(axis)] = 2 * math.pi * draws.uniform()
    return rotated(xyz, angles)


def rotate_any(xyz: Tensor, draws: Draws) -> Tensor:
    """Each cloud turned by a rotation uniform over SO(3).

    In Rx(a) Ry(b) Rz(c) the uniform measure is da d(sin b) dc.
    """
    a, b, c = draws.uniform(3).unbind(-1)
    return rotated(xyz, torch.stack([2 * math.pi * a, torch.asin(2 * b - 1), 2 * math.pi * c], -1))


def rotated(xyz: Tensor, angles: Tensor) -> Tensor:
    """Cloud m turned by Rx · Ry · Rz of angles[m]; angles (B, 3) in radians, float64."""
    x, y, z = xyz.double().unsqueeze(-1).unbind(-2)
    rx, ry, rz = rotation_matrices(angles).unsqueeze(1).to(xyz.device).unbind(-1)
    # Term by term: a batched matrix product may round by the size of its batch.
    return (x * rx + y * ry + z * rz).to(xyz.dtype)


def jitter(xyz: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Normal noise of that standard deviation on every coordinate, at most CLIP deviations in size."""
    noise = draws.normal(*xyz.shape[1:]).clamp_(-CLIP, CLIP) * deviation
    return (xyz.double() + noise.to(xyz.device)).to(xyz.dtype)


def scale(xyz: Tensor, largest: float, draws: Draws) -> Tensor:
    """Each axis of each cloud times a factor of its own, log-uniform in [1 / largest, largest]."""
    factor = torch.exp(math.log(largest) * (2 * draws.uniform(1, 3) - 1))
    return (xyz.double() * factor.to(xyz.device)).to(xyz.dtype)


def dropout(xyz: Tensor, share: float, draws: Draws) -> Tensor:
    """A share of each cloud's points, drawn uniformly, is lost; others stand there twice (`_repeated`)."""
    return _repeated(xyz, draws.uniform(xyz.shape[1]), share, draws)


def occlusion(xyz: Tensor, share: float, draws: Draws) -> Tensor:
    """A share of each cloud's points is lost: those on the far side of a plane across a random direction."""
    along = (xyz.double() * draws.directions(1).to(xyz.device)).unbind(-1)
    return _repeated(xyz, -(along[0] + along[1] + along[2]), share, draws)


def outliers(xyz: Tensor, share: float, draws: Draws) -> Tensor:
    """A share of each cloud's points, drawn uniformly, moves to places uniform in the unit ball."""
    count = lost(xyz.shape[1], share)
    index = draws.uniform(xyz.shape[1]).argsort(1)[:, :count].to(xyz.device)
    places = draws.directions(count) * draws.uniform(count, 1).pow(1 / 3)
    return xyz.scatter(1, index.unsqueeze(-1).expand(-1, -1, 3), places.to(xyz))


def lost(points: int, share: float) -> int:
    """How many of a cloud's points a share is, to the nearest; one point always stays."""
    return min(math.floor(share * points + 0.5), points - 1)


def _repeated(xyz: Tensor, order: Tensor, share: float, draws: Draws) -> Tensor:
    """Clouds without the points of smallest `order` (B, N), at whose places others are repeated.

    Each is a point that stays, drawn uniformly: a network sees N points, and no fewer than N. Points that
    stay keep their places.
    """
    gone, kept = order.argsort(dim=1, stable=True).to(xyz.device).tensor_split([lost(xyz.shape[1], share)], 1)
    drawn = (draws.uniform(gone.shape[1]) * kept.shape[1]).long().to(xyz.device)
    index = torch.arange(xyz.shape[1], device=xyz.device).expand(len(xyz), -1)
    index = index.scatter(1, gone, kept.gather(1, drawn))
    return xyz.gather(1, index.unsqueeze(-1).expand(-1, -1, 3))
