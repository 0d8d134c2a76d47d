"""Rotations of clouds by three angles, differentiable in points and angles."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotation_matrices(angles: Tensor) -> Tensor:
    """R = Rx(θx) · Ry(θy) · Rz(θz) for angles (M, 3) in radians -> (M, 3, 3)."""
    cx, cy, cz = angles.cos().unbind(-1)
    sx, sy, sz = angles.sin().unbind(-1)
    rows = [
        torch.stack([cy * cz, -cy * sz, sy], -1),
        torch.stack([sx * sy * cz + cx * sz, cx * cz - sx * sy * sz, -sx * cy], -1),
        torch.stack([sx * sz - cx * sy * cz, cx * sy * sz + sx * cz, cx * cy], -1),
    ]
    return torch.stack(rows, -2)


def rotate(points: Tensor, angles: Tensor) -> Tensor:
    """Every point p of cloud m becomes R(angles[m]) · p; points (M, N, 3), angles (M, 3) in radians."""
    return points @ rotation_matrices(angles).mT


def wrap(angles: Tensor) -> Tensor:
    """The same angles in [-π, π); those already there keep every bit."""
    exact = angles.double()
    turns = torch.floor((exact + math.pi) / (2 * math.pi))
    return (exact - 2 * math.pi * turns).to(angles.dtype)
