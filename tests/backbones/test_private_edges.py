"""Edge convolutions computed at the points equal those on all edges, formed plainly in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from private import private
from torch import Tensor, nn

from pcbench.ops.layers import initialise, stack
from pcbench.ops.neighbours import gather_points, nearest

edges = private("edges")
EdgeDense = edges.EdgeDense
LeakyDense = edges.LeakyDense

INPUTS, WIDTH, NEIGHBOURS = 4, 7, 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def layer_of(seed: int = 0, inputs: int = INPUTS, width: int = WIDTH) -> EdgeDense:
    """In float64; its norm is not the identity, and some of its weights are negative."""
    layer = EdgeDense(inputs, width)
    draw(layer, seed)
    return layer


def draw(layer: EdgeDense | LeakyDense, seed: int) -> None:
    """Draw a layer in float64, its norm too, and turn every third weight of that negative."""
    initialise(layer, generator(seed))
    layer.double()
    source = generator(100 + seed)
    with torch.no_grad():
        for values in (layer[1].weight, layer[1].bias, layer[1].running_mean, layer[1].running_var):
            values.uniform_(0.5, 2, generator=source)
        layer[1].weight[::3] *= -1


def graph(x: Tensor, k: int = NEIGHBOURS) -> Tensor:
    return nearest(x, x, k)


def plainly(layer: EdgeDense, x: Tensor, index: Tensor) -> Tensor:
    """Every edge formed, and torch's own batch norm: one network, (..., N, C), (..., N, k)."""
    linear, norm = layer
    centres = x.unsqueeze(-2).expand(*index.shape, -1)
    edge = torch.cat([gather_points(x, index) - centres, centres], -1)
    product = edge @ linear.weight.T
    rows = F.batch_norm(
        product.reshape(-1, product.shape[-1]),
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        training=norm.training,
        momentum=norm.momentum,
        eps=norm.eps,
    )
    return F.leaky_relu(rows, 0.2).view_as(product).max(-2).values


def gradients(value: Tensor, *sources: Tensor) -> tuple[Tensor, ...]:
    weights = drawn(*value.shape, seed=77)
    return torch.autograd.grad((value * weights).sum(), sources, create_graph=True)


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 12), (9,), (2, 3, 8), (1, 2)], ids=str)
@pytest.mark.parametrize("part", [1, 1 << 20], ids=["in parts", "at once"])
def test_equals_the_layer_on_all_edges_in_value_and_two_derivatives(training, shape, part, monkeypatch):
    monkeypatch.setattr(edges, "GATHERED_BYTES", part)
    ours = layer_of().train(training)
    theirs = copy.deepcopy(ours)
    x = drawn(*shape, INPUTS).requires_grad_()
    index = graph(x, min(NEIGHBOURS, shape[-1]))
    results = []
    for layer, value in ((ours, ours.of_neighbours(x, index)), (theirs, plainly(theirs, x, index))):
        first = gradients(value, x, *layer.parameters())
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [x, *layer.parameters()])
        results.append((value, *first, *second, *layer.buffers()))
    for mine, plain in zip(*results, strict=True):
        close(mine, plain)


@pytest.mark.parametrize("training", [True, False])
def test_without_gradients_the_values_are_the_same(training):
    layer, x = layer_of().train(training), drawn(2, 12, INPUTS)
    with torch.inference_mode():
        found = copy.deepcopy(layer).of_neighbours(x, graph(x))
    close(found, plainly(layer, x, graph(x)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_stacked_layers_are_each_layer_alone(training, shared):
    layers = [layer_of(seed).train(training) for seed in range(3)]
    together = stack(layers).train(training)
    x = drawn(3, 2, 9, INPUTS)
    x = (x[:1].expand(3, -1, -1, -1) if shared else x).clone().requires_grad_()
    index = graph(x[:1]) if shared else graph(x)
    found = together.of_neighbours(x, index)
    assert found.shape == (3, 2, 9, WIDTH)
    ours = gradients(found, x, *together.parameters())
    weights = drawn(*found.shape, seed=77)
    for number, layer in enumerate(layers):
        one = x[number].detach().clone().requires_grad_()
        alone = plainly(layer, one, index[0 if shared else number])
        theirs = torch.autograd.grad((alone * weights[number]).sum(), [one, *layer.parameters()])
        close(found[number], alone)
        for mine, plain in zip(ours, theirs, strict=True):
            close(mine[number], plain)
        for mine, plain in zip(together.buffers(), layer.buffers(), strict=True):
            close(mine[number], plain)


@pytest.mark.parametrize("training", [True, False])
def test_equal_neighbours_share_their_largest_and_only_one_of_them_its_gradient(training):
    layer = layer_of().train(training)
    x = drawn(1, 4, INPUTS).repeat(1, 3, 1)
    index = torch.arange(12).expand(1, 12, 12)
    assert torch.equal(index.unique(), torch.arange(12))
    copied = x.clone().requires_grad_()
    found = layer.of_neighbours(copied, index)
    close(found, plainly(copy.deepcopy(layer), x, index))
    # The copies of a point move alike, so that the sum of their gradients is that of the point.
    base = drawn(1, 4, INPUTS).requires_grad_()
    (by_copies,) = gradients(found, copied)
    repeated = base.repeat(1, 3, 1)
    (by_point,) = gradients(plainly(copy.deepcopy(layer), repeated, index), base)
    close(by_copies.view(1, 3, 4, INPUTS).sum(1), by_point)


def test_the_gradient_of_a_maximum_goes_to_one_point_for_every_centre_and_channel():
    layer = layer_of().eval()
    with torch.no_grad():
        layer[0].weight[:, INPUTS:] = layer[0].weight[:, :INPUTS]  # x_j - x_i + x_i: the neighbour alone
        layer[1].weight.abs_().add_(1)
        layer[1].bias.fill_(100)  # no slope but 1
    x = torch.ones(1, 6, INPUTS, dtype=torch.float64, requires_grad=True)
    found = layer.of_neighbours(x, torch.arange(6).expand(1, 6, 6))
    (by_x,) = torch.autograd.grad(found[0, 0, 2], x)
    assert int((by_x.abs().sum(-1) > 0).sum()) == 1


@pytest.mark.parametrize("training", [True, False])
def test_passes_first_and_second_derivatives_of_finite_differences(training):
    layer = layer_of(inputs=2, width=4).train(training)
    x = drawn(2, 4, 2)
    index = graph(x, 3)
    with torch.no_grad():
        layer[1].weight.abs_().add_(0.5)

    class OfNeighbours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.of_neighbours(x, index)

    module = OfNeighbours()

    def value(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        given = {"layer.0.weight": weight, "layer.1.weight": scale}
        return torch.func.functional_call(module, given, (x,))

    inputs = (x, layer[0].weight.detach(), layer[1].weight.detach())
    inputs = tuple(v.clone().requires_grad_() for v in inputs)
    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_one_edge_is_normalised_by_the_running_statistics_and_leaves_them():
    layer = layer_of().train()
    before = [buffer.clone() for buffer in layer.buffers()]
    x = drawn(1, 1, INPUTS)
    found = layer.of_neighbours(x, torch.zeros(1, 1, 1, dtype=torch.int64))
    close(found, plainly(copy.deepcopy(layer).eval(), x, torch.zeros(1, 1, 1, dtype=torch.int64)))
    assert all(torch.equal(a, b) for a, b in zip(before, layer.buffers(), strict=True))


def test_float32_far_from_the_origin_keeps_the_spread_of_its_edges():
    """Moments about 0 would lose the variance of values around 1000 in float32."""
    layer = layer_of().train()
    x = (drawn(2, 40, INPUTS) + 1000).float()
    index = graph(x)
    expected = plainly(copy.deepcopy(layer), x.double(), index)
    found = layer.float().of_neighbours(x, index)
    torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=2e-2)


def test_no_tensor_has_an_edge_for_every_channel():
    """The largest tensor kept for the backward pass has the size of the points' features."""
    layer, x = layer_of().train(), drawn(2, 32, INPUTS).requires_grad_()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        layer.of_neighbours(x, graph(x))
    assert max(sizes) <= 2 * 32 * max(WIDTH, NEIGHBOURS)


# The pooled unit


def unit_of(seed: int = 0, bias: bool = True) -> LeakyDense:
    unit = LeakyDense(INPUTS, WIDTH, bias)
    draw(unit, seed)
    with torch.no_grad():
        unit[1].bias -= 1.2
    return unit


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("students", [0, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 9), (1, 2), (3, 1)], ids=str)
def test_max_and_mean_are_those_of_the_features_in_value_and_two_derivatives(training, students, bias, shape):
    units = [unit_of(seed, bias) for seed in range(max(students, 1))]
    ours = (stack(units) if students else units[0]).train(training)
    plain = copy.deepcopy(ours)
    x = drawn(*([students] if students else []), *shape, INPUTS).requires_grad_()
    features = plain(x)
    assert bool((features > 0).any())
    assert bool((features < 0).any())
    results = []
    target = torch.cat([features.max(-2).values, features.mean(-2)], -1)
    for unit, value in ((ours, ours.max_and_mean(x)), (plain, target)):
        weights = drawn(*value.shape, seed=77)
        sources = [x, *unit.parameters()]
        once = torch.autograd.grad((value * weights).sum(), sources, retain_graph=True)
        first = gradients(value, *sources)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), sources, allow_unused=True)
        second = [torch.zeros_like(s) if g is None else g for g, s in zip(second, sources, strict=True)]
        results.append((value, *once, *first, *second, *unit.buffers()))
    for mine, plainly_found in zip(*results, strict=True):
        close(mine, plainly_found, 1e-7)  # second derivatives of a norm of two values magnify rounding


@pytest.mark.parametrize("training", [True, False])
def test_max_and_mean_of_a_frozen_unit_give_the_points_their_gradient(training):
    unit, x = unit_of().train(training).requires_grad_(False), drawn(2, 9, INPUTS).requires_grad_()
    features = copy.deepcopy(unit)(x)
    target = torch.cat([features.max(-2).values, features.mean(-2)], -1)
    found = unit.max_and_mean(x)
    weights = drawn(*found.shape, seed=77)
    ours, theirs = (torch.autograd.grad((value * weights).sum(), x)[0] for value in (found, target))
    close(ours, theirs)
    with torch.inference_mode():
        close(unit.max_and_mean(x), unit.eval().max_and_mean(x) if not training else found)


def test_max_and_mean_of_one_value_keep_the_running_statistics():
    unit = unit_of().train()
    before = [buffer.clone() for buffer in unit.buffers()]
    x = drawn(1, 1, INPUTS)
    close(unit.max_and_mean(x), unit(x).squeeze(-2).repeat(1, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, unit.buffers(), strict=True))
