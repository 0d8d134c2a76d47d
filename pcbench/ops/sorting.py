"""Rows sorted in the quickest way of a device: by numpy's vectors, in a GPU's registers, or by torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST_IN_REGISTERS = 1 << 13
"""The longest row that one block of a GPU sorts by itself; longer ones are left to torch."""


def ascending(rows: Tensor) -> Tensor:
    """(..., R, N) with every row in ascending order, contiguous; differentiable once.

    On a GPU the rows of a cloud and the clouds may stand anywhere, so that a transposed tensor is not copied
    before; points must be contiguous.
    """
    if rows.device.type == "cpu":
        return _on_cpu(rows)
    fits = rows.dtype == torch.float32 and rows.shape[-1] <= MOST_IN_REGISTERS and rows.stride(-1) == 1
    if not (fits and has_triton()):
        return rows.sort(-1).values.contiguous()
    clouds = rows.flatten(0, -3) if rows.dim() > 2 else rows.unsqueeze(0)
    ordered: Tensor = _InRegisters.apply(clouds)  # type: ignore[no-untyped-call]
    return ordered.view(rows.shape)


@cache
def has_triton() -> bool:
    """Whether Triton can build kernels here: it comes with torch for GPUs, but calls a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and importlib.util.find_spec("triton") is not None


class _InRegisters(torch.autograd.Function):
    """`pcbench.ops.sort_kernels`, with the places only where a gradient will ask for them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        from pcbench.ops import sort_kernels

        if not ctx.needs_input_grad[0]:
            return sort_kernels.sort(rows)
        values, order = sort_kernels.argsort(rows)
        ctx.save_for_backward(order)
        ctx.strides = rows.stride()
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        from pcbench.ops import sort_kernels

        (order,) = ctx.saved_tensors
        return sort_kernels.put_back(gradient, order, ctx.strides)


def _on_cpu(rows: Tensor) -> Tensor:
    if rows.requires_grad:
        order = torch.empty(rows.shape, dtype=torch.int64)
        source = rows.detach().contiguous()
        _over_rows(lambda part, out: np.copyto(out, np.argsort(part, axis=-1)), source, order)
        return rows.gather(-1, order)
    values = rows.clone(memory_format=torch.contiguous_format)
    _over_rows(lambda part: part.sort(axis=-1), values)
    return values


def _over_rows(work: Callable[..., None], *tensors: Tensor) -> None:
    """Call `work` on shares of the rows (R, N) of contiguous CPU tensors, as many threads as torch uses."""
    threads = torch.get_num_threads()
    shares = [np.array_split(tensor.flatten(0, -2).numpy(), threads) for tensor in tensors]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, *shares))
