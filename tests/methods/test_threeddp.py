"""3DDP against slow oracles in float64, and its sets from distillation to a verified submission."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from built_in import CATALOGUE
from torch import Tensor

from pcbench.api import Method
from pcbench.ops.layers import adapt_batch_norm
from pcbench.records.division import division
from pcbench.records.store import read_runs

SETTINGS = ("points=32", "iterations=2", "recipe.epochs=2", "students=2", "real_batch=3", "lr=1")
TINY = ("--ppc", "1", *(word for setting in SETTINGS for word in ("--set", setting)))


def threeddp(**params: Any) -> Any:
    method: type[Method] = CATALOGUE.methods.load("3ddp")
    return method(method.Params(**params))


def plain_mmd(real: list[Tensor], synthetic: list[Tensor]) -> Tensor:
    """mean K(T, T) + mean K(S, S) − 2 mean K(T, S) with five Gaussians whose width is the union's own."""
    union = [*real, *synthetic]
    total = sum(float((a - b).detach().square().sum()) for a in union for b in union)
    width = total / (len(union) * (len(union) - 1))

    def mean(first: list[Tensor], second: list[Tensor]) -> Tensor:
        values = [
            torch.exp(-(a - b).square().sum() / (factor * width))
            for a in first
            for b in second
            for factor in (0.25, 0.5, 1, 2, 4)
        ]
        return torch.stack(values).sum() / (len(first) * len(second))

    return mean(real, real) + mean(synthetic, synthetic) - 2 * mean(real, synthetic)


def test_losses_and_their_gradients_are_those_of_the_definition(pointnet) -> None:
    method, generator = threeddp(anchors=2, real_batch=3), torch.Generator().manual_seed(0)
    network = pointnet.build(2, "paper", generator).double().requires_grad_(False)
    parts = torch.randn(2, 2, 3, 6, 3, generator=generator, dtype=torch.float64)  # (M, K, B, n, 3)
    shares = torch.rand(2, 2, generator=generator, dtype=torch.float64)
    clouds = torch.randn(2, 4, 6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    adapt_batch_norm(network, parts.flatten(0, 2))
    losses = method.losses(network, parts, shares, clouds)

    def features(cloud: Tensor) -> Tensor:
        values = network.point_features(cloud.unsqueeze(0))[0].abs()  # (n, D)
        return torch.cat([values[:, channel].sort().values for channel in range(values.shape[1])])

    for k in range(2):
        synthetic = [features(cloud) for cloud in clouds[k]]
        expected = sum(
            shares[s, k] * plain_mmd([features(cloud) for cloud in parts[s, k]], synthetic) for s in range(2)
        )
        assert float(losses[k].detach()) == pytest.approx(0.08 * float(expected.detach()), rel=1e-9)
        (slope,) = torch.autograd.grad(losses[k], clouds, retain_graph=True)
        (oracle,) = torch.autograd.grad(0.08 * expected, clouds, retain_graph=True)
        assert torch.allclose(slope, oracle, rtol=1e-7, atol=1e-12)


def test_parts_are_the_cloud_in_pieces_far_apart_and_count_as_they_are_even() -> None:
    method = threeddp(anchors=4, neighbours=4)
    real = torch.randn(2, 3, 32, 3, generator=torch.Generator().manual_seed(1))
    parts, shares = method.parts(real, 7)
    assert parts.shape == (4, 2, 3, 7, 3)
    assert torch.allclose(shares.sum(0), torch.ones(2))
    for k, cloud in itertools.product(range(2), range(3)):
        pieces = [tuple(point.tolist()) for part in parts[:, k, cloud] for point in part]
        assert len(set(pieces)) == 28
        assert set(pieces) <= {tuple(point.tolist()) for point in real[k, cloud]}
    uneven = [[unevenness(real[k, cloud], 4) for cloud in range(3)] for k in range(2)]
    for k in range(2):
        whole = np.mean(uneven[k])
        raised = [
            math.exp(-1000 * (np.mean([unevenness(parts[s, k, c], 4) for c in range(3)]) - whole) ** 2)
            for s in range(4)
        ]
        assert shares[:, k].tolist() == pytest.approx([r / sum(raised) for r in raised], rel=1e-3, abs=1e-6)


def unevenness(cloud: Tensor, k: int) -> float:
    """The mean over points of σ / μ of the distances to the k nearest, the point itself included."""
    ratios = []
    for point in cloud.double():
        distances = sorted(float((point - other).norm()) for other in cloud.double())[:k]
        ratios.append(float(np.std(distances, ddof=1) / np.mean(distances)))
    return float(np.mean(ratios))


def test_points_are_matched_with_the_smallest_sum_of_distances() -> None:
    matched = vars(__import__("sys").modules[type(threeddp()).__module__])["matched"]
    clouds = torch.randn(2, 3, 5, 3, generator=torch.Generator().manual_seed(2))
    result = matched(clouds)
    assert torch.equal(result[:, 0], clouds[:, 0])
    for slot, other in itertools.product(range(2), (1, 2)):
        sums = [
            float((clouds[slot, 0] - clouds[slot, other][list(order)]).norm(dim=1).sum())
            for order in itertools.permutations(range(5))
        ]
        assert float((clouds[slot, 0] - result[slot, other]).norm(dim=1).sum()) == pytest.approx(min(sums))
        assert sorted(result[slot, other].tolist()) == sorted(clouds[slot, other].tolist())


@pytest.mark.parametrize(
    ("points", "morphs", "anchors"), [(1024, 4, 4), (1024, 16, 4), (256, 5, 3), (64, 1, 2)]
)
def test_anchors_and_weights_take_no_more_bytes_than_a_cloud(points: int, morphs: int, anchors: int) -> None:
    size = threeddp(morphs=morphs, anchors=anchors).anchor_points(points)
    taken = 12 * anchors * size + 4 * morphs * (anchors - 1)
    assert taken <= 12 * points < taken + 12 * (anchors + 1)


@pytest.fixture
def distilled(pcbench: Callable[..., Any]) -> Path:
    done = pcbench("run", "-m", "3ddp", *TINY, "--out", "out")
    assert done.code == 0, done.err
    (run,), _ = read_runs(Path("out"))
    return run.folder


@pytest.mark.usefixtures("distilled")
def test_a_record_says_what_is_kept_and_what_students_train_on() -> None:
    (run,), _ = read_runs(Path("out"))
    last = run.distillation.snapshots[-1]
    assert (last.expansion, last.trained_on, last.trained_points) == ("morph", 80, 7)
    assert last.bytes == 10 * (12 * 4 * 7 + 4 * 4 * 3)
    assert run.distillation.step_factor == 8
    over = last.model_copy(update={"bytes": 12 * 32 * 10 + 1})
    shown = run.evaluations[0].model_copy(update={"inputs": run.evaluations[0].inputs})
    assert run.distillation.isolation != "in-process"
    entries = [*run.distillation.snapshots[:-1], over]
    heavier = replace(run, distillation=run.distillation.model_copy(update={"snapshots": entries}))
    assert division(heavier, shown) == "open"


def test_equal_steps_are_fewer_epochs(pcbench: Callable[..., Any], distilled: Path) -> None:
    done = pcbench(
        "evaluate", distilled, "--set", "recipe.equal_steps=1", "--set", "recipe.epochs=16", "--json"
    )
    assert done.code == 0, done.err
    assert "train students" in done.err
    (run,), _ = read_runs(Path("out"))
    recipes = {each.inputs.protocol.recipe.equal_steps: each for each in run.evaluations}
    assert set(recipes) == {0, 1}
    assert recipes[1].inputs.protocol.recipe.shortened(8).epochs == 2


def test_what_is_kept_is_submitted_and_verified(pcbench: Callable[..., Any], distilled: Path) -> None:
    submitted = pcbench("submit", "out", "--license", "MIT", "--out", "mine")
    assert submitted.code == 0, submitted.err
    assert pcbench("results", "validate", "mine").code == 0
    done = pcbench("verify", "mine", "--json", "--redistill")
    (verdict,) = (row["verification"] for row in json.loads(done.out)["verified"])
    assert (verdict["verdict"], verdict["same_clouds"]) == ("verified", True)
    shown = pcbench("show", distilled, "--out", "picture.png")
    assert shown.code == 0, shown.err
    assert Path("picture.png").stat().st_size > 1000


@pytest.mark.parametrize("what", ["value", "another tensor", "expansion"])
def test_altered_tensors_are_refused(pcbench: Callable[..., Any], distilled: Path, what: str) -> None:
    with h5py.File(distilled / "clouds.h5", "r+") as file:
        group = file["000002"]
        if what == "value":
            group["weights"][0, 0, 0] += 0.5
        elif what == "another tensor":
            group.create_dataset("more", data=np.zeros(3, "<f4"))
        else:
            del group["anchors"]
    done = pcbench("evaluate", distilled, "--backbone", "pointnet:canonical")
    assert done.code != 0
    assert "clouds.h5" in done.err
