"""The same numbers on a GPU as on the CPU, up to rounding: random streams live on the CPU for both."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from pcbench import plugins, students
from pcbench.api import Task
from pcbench.ops.layers import Dense, initialise, stack
from pcbench.protocol import Recipe
from pcbench.seeds import Streams

pytestmark = pytest.mark.gpu

DEVICES = (torch.device("cpu"), torch.device("cuda"))


def test_students_learn_alike(pointnet, few_clouds):
    streams = [Streams({"test": "gpu", "repetition": number}) for number in range(2)]
    recipe = Recipe(epochs=1, drop_after=0, batch=9)
    on_cpu, on_gpu = (
        students.train(lambda g: pointnet.build(3, "paper", g), few_clouds.to(device), recipe, streams)
        for device in DEVICES
    )
    for name, value in on_cpu.state_dict().items():
        torch.testing.assert_close(on_gpu.state_dict()[name].cpu(), value, rtol=2e-3, atol=2e-5)
    assert students.count_correct(on_gpu, few_clouds.to("cuda"), 2).device.type == "cpu"


SMALL = {"real_batch": 3, "bn_batch": 3, "experts": 2, "expert_epochs": 3, "max_start_epoch": 1}


@pytest.mark.parametrize("name", plugins.methods().names())
def test_methods_give_the_same_clouds(pointnet, few_clouds, name):
    method = plugins.methods().load(name)
    given = {key: value for key, value in SMALL.items() if key in method.Params.model_fields}
    final = []
    for device in DEVICES:

        def network(generator, device=device):
            return pointnet.build(3, "paper", generator).to(device)

        streams = Streams({"test": "gpu"})
        task = Task(
            train=few_clouds.to(device),
            ppc=1,
            iterations=1,
            snapshots=(0, 1),
            device=device,
            streams=streams,
            network=network,
            trained_network=lambda network=network, streams=streams: network(streams.stream("trained")),
            cached=lambda inputs, make, streams=streams: dict(make(streams, lambda done, total: None)),
            report=lambda _: None,
        )
        *_, last = method(method.Params(**given)).distill(task)
        assert last.clouds.points.device.type == device.type
        final.append(last.clouds.points.cpu())
    moved = (final[0] - final[1]).abs().max()
    assert float(moved) < 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_the_pooled_unit_is_the_same(training):
    unit = stack([Dense(64, 128) for _ in range(2)]).train(training)
    initialise(unit, Streams({"test": "gpu"}).stream("weights"))
    x = torch.rand(2, 3, 50, 64, generator=Streams({"test": "gpu"}).stream("features"))
    results = []
    for device in DEVICES:
        own, given = copy.deepcopy(unit).to(device), x.to(device).requires_grad_()
        value = own.max_over_points(given)
        gradients = torch.autograd.grad(value.square().sum(), [given, *own.parameters()])
        results.append([value.detach().cpu(), *(gradient.cpu() for gradient in gradients)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


def test_a_run_on_the_gpu_is_recorded_as_one(pcbench):
    tiny = ("--set", "points=32", "--set", "iterations=2", "--set", "recipe.epochs=1", "--seeds", "2")
    done = pcbench("run", "--device", "cuda", "--json", *tiny)
    assert done.code == 0, done.err
    for printed in json.loads(done.out)["runs"]:
        assert printed["problem"] == ""
        assert printed["distillation"]["provenance"]["hardware"]["device"] == "cuda"
        assert printed["distillation"]["memory"]["device_bytes"] > 0
