"""DataDAM against an oracle in float64 that goes through classes, layers, clouds and points one at a time."""

import math

import pytest
import torch
from built_in import CATALOGUE
from oracle_runs import assert_iterations_agree, assert_step_agrees
from plain_pointnet import PlainPointNet
from pydantic import ValidationError
from torch import Tensor, nn

from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.matching import match_classes


def datadam(**params):
    cls = CATALOGUE.methods.load("datadam")
    return cls(cls.Params(**params))


class PlainLayers(PlainPointNet):
    """Keeps what the layers of the points give: low, middle and high, before pooling."""

    def __init__(self, network: nn.Module, momentum: float = 0.1) -> None:
        super().__init__(network, momentum)
        self.seen: list[Tensor] = []

    def unit(self, name: str, x: Tensor, adapt: bool, relu: bool = True) -> Tensor:
        y = super().unit(name, x, adapt, relu)
        if name in ("low.0", "high.0", "high.1"):
            self.seen.append(y)
        return y

    def layers_and_embedding(self, xyz: Tensor) -> tuple[list[Tensor], Tensor]:
        self.seen = []
        embedding = self.embed(xyz)
        return self.seen, embedding


def plain_map(features: Tensor, params) -> Tensor:
    """The attention map of one cloud's layer, (N, C) -> (N,), point by point."""
    values = [(point.abs() ** params.power).sum() for point in features]
    if params.sort:
        values.sort(key=lambda value: float(value.detach()), reverse=True)
    length = sum(value**2 for value in values).sqrt()
    return torch.stack([value / length for value in values])


def plain_losses(oracle: PlainLayers, real: Tensor, points: Tensor, params) -> Tensor:
    """The loss of every class: real (K, n, N, 3), points (K · m, N, 3) -> (K,)."""
    ppc = len(points) // len(real)
    losses = []
    for c in range(len(real)):
        maps, embeddings = [], []
        for clouds in (real[c], points[c * ppc : (c + 1) * ppc]):
            layers, embedding = oracle.layers_and_embedding(clouds)
            maps.append([sum(plain_map(cloud, params) for cloud in layer) / len(layer) for layer in layers])
            embeddings.append(sum(embedding) / len(embedding))
        loss = params.lambda_output * ((embeddings[0] - embeddings[1]) ** 2).sum()
        for of_real, of_synthetic in zip(*maps, strict=True):
            loss = loss + ((of_real - of_synthetic) ** 2).sum()
        losses.append(loss)
    return torch.stack(losses)


VARIANTS = [
    {},
    {"power": 1},
    {"power": 3, "lambda_output": 2.0},
    {"sort": False},
    {"lambda_output": 0.0, "bn_momentum": 1.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(variant) or "default")
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(variant, ppc, make_task):
    assert_step_agrees(datadam(**variant), make_task(ppc=ppc), plain_losses, PlainLayers)


@pytest.mark.parametrize("ppc", [1, 2])
def test_two_iterations_match_the_oracle(ppc, make_task):
    method = datadam(real_batch=4, bn_batch=3, lr=0.5)
    assert_iterations_agree(method, make_task(ppc=ppc, snapshots=(0, 1, 2)), plain_losses, PlainLayers)


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


@pytest.mark.parametrize("power", [1, 4])
def test_the_gradient_by_finite_differences(power, frozen, by_class):
    method = datadam(power=power)
    real, synthetic = by_class[:, :4], by_class[:, 4:6].clone()

    def matched(synthetic: Tensor) -> tuple[Tensor, Tensor]:
        return match_classes(method.feature(frozen), method.losses, real, synthetic)

    _, gradient = matched(synthetic)
    places = gradient.abs().flatten(1).argmax(1).tolist()
    for c, place in enumerate(places):
        step = torch.zeros(synthetic.shape).double()
        step[c].view(-1)[place] = 1e-6
        up, down = (float(matched(synthetic + sign * step)[0][c]) for sign in (1, -1))
        assert float(gradient[c].flatten()[place]) == pytest.approx((up - down) / 2e-6, rel=1e-4)


def test_the_order_of_points_matters_only_without_sorting(frozen, by_class):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    real, synthetic = by_class[:, :4], by_class[:, 4:6]

    def both(method) -> tuple[tuple[Tensor, Tensor], ...]:
        pair = (synthetic, synthetic[:, :, order])
        return tuple(match_classes(method.feature(frozen), method.losses, real, clouds) for clouds in pair)

    (losses, gradient), (again, moved) = both(datadam())
    torch.testing.assert_close(again, losses, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(moved, gradient[:, :, order], rtol=1e-7, atol=1e-12)
    (losses, _), (again, _) = both(datadam(sort=False))
    assert not torch.allclose(again, losses, rtol=1e-2)


def test_the_feature_is_one_vector_a_cloud_of_unit_maps_and_a_weighted_embedding(frozen, by_class):
    values = datadam(lambda_output=0.25).feature(frozen)(by_class[0])
    assert values.shape == (8, 3 * 16 + 256)
    maps = values[:, :48].view(8, 3, 16)
    torch.testing.assert_close(maps.square().sum(2), torch.ones(8, 3).double())
    torch.testing.assert_close(values[:, 48:], frozen.embed(by_class[0]) / 2)


def test_a_layer_whose_relus_are_all_off_adds_nothing_and_breaks_nothing(frozen, by_class):
    with torch.no_grad():
        frozen.high[0][1].bias.fill_(-1e6)
    for power in (1, 4):
        method = datadam(power=power)
        values = method.feature(frozen)(by_class[0])
        assert torch.equal(values[:, 16:32], torch.zeros(8, 16).double())
        losses, gradient = match_classes(
            method.feature(frozen), method.losses, by_class[:, :4], by_class[:, 4:6]
        )
        assert losses.isfinite().all()
        assert gradient.isfinite().all()
        assert float(gradient.norm()) > 1e-6


def test_a_set_that_equals_the_real_one_costs_nothing_and_stays(frozen, by_class):
    method = datadam()
    synthetic = by_class[:, [3, 1, 0, 2]]
    losses, gradient = match_classes(method.feature(frozen), method.losses, by_class[:, :4], synthetic)
    assert float(losses.abs().max()) < 1e-20
    assert float(gradient.abs().max()) < 1e-12


def test_a_seed_gives_the_same_clouds_and_another_repetition_others(make_task):
    task = lambda repetition: make_task(ppc=2, snapshots=(2,), repetition=repetition)  # noqa: E731
    first, again, other = (list(datadam().distill(task(r)))[-1].clouds.points for r in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_parameters_default_to_the_card():
    p = datadam().params
    assert (p.power, p.sort, p.lambda_output, p.lr, p.momentum) == (4, True, 0.01, 1.0, 0.5)
    assert (p.real_batch, p.bn_batch, p.bn_momentum, p.init) == (8, 8, 0.1, "random")


@pytest.mark.parametrize(
    "wrong", [{"layer": "global"}, {"power": 0}, {"lambda_output": -1}, {"lr": math.nan}], ids=str
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        datadam(**wrong)
