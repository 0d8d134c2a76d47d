"""shapes10 is a fair miniature: easy to learn from all of it, hard from one cloud a class."""

from __future__ import annotations

import pytest
from built_in import CATALOGUE

from pcbench.api import Splits
from pcbench.engine import students
from pcbench.ops.coreset import initial_clouds
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams


@pytest.fixture(scope="module")
def splits() -> Splits:
    return CATALOGUE.datasets.load("shapes10")().load(64)


def accuracies(pointnet, splits, clouds, recipe, count):
    streams = [Streams({"test": "difficulty", "repetition": number}) for number in range(count)]
    network = students.train(lambda g: pointnet.build(10, "paper", g), clouds, recipe, streams)
    return students.count_correct(network, splits.test, count).sum(1) / len(splits.test)


@pytest.mark.slow
def test_all_of_it_is_enough(pointnet, splits):
    recipe = Recipe(epochs=3, drop_after=1, batch=16)
    assert float(accuracies(pointnet, splits, splits.train, recipe, 1)) >= 0.9


@pytest.mark.slow
def test_one_cloud_a_class_is_too_little(pointnet, splits):
    scores = []
    for repetition in range(2):
        few = initial_clouds("random", splits.train, 1, Streams({"draw": repetition}), lambda: None)
        recipe = Recipe(epochs=40, drop_after=30, batch=8)
        scores.append(float(accuracies(pointnet, splits, few, recipe, 3).mean()))
    assert 0.25 <= sum(scores) / len(scores) <= 0.6, scores
