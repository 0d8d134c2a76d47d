"""The contracts that plugin authors meet: parameters that check themselves, and a task that counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pcbench.api import Backbone, Iteration, Method, MethodParams, Snapshot, Task, param
from pcbench.clouds import PointClouds
from pcbench.errors import UsageError
from pcbench.seeds import Streams


class SomeParams(MethodParams):
    lr: float = param(10.0, "learning rate", source="Table 1", unit="1/iteration", gt=0)
    rounds: int = param(3, "rounds", source="ours", ge=1)


def test_parameters_are_frozen():
    params = SomeParams()
    with pytest.raises(ValidationError, match="frozen"):
        params.lr = 1.0
    assert params.lr == 10.0


@pytest.mark.parametrize(
    "values",
    [
        {"rate": 1.0},
        {"lr": float("nan")},
        {"lr": "inf"},
        {"lr": 0},
        {"rounds": 0},
        {"rounds": 1.5},
        {"lr": None},
    ],
)
def test_unknown_non_finite_and_out_of_range_parameters_are_refused(values: dict[str, Any]):
    with pytest.raises(ValidationError) as caught:
        SomeParams.model_validate(values)
    assert caught.value.errors()[0]["loc"] == tuple(values)


def test_a_default_out_of_its_own_limits_is_refused():
    class Wrong(MethodParams):
        lr: float = param(-1.0, "learning rate", source="ours", gt=0)

    with pytest.raises(ValidationError, match="greater than 0"):
        Wrong()


def test_text_from_the_command_line_becomes_numbers():
    assert SomeParams.model_validate({"lr": "2.5", "rounds": "4"}) == SomeParams(lr=2.5, rounds=4)


def test_a_parameter_carries_its_description_unit_and_source():
    schema = SomeParams.model_json_schema()["properties"]
    assert schema["lr"]["description"] == "learning rate"
    assert (schema["lr"]["unit"], schema["lr"]["source"]) == ("1/iteration", "Table 1")
    assert (schema["rounds"]["unit"], schema["rounds"]["minimum"]) == ("", 1)


def a_task(clouds: PointClouds, done: list[int]) -> Task:
    return Task(
        train=clouds,
        ppc=1,
        iterations=3,
        snapshots=(0, 3),
        device=torch.device("cpu"),
        streams=Streams({"test": "api"}),
        network=pytest.fail,
        trained_network=lambda: pytest.fail("not asked for"),
        cached=lambda inputs, make: pytest.fail("not asked for"),
        report=done.append,
    )


def test_steps_are_reported_when_they_are_done(few_clouds):
    done: list[int] = []
    before = [(step, list(done)) for step in a_task(few_clouds, done).steps()]
    assert before == [(1, []), (2, [1]), (3, [1, 2])]
    assert done == [1, 2, 3]


def test_a_step_that_fails_is_not_reported(few_clouds):
    done: list[int] = []
    steps = a_task(few_clouds, done).steps()
    next(steps)
    next(steps)
    steps.close()
    assert done == [1]


def learning(few_clouds, task, seen):
    """What `learn` gives for points that grow by one in every iteration."""
    points = torch.zeros(9, 32, 3, requires_grad=True)
    optimiser = torch.optim.SGD([points], 1.0)

    def update(iteration: Iteration) -> None:
        seen.append(iteration.number)
        points.grad = -torch.ones_like(points)
        optimiser.step()

    return task.learn(update, optimiser, lambda: replace(few_clouds, points=points))


def test_learning_gives_copies_of_the_clouds_where_they_are_asked_for(few_clouds):
    done: list[int] = []
    task = replace(a_task(few_clouds, done), snapshots=(0, 2, 3))
    snapshots = list(learning(few_clouds, task, []))
    assert [(each.iteration, float(each.clouds.points.mean())) for each in snapshots] == [
        (0, 0),
        (2, 2),
        (3, 3),
    ]
    assert not any(each.clouds.points.requires_grad for each in snapshots)
    assert done == [1, 2, 3]


def test_learning_does_nothing_before_it_is_asked_for_the_next_snapshot(few_clouds):
    seen: list[int] = []
    snapshots = learning(few_clouds, a_task(few_clouds, []), seen)
    assert next(snapshots).iteration == 0
    assert seen == []
    assert next(snapshots).iteration == 3
    assert seen == [1, 2, 3]


def test_learning_goes_on_after_what_an_interrupted_run_left(few_clouds):
    kept: dict[int, float] = {}

    def restore(optimiser: torch.optim.Optimizer) -> int:
        optimiser.param_groups[0]["params"][0].data.fill_(2.0)
        return 2

    def keep(iteration: int, optimiser: torch.optim.Optimizer) -> None:
        kept[iteration] = float(optimiser.param_groups[0]["params"][0].detach().mean())

    seen: list[int] = []
    task = replace(a_task(few_clouds, []), restore=restore, keep=keep)
    snapshots = list(learning(few_clouds, task, seen))
    assert seen == [3]
    assert kept == {3: 3.0}
    assert float(snapshots[-1].clouds.points.mean()) == 3.0


def test_an_update_that_fails_is_neither_kept_nor_reported(few_clouds):
    done: list[int] = []

    def stop(iteration: Iteration) -> None:
        if iteration.number == 2:
            raise KeyboardInterrupt

    optimiser = torch.optim.SGD([torch.zeros(1)], 1.0)
    with pytest.raises(KeyboardInterrupt):
        list(a_task(few_clouds, done).learn(stop, optimiser, lambda: few_clouds))
    assert done == [1]


def test_what_diverges_ends_soon_after_with_its_iteration_and_its_rate(few_clouds):
    """Steps of -lr · gradient with the gradient -3 · x grow as 7 ** iteration: beyond float32 in the 46th."""
    points = torch.ones(9, 32, 3, requires_grad=True)
    optimiser = torch.optim.SGD([{"params": [torch.ones(1)]}, {"params": [points], "lr": 2.0}], 1.0)
    done: list[int] = []
    kept: list[int] = []

    def update(_: Iteration) -> None:
        points.grad = -3 * points.detach()
        optimiser.step()

    task = replace(
        a_task(few_clouds, done), iterations=500, snapshots=(500,), keep=lambda at, _: kept.append(at)
    )
    with pytest.raises(
        UsageError, match=r"diverged by iteration 50, at a learning rate of 2: choose a lower"
    ):
        list(task.learn(update, optimiser, lambda: replace(few_clouds, points=points)))
    assert done == kept == [*range(1, 50)]


def test_a_network_is_drawn_only_in_iterations_that_ask_for_one(pointnet, few_clouds):
    streams, built, given = Streams({"test": "networks"}), [], {}

    def network(generator):
        built.append(generator)
        return pointnet.build(3, "paper", generator)

    def update(iteration: Iteration) -> None:
        if iteration.number != 2:
            given[iteration.number] = iteration.network
            assert iteration.network is given[iteration.number]
            expected = pointnet.build(3, "paper", streams.stream("network", iteration=iteration.number))
            assert torch.equal(iteration.network.classifier.weight, expected.classifier.weight)

    task = replace(a_task(few_clouds, []), streams=streams, network=network)
    optimiser = torch.optim.SGD([torch.zeros(1)], 1.0)
    list(task.learn(update, optimiser, lambda: few_clouds))
    assert given[1] is given[3]
    assert len(built) == 1
    list(task.learn(lambda _: None, optimiser, lambda: few_clouds))
    assert len(built) == 1


def test_recorded_work_gives_what_the_work_gives(few_clouds):
    given = []

    def double(points: torch.Tensor) -> tuple[torch.Tensor]:
        return (2 * points,)

    def update(iteration: Iteration) -> None:
        (doubled,) = iteration.recorded(double, torch.full((2,), float(iteration.number)))
        given.append(doubled.tolist())

    list(a_task(few_clouds, []).learn(update, torch.optim.SGD([torch.zeros(1)], 1.0), lambda: few_clouds))
    assert given == [[2, 2], [4, 4], [6, 6]]


def test_contracts_cannot_be_made_without_their_parts():
    with pytest.raises(TypeError, match="distill"):
        Method(MethodParams())  # type: ignore[abstract]
    with pytest.raises(TypeError, match="forward"):
        Backbone(3)  # type: ignore[abstract]


def test_a_method_keeps_its_parameters():
    class Still(Method):
        name = "still"
        Params = SomeParams

        def distill(self, task: Task):
            yield Snapshot(0, task.train)

    assert Still(SomeParams(lr=2.0)).params.lr == 2.0
    assert Still.Params().rounds == 3


def test_a_built_backbone_depends_on_its_generator_alone(pointnet):
    def build(seed: int) -> Backbone:
        return pointnet.build(3, "paper", torch.Generator().manual_seed(seed))

    one, same, other = build(1), build(1), build(2)
    assert one.training
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


def test_the_networks_of_a_task_are_those_of_its_streams_in_one_object(pointnet, few_clouds):
    streams, drawn = Streams({"test": "networks"}), []

    def network(generator):
        drawn.append(pointnet.build(3, "paper", generator))
        return drawn[-1]

    task = replace(a_task(few_clouds, []), streams=streams, network=network)
    seen = []
    for iteration, given in task.networks():
        expected = pointnet.build(3, "paper", streams.stream("network", iteration=iteration))
        for name, value in expected.state_dict().items():
            assert torch.equal(given.state_dict()[name], value)
        assert given.training
        given.eval()
        given.classifier.weight.data.zero_()
        seen.append((iteration, given))
    assert [iteration for iteration, _ in seen] == [1, 2, 3]
    assert {id(given) for _, given in seen} == {id(seen[0][1])}
    assert len(drawn) == 1
