"""The parts of a continuous convolution equal their formulas, once and twice differentiated."""

from __future__ import annotations

import math

import pytest
import torch
from private import private
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pcbench.ops.layers import BatchNorm, Dense, Linear, LinearNorm, initialise, stack

convolution = private("convolution")
dense_by_moments = convolution.dense_by_moments
gaussian_density = convolution.gaussian_density
linear_of_rows = convolution.linear_of_rows
weighted_sums = convolution.weighted_sums

CHANNELS, WIDTH, WEIGHTS, GROUPS, NEIGHBOURS = 3, 5, 4, 3, 6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def draw(kind, seed: int = 0, bias: bool = True):
    """In float64, with a norm that is not the identity and falls in some channels."""
    source = generator(seed)
    unit = kind(CHANNELS, WIDTH, bias)
    initialise(unit, source)
    for norm in (module for module in unit if isinstance(module, BatchNorm)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 2, generator=source)
        norm.weight.data[::2] *= -1
    return unit.double()


def plain_sums(unit, x, weights):
    """Σ over the neighbours of ReLU(unit(x)) v, from features that are formed."""
    sums = torch.einsum("...kd,...kv->...dv", torch.relu(unit(x)), weights)
    return sums.flatten(-2)


def assert_same_gradients(found, expected, inputs, ours, theirs):
    pull = values(*found.shape, seed=3)
    gradients = [
        torch.autograd.grad((result * pull).sum(), [*inputs, *unit.parameters()])
        for result, unit in ((found, ours), (expected, theirs))
    ]
    for mine, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, plain)
    for mine, plain in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, plain)


def test_density_is_the_mean_kernel_over_the_points_of_a_cloud():
    xyz, bandwidth = values(2, 7, 3), 0.8
    found = gaussian_density(xyz, bandwidth)
    for cloud, densities in zip(xyz.tolist(), found.tolist(), strict=True):
        for centre, density in zip(cloud, densities, strict=True):
            kernel = [math.exp(-(math.dist(centre, p) ** 2) / (2 * bandwidth**2)) for p in cloud]
            assert density == pytest.approx(sum(kernel) / len(cloud) / (2.5 * bandwidth), rel=1e-12)


@pytest.mark.parametrize("points", [1, 7, 33, 64, 131])
def test_a_density_depends_on_its_own_cloud_to_the_last_bit(points, monkeypatch):
    xyz = values(5, points, 3).float()
    monkeypatch.setattr(convolution, "KERNEL_VALUES", 2 * points**2)
    together = gaussian_density(xyz, 0.4)
    for cloud, densities in zip(xyz, together, strict=True):
        assert torch.equal(gaussian_density(cloud, 0.4), densities)


def test_density_is_twice_differentiable(monkeypatch):
    monkeypatch.setattr(convolution, "KERNEL_VALUES", 50)
    xyz = values(3, 5, 3).requires_grad_()
    assert gradcheck(lambda x: gaussian_density(x, 0.9), [xyz])
    assert gradgradcheck(lambda x: gaussian_density(x, 0.9), [xyz])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_dense_by_moments_equals_the_unit(training, bias):
    ours, theirs = (draw(Dense, bias=bias).train(training) for _ in range(2))
    x = values(2, GROUPS, NEIGHBOURS, CHANNELS).requires_grad_()
    found, expected = dense_by_moments(ours, x), theirs(x)
    torch.testing.assert_close(found, expected)
    assert_same_gradients(found, expected, [x], ours, theirs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kept", [1, 1 << 18])
def test_weighted_sums_equal_those_of_formed_features(training, bias, kept, monkeypatch):
    monkeypatch.setattr(convolution, "GROUP_VALUES", kept)
    ours, theirs = (draw(LinearNorm, bias=bias).train(training) for _ in range(2))
    x = values(2, GROUPS, NEIGHBOURS, CHANNELS).requires_grad_()
    weights = values(2, GROUPS, NEIGHBOURS, WEIGHTS, seed=4).requires_grad_()
    found, expected = weighted_sums(ours, x, weights), plain_sums(theirs, x, weights)
    torch.testing.assert_close(found, expected)
    assert_same_gradients(found, expected, [x, weights], ours, theirs)


@pytest.mark.parametrize("training", [True, False])
def test_stacked_units_give_what_each_gives_alone(training):
    units = [draw(LinearNorm, seed).train(training) for seed in range(3)]
    x = values(3, 2, GROUPS, NEIGHBOURS, CHANNELS)
    weights = values(3, 2, GROUPS, NEIGHBOURS, WEIGHTS, seed=4)
    together = weighted_sums(stack(units).train(training), x, weights)
    dense = [draw(Dense, seed).train(training) for seed in range(3)]
    both = dense_by_moments(stack(dense).train(training), x)
    for s in range(3):
        torch.testing.assert_close(together[s], plain_sums(units[s], x[s], weights[s]))
        torch.testing.assert_close(both[s], dense[s](x[s]))


@pytest.mark.parametrize("training", [True, False])
def test_weighted_sums_are_twice_differentiable_by_all_their_inputs(training):
    unit = draw(LinearNorm).train(training)
    unit[1].momentum = 0.0  # so that every evaluation sees the same running statistics
    x = values(1, 2, 3, CHANNELS).requires_grad_()
    weights = values(1, 2, 3, 2, seed=4).requires_grad_()
    parameters = [tensor.detach().requires_grad_() for tensor in unit.parameters()]
    names = [name for name, _ in unit.named_parameters()]

    class Call(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unit = unit

        def forward(self, x, weights):
            return weighted_sums(self.unit, x, weights)

    def sums(x, weights, *parameters):
        state = {f"unit.{name}": tensor for name, tensor in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Call(), state, (x, weights))

    assert gradcheck(sums, [x, weights, *parameters])
    assert gradgradcheck(sums, [x, weights, *parameters])


def test_a_frozen_unit_still_passes_the_gradient_to_its_input():
    unit = draw(LinearNorm).eval().requires_grad_(False)
    x, weights = values(2, GROUPS, NEIGHBOURS, CHANNELS), values(2, GROUPS, NEIGHBOURS, WEIGHTS)
    x.requires_grad_()
    found = torch.autograd.grad(weighted_sums(unit, x, weights).square().sum(), x)
    expected = torch.autograd.grad(plain_sums(unit, x, weights).square().sum(), x)
    torch.testing.assert_close(found, expected)


def test_a_batch_of_one_value_is_normalised_by_the_running_statistics():
    unit = draw(LinearNorm).train()
    before = [buffer.clone() for buffer in unit.buffers()]
    x, weights = values(1, 1, 1, CHANNELS), values(1, 1, 1, WEIGHTS)
    torch.testing.assert_close(weighted_sums(unit, x, weights), plain_sums(unit, x, weights))
    assert all(torch.equal(a, b) for a, b in zip(before, unit.buffers(), strict=True))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("students", [0, 2])
def test_the_linear_map_of_rows_equals_the_linear_map(bias, students):
    layers = [Linear(CHANNELS, WIDTH, bias) for _ in range(students or 1)]
    for seed, layer in enumerate(layers):
        initialise(layer, generator(seed))
    linear = (stack(layers) if students else layers[0]).double()
    x = values(*[students] * (students > 0), 2, GROUPS, CHANNELS).requires_grad_()
    torch.testing.assert_close(linear_of_rows(linear, x), linear(x))
    for inputs in ([x], list(linear.parameters())):
        found, expected = (
            torch.autograd.grad(y.square().sum(), inputs) for y in (linear_of_rows(linear, x), linear(x))
        )
        for mine, plain in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, plain)
    assert gradgradcheck(lambda x: linear_of_rows(linear, x).square(), [x])
