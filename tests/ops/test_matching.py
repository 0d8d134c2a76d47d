"""The discrepancies against plain float64 loops over classes, pairs and entries."""

import math
from itertools import permutations

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from torch import Tensor

from pcbench.ops import batches
from pcbench.ops.matching import (
    attention_maps,
    match_classes,
    mean_distance,
    mmd,
    sorted_features,
    squared_distances,
)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dist2(a: list[float], b: list[float]) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def plain_mmd(real: Tensor, synthetic: Tensor, sigmas: list[float] | None = None) -> float:
    """Eq. 3-4 for one class, (n, F) and (m, F), with a sum of kernels exp(-d² / 2σ); σ by the card's rule."""
    real_rows, rows = real.double().tolist(), synthetic.double().tolist()
    union = real_rows + rows
    if sigmas is None:
        total = math.fsum(dist2(a, b) for a in union for b in union)
        width = total / (len(union) ** 2 - len(union))
        sigmas = [width * factor / 2 for factor in (1 / 4, 1 / 2, 1, 2, 4)]

    def kernel(first: list[list[float]], second: list[list[float]]) -> float:
        values = [math.exp(-dist2(a, b) / (2 * sigma)) for a in first for b in second for sigma in sigmas]
        return math.fsum(values) / (len(first) * len(second))

    return kernel(real_rows, real_rows) + kernel(rows, rows) - 2 * kernel(real_rows, rows)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_mmd_is_that_of_the_card(m, dtype, tolerance):
    real, synthetic = draw(4, 5, 6, dtype=dtype), draw(4, m, 6, seed=1, dtype=dtype) + 0.3
    expected = torch.tensor(
        [plain_mmd(r, s) for r, s in zip(real, synthetic, strict=True)], dtype=torch.float64
    )
    torch.testing.assert_close(mmd(real, synthetic).double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("sigma", [0.7, 5.0])
def test_mmd_of_one_fixed_width_is_equation_4(sigma):
    real, synthetic = draw(3, 5, 4), draw(3, 2, 4, seed=1)
    expected = [plain_mmd(r, s, [sigma]) for r, s in zip(real, synthetic, strict=True)]
    torch.testing.assert_close(
        mmd(real, synthetic, bandwidth=sigma), torch.tensor(expected, dtype=torch.float64)
    )


def mean_product(first: list[list[float]], second: list[list[float]]) -> float:
    products = [sum(x * y for x, y in zip(a, b, strict=True)) for a in first for b in second]
    return sum(products) / len(products)


def test_linear_kernel_is_the_distance_of_means():
    real, synthetic = draw(3, 5, 4), draw(3, 2, 4, seed=1)
    expected = []
    for r, s in zip(real.tolist(), synthetic.tolist(), strict=True):
        expected.append(mean_product(r, r) + mean_product(s, s) - 2 * mean_product(r, s))
    torch.testing.assert_close(mmd(real, synthetic, "linear"), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(mean_distance(real, synthetic), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_a_set_has_no_distance_to_itself(kernel):
    real = draw(3, 5, 4)
    torch.testing.assert_close(mmd(real, real, kernel), torch.zeros(3).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("bandwidth", [None, 2.0])
def test_identical_clouds_give_zero_and_a_finite_gradient(bandwidth):
    real = draw(1, 1, 4).expand(2, 3, 4)
    synthetic = real[:, :2].clone().requires_grad_()
    value = mmd(real, synthetic, bandwidth=bandwidth)
    assert value.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(value.sum(), synthetic)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_gradient_of_mmd_holds_the_width_fixed():
    """Central differences of the plain loop at the width of the unmoved batch."""
    real, synthetic = draw(1, 4, 3), draw(1, 2, 3, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(mmd(real, synthetic).sum(), synthetic)
    union = torch.cat([real[0], synthetic[0].detach()]).tolist()
    width = sum(dist2(a, b) for a in union for b in union) / 30
    sigmas = [width * factor / 2 for factor in (1 / 4, 1 / 2, 1, 2, 4)]
    for i, j in ((0, 0), (0, 2), (1, 1)):
        step = torch.zeros(2, 3, dtype=torch.float64)
        step[i, j] = 1e-5
        moved = [plain_mmd(real[0], synthetic[0].detach() + sign * step, sigmas) for sign in (1, -1)]
        assert float(gradient[0, i, j]) == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-6)


def test_distances_of_close_clouds_far_from_the_origin():
    """The case that |a|² + |b|² - 2ab alone loses: clouds one apart at a distance of ten thousand."""
    real, synthetic = draw(2, 4, 64) + 1e4, draw(2, 2, 64, seed=1) + 1e4
    values = squared_distances(real.float(), synthetic.float()).double()
    union = torch.cat([real.float(), synthetic.float()], 1).tolist()
    expected = torch.tensor(
        [[[dist2(a, b) for b in rows] for a in rows] for rows in union], dtype=torch.float64
    )
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("needs_gradient", [False, True])
@pytest.mark.parametrize("channels_first", [False, True])
def test_sorted_features_follow_the_paper(dtype, needs_gradient, channels_first):
    features = draw(2, 3, 17, 4, dtype=dtype)
    if channels_first:
        features = features.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    before = features.clone()
    features.requires_grad_(needs_gradient)
    result = sorted_features(features)
    for i in range(2):
        for j in range(3):
            for c in range(4):
                assert result[i, j, c].tolist() == sorted(before[i, j, :, c].tolist(), reverse=True)
    assert torch.equal(sorted_features(features, descending=False), result.flip(-1))
    assert torch.equal(features, before), "the input must stay as it is"


@pytest.mark.parametrize("descending", [False, True])
def test_the_gradient_of_sorting_goes_back_to_its_point(descending):
    features = draw(2, 9, 3).requires_grad_()
    weights = draw(2, 3, 9, seed=1)
    (gradient,) = torch.autograd.grad((sorted_features(features, descending) * weights).sum(), features)
    for b in range(2):
        for c in range(3):
            column = features[b, :, c].tolist()
            ranks = sorted(range(9), key=column.__getitem__, reverse=descending)
            for rank, point in enumerate(ranks):
                assert gradient[b, point, c] == weights[b, c, rank]


def test_sorted_distance_is_the_optimal_matching():
    """‖sorted a - sorted b‖² per channel is N times the squared 1-d Wasserstein-2 distance."""
    a, b = draw(1, 6, 2), draw(1, 6, 2, seed=1)
    distance = (sorted_features(a) - sorted_features(b)).square().sum(-1)[0]
    for c in range(2):
        cost = (a[0, :, c, None] - b[0, None, :, c]).square()
        rows, columns = linear_sum_assignment(cost.numpy())
        best = min(sum(float(cost[i, p[i]]) for i in range(6)) for p in permutations(range(6)))
        assert float(distance[c]) == pytest.approx(float(cost[rows, columns].sum()), rel=1e-12)
        assert float(distance[c]) == pytest.approx(best, rel=1e-12)
        one = (sorted_features(a) - sorted_features(b))[0, c].abs().mean()
        assert float(one) == pytest.approx(wasserstein_distance(a[0, :, c], b[0, :, c]))


@pytest.mark.parametrize("points_at_once", [1, 40, 10_000])
def test_chunks_of_classes_change_nothing(points_at_once, monkeypatch):
    monkeypatch.setattr(batches, "CHUNK_POINTS", points_at_once)
    real, synthetic = draw(5, 4, 3, 3), draw(5, 2, 3, 3, seed=1)
    weight = draw(3, 6, seed=2)
    seen = []

    def feature(clouds: Tensor) -> Tensor:
        seen.append(len(clouds))
        return (clouds @ weight).tanh().flatten(1)

    losses, gradient = match_classes(feature, mmd, real, synthetic)
    leaf = synthetic.clone().requires_grad_()
    whole = mmd((real @ weight).tanh().flatten(2), (leaf @ weight).tanh().flatten(2))
    torch.testing.assert_close(losses, whole.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, torch.autograd.grad(whole.sum(), leaf)[0], rtol=1e-10, atol=1e-14)
    assert len(seen) == 2 * {1: 5, 40: 3, 10_000: 1}[points_at_once]


@pytest.mark.parametrize("power", [1, 3, 4])
@pytest.mark.parametrize("ordered", [True, False])
def test_attention_maps_point_by_point(power, ordered):
    features = draw(2, 3, 7, 5)
    maps = attention_maps(features, power, ordered)
    for i in range(2):
        for j in range(3):
            values = [math.fsum(abs(v) ** power for v in point) for point in features[i, j].tolist()]
            if ordered:
                values.sort(reverse=True)
            length = math.sqrt(math.fsum(v * v for v in values))
            assert maps[i, j].tolist() == pytest.approx([v / length for v in values], rel=1e-12)


def test_ordered_attention_maps_do_not_see_the_order_of_points():
    features = draw(4, 9, 5)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    moved = features[:, order]
    torch.testing.assert_close(
        attention_maps(moved, 4, True), attention_maps(features, 4, True), rtol=1e-12, atol=0
    )
    plain = attention_maps(features, 4, False)
    torch.testing.assert_close(attention_maps(moved, 4, False), plain[:, order], rtol=1e-12, atol=0)
    assert not torch.allclose(plain[:, order], plain, rtol=1e-2)


@pytest.mark.parametrize("power", [1, 2, 4])
@pytest.mark.parametrize("ordered", [True, False])
def test_the_gradient_of_attention_maps_by_finite_differences(power, ordered):
    features = draw(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention_maps(x, power, ordered), features)


@pytest.mark.parametrize("power", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_of_zeros_stays_one_and_has_no_gradient(power, dtype):
    features = torch.relu(draw(3, 6, 4, dtype=dtype))
    features[1] = 0
    features.requires_grad_()
    maps = attention_maps(features, power, True)
    assert torch.equal(maps[1], torch.zeros(6, dtype=dtype))
    weights = draw(3, 6, seed=1, dtype=dtype)
    (gradient,) = torch.autograd.grad((maps * weights).sum(), features)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[1], torch.zeros(6, 4, dtype=dtype))
    assert float(gradient[0].norm()) > 0


@pytest.mark.parametrize("scale", [1e-10, 1e-4, 1e10])
def test_attention_maps_do_not_depend_on_the_scale_of_the_features(scale):
    features = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3)).requires_grad_()
    weights = torch.arange(6.0)
    maps = [attention_maps(features * factor, 4, True) for factor in (1.0, scale)]
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-4, atol=1e-6)
    one, other = (torch.autograd.grad((each * weights).sum(), features)[0] for each in maps)
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1, 40, 4096, 3 * 4096, 5 * 4096 + 7])
def test_distances_and_gradients_of_both_sets_whatever_the_number_of_features(size):
    """Blocks of the CPU path, whole ones and a rest, against differences in float64."""
    draw = torch.Generator().manual_seed(size)
    shift = 10 * torch.randn(size, generator=draw, dtype=torch.float64)
    real, synthetic = (
        (torch.randn(2, n, size, generator=draw, dtype=torch.float64) + shift).requires_grad_()
        for n in (3, 2)
    )
    union = torch.cat([real, synthetic], 1)
    expected = (union.unsqueeze(1) - union.unsqueeze(2)).square().sum(3)
    weight = torch.randn(2, 5, 5, generator=draw, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * weight).sum(), (real, synthetic))
    found = squared_distances(real, synthetic)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad((found * weight).sum(), (real, synthetic))
    torch.testing.assert_close(gradients, wanted, rtol=1e-8, atol=1e-9)
