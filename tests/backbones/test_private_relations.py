"""Sums of neighbours and centres against the same formulas on the gathered neighbours themselves."""

from __future__ import annotations

import pytest
import torch
from private import private
from torch import Tensor

from pcbench.ops.layers import BatchNorm, Dense, LinearNorm, initialise, stack
from pcbench.ops.neighbours import gather_points, nearest

dense_of_sums = private("relations").dense_of_sums
difference_deviation = private("relations").difference_deviation
largest_of_sums = private("relations").largest_of_sums
max_over_neighbours = private("relations").max_over_neighbours
neighbour_counts = private("relations").neighbour_counts
neighbour_sums = private("relations").neighbour_sums
plus_linear_norm = private("relations").plus_linear_norm

POINTS, CENTRES, NEIGHBOURS, WIDTH, OUTPUTS = 12, 5, 4, 6, 7


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def index_of(*leading: int) -> Tensor:
    """Neighbours of the first points, some points none's and some many's."""
    xyz = drawn(*leading, POINTS, 3, seed=5)
    return nearest(xyz[..., :CENTRES, :], xyz, NEIGHBOURS)


def layer_of(make, seed: int = 0):
    """In float64, its norms neither the identity nor all rising."""
    layer = make()
    generator = torch.Generator().manual_seed(seed)
    initialise(layer, generator)
    for norm in (module for module in layer.modules() if isinstance(module, BatchNorm)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 2, generator=generator)
        norm.weight.data[::2] *= -1
    return layer.double()


def gathered(a: Tensor, c: Tensor, index: Tensor) -> Tensor:
    """a_j + c_i, (..., M, k, D)."""
    return gather_points(a, index) + c.unsqueeze(-2)


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor], *layers) -> None:
    """Values, gradients, and the gradients of gradients, by the inputs and by both sides' own layers."""
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(found, expected, **close)
    ours, theirs = layers or ((), ())
    sides = [
        (values, [*inputs, *(p for layer in own for p in layer.parameters())])
        for values, own in ((found, ours), (expected, theirs))
    ]
    weights = drawn(*found.shape, seed=8)
    plainly, once, twice = [], [], []
    for values, by in sides:
        loss = (values * weights).sum()
        plainly.append(torch.autograd.grad(loss, by, retain_graph=True))
        once.append(torch.autograd.grad(loss, by, create_graph=True))
        squares = sum((gradient * gradient).sum() for gradient in once[-1])
        twice.append(
            torch.autograd.grad(squares, by, materialize_grads=True) if squares.requires_grad else by
        )
    for mine, plain in ((plainly[0], plainly[1]), (once[0], plainly[1]), (twice[0], twice[1])):
        for one, other in zip(mine, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_neighbour_sums_and_counts():
    x, index = drawn(2, POINTS, WIDTH).requires_grad_(), index_of(2)
    assert_same(neighbour_sums(x, index), gather_points(x, index).sum(-2), [x])
    expected = torch.stack([torch.bincount(one.flatten(), minlength=POINTS) for one in index])
    assert torch.equal(neighbour_counts(x, index), expected.double().unsqueeze(-1))
    assert torch.autograd.gradgradcheck(lambda values: neighbour_sums(values, index).square(), [x])


def test_neighbour_sums_share_an_index():
    x, index = drawn(3, 2, POINTS, WIDTH), index_of(1, 2)
    assert torch.allclose(neighbour_sums(x, index), gather_points(x, index).sum(-2))


@pytest.mark.parametrize("training", [True, False])
def test_dense_of_sums_is_norm_and_relu_of_the_sums(training):
    a, c, index = (
        drawn(2, POINTS, WIDTH).requires_grad_(),
        drawn(2, CENTRES, WIDTH).requires_grad_(),
        index_of(2),
    )
    ours, theirs = (layer_of(lambda: BatchNorm(WIDTH)).train(training) for _ in range(2))
    found = dense_of_sums(ours, a, c, index).transpose(-2, -3)
    assert_same(found, torch.relu(theirs(gathered(a, c, index))), [a, c], [ours], [theirs])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_largest_of_sums_is_the_largest_of_the_second_unit(training, bias):
    a, c, index = (
        drawn(2, POINTS, WIDTH).requires_grad_(),
        drawn(2, CENTRES, WIDTH).requires_grad_(),
        index_of(2),
    )
    ours, theirs = (
        [
            layer_of(lambda: BatchNorm(WIDTH)).train(training),
            layer_of(lambda: Dense(WIDTH, OUTPUTS, bias)).train(training),
        ]
        for _ in range(2)
    )
    found = largest_of_sums(*ours, a, c, index)
    expected = theirs[1](torch.relu(theirs[0](gathered(a, c, index)))).amax(-2)
    assert_same(found, expected, [a, c], ours, theirs)


def test_largest_of_sums_moves_the_running_statistics():
    a, c, index = drawn(2, POINTS, WIDTH), drawn(2, CENTRES, WIDTH), index_of(2)
    ours, theirs = (
        [layer_of(lambda: BatchNorm(WIDTH)), layer_of(lambda: Dense(WIDTH, OUTPUTS))] for _ in "ab"
    )
    largest_of_sums(*ours, a, c, index)
    theirs[1](torch.relu(theirs[0](gathered(a, c, index))))
    for mine, plain in zip(ours, theirs, strict=True):
        for one, other in zip(mine.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("training", [True, False])
def test_largest_of_sums_of_stacked_layers_that_share_an_index(training):
    a, c, index = drawn(3, 2, POINTS, WIDTH), drawn(3, 2, CENTRES, WIDTH), index_of(1, 2)
    norms = [layer_of(lambda: BatchNorm(WIDTH), seed).train(training) for seed in range(3)]
    units = [layer_of(lambda: Dense(WIDTH, OUTPUTS), seed).train(training) for seed in range(3)]
    together = largest_of_sums(stack(norms).train(training), stack(units).train(training), a, c, index)
    dense = dense_of_sums(stack(norms).train(training), a, c, index)
    for number, (norm, unit) in enumerate(zip(norms, units, strict=True)):
        first = torch.relu(norm(gathered(a[number], c[number], index[0])))
        torch.testing.assert_close(dense[number].transpose(-2, -3), first)
        torch.testing.assert_close(together[number], unit(first).amax(-2))


def test_equal_neighbours_share_the_gradient():
    """Two copies of a point, both neighbours: their gradients add up to that of the one point."""
    one = drawn(1, 3, WIDTH).requires_grad_()
    c, index = drawn(1, 2, WIDTH), torch.tensor([[[0, 1, 2], [2, 1, 0]]])
    layers = [layer_of(lambda: BatchNorm(WIDTH)).eval(), layer_of(lambda: Dense(WIDTH, OUTPUTS)).eval()]
    twice = torch.cat([one, one[:, :1]], 1)
    doubled = torch.cat([index, torch.full((1, 2, 1), 3)], -1)
    (expected,) = torch.autograd.grad(largest_of_sums(*layers, one, c, index).sum(), one)
    (found,) = torch.autograd.grad(largest_of_sums(*layers, twice, c, doubled).sum(), one)
    torch.testing.assert_close(found, expected)


def test_frozen_layers_pass_gradients_of_gradients_to_the_points():
    a, c, index = drawn(2, POINTS, WIDTH).requires_grad_(), drawn(2, CENTRES, WIDTH), index_of(2)
    layers = [layer_of(lambda: BatchNorm(WIDTH)).eval(), layer_of(lambda: Dense(WIDTH, OUTPUTS)).eval()]
    for layer in layers:
        layer.requires_grad_(False)
    value = largest_of_sums(*layers, a, c, index).square().sum()
    (once,) = torch.autograd.grad(value, a, create_graph=True)
    (twice,) = torch.autograd.grad(once.square().sum(), a)
    assert twice.isfinite().all()
    assert twice.any()


def test_deviation_of_differences():
    x, index = drawn(2, POINTS, WIDTH).requires_grad_(), index_of(2)
    centres = x[:, :CENTRES]
    found = difference_deviation(x, centres, index)
    differences = gather_points(x, index) - centres.unsqueeze(-2)
    assert found.shape == (2, 1, 1)
    assert_same(found.flatten(), differences.flatten(1).std(1), [x])


def test_deviation_of_equal_points_has_a_finite_gradient():
    x = torch.zeros(1, 3, WIDTH, dtype=torch.float64, requires_grad=True)
    index = torch.arange(3).expand(1, 2, 3)
    deviation = difference_deviation(x, x[:, :2], index)
    deviation.sum().backward()
    assert deviation.item() < 1e-100
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("inner", [3, WIDTH])
@pytest.mark.parametrize("relu", [True, False])
def test_plus_linear_norm_is_the_sum(training, inner, relu):
    """Whether the statistics come from the input's moments, as of a layer that widens, or not."""
    x, hidden = drawn(2, 4, 5, WIDTH).requires_grad_(), drawn(2, 4, 5, inner, seed=1).requires_grad_()
    ours, theirs = (layer_of(lambda: LinearNorm(inner, WIDTH, False)).train(training) for _ in range(2))
    found, expected = plus_linear_norm(x, ours, hidden, relu), x + theirs(hidden)
    assert_same(found, expected.relu() if relu else expected, [x, hidden], [ours], [theirs])
    for mine, plain in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, plain)


def test_plus_linear_norm_of_stacked_layers():
    x, hidden = drawn(3, 4, 5, WIDTH), drawn(3, 4, 5, 2, seed=1)
    layers = [layer_of(lambda: LinearNorm(2, WIDTH, False), seed) for seed in range(3)]
    found = plus_linear_norm(x, stack(layers), hidden, relu=False)
    for number, layer in enumerate(layers):
        torch.testing.assert_close(found[number], x[number] + layer(hidden[number]))


def test_max_over_neighbours():
    x = drawn(2, NEIGHBOURS, CENTRES, WIDTH)
    assert torch.equal(max_over_neighbours(x), x.max(1)[0])
