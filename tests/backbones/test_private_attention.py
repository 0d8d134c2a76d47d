"""Vector attention in chunks equals attention over all pairs at once, derivatives too, in bounded memory."""

from __future__ import annotations

import pytest
import torch
from private import private
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pcbench.ops.layers import BatchNorm, initialise, stack

attention = private("attention")
VectorAttention = attention.VectorAttention
attend = attention.attend
attend_plainly = attention.attend_plainly

STUDENTS, ROWS, NEIGHBOURS, CHANNELS, OFFSET = 2, 10, 3, 6, 4
PAIR = 8 * NEIGHBOURS * CHANNELS
"""Bytes of one tensor for the pairs of one row, in float64."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def merged_inputs(rows: int = ROWS) -> tuple[list[Tensor], Tensor]:
    """What `attend` takes, and an index that both students share."""
    at_rows = [drawn(STUDENTS, rows, CHANNELS, seed=seed) for seed in range(3)]
    offsets = drawn(STUDENTS, rows * NEIGHBOURS, OFFSET, seed=3)
    weights = [drawn(STUDENTS, CHANNELS, width, seed=width) for width in (OFFSET, *[CHANNELS] * 3)]
    index = torch.randint(rows, (1, rows, NEIGHBOURS), generator=generator(4))
    return [x.requires_grad_() for x in (*at_rows, offsets, *weights)], index


def at_once(inputs: list[Tensor], index: Tensor) -> Tensor:
    near_by = index[0].flatten()
    each = zip(*(x.unbind() for x in inputs), strict=True)
    return torch.stack([attend_plainly(q, k[near_by], v[near_by], *rest) for q, k, v, *rest in each])


def room(monkeypatch: pytest.MonkeyPatch, rows: int, kept: int) -> None:
    """Chunks of some rows, and as many rows' pairs kept."""
    monkeypatch.setattr(attention, "CHUNK_BYTES", rows * PAIR)
    monkeypatch.setattr(attention, "KEPT_BYTES", 3 * kept * PAIR)


CHUNKS = [(ROWS, 2 * ROWS), (4, 2 * ROWS), (4, 9), (3, 0), (0, 0)]
"""Rows a chunk (a row at least) and rows kept: all of 20, some, none."""


@pytest.mark.parametrize(("rows", "kept"), CHUNKS)
def test_chunks_give_what_all_pairs_give_at_once(monkeypatch, rows, kept):
    room(monkeypatch, rows, kept)
    inputs, index = merged_inputs()
    found, expected = attend(*inputs, index=index), at_once(inputs, index)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    along = drawn(*found.shape, seed=5)
    firsts = [torch.autograd.grad(y, inputs, along, create_graph=True) for y in (found, expected)]
    for ours, theirs in zip(*firsts, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    seconds = [torch.autograd.grad(sum((g * g.sin()).sum() for g in first), inputs) for first in firsts]
    for ours, theirs in zip(*seconds, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_float32_chunks_agree_to_rounding(monkeypatch):
    inputs, index = merged_inputs()
    inputs = [x.detach().float().requires_grad_() for x in inputs]
    along = drawn(STUDENTS, ROWS, CHANNELS, seed=5).float()
    results = []
    for rows, kept in ((2 * ROWS, 4 * ROWS), (2, 0)):
        room(monkeypatch, rows, kept)
        found = attend(*inputs, index=index)
        results.append((found, *torch.autograd.grad(found, inputs, along)))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wanted", [(0, 1, 2, 3), (3,), (4, 7), (6,)], ids=str)
def test_only_what_is_wanted_gets_a_gradient(wanted):
    inputs, index = merged_inputs()
    for place, x in enumerate(inputs):
        x.requires_grad_(place in wanted)
    some = [inputs[place] for place in wanted]
    along = drawn(STUDENTS, ROWS, CHANNELS, seed=5).requires_grad_()
    firsts = [
        torch.autograd.grad(y, some, along, create_graph=True)
        for y in (attend(*inputs, index=index), at_once(inputs, index))
    ]
    for ours, theirs in zip(*firsts, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    seconds = [
        torch.autograd.grad(first[0].square().sum(), [along, *some], materialize_grads=True)
        for first in firsts
    ]
    for ours, theirs in zip(*seconds, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


class Largest(TorchDispatchMode):
    """The most bytes that an operation's new result took, a row's worth of inputs apart."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and not found._is_view():
            self.bytes = max(self.bytes, found.untyped_storage().nbytes())
        return found


@pytest.mark.parametrize("kept", [0, 100])
def test_memory_keeps_to_its_bounds(monkeypatch, kept):
    """No tensor of all pairs and channels comes to be, and autograd keeps no more of them than it may."""
    room(monkeypatch, 4, kept)
    inputs, index = merged_inputs(rows=200)
    saved: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), Largest() as largest:
        found = attend(*inputs, index=index)
        own = {x.untyped_storage().data_ptr() for x in (*inputs, found, index)}
        assert sum(size for place, size in saved.items() if place not in own) == 3 * (kept - kept % 4) * PAIR
        torch.autograd.grad(found.sum(), inputs)
    assert largest.bytes <= max(7 * 4 * PAIR, *(x.nbytes for x in inputs))
    assert largest.bytes < STUDENTS * 200 * PAIR


def test_without_gradient_nothing_is_kept(monkeypatch):
    room(monkeypatch, 4, 100)
    inputs, index = merged_inputs()
    with torch.no_grad():
        found = attend(*inputs, index=index)
    torch.testing.assert_close(found, at_once(inputs, index).detach())


def cloud(*leading: int, points: int = 9, width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    xyz, features = drawn(*leading, points, 3, seed=1), drawn(*leading, points, width, seed=2)
    index = torch.randint(points, (*leading[-1:], points, 4), generator=generator(3))
    return xyz, features, index


def layer_of(kind: type, seed: int = 0, **sizes: int):
    """In float64, with norms that are not the identity."""
    layer = kind(**sizes)
    initialise(layer, generator(seed))
    source = generator(100 + seed)
    for norm in (module for module in layer.modules() if isinstance(module, BatchNorm)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5, generator=source)
    return layer.double()


def test_vector_attention_is_the_papers_equation():
    layer = layer_of(VectorAttention, features=8, hidden=6)
    xyz, features, index = cloud(2)
    found = layer(xyz, features, index)
    w = dict(layer.named_parameters())
    for b in range(2):
        x = features[b] @ w["into.weight"].T + w["into.bias"]
        for i in range(9):
            scores, seen = [], []
            for j in index[b, i].tolist():
                unit = (w["near.weight"] @ (xyz[b, i] - xyz[b, j]) + w["near.bias"]).clamp_min(0)
                delta = w["far.weight"] @ unit + w["far.bias"]
                met = w["query.weight"] @ x[i] - w["key.weight"] @ x[j] + delta
                unit = (w["first.weight"] @ met + w["first.bias"]).clamp_min(0)
                scores.append((w["last.weight"] @ unit + w["last.bias"]) / 6**0.5)
                seen.append(w["value.weight"] @ x[j] + delta)
            shares = torch.stack(scores).exp()
            shares = shares / shares.sum(0)
            torch.testing.assert_close(found[b, i], (shares * torch.stack(seen)).sum(0))


@pytest.mark.parametrize("training", [True, False])
def test_stacked_layers_share_one_index(training):
    layers = [layer_of(VectorAttention, seed, features=8, hidden=6).train(training) for seed in range(3)]
    xyz, features, index = cloud(3, 2)
    together = stack(layers).train(training)(xyz, features, index.unsqueeze(0))
    for number, layer in enumerate(layers):
        alone = layer(xyz[number], features[number], index)
        torch.testing.assert_close(together[number], alone)


def test_the_bias_that_softmax_cancels_has_gradient_zero():
    layer = layer_of(VectorAttention, features=8, hidden=6)
    layer(*cloud(2)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    assert not gradients.pop("last.bias").any()
    assert all(bool(gradient.any()) for gradient in gradients.values())


@pytest.mark.parametrize("training", [True, False])
def test_small_chunks_change_nothing(monkeypatch, training):
    xyz, features, index = cloud(2)
    xyz.requires_grad_()
    features.requires_grad_()
    results = []
    for size in (1 << 20, 2 * 4 * 8 * 8):
        monkeypatch.setattr(attention, "CHUNK_BYTES", size)
        layer = layer_of(VectorAttention, features=8, hidden=6).train(training)
        found = layer(xyz, features, index)
        given = [xyz, features, *layer.parameters()]
        results.append((found, *torch.autograd.grad(found.square().sum(), given), *layer.buffers()))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole)
