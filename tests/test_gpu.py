"""The same numbers on a GPU as on the CPU, up to rounding: random streams live on the CPU for both."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from built_in import CATALOGUE
from torch.nn.utils import parameters_to_vector

from pcbench.api import Task
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.ops import replay
from pcbench.ops.layers import Dense, initialise, set_dropout, stack
from pcbench.ops.redraw import Redraws
from pcbench.ops.replay import Replayed, drawn
from pcbench.ops.sorting import ascending
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

pytestmark = pytest.mark.gpu

DEVICES = (torch.device("cpu"), torch.device("cuda"))


def test_students_learn_alike(pointnet, few_clouds):
    """One step: more of them would magnify rounding, as one point wins a maximum instead of another."""
    streams = [Streams({"test": "gpu", "repetition": number}) for number in range(2)]
    recipe = Recipe(epochs=1, drop_after=0, batch=9)
    fresh = [pointnet.build(3, "paper", stream.stream("weights")) for stream in streams]
    start = torch.stack([parameters_to_vector(network.parameters()).detach() for network in fresh]).flatten()
    on_cpu, on_gpu = (
        students.train(lambda g: pointnet.build(3, "paper", g), few_clouds.to(device), recipe, streams)
        for device in DEVICES
    )
    ours, theirs = (
        torch.cat([p.detach().cpu().flatten(1) for p in network.parameters()], 1).flatten()
        for network in (on_gpu, on_cpu)
    )
    assert float((ours - theirs).norm()) < 0.05 * float((theirs - start).norm())
    assert students.count_correct(on_gpu, few_clouds.to("cuda"), 2).device.type == "cpu"


def task_on(device, pointnet, few_clouds, iterations=1) -> Task:
    def network(generator):
        return pointnet.build(3, "paper", generator).to(device)

    streams = Streams({"test": "gpu"})
    return Task(
        train=few_clouds.to(device),
        ppc=1,
        iterations=iterations,
        snapshots=(0, iterations),
        device=device,
        streams=streams,
        network=network,
        trained_network=lambda: network(streams.stream("trained")),
        cached=lambda inputs, make: dict(make(streams, lambda done, total: None)),
        report=lambda _: None,
    )


SMALL = {"real_batch": 3, "bn_batch": 3, "experts": 2, "expert_epochs": 3, "max_start_epoch": 1}


@pytest.mark.parametrize("name", CATALOGUE.methods.names())
def test_methods_give_the_same_clouds(pointnet, few_clouds, name):
    method = CATALOGUE.methods.load(name)
    given = {key: value for key, value in SMALL.items() if key in method.Params.model_fields}
    final = []
    for device in DEVICES:
        task = task_on(device, pointnet, few_clouds)
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


def test_replayed_gradients_of_students_are_those_of_the_same_work_done_as_it_is_written(
    pointnet, few_clouds
):
    """Batches of two sizes, dropout that is drawn at every step, norms that keep their statistics."""
    streams = [Streams({"test": "gpu", "repetition": number}) for number in range(2)]
    clouds, found = few_clouds.to("cuda"), []
    for device in (torch.device("cuda"), torch.device("cpu")):  # where it says CPU nothing is replayed
        network = stack([pointnet.build(3, "paper", s.stream("weights")) for s in streams]).to("cuda")
        set_dropout(network, [stream.stream("dropout") for stream in streams])

        def gradients(points, labels, network=network):
            losses = students.student_losses(network(points), labels)
            return torch.autograd.grad(losses.sum(), list(network.parameters()))

        step, values = Replayed(gradients, device), []
        for number in range(12):
            index = torch.arange(number, number + (5 if number % 3 else 4)) % 9
            index = torch.stack([index, index.flip(0)]).cuda()
            given = step(clouds.points[index], clouds.labels[index])
            values.append(torch.cat([gradient.flatten() for gradient in given]))
        found.append((torch.stack(values), network.state_dict()))
    (ours, state), (theirs, expected) = found
    assert float((ours - theirs).norm(dim=1).max()) < 1e-3 * float(theirs.norm(dim=1).min())
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "given"), [("sadm", {}), ("dm", {}), ("dc", {"outer": 1}), ("datadam", {})])
def test_replayed_methods_give_the_clouds_of_the_same_work_done_step_by_step(
    name, given, pointnet, few_clouds, monkeypatch
):
    """Without inner training, in which rounding alone soon leads elsewhere, on a CPU as well."""
    method = CATALOGUE.methods.load(name)
    params = method.Params(real_batch=3, bn_batch=3, lr=1e-3, **given)
    found = []
    for eager_calls in (3, 1000):
        monkeypatch.setattr(replay, "EAGER_CALLS", eager_calls)
        task = task_on(torch.device("cuda"), pointnet, few_clouds, iterations=6)
        first, last = (snapshot.clouds.points for snapshot in method(params).distill(task))
        found.append(last - first)
    assert float(found[1].norm()) > 0
    assert float((found[0] - found[1]).norm()) < 0.02 * float(found[1].norm())


def test_replayed_work_sees_new_inputs_new_draws_and_what_it_changed_itself():
    count, numbers = torch.zeros((), device="cuda"), iter(range(100))

    def work(what: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert what == "a word"
        count.add_(1)
        return x * 2 + drawn(lambda: torch.full((len(x),), float(next(numbers))), x), count.clone()

    step = Replayed(work, torch.device("cuda"))
    for call, size in enumerate([2, 2, 2, 3, 2, 2, 3, 2, 3, 3, 3, 2]):
        found, counted = step("a word", torch.full((size,), 10.0 * call, device="cuda"))
        assert found.tolist() == [20.0 * call + call] * size
        assert float(counted) == call + 1


def test_a_network_on_a_gpu_is_drawn_anew_as_on_a_cpu(pointnet):
    streams = [Streams({"test": "gpu"}).stream("network", iteration=number) for number in range(6)]
    network = pointnet.build(3, "paper", streams[0]).cuda()
    with Redraws(network, iter(streams[1:])) as redraws:
        for number in range(1, 6):
            redraws.apply()
            same = Streams({"test": "gpu"}).stream("network", iteration=number)
            for name, value in pointnet.build(3, "paper", same).state_dict().items():
                assert torch.equal(network.state_dict()[name].cpu(), value)


@pytest.mark.parametrize("name", CATALOGUE.backbones.names())
def test_students_of_every_backbone_train_as_recorded_steps(name):
    """Gradients of six steps, the last three replayed, from the same weights."""
    cls = CATALOGUE.backbones.load(name)
    points = torch.randn(8, 256, 3, generator=Streams({"test": "gpu"}).stream("points"))
    clouds = PointClouds(points, torch.arange(4).repeat(2), ("a", "b", "c", "d")).normalised().to("cuda")
    found = []
    for device in (torch.device("cuda"), torch.device("cpu")):  # where it says CPU nothing is replayed
        streams = [Streams({"test": "gpu", "repetition": number}) for number in range(2)]
        built = [cls.build(4, next(iter(cls.presets)), stream.stream("weights")) for stream in streams]
        network = stack(built).to("cuda").train()
        set_dropout(network, [stream.stream("dropout") for stream in streams])
        geometry = [
            values.unsqueeze(0).expand(2, *values.shape) for values in network.geometry(clouds.points)
        ]

        def gradients(points, labels, *geometry, network=network):
            losses = students.student_losses(network(points, *geometry), labels)
            return torch.autograd.grad(losses.sum(), list(network.parameters()))

        step = Replayed(gradients, device)
        given = clouds.points.expand(2, 8, 256, 3), clouds.labels.expand(2, 8), *geometry
        steps = [torch.cat([g.flatten() for g in step(*given)]) for _ in range(6)]
        found.append(torch.stack(steps))
    ours, theirs = found
    assert bool(theirs.isfinite().all())
    assert float((ours - theirs).norm(dim=1).max()) < 0.01 * float(theirs.norm(dim=1).min())


@pytest.mark.parametrize("points", [1, 5, 64, 100, 1024, 1500, 8192, 9000])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_rows_are_sorted_as_torch_sorts_them(points, needs_gradient):
    """Equal values, infinities and NaN among them, in the memory layout of a network's features."""
    stream = Streams({"test": "gpu"}).stream("features")
    features = torch.stack([torch.randperm(points, generator=stream) - points / 2 for _ in range(6)])
    features = features.view(3, 2, points) / 7
    features[0, 0, : points // 2] = features[0, 0, 0].item()
    features[1, 0, -1], features[1, 1, 0], features[2, 0, 0] = float("inf"), -float("inf"), float("nan")
    weights = torch.randn(2, 3, points, generator=Streams({"test": "gpu"}).stream("weights"))
    rows = features.cuda().transpose(0, 1).requires_grad_(needs_gradient)
    expected, order = rows.detach().cpu().sort(-1)
    found = ascending(rows)
    torch.testing.assert_close(found.detach().cpu(), expected, rtol=0, atol=0, equal_nan=True)
    assert found.is_contiguous()
    if needs_gradient:
        (gradient,) = torch.autograd.grad((found * weights.cuda()).sum(), rows)
        moved_back = torch.zeros_like(weights).scatter_(-1, order, weights)
        ties = torch.zeros(2, 3, points, dtype=torch.bool)
        ties[0, 0] = rows[0, 0].detach().cpu() == features[0, 0, 0]
        torch.testing.assert_close(gradient.cpu()[~ties], moved_back[~ties], rtol=0, atol=0)
        assert gradient.stride() == rows.stride()
