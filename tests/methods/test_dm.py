"""Distribution matching against an oracle that recomputes whole iterations in float64."""

import pytest
import torch
from built_in import CATALOGUE
from oracle_runs import assert_iterations_agree, assert_step_agrees
from plain_pointnet import PlainPointNet
from torch import Tensor


def dm(**params):
    cls = CATALOGUE.methods.load("dm")
    return cls(cls.Params(**params))


def plain_losses(oracle: PlainPointNet, real: Tensor, points: Tensor, params) -> Tensor:
    """The loss of every class: real (K, n, N, 3), points (K · m, N, 3) -> (K,)."""
    losses = []
    for own, clouds in zip(points.unflatten(0, (len(real), -1)), real, strict=True):
        means = []
        for group in (clouds, own):
            pooled = params.layer == "global"
            values = oracle.point_features(group).amax(1) if pooled else oracle.embed(group)
            means.append(sum(values) / len(values))
        losses.append(sum((a - b) ** 2 for a, b in zip(*means, strict=True)))
    return torch.stack(losses)


@pytest.mark.parametrize("layer", ["embedding", "global"])
@pytest.mark.parametrize("ppc", [1, 2])
def test_three_iterations_match_the_oracle(layer, ppc, make_task):
    method = dm(layer=layer, real_batch=4, bn_batch=3, lr=2.0)
    assert_iterations_agree(method, make_task(ppc=ppc, snapshots=(0, 1, 2, 3)), plain_losses)


@pytest.mark.parametrize("layer", ["embedding", "global"])
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(layer, ppc, make_task):
    assert_step_agrees(dm(layer=layer), make_task(ppc=ppc), plain_losses)


def test_a_relative_overrides_what_is_matched_and_how(make_task):
    """The clouds themselves as features and the gap of their means: the step is known in closed form."""
    dm = CATALOGUE.methods.load("dm")

    class Raw(dm):
        def feature(self, network):  # noqa: ARG002
            return lambda clouds: clouds.flatten(1)

        def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
            return (real.mean(1) - synthetic.mean(1)).sum(1)

    task = make_task(ppc=2, snapshots=(0, 1))
    start, end = Raw(dm.Params(lr=0.3)).distill(task)
    torch.testing.assert_close(end.clouds.points, start.clouds.points + 0.3 / 2)


def test_relatives_have_no_parameter_that_only_dm_knows():
    methods = CATALOGUE.methods
    own = {name: set(methods.load(name).Params.model_fields) for name in ("dm", "m3d", "datadam")}
    shared = {"init", "lr", "momentum", "real_batch", "bn_batch", "bn_momentum"}
    assert own["dm"] == shared | {"layer"}
    assert own["m3d"] == shared | {"kernel", "bandwidth"}
    assert own["datadam"] == shared | {"power", "sort", "lambda_output"}
