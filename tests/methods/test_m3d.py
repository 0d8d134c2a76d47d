"""M3D against an oracle in float64 that goes through classes, pairs and kernels one at a time."""

import math

import pytest
import torch
from built_in import CATALOGUE
from oracle_runs import assert_iterations_agree, assert_step_agrees
from plain_pointnet import PlainPointNet
from pydantic import ValidationError
from torch import Tensor

from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.matching import match_classes


def m3d(**params):
    cls = CATALOGUE.methods.load("m3d")
    return cls(cls.Params(**params))


def plain_mmd(real: list[Tensor], synthetic: list[Tensor], params) -> Tensor:
    """mean K(T, T) + mean K(S, S) - 2 mean K(T, S), diagonal included; widths carry no gradient."""
    union = [*real, *synthetic]
    if params.bandwidth is None:
        total = sum(float((a - b).detach().square().sum()) for a in union for b in union)
        widths = [factor * total / (len(union) * (len(union) - 1)) for factor in (0.25, 0.5, 1, 2, 4)]
    else:
        widths = [2 * params.bandwidth]

    def mean_kernel(first: list[Tensor], second: list[Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for a in first:
            for b in second:
                if params.kernel == "linear":
                    total = total + (a * b).sum()
                else:
                    for width in widths:
                        total = total + torch.exp(-((a - b) ** 2).sum() / width)
        return total / (len(first) * len(second))

    return mean_kernel(real, real) + mean_kernel(synthetic, synthetic) - 2 * mean_kernel(real, synthetic)


def plain_losses(oracle: PlainPointNet, real: Tensor, points: Tensor, params) -> Tensor:
    """The loss of every class: real (K, n, N, 3), points (K · m, N, 3) -> (K,)."""
    ppc = len(points) // len(real)
    losses = []
    for c in range(len(real)):
        sets = (real[c], points[c * ppc : (c + 1) * ppc])
        pooled = [list(oracle.point_features(clouds).amax(1)) for clouds in sets]
        losses.append(plain_mmd(*pooled, params))
    return torch.stack(losses)


VARIANTS = [{}, {"bandwidth": 40.0}, {"kernel": "linear"}, {"bn_momentum": 1.0}]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(variant) or "default")
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(variant, ppc, make_task):
    assert_step_agrees(m3d(**variant), make_task(ppc=ppc), plain_losses)


@pytest.mark.parametrize("ppc", [1, 2])
def test_two_iterations_match_the_oracle(ppc, make_task):
    method = m3d(real_batch=4, bn_batch=3, lr=0.2)
    assert_iterations_agree(method, make_task(ppc=ppc, snapshots=(0, 1, 2)), plain_losses)


@pytest.fixture
def frozen(make_task):
    task = make_task()
    network = task.network(task.streams.stream("network", iteration=1)).double().requires_grad_(False)
    adapt_batch_norm(network, task.train.points.double(), 0.1)
    return network


@pytest.fixture
def by_class(training_clouds):
    """The training clouds in float64, (3, 8, 16, 3)."""
    return training_clouds.points.double().view(8, 3, 16, 3).transpose(0, 1)


def test_the_gradient_by_finite_differences(frozen, by_class):
    # A fixed width, since the batch's own carries no gradient.
    method = m3d(bandwidth=40.0)
    real, synthetic = by_class[:, :4], by_class[:, 4:6].clone()

    def matched(synthetic: Tensor) -> tuple[Tensor, Tensor]:
        return match_classes(method.feature(frozen), method.losses, real, synthetic)

    _, gradient = matched(synthetic)
    for place in gradient.abs().flatten(1).argmax(1).tolist():
        step = torch.zeros_like(synthetic[0]).flatten()
        step[place] = 1e-6
        up, down = (matched(synthetic + sign * step.view_as(synthetic[0]))[0] for sign in (1, -1))
        for c in range(3):
            slope = float(up[c] - down[c]) / 2e-6
            assert float(gradient[c].flatten()[place]) == pytest.approx(slope, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("variant", [{}, {"bandwidth": 40.0}, {"kernel": "linear"}], ids=str)
def test_a_set_that_equals_the_real_one_costs_nothing_and_stays(variant, frozen, by_class):
    """In any order of its clouds."""
    method = m3d(**variant)
    synthetic = by_class[:, [3, 1, 0, 2]]
    losses, gradient = match_classes(method.feature(frozen), method.losses, by_class[:, :4], synthetic)
    assert float(losses.abs().max()) < 1e-12
    assert float(gradient.abs().max()) < 1e-12


def test_equal_means_are_not_enough_unless_the_kernel_is_linear():
    real = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]).double()
    synthetic = torch.zeros(1, 1, 2).double()
    assert float(m3d(kernel="linear").losses(real, synthetic)) == pytest.approx(0, abs=1e-15)
    assert float(m3d().losses(real, synthetic)) > 0.1


def test_the_order_of_points_does_not_matter(frozen, by_class):
    method = m3d()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    real, synthetic = by_class[:, :4], by_class[:, 4:6]
    losses, gradient = match_classes(method.feature(frozen), method.losses, real, synthetic)
    again, moved = match_classes(method.feature(frozen), method.losses, real, synthetic[:, :, order])
    torch.testing.assert_close(again, losses, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(moved, gradient[:, :, order], rtol=1e-7, atol=1e-12)


def test_a_seed_gives_the_same_clouds_and_another_repetition_others(make_task):
    task = lambda repetition: make_task(ppc=2, snapshots=(2,), repetition=repetition)  # noqa: E731
    first, again, other = (list(m3d().distill(task(r)))[-1].clouds.points for r in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_parameters_default_to_the_card():
    p = m3d().params
    assert (p.kernel, p.bandwidth, p.real_batch, p.bn_batch, p.bn_momentum) == ("gaussian", None, 8, 8, 0.1)
    assert (p.init, p.lr, p.momentum) == ("random", 0.01, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layer": "global"},
        {"bandwidth": 0},
        {"kernel": "cubic"},
        {"kernel": "linear", "bandwidth": 1.0},
        {"lr": math.nan},
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        m3d(**wrong)
