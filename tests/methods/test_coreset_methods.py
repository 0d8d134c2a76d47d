"""The methods `random`, `herding` and `kcenter`, and the start that all methods share."""

import numpy as np
import pytest
import torch
from built_in import CATALOGUE

from pcbench.errors import UsageError
from pcbench.ops.batches import ClassIndex
from pcbench.ops.coreset import herding, kcenter

METHODS = {name: CATALOGUE.methods.load(name) for name in CATALOGUE.methods.names()}


def distilled(name, task, **params):
    cls = CATALOGUE.methods.load(name)
    return list(cls(cls.Params(**params)).distill(task))


@pytest.mark.parametrize("name", ["random", "herding", "kcenter"])
def test_one_snapshot_of_training_clouds_ordered_by_class(name, make_task):
    task = make_task(ppc=2)
    (snapshot,) = distilled(name, task)
    assert snapshot.iteration == 0
    assert snapshot.clouds.labels.tolist() == [0, 0, 1, 1, 2, 2]
    known = {
        cloud.numpy().tobytes(): int(label)
        for cloud, label in zip(task.train.points, task.train.labels, strict=True)
    }
    assert [known[cloud.numpy().tobytes()] for cloud in snapshot.clouds.points] == [0, 0, 1, 1, 2, 2]
    assert len(snapshot.clouds.points.flatten(1).unique(dim=0)) == 6


@pytest.mark.parametrize(("name", "greedy"), [("herding", herding), ("kcenter", kcenter)])
@pytest.mark.parametrize("features", ["trained", "random"])
def test_greedy_methods_use_the_network_they_name(name, greedy, features, make_task):
    task = make_task(ppc=3)
    network = (
        task.trained_network() if features == "trained" else task.network(task.streams.stream("features"))
    )
    with torch.no_grad():
        values = network.eval().global_feature(task.train.points)
    index = greedy(values, task.train.labels, ClassIndex(task.train).table(), 3)
    (snapshot,) = distilled(name, task, features=features)
    assert torch.equal(snapshot.clouds.points, task.train.points[index.flatten()])


def test_herding_equals_kcenter_at_one_per_class(make_task):
    pair = [distilled(name, make_task(ppc=1))[0].clouds.points for name in ("herding", "kcenter")]
    assert torch.equal(*pair)


@pytest.mark.parametrize(("name", "params"), [("dm", {}), ("sadm", {}), ("sadm", {"loss": "mean"})])
@pytest.mark.parametrize("init", ["random", "herding", "kcenter"])
def test_methods_start_from_the_coreset_of_that_name(name, params, init, make_task):
    task = make_task(ppc=2, snapshots=(0,))
    start = distilled(name, task, init=init, **params)[0].clouds
    assert torch.equal(start.points, distilled(init, task)[0].clouds.points)


@pytest.mark.parametrize("name", ["random", "herding", "kcenter", "dm", "sadm"])
def test_methods_repeat_under_a_seed_and_leave_global_generators_alone(name, make_task):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    first, again = (distilled(name, make_task(ppc=2))[-1].clouds.points for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))  # noqa: NPY002


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.whole])
def test_more_clouds_than_a_class_has_is_a_usage_error(name, make_task):
    with pytest.raises(UsageError, match="class 'bed' has 8 training clouds, fewer than ppc = 9"):
        distilled(name, make_task(ppc=9))


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if "real_batch" in m.Params.model_fields])
def test_a_real_batch_larger_than_a_class_is_a_usage_error(name, make_task):
    with pytest.raises(UsageError, match="fewer than real_batch = 9: choose real_batch of at most 8"):
        distilled(name, make_task(), real_batch=9)


@pytest.mark.parametrize("name", ["random", "dm", "sadm"])
def test_repetitions_differ(name, make_task):
    first, second = (distilled(name, make_task(repetition=r))[-1].clouds.points for r in (0, 1))
    assert not torch.equal(first, second)
