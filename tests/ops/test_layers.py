"""The layers against plain float64 formulas and torch's own, for one network and for stacked ones."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops import pooling
from pcbench.ops.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    Linear,
    LinearNorm,
    adapt_batch_norm,
    affine,
    columns,
    from_columns,
    initialise,
    max_over_points,
    members,
    mlp,
    set_dropout,
    stack,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def network_of(make, seed: int = 0) -> nn.Module:
    """A network in float64 whose norms, too, hold other values than their first."""
    network = make()
    initialise(network, generator(seed))
    network.double()
    for number, module in enumerate(network.modules()):
        if isinstance(module, BatchNorm):
            source = generator(1000 * seed + number)
            with torch.no_grad():
                for values, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                    values.uniform_(low, low + 1, generator=source)
                module.running_var.uniform_(0.5, 2, generator=source)
    return network


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# Columns

MIDDLES = [(4,), (4, 5), (2, 3, 4), (2, 1, 3, 2), (1,), (1, 1)]


@pytest.mark.parametrize("middle", MIDDLES, ids=str)
@pytest.mark.parametrize("stacked", [False, True])
def test_columns_are_the_features_in_order_and_go_back(middle, stacked):
    x = drawn(*((2,) if stacked else ()), *middle, 3)
    matrices = columns(x, stacked)
    rows = x.reshape(2 if stacked else 1, -1, 3)
    assert torch.equal(matrices, rows.transpose(1, 2))
    assert torch.equal(from_columns(matrices, x, stacked), x)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 4), st.booleans())
def test_columns_round_trip(middle, channels, stacked):
    x = torch.arange(math.prod(middle) * channels * 2, dtype=torch.float64).view(2, *middle, channels)
    x = x if stacked else x[0]
    assert torch.equal(from_columns(columns(x, stacked), x, stacked), x)


def test_going_back_is_a_view_in_another_width():
    x = drawn(2, 4, 5, 3)
    y = drawn(2, 7, 20)
    back = from_columns(y, x, True)
    assert back.shape == (2, 4, 5, 7)
    assert back.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
    assert columns(back, True).untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


# Linear


@pytest.mark.parametrize("middle", MIDDLES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_its_formula_and_torchs(middle, bias):
    layer = network_of(lambda: Linear(3, 5, bias))
    x = drawn(*middle, 3)
    plain = torch.zeros(*middle, 5, dtype=torch.float64)
    for place in torch.cartesian_prod(*map(torch.arange, (*middle, 5))).tolist():
        *where, output = place
        plain[tuple(place)] = sum(layer.weight[output, i] * x[(*where, i)] for i in range(3)).detach()
        if bias:
            plain[tuple(place)] += layer.bias[output].detach()
    close(layer(x), plain)
    close(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("middle", MIDDLES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_stacked_linear_is_each_network_on_its_own_input(middle, bias):
    networks = [network_of(lambda: Linear(3, 5, bias), seed) for seed in range(3)]
    x = drawn(3, *middle, 3)
    close(stack(networks)(x), torch.stack([network(x[s]) for s, network in enumerate(networks)]))


def test_affine_takes_weights_that_are_not_parameters():
    x, weight, bias = drawn(4, 3), drawn(2, 3, seed=1), drawn(2, seed=2)
    close(affine(x, weight, bias, False), x @ weight.T + bias)
    close(affine(x, weight, None, False), x @ weight.T)


def test_first_weights_are_uniform_within_one_over_the_root_of_the_inputs():
    layer = Linear(64, 4096)
    layer.reset_parameters(generator(3))
    bound = 1 / 8
    for values in (layer.weight, layer.bias):
        sample = values.detach().double().flatten().sort().values
        assert -bound <= float(sample[0]) < -0.99 * bound
        assert 0.99 * bound < float(sample[-1]) < bound
        expected = (torch.arange(len(sample), dtype=torch.float64) + 0.5) / len(sample)
        distance = float((sample / (2 * bound) + 0.5 - expected).abs().max())
        assert distance < 1.95 / math.sqrt(len(sample))  # Kolmogorov–Smirnov, p = 0.001
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_first_weights_have_the_spread_of_torchs_linear():
    ours, theirs = Linear(25, 2000), torch.empty(2000, 25)
    ours.reset_parameters(generator(1))
    nn.init.kaiming_uniform_(theirs, a=math.sqrt(5), generator=generator(2))
    assert float(ours.weight.detach().std()) == pytest.approx(float(theirs.std()), rel=0.02)
    assert float(ours.weight.detach().abs().max()) == pytest.approx(float(theirs.abs().max()), rel=0.001)


# Batch norm


def plain_norm(layer: BatchNorm, x: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Output, running mean and running variance afterwards, by formula, channels last, one network."""
    rows = x.reshape(-1, x.shape[-1])
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    used_mean, used_var = mean, var
    if training:
        count = len(rows)
        used_mean = rows.sum(0) / count
        squares = (rows - used_mean).square().sum(0)
        used_var = squares / count
        mean = (1 - layer.momentum) * mean + layer.momentum * used_mean
        var = (1 - layer.momentum) * var + layer.momentum * squares / (count - 1)
    return (x - used_mean) / (used_var + 1e-5).sqrt() * layer.weight + layer.bias, mean, var


@pytest.mark.parametrize("middle", [(4,), (4, 5), (2, 3, 4), (1, 2)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_its_formula_and_torchs(middle, training):
    layer = network_of(lambda: BatchNorm(3)).train(training)
    theirs = nn.BatchNorm1d(3).double().train(training)
    theirs.load_state_dict({**layer.state_dict(), "num_batches_tracked": torch.tensor(0)})
    x = drawn(*middle, 3) * 2 + 1
    y, mean, var = plain_norm(layer, x, training)
    close(layer(x), y)
    close(theirs(x.reshape(-1, 3)), y.reshape(-1, 3))
    for norm in (layer, theirs):
        close(norm.running_mean, mean)
        close(norm.running_var, var)


@pytest.mark.parametrize("middle", [(4,), (4, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_stacked_batch_norm_is_each_network_on_its_own_batch(middle, training):
    networks = [network_of(lambda: BatchNorm(3), seed).train(training) for seed in range(3)]
    together = stack(networks).train(training)
    x = drawn(3, *middle, 3) * torch.tensor([1.0, 2.0, 3.0]).view(3, *(1 for _ in middle), 1)
    expected = [plain_norm(network, x[s], training) for s, network in enumerate(networks)]
    close(together(x), torch.stack([y for y, _, _ in expected]))
    close(together.running_mean, torch.stack([mean for _, mean, _ in expected]))
    close(together.running_var, torch.stack([var for _, _, var in expected]))


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("middle", [(1,), (1, 1)], ids=str)
def test_one_value_per_channel_uses_and_keeps_the_running_statistics(stacked, middle):
    networks = [network_of(lambda: BatchNorm(3), seed).train() for seed in range(2)]
    layer = stack(networks).train() if stacked else networks[0]
    x = drawn(*((2,) if stacked else ()), *middle, 3).requires_grad_()
    before = copy.deepcopy(layer.state_dict())
    y = layer(x)
    inputs = x if stacked else x.unsqueeze(0)
    expected = [plain_norm(n, inputs[s], False)[0] for s, n in enumerate(networks[: len(inputs)])]
    close(y, torch.stack(expected) if stacked else expected[0])
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    y.sum().backward()
    assert bool((x.grad != 0).all())
    assert torch.isfinite(layer.weight.grad).all()


def test_batch_norm_passes_gradients_of_finite_differences():
    layer = network_of(lambda: BatchNorm(2)).train()
    assert torch.autograd.gradcheck(layer, drawn(3, 2, 2).requires_grad_())


def test_batch_norm_begins_with_ones_and_zeros():
    layer = network_of(lambda: BatchNorm(2))
    layer.momentum = 0.1
    layer.reset_parameters(generator())
    assert [values.tolist() for values in layer.state_dict().values()] == [[1, 1], [0, 0], [0, 0], [1, 1]]


# Linear and norm in one


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_linear_norm_equals_its_two_parts(stacked, bias):
    networks = [network_of(lambda: LinearNorm(3, 5, bias), seed) for seed in range(2)]
    unit = (stack(networks) if stacked else networks[0]).eval()
    x = drawn(*((2,) if stacked else ()), 4, 6, 3)
    close(unit(x), unit[1](unit[0](x)))
    linear, norm = networks[0]
    first = x[0] if stacked else x
    product = first @ linear.weight.T + (linear.bias if bias else 0)
    close(unit(x)[0] if stacked else unit(x), plain_norm(norm, product, False)[0])
    unit.train()
    close(unit(x), copy.deepcopy(unit[1])(unit[0](x)))


@pytest.mark.parametrize("training", [True, False])
def test_a_shared_mlp_is_linear_norm_relu_in_turn(training):
    network = network_of(lambda: mlp(3, 5, 4)).train(training)
    assert [type(unit) for unit in network] == [Dense, Dense]
    x = y = drawn(4, 6, 3)
    for linear, norm in copy.deepcopy(network):
        y = plain_norm(norm, y @ linear.weight.T + linear.bias, training)[0].clamp_min(0)
    close(network(x), y)


# Dropout


def dropout(p: float, *seeds: int, stacked: bool = False) -> Dropout:
    layer = Dropout(p).train()
    layer.stacked = stacked
    set_dropout(layer, [generator(seed) for seed in seeds])
    return layer


def test_dropout_zeroes_by_its_stream_and_scales_the_rest():
    x = drawn(4, 5, 3)
    keep = (torch.rand(4, 5, 3, generator=generator(7)) >= 0.3).double()
    close(dropout(0.3, 7)(x), x * keep / (1 - 0.3))
    assert 0 < keep.mean() < 1


def test_dropout_drops_its_share():
    kept = dropout(0.4, 1)(torch.ones(200, 200)) != 0
    assert float(kept.double().mean()) == pytest.approx(0.6, abs=0.01)


def test_dropout_masks_are_reproducible_and_change_with_every_batch():
    x = torch.ones(4, 50)
    one, same = dropout(0.5, 7), dropout(0.5, 7)
    first, second = one(x), one(x)
    assert torch.equal(first, same(x))
    assert torch.equal(second, same(x))
    assert not torch.equal(first, second)


def test_every_student_has_masks_of_its_own():
    x = torch.ones(2, 4, 50)
    together = dropout(0.5, 7, 8, stacked=True)(x)
    assert torch.equal(together[0], dropout(0.5, 7)(x[0]))
    assert torch.equal(together[1], dropout(0.5, 8)(x[1]))
    assert not torch.equal(together[0], together[1])


def test_dropout_is_off_in_evaluation_and_at_zero():
    x = drawn(4, 3)
    layer = dropout(0.5, 7)
    before = layer.generators[0].get_state()
    assert layer.eval()(x) is x
    assert dropout(0.0, 7)(x) is x
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(layer.generators[0].get_state(), before)


@pytest.mark.parametrize(("seeds", "stacked"), [((), False), ((1, 2), False), ((1,), True), ((1, 2), True)])
def test_dropout_without_one_stream_a_student_is_refused(seeds, stacked):
    with pytest.raises(RuntimeError, match=rf"dropout has {len(seeds)} random streams for [13] networks"):
        dropout(0.5, *seeds, stacked=stacked)(torch.ones(3, 4, 5))


# Pooling


def test_the_maximum_over_points_sends_its_gradient_to_one_point():
    x = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [3.0, 2.0]]], dtype=torch.float64, requires_grad=True)
    y = max_over_points(x)
    assert y.tolist() == [[3.0, 5.0]]
    (y * torch.tensor([2.0, 7.0])).sum().backward()
    assert (x.grad != 0).sum(1).tolist() == [[1, 1]]
    assert x.grad.sum(1).tolist() == [[2.0, 7.0]]
    assert bool((x.grad[x.detach() < y.detach().unsqueeze(1)] == 0).all())


def test_the_maximum_keeps_the_leading_axes():
    x = drawn(2, 3, 5, 4)
    assert torch.equal(max_over_points(x), x.amax(2))


# First weights and stacking


def pooling_case(make, students: int, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    """A unit whose norm has weights of either sign, one or stacked, and its input."""
    units = [network_of(make, seed) for seed in range(max(students, 1))]
    for unit in units:
        with torch.no_grad():
            unit[1].weight[::3] *= -1
    if students:
        return stack(units), drawn(students, *shape)
    return units[0], drawn(*shape)


@pytest.mark.parametrize("make", [Dense, LinearNorm])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("students", [0, 3])
@pytest.mark.parametrize("shape", [(4, 9, 5), (1, 2, 5), (3, 1, 5)])
def test_the_pooled_unit_is_the_maximum_of_its_features(make, bias, training, students, shape, monkeypatch):
    monkeypatch.setattr(pooling, "MAX_VALUES", 2 * 7 * shape[-2])
    unit, x = pooling_case(lambda: make(5, 7, bias), students, shape)
    unit.train(training)
    plain = copy.deepcopy(unit)
    x.requires_grad_()
    target = max_over_points(plain(x))
    value = unit.max_over_points(x)
    close(value, target)
    weights = drawn(*value.shape, seed=5)
    ours = torch.autograd.grad((value * weights).sum(), [x, *unit.parameters()])
    theirs = torch.autograd.grad((target * weights).sum(), [x, *plain.parameters()])
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 1e-10)
    for a, b in zip(unit.buffers(), plain.buffers(), strict=True):
        close(a, b)


@pytest.mark.parametrize("most", [1, 3 * 9, 2 * 7 * 9, 10_000])  # a channel, some channels, two clouds, all
@pytest.mark.parametrize("students", [0, 3])
def test_the_maximum_without_gradient_is_the_same_in_whatever_parts(most, students, monkeypatch):
    monkeypatch.setattr(pooling, "MAX_VALUES", most)
    unit, x = pooling_case(lambda: Dense(5, 7), students, (5, 9, 5))
    unit.eval()
    with torch.no_grad():
        close(unit.max_over_points(x), max_over_points(unit(x)))


def test_the_pooled_unit_of_one_point_keeps_the_running_statistics():
    unit = network_of(lambda: Dense(5, 7)).train()
    before = [buffer.clone() for buffer in unit.buffers()]
    x = drawn(1, 1, 5)
    close(unit.max_over_points(x), max_over_points(unit(x)))
    assert all(torch.equal(a, b) for a, b in zip(before, unit.buffers(), strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("students", [0, 2])
def test_the_pooled_unit_passes_first_and_second_derivatives_of_finite_differences(training, students):
    unit, x = pooling_case(lambda: LinearNorm(3, 4), students, (3, 5, 3))
    unit.train(training)
    weight, bias = unit[0].weight.detach(), unit[0].bias.detach()

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unit = unit

        def forward(self, x: Tensor) -> Tensor:
            return self.unit.max_over_points(x)

    pooled = Pooled()

    def value(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        given = {"unit.0.weight": weight, "unit.0.bias": bias}
        return torch.func.functional_call(pooled, given, (x,))

    inputs = tuple(v.clone().requires_grad_() for v in (x, weight, bias))
    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_the_pooled_unit_in_float32_is_the_plain_one_within_rounding():
    unit, x = pooling_case(lambda: Dense(64, 128), 2, (4, 50, 64))
    unit.float().train()
    close(unit.max_over_points(x.float()), max_over_points(copy.deepcopy(unit)(x.float())), 1e-4)


def test_initialise_draws_layer_after_layer_from_its_generator_alone():
    network = mlp(3, 5, 4)
    state = torch.get_rng_state()
    initialise(network, generator(5))
    assert torch.equal(torch.get_rng_state(), state)
    source = generator(5)
    for unit in network:
        bound = 1 / math.sqrt(unit[0].inputs)
        for values in (unit[0].weight, unit[0].bias):
            assert torch.equal(values, torch.empty_like(values).uniform_(-bound, bound, generator=source))


class WithOwnParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Sequential(Linear(3, 4), nn.Linear(4, 2)), "layer '1' is a Linear"),
        (lambda: nn.Sequential(nn.Sequential(nn.BatchNorm1d(3))), r"layer '0\.0' is a BatchNorm1d"),
        (lambda: nn.Sequential(Linear(3, 4), nn.Dropout(0.5)), "layer '1' is a Dropout"),
        (lambda: nn.Sequential(nn.Dropout1d(0.5)), "layer '0' is a Dropout1d"),
        (lambda: nn.Linear(4, 2), "layer 'network' is a Linear"),
        (WithOwnParameter, "layer 'network' is a WithOwnParameter"),
    ],
)
def test_layers_that_draw_from_a_global_generator_are_refused_by_name(make, words):
    with pytest.raises(TypeError, match=words):
        initialise(make(), generator())


def test_a_layer_of_ones_own_is_drawn_and_stacked():
    class Shift(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.empty(3))

        def reset_parameters(self, generator: torch.Generator) -> None:
            with torch.no_grad():
                self.by.uniform_(generator=generator)

        def forward(self, x: Tensor) -> Tensor:
            by = self.by.view(-1, *(1 for _ in x.shape[1:-1]), 3) if self.stacked else self.by
            return x + by

    networks = [network_of(Shift, seed) for seed in range(2)]
    x = drawn(2, 4, 5, 3)
    close(stack(networks)(x), torch.stack([networks[0](x[0]), networks[1](x[1])]))


def test_stacked_parameters_are_copies_in_order():
    networks = [network_of(lambda: mlp(3, 4), seed) for seed in range(3)]
    networks[0][0][0].weight.requires_grad_(False)
    together = stack(networks)
    for name, value in together.state_dict().items():
        assert torch.equal(value, torch.stack([network.state_dict()[name] for network in networks])), name
    assert not together[0][0].weight.requires_grad
    assert together[0][0].bias.requires_grad
    before = networks[1][0][0].bias.clone()
    with torch.no_grad():
        together[0][0].bias.zero_()
    assert torch.equal(networks[1][0][0].bias, before)
    assert not any(
        module.stacked for network in networks for module in network.modules() if isinstance(module, Layer)
    )


@pytest.mark.parametrize("training", [True, False])
def test_stacked_networks_give_the_outputs_and_gradients_of_separate_ones(training):
    def make() -> nn.Module:
        return nn.Sequential(mlp(3, 6, 5), LinearNorm(5, 4), Dropout(0.4), Linear(4, 2))

    networks = [network_of(make, seed).train(training) for seed in range(3)]
    together = stack(networks).train(training)
    set_dropout(together, [generator(70 + s) for s in range(3)])
    x = drawn(3, 4, 5, 3).requires_grad_()
    y = together(x)
    weights = drawn(*y.shape, seed=9)
    (y * weights).sum().backward()
    for s, network in enumerate(networks):
        set_dropout(network, [generator(70 + s)])
        alone = x.detach()[s].clone().requires_grad_()
        z = network(alone)
        (z * weights[s]).sum().backward()
        close(y[s], z)
        close(x.grad[s], alone.grad)
        for (name, ours), theirs in zip(together.named_parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(ours.grad[s], theirs.grad, rtol=1e-9, atol=1e-11, msg=name)
        for ours, theirs in zip(together.buffers(), network.buffers(), strict=True):
            close(ours[s], theirs)


# Adapting the norms


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.25])
def test_adapting_moves_the_statistics_by_their_formula_then_freezes(momentum):
    network = nn.Sequential(mlp(3, 5), Dropout(0.5), LinearNorm(5, 4))
    initialise(network, generator())
    network.double().train()
    weights = {name: value.clone() for name, value in network.named_parameters()}
    x = drawn(6, 7, 3)
    adapt_batch_norm(network, x, momentum)
    y = x
    for linear, norm in (network[0][0], network[2]):
        rows = (y @ linear.weight.T + linear.bias).reshape(42, -1).detach()
        mean = rows.sum(0) / 42
        squares = (rows - mean).square().sum(0)
        close(norm.running_mean, (1 - momentum) * 0 + momentum * mean)
        close(norm.running_var, (1 - momentum) * 1 + momentum * squares / 41)
        y = ((rows - mean) / (squares / 42 + 1e-5).sqrt()).clamp_min(0).reshape(6, 7, -1)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
    assert all(value.grad is None for value in network.parameters())
    close(network(x[:1]), network(x)[:1])


def test_adapting_leaves_the_norms_their_own_momentum():
    network = network_of(lambda: mlp(3, 4))
    network[0][1].momentum = 0.3
    adapt_batch_norm(network, drawn(2, 5, 3), 1.0)
    assert network[0][1].momentum == 0.3


def test_adapting_uses_a_momentum_of_one_tenth_unless_told():
    one, other = (network_of(lambda: LinearNorm(3, 4)) for _ in range(2))
    adapt_batch_norm(one, drawn(5, 3))
    adapt_batch_norm(other, drawn(5, 3), 0.1)
    assert torch.equal(one[1].running_mean, other[1].running_mean)
    assert torch.equal(one[1].running_var, other[1].running_var)


def test_adapting_through_a_part_leaves_the_rest(pointnet: type[Backbone]):
    network = pointnet.build(3, "paper", generator()).double()
    adapt_batch_norm(network, drawn(2, 16, 3), through=network.point_features)
    head, high = network.head[0][1], network.high[1][1]
    assert head.running_mean.tolist() == [0.0] * 512
    assert head.running_var.tolist() == [1.0] * 512
    assert bool((high.running_mean != 0).all())
    assert not network.training


def test_observing_moves_the_statistics_as_the_features_do(pointnet: type[Backbone]):
    one, other = (pointnet.build(3, "paper", generator()).double() for _ in range(2))
    clouds = drawn(4, 16, 3)
    adapt_batch_norm(one, clouds, through=one.point_features)
    adapt_batch_norm(other, clouds, through=other.observe)
    for name, values in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], values, rtol=1e-9, atol=1e-12)


# PointNet, which is made of these layers


@pytest.mark.parametrize("classes", [10, 15, 40, 55])
@pytest.mark.parametrize(("preset", "fixed"), [("paper", 1_603_849), ("canonical", 3_461_193)])
def test_parameters_of_pointnet_as_on_its_card(pointnet: type[Backbone], preset, fixed, classes):
    with torch.device("meta"):
        network = pointnet(classes, **pointnet.presets[preset])
    assert sum(parameter.numel() for parameter in network.parameters()) == fixed + 257 * classes


def test_pointnet_of_forty_classes_has_the_cards_totals():
    assert (1_603_849 + 257 * 40, 3_461_193 + 257 * 40) == (1_614_129, 3_471_473)


@pytest.mark.parametrize("preset", ["paper", "canonical"])
def test_the_order_of_points_does_not_matter(pointnet: type[Backbone], preset):
    network = pointnet.build(3, preset, generator()).double().eval()
    x = drawn(5, 16, 3)
    order = torch.randperm(16, generator=generator(1))
    with torch.inference_mode():
        close(network(x[:, order]), network(x))
        close(network.point_features(x[:, order]), network.point_features(x)[:, order])
        set_dropout(network, [generator(2)])
        first = network.train()(x)
        set_dropout(network, [generator(2)])
        close(network(x[:, order]), first, 1e-8)


@pytest.mark.parametrize("preset", ["paper", "canonical"])
def test_the_faces_of_pointnet_follow_from_each_other(pointnet: type[Backbone], preset):
    network = pointnet.build(3, preset, generator()).eval()
    x = drawn(2, 8, 3).float()
    with torch.inference_mode():
        features = network.point_features(x)
        assert features.shape == (2, 8, 1024)
        assert bool((features < 0).any())
        close(network.global_feature(x), features.amax(1), 1e-6)
        assert network.embed(x).shape == (2, 256)
        torch.testing.assert_close(network(x), network.classifier(network.embed(x)))
        assert network(x).shape == (2, 3)


def test_stacked_pointnets_give_the_logits_of_separate_ones(pointnet: type[Backbone]):
    networks = [pointnet.build(3, "paper", generator(seed)).double().eval() for seed in range(2)]
    x = drawn(2, 3, 8, 3)
    with torch.inference_mode():
        close(stack(networks)(x), torch.stack([network(x[s]) for s, network in enumerate(networks)]), 1e-11)


def test_members_of_a_stack_can_be_changed_while_others_are_in_a_forward():
    """As threads do that train a share each; both train the whole."""
    whole = stack([initialised(mlp(3, 5), seed) for seed in range(3)]).train()
    one, others = members(whole, slice(0, 1)), members(whole, slice(1, 3))
    kept = [parameter.detach().clone() for parameter in whole.parameters()]
    loss = one(torch.randn(1, 4, 2, 3)).square().sum()
    with torch.no_grad():
        for parameter in others.parameters():
            parameter.add_(1.0)
    gradients = torch.autograd.grad(loss, list(one.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    for parameter, before in zip(whole.parameters(), kept, strict=True):
        assert torch.equal(parameter[:1], before[:1])
        assert torch.equal(parameter[1:], before[1:] + 1.0)


def initialised(network: nn.Module, seed: int) -> nn.Module:
    initialise(network, torch.Generator().manual_seed(seed))
    return network
