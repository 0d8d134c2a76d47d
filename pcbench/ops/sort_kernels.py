"""Rows sorted in the registers of a GPU, with Triton: every value is read once and written once.

A float's bits, with all but the sign turned over where it is negative, are ordered as integers: that is what
is compared, so that NaN comes last and nothing is ever lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _flipped(bits):
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _sort(source, target, rows, by_cloud, by_row, points, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, WIDTH)
    start = source + row // rows * by_cloud + row % rows * by_row
    key = _flipped(tl.load(start + place, place < points, 0))
    key = tl.sort(tl.where(place < points, key, 0x7FFFFFFF))
    tl.store(target + row * points + place, _flipped(key), place < points)


@triton.jit
def _argsort(source, target, order, rows, by_cloud, by_row, points, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, WIDTH)
    start = source + row // rows * by_cloud + row % rows * by_row
    key = _flipped(tl.load(start + place, place < points, 0))
    both = (key.to(tl.int64) << 32) | place.to(tl.int64)
    both = tl.sort(tl.where(place < points, both, 0x7FFFFFFFFFFFFFFF))
    tl.store(target + row * points + place, _flipped((both >> 32).to(tl.int32)), place < points)
    tl.store(order + row * points + place, both.to(tl.int32), place < points)


@triton.jit
def _put_back(gradient, order, target, rows, by_cloud, by_row, points, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, WIDTH)
    value = tl.load(gradient + row * points + place, place < points)
    where = tl.load(order + row * points + place, place < points)
    tl.store(target + row // rows * by_cloud + row % rows * by_row + where, value, place < points)


def _layout(channels: Tensor) -> tuple[int, ...]:
    _, rows, points = channels.shape
    return rows, *channels.stride()[:2], points, triton.next_power_of_2(points)


def _warps(points: int) -> int:
    return max(1, min(8, points // 1024))


def sort(channels: Tensor) -> Tensor:
    """(B, D, N) float32 in ascending order along the last axis, whose values stand together; contiguous."""
    target = torch.empty(channels.shape, dtype=torch.float32, device=channels.device)
    grid, points = (channels.shape[0] * channels.shape[1],), channels.shape[2]
    with torch.cuda.device_of(channels):
        _sort[grid](
            channels.view(torch.int32), target.view(torch.int32), *_layout(channels), num_warps=_warps(points)
        )
    return target


def argsort(channels: Tensor) -> tuple[Tensor, Tensor]:
    """As `sort`, and the place in its row that every value came from, (B, D, N) int32."""
    target = torch.empty(channels.shape, dtype=torch.float32, device=channels.device)
    order = torch.empty(channels.shape, dtype=torch.int32, device=channels.device)
    grid, points = (channels.shape[0] * channels.shape[1],), channels.shape[2]
    with torch.cuda.device_of(channels):
        _argsort[grid](
            channels.view(torch.int32),
            target.view(torch.int32),
            order,
            *_layout(channels),
            num_warps=_warps(points),
        )
    return target, order


def put_back(gradient: Tensor, order: Tensor, strides: Sequence[int]) -> Tensor:
    """The gradient by what `argsort` was given, a tensor of those strides."""
    target = torch.empty_strided(order.shape, strides, dtype=torch.float32, device=order.device)
    grid = (order.shape[0] * order.shape[1],)
    with torch.cuda.device_of(order):
        _put_back[grid](gradient.contiguous(), order, target, *_layout(target), num_warps=4)
    return target
