"""Rows sorted on the CPU, against Python's own sort."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
import torch

from pcbench.ops.sorting import ascending, has_triton


@pytest.mark.parametrize("needs_gradient", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_row_is_in_ascending_order_and_nothing_given_is_changed(needs_gradient, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1)).mT  # not contiguous
        kept = rows.clone()
        found = ascending(rows.requires_grad_(needs_gradient))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(rows, kept)
    assert found.is_contiguous()
    assert found.tolist() == [[sorted(row) for row in cloud] for cloud in kept.tolist()]


def test_a_gradient_goes_back_to_where_its_value_came_from():
    rows = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad((ascending(rows) * torch.tensor([10.0, 20.0, 30.0])).sum(), rows)
    assert gradient.tolist() == [[30.0, 10.0, 20.0]]


@pytest.mark.parametrize("compiler", [None, "/usr/bin/gcc"])
@pytest.mark.parametrize("spec", [None, object()])
def test_triton_is_asked_only_where_it_can_build(compiler, spec, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: compiler)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    has_triton.cache_clear()
    assert has_triton() == (compiler is not None and spec is not None)
    has_triton.cache_clear()
