"""Every method with an `init` parameter starts from the clouds that `initial_clouds` gives for its value."""

from typing import get_args

import pytest
import torch
from built_in import CATALOGUE

from pcbench.ops.coreset import Initialisation, initial_clouds

METHODS = {name: CATALOGUE.methods.load(name) for name in CATALOGUE.methods.names()}
DISTILLING = [name for name, cls in METHODS.items() if "init" in cls.Params.model_fields]


def test_the_methods_that_distil_are_among_them():
    assert {"dm", "m3d", "datadam", "sadm"} <= set(DISTILLING)


@pytest.mark.parametrize("name", DISTILLING)
@pytest.mark.parametrize("init", get_args(Initialisation))
def test_the_snapshot_at_0_is_the_initialisation(name, init, make_task):
    cls, task = METHODS[name], make_task(ppc=2)
    first = next(iter(cls(cls.Params(init=init)).distill(task)))
    expected = initial_clouds(init, task.train, task.ppc, task.streams, task.trained_network)
    assert first.iteration == 0
    assert torch.equal(first.clouds.points, expected.points)
    assert first.clouds.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert first.clouds.class_names == task.train.class_names


@pytest.mark.parametrize("name", DISTILLING)
def test_an_unknown_initialisation_is_refused(name):
    with pytest.raises(ValueError, match="'random', 'noise', 'herding' or 'kcenter'"):
        METHODS[name].Params(init="real")


def test_the_four_initialisations_differ(make_task):
    task = make_task(ppc=3)
    starts = [
        initial_clouds(init, task.train, 3, task.streams, task.trained_network).points
        for init in get_args(Initialisation)
    ]
    for i, one in enumerate(starts):
        for other in starts[i + 1 :]:
            assert not torch.equal(one, other)
